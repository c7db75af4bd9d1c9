//! The registry: what both planes report, and the only thing that HTTP reads.
//!
//! Each database has a watch of its own, so a report touches no other database and no lock is held across an await.
//! Readers take cheap snapshots (`Arc`) or await a change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::clocks::Clocks;
use super::counters::{Counters, Counts};
use super::{Bounds, Clock, DatabaseStatus, Health, Reporter, STALE, Stuck};
use crate::ident::DatabaseName;

/// What is known of the agent as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStatus {
    pub version: &'static str,
    pub started: Timestamp,
    pub config_file: PathBuf,
    /// Why a changed file was rejected, while the old one is in force.
    pub config_rejected: Option<String>,
    /// When the file that is in force was taken over.
    pub config_loaded: Timestamp,
    pub bounds: Bounds,
    /// The databases of the file in its order; `None` until the supervisor has declared them.
    pub declared: Option<Vec<DatabaseName>>,
}

impl AgentStatus {
    /// The declared databases whose first round has not ended; before they are declared, one unnamed entry.
    pub(super) fn starting<'a>(
        &self,
        databases: impl Iterator<Item = (&'a DatabaseName, Option<Timestamp>)>,
    ) -> Vec<String> {
        let Some(declared) = &self.declared else { return vec!["the supervisor has not started yet".to_owned()] };
        let ended: std::collections::BTreeSet<_> =
            databases.filter(|(_, round)| round.is_some()).map(|(name, _)| name).collect();
        let open = declared.iter().filter(|name| !ended.contains(name));
        open.map(|name| format!("{name}: the first round has not ended yet")).collect()
    }
}

/// What is known of every database. Clones share it.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agent: watch::Sender<AgentStatus>,
    /// In the order in which they were added.
    databases: watch::Sender<Vec<Entry>>,
    /// Of each database by name: they outlive its entry, which a reload replaces.
    counters: Mutex<BTreeMap<DatabaseName, Arc<Counters>>>,
    /// Counts what a reader of the whole may want to know of; positions are not among it.
    changes: watch::Sender<u64>,
    next_id: AtomicU64,
    /// A monotonic clock for `/livez`: a wall clock that is set must not get the process killed.
    born: Instant,
    beat_millis: AtomicU64,
    clocks: Clocks,
}

#[derive(Debug, Clone)]
struct Entry {
    id: u64,
    name: DatabaseName,
    status: watch::Receiver<Arc<DatabaseStatus>>,
}

impl Registry {
    /// An empty registry of an agent that has read `config_file`.
    #[must_use]
    pub fn new(config_file: impl Into<PathBuf>, bounds: Bounds) -> Self {
        let now = super::reporter::now();
        let agent = AgentStatus {
            version: env!("CARGO_PKG_VERSION"),
            started: now,
            config_loaded: now,
            config_file: config_file.into(),
            config_rejected: None,
            bounds,
            declared: None,
        };
        Self {
            shared: Arc::new(Shared {
                agent: watch::Sender::new(agent),
                databases: watch::Sender::new(Vec::new()),
                counters: Mutex::default(),
                changes: watch::Sender::new(0),
                next_id: AtomicU64::new(0),
                born: Instant::now(),
                beat_millis: AtomicU64::new(0),
                clocks: Clocks::default(),
            }),
        }
    }

    /// Takes a database in; one of the same name is replaced. It is gone when the last clone of the reporter is
    /// dropped.
    #[must_use]
    pub fn add(&self, initial: DatabaseStatus) -> Reporter {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let name = initial.name.clone();
        let counters = Arc::clone(self.counters().entry(name.clone()).or_default());
        let status = watch::Sender::new(Arc::new(initial));
        let entry = Entry { id, name, status: status.subscribe() };
        self.shared.databases.send_modify(|entries| {
            entries.retain(|other| other.name != entry.name);
            entries.push(entry);
        });
        self.changed();
        Reporter::new(id, status, counters, self.clone())
    }

    fn counters(&self) -> MutexGuard<'_, BTreeMap<DatabaseName, Arc<Counters>>> {
        self.shared.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted of a database since the process began.
    #[must_use]
    pub fn counts(&self, name: &DatabaseName) -> Counts {
        self.counters().get(name).map(|counters| counters.counts()).unwrap_or_default()
    }

    pub(super) fn remove(&self, id: u64) {
        self.shared.databases.send_modify(|entries| entries.retain(|entry| entry.id != id));
        self.changed();
    }

    pub(super) fn changed(&self) {
        self.shared.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Says which databases the file has, in its order: the order of [`snapshot`](Self::snapshot), and what must have
    /// had a round before the agent is ready. To be called at the start and after each reload.
    pub fn declare(&self, names: impl IntoIterator<Item = DatabaseName>) {
        let names: Vec<_> = names.into_iter().collect();
        self.counters().retain(|name, _| names.contains(name));
        self.shared.agent.send_modify(|agent| agent.declared = Some(names));
        self.changed();
    }

    /// Why the changed file was rejected, in a sentence; `None` once a good one is in force. Logs a change.
    pub fn config_rejected(&self, why: Option<String>) {
        let changed = self.shared.agent.send_if_modified(|agent| {
            let changed = agent.config_rejected != why;
            if why.is_none() {
                agent.config_loaded = super::reporter::now();
            }
            agent.config_rejected.clone_from(&why);
            changed
        });
        if !changed {
            return;
        }
        self.changed();
        match why {
            Some(why) => {
                let hint = super::health::MEND;
                let why = super::one_line(&why);
                tracing::warn!(hint, "the changed file was rejected and the old one is in force: {why} ({hint})");
            }
            None => tracing::info!("the file that was rejected is mended"),
        }
    }

    /// The supervisor's loop turned; to be called at least once a period, [`PERIOD`](super::PERIOD).
    pub fn beat(&self) {
        let millis = u64::try_from(self.shared.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.beat_millis.store(millis, Ordering::Relaxed);
    }

    /// How long ago the supervisor's loop last turned, if that is too long.
    #[must_use]
    pub fn hangs(&self) -> Option<Duration> {
        let beat = Duration::from_millis(self.shared.beat_millis.load(Ordering::Relaxed));
        Some(self.shared.born.elapsed().saturating_sub(beat)).filter(|silence| *silence > STALE)
    }

    /// The clock of the runtime, for a task that has nothing else to do.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clocks.start(None)
    }

    /// The clock of the feedback of `database`.
    pub(super) fn clock_of(&self, database: DatabaseName) -> Clock {
        self.shared.clocks.start(Some(database))
    }

    /// What was not scheduled for longer than `patience`, which is to be several [`BEAT`](super::BEAT)s.
    #[must_use]
    pub fn stuck(&self, patience: Duration) -> Option<Stuck> {
        self.shared.clocks.stuck(patience)
    }

    /// What is known of the agent.
    #[must_use]
    pub fn agent(&self) -> AgentStatus {
        self.shared.agent.borrow().clone()
    }

    /// All databases, in the order of the file; those that are not in it any more last.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<DatabaseStatus>> {
        let declared = self.shared.agent.borrow().declared.clone().unwrap_or_default();
        let place: std::collections::HashMap<_, _> = declared.iter().zip(0_usize..).collect();
        let mut all: Vec<_> =
            self.shared.databases.borrow().iter().map(|entry| Arc::clone(&entry.status.borrow())).collect();
        all.sort_by_key(|status| place.get(&status.name).copied().unwrap_or(usize::MAX));
        all
    }

    /// One database.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<DatabaseStatus>> {
        let databases = self.shared.databases.borrow();
        databases.iter().find(|entry| entry.name.as_str() == name).map(|entry| Arc::clone(&entry.status.borrow()))
    }

    /// All databases, judged at `now`.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> Health {
        Health::new(&self.agent(), &self.snapshot(), now)
    }

    /// What is not ready yet, a line for each; empty once each declared database had its first round.
    #[must_use]
    pub fn starting(&self) -> Vec<String> {
        let databases = self.snapshot();
        self.agent().starting(databases.iter().map(|status| (&status.name, status.last_round)))
    }

    /// Wakes at each change of a state, a reason, a finding, a verdict on WAL, the agent, or the set of databases.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Waits until `name` is there and `fits`.
    pub async fn wait_for(
        &self,
        name: &str,
        mut fits: impl FnMut(&DatabaseStatus) -> bool + Send,
    ) -> Arc<DatabaseStatus> {
        let mut databases = self.shared.databases.subscribe();
        loop {
            let status = databases
                .borrow_and_update()
                .iter()
                .find(|entry| entry.name.as_str() == name)
                .map(|entry| entry.status.clone());
            if let Some(mut status) = status
                && let Ok(status) = status.wait_for(|status| fits(status)).await
            {
                return Arc::clone(&status);
            }
            // The sender lives in `self`, so this fails only with the whole registry gone, which `self` prevents.
            let _ = databases.changed().await;
        }
    }
}

#[cfg(test)]
mod tests;
