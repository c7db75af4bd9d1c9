//! The positions that no sink holds: those of idle slots, and the cursors of sinks that keep none.
//!
//! One store for the whole agent, since a file for each slot would cost an fsync for each: a quiet slot beside a busy
//! database has a new position every second. `positions.jsonl` is a log of [sealed](crate::storage::sealed) lines,
//! each with what changed in one write; the last one that names a slot counts, and a line that a crash tore does not.
//! A position is acknowledged only after the write that holds it is durable, and one write a second holds all that
//! wait.

mod log;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::change::Record;
use crate::ident::{DatabaseName, PublicationName, SinkName, SlotName};
use crate::lsn::Lsn;
use crate::storage::SharedStorage;
use log::Log;

/// Two writes for idle positions are at least so far apart.
const TICK: Duration = Duration::from_secs(1);
/// How many requests may wait to be taken up, and how many one write holds.
const REQUESTS: usize = 1024;

/// Whose position it is: where the changes stand, so that a sink and a database may be renamed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// The current file of a series.
    File(PathBuf),
    /// Standard output has no place of its own: the entries of `postgres_databases` and `sinks`.
    Stdout(DatabaseName, SinkName),
}

/// A position could not be made durable. What was recorded before still stands.
#[derive(Debug, Clone, thiserror::Error)]
#[error("can't {verb} {path}, which holds the positions of idle slots", path = path.display())]
pub struct PositionsError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: Arc<io::Error>,
}

/// The store; clones share it. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Positions {
    known: Arc<Mutex<Records>>,
    requests: mpsc::Sender<Request>,
}

type Records = BTreeMap<Key, Record>;

#[derive(Debug)]
struct Request {
    key: Key,
    record: Record,
    urgent: bool,
    done: oneshot::Sender<Result<(), PositionsError>>,
}

impl Positions {
    /// Opens `positions.jsonl` in `dir`, or begins it, and starts the task that writes it. Blocks; call it inside a
    /// runtime.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn open(storage: SharedStorage, dir: &Path) -> Result<Self, PositionsError> {
        let log = Log::open(storage, dir)?;
        let known = Arc::new(Mutex::new(log.records().clone()));
        let (requests, waiting) = mpsc::channel(REQUESTS);
        tokio::spawn(serve(log, Arc::clone(&known), waiting));
        Ok(Self { known, requests })
    }

    /// What is durable of `key`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Record> {
        lock(&self.known).get(key).cloned()
    }

    /// What is durable of this beginning, under whatever key.
    #[must_use]
    pub fn of_beginning(&self, beginning: u64) -> Option<Record> {
        let mut found = None;
        for record in lock(&self.known).values().filter(|record| record.beginning == beginning) {
            found.get_or_insert_with(|| record.clone()).join(record);
        }
        found
    }

    /// What is durable of `slot`, of every sink that it was ever streamed to but those of `keys`.
    #[must_use]
    pub fn of_slot_elsewhere(&self, slot: &SlotName, keys: &[&Key]) -> Vec<Record> {
        let known = lock(&self.known);
        let elsewhere = known.iter().filter(|(key, record)| record.slot == *slot && !keys.contains(key));
        elsewhere.map(|(_, record)| record.clone()).collect()
    }

    /// How far changes of `slot` of this cluster were delivered; `None` if none ever was, or slotd has dropped it since.
    #[must_use]
    pub fn delivered(&self, slot: &SlotName, system_identifier: u64) -> Option<Lsn> {
        delivered(lock(&self.known).values(), slot, system_identifier)
    }

    /// Through which publication `slot` of this cluster was streamed last, if that was another one than `declared`.
    #[must_use]
    pub fn former(
        &self,
        slot: &SlotName,
        system_identifier: u64,
        declared: &PublicationName,
    ) -> Option<PublicationName> {
        former(lock(&self.known).values(), slot, system_identifier, declared)
    }

    /// Which slots of this cluster were streamed last through `publication`.
    #[must_use]
    pub fn read_through(&self, publication: &PublicationName, system_identifier: u64) -> BTreeSet<SlotName> {
        let records = lock(&self.known);
        let of_cluster = records.values().filter(|record| record.system_identifier == system_identifier);
        let mut slots: BTreeSet<_> = of_cluster.map(|record| record.slot.clone()).collect();
        slots.retain(|slot| former(records.values(), slot, system_identifier, publication).is_none());
        slots
    }

    /// Whether anything was ever streamed to standard output.
    #[must_use]
    pub fn knows_stdout(&self) -> bool {
        lock(&self.known).keys().any(|key| matches!(key, Key::Stdout(..)))
    }

    /// Records an idle position; returns once it is durable, which takes up to a second.
    ///
    /// # Errors
    /// It could not be written; it may be durable or not.
    pub async fn record(&self, key: Key, record: Record) -> Result<(), PositionsError> {
        self.request(key, record, false).await
    }

    /// Records a position without waiting for others, but with all that wait.
    ///
    /// # Errors
    /// As [`Positions::record`].
    pub async fn record_now(&self, key: Key, record: Record) -> Result<(), PositionsError> {
        self.request(key, record, true).await
    }

    async fn request(&self, key: Key, record: Record, urgent: bool) -> Result<(), PositionsError> {
        let (done, answer) = oneshot::channel();
        let sent = self.requests.send(Request { key, record, urgent, done }).await;
        let ended = || PositionsError {
            verb: "write",
            path: PathBuf::from(log::NAME),
            source: Arc::new(io::Error::other("the task that writes it has ended")),
        };
        sent.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// What is recorded, read once, while an agent may hold it.
#[derive(Debug)]
pub struct Recorded(Records);

/// Reads `positions.jsonl` in `dir` and changes nothing. Blocks.
///
/// # Errors
/// The file can't be read.
pub fn read(storage: SharedStorage, dir: &Path) -> Result<Recorded, PositionsError> {
    log::read(&*storage, &dir.join(log::NAME)).map(Recorded)
}

impl Recorded {
    /// How far changes of `slot` of this cluster were delivered; `None` if none ever was, or slotd has dropped it since.
    #[must_use]
    pub fn of(&self, slot: &SlotName, system_identifier: u64) -> Option<Lsn> {
        delivered(self.0.values(), slot, system_identifier)
    }

    /// Through which publication `slot` of this cluster was streamed last, if that was another one than `declared`.
    #[must_use]
    pub fn former(
        &self,
        slot: &SlotName,
        system_identifier: u64,
        declared: &PublicationName,
    ) -> Option<PublicationName> {
        former(self.0.values(), slot, system_identifier, declared)
    }
}

fn former<'a>(
    records: impl Iterator<Item = &'a Record>,
    slot: &SlotName,
    system_identifier: u64,
    declared: &PublicationName,
) -> Option<PublicationName> {
    let records = records.filter(|record| record.slot == *slot && record.system_identifier == system_identifier);
    let last = records.max_by_key(|record| record.position())?;
    (last.publication != *declared).then(|| last.publication.clone())
}

fn delivered<'a>(records: impl Iterator<Item = &'a Record>, slot: &SlotName, system_identifier: u64) -> Option<Lsn> {
    let is = |record: &&Record| record.slot == *slot && record.system_identifier == system_identifier;
    Record::last(records.filter(is)).filter(|last| !last.is_dropped()).map(Record::position)
}

/// Gathers requests and writes them, until no one can make any more.
async fn serve(mut log: Log, known: Arc<Mutex<Records>>, mut requests: mpsc::Receiver<Request>) {
    let mut due = Instant::now();
    while let Some(first) = requests.recv().await {
        let mut group = vec![first];
        // An error of `timeout_at` is the tick.
        while group.len() < REQUESTS
            && !group.last().is_some_and(|request| request.urgent)
            && let Ok(Some(request)) = timeout_at(due, requests.recv()).await
        {
            group.push(request);
        }
        while group.len() < REQUESTS
            && let Ok(request) = requests.try_recv()
        {
            group.push(request);
        }
        let mut answers = Vec::with_capacity(group.len());
        let mut changes = BTreeMap::new();
        for Request { key, mut record, done, .. } in group {
            // Two that were made in one order may come in the other; no position goes back.
            if let Some(before) = changes.get(&key).or_else(|| log.records().get(&key)) {
                record.join(before);
            }
            changes.insert(key, record);
            answers.push(done);
        }
        let write = move || {
            let written = log.write(changes);
            (log, written)
        };
        let Ok((back, written)) = tokio::task::spawn_blocking(write).await else {
            // It panicked. Whoever waits is told so by the answers' end, and so is everyone after them.
            tracing::error!("writing {}, which holds the positions of idle slots, broke off", log::NAME);
            return;
        };
        log = back;
        if written.is_ok() {
            lock(&known).clone_from(log.records());
        }
        due = Instant::now() + TICK;
        for answer in answers {
            // Who does not wait any more needs no answer.
            let _ = answer.send(written.clone());
        }
    }
}

fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
