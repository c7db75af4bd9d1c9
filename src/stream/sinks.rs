//! The sinks of one stream: opened, judged, begun, and then given every batch.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::timeout;

use super::positions::{Key, Positions, PositionsError};
use super::progress::Progress;
use crate::change::{Batch, Cursor, Gap, Record, StreamIdentity};
use crate::faults::{self, Point};
use crate::ident::{SinkName, SlotName};
use crate::lsn::{EndLsn, Lsn};
use crate::sink::{Sink, SinkError, Standing};
use crate::status::Reporter;

/// A sink with its name. It outlives the streams that write to it, one after the other.
#[derive(Debug, Clone)]
pub struct NamedSink {
    pub name: SinkName,
    pub key: Key,
    pub sink: Arc<Mutex<Sink>>,
}

/// The sinks of one stream, each held by it alone.
#[derive(Debug)]
pub(super) struct Sinks {
    each: Vec<OpenSink>,
    positions: Arc<Positions>,
    /// How long a sink may take over anything but a batch; over that, feedback watches.
    patience: Duration,
    /// Where what they deliver is counted.
    reporter: Arc<Reporter>,
}

#[derive(Debug)]
pub(super) struct OpenSink {
    pub(super) name: SinkName,
    pub(super) key: Key,
    sink: OwnedMutexGuard<Sink>,
    pub(super) standing: Standing,
    /// What it held when the stream began, until the stream has passed it.
    held: Option<Cursor>,
    /// As last recorded.
    record: Option<Record>,
}

impl Sinks {
    /// Opens every sink for the stream `identity`. A sink that is stuck, in what its last stream left or in this, is
    /// waited for as long as `patience`.
    pub(super) async fn open(
        named: &[NamedSink],
        identity: &Arc<StreamIdentity>,
        positions: Arc<Positions>,
        patience: Duration,
        reporter: Arc<Reporter>,
    ) -> Result<Self, SinkError> {
        let each = named.iter().map(async |named| {
            let open = async {
                let mut sink = Arc::clone(&named.sink).lock_owned().await;
                let standing = sink.open(Arc::clone(identity)).await?;
                Ok((sink, standing))
            };
            let (sink, mut standing) = in_time(&reporter, patience, &named.name, open).await?;
            merge(&mut standing, &positions, &named.key);
            let (name, key) = (named.name.clone(), named.key.clone());
            Ok(OpenSink { name, key, sink, record: standing.record.clone(), standing, held: None })
        });
        let each = try_join_all(each).await?;
        Ok(Self { each, positions, patience, reporter })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenSink> {
        self.each.iter()
    }

    /// All that is known of `slot`, of these sinks and of others that it was streamed to before.
    pub(super) fn records_of(&self, slot: &SlotName) -> Vec<Record> {
        let own = self.each.iter().filter_map(|open| open.standing.record.clone());
        let keys: Vec<_> = self.each.iter().map(|open| &open.key).collect();
        own.filter(|record| record.slot == *slot).chain(self.positions.of_slot_elsewhere(slot, &keys)).collect()
    }

    pub(super) const fn len(&self) -> usize {
        self.each.len()
    }

    /// The last transaction that is half in a sink, by its commit LSN.
    pub(super) fn half(&self) -> Option<Lsn> {
        let held = self.each.iter().filter_map(|open| open.held);
        held.filter(Cursor::is_half).map(|held| held.commit_lsn).max()
    }

    /// Sink `at` goes on behind `held`.
    pub(super) fn resume(&mut self, at: usize, held: Option<Cursor>) {
        self.each[at].held = held;
    }

    /// Sink `at` begins anew with `record`, behind `gap`.
    pub(super) async fn adopt(&mut self, at: usize, record: Record, gap: Option<Gap>) -> Result<(), SinkError> {
        let Self { each, positions, patience, reporter } = self;
        let open = &mut each[at];
        let adopted = async {
            // A sink with a record of its own counts from here on: what the store has is of another beginning.
            open.sink.adopt(record.clone(), gap).await?;
            positions.record_now(open.key.clone(), record.clone()).await.map_err(|error| unrecorded(&error))
        };
        in_time(reporter, *patience, &open.name, adopted).await?;
        open.record = Some(record);
        open.held = None;
        Ok(())
    }

    /// Whether every sink would take a batch now.
    pub(super) async fn ready(&mut self) -> Result<(), SinkError> {
        let Self { each, patience, reporter, .. } = self;
        let each = each.iter_mut().map(|open| in_time(reporter, *patience, &open.name, open.sink.ready()));
        try_join_all(each).await.map(|_| ())
    }

    /// What the positions' store is to hold of each sink, for idle acknowledgements.
    pub(super) fn ledger(&self, identity: &StreamIdentity) -> Ledger {
        let entry = |open: &OpenSink| {
            let record = open.record.clone().unwrap_or_else(|| Record::begin(identity, None));
            (
                open.key.clone(),
                std::sync::Mutex::new(Record {
                    timeline: identity.timeline,
                    standby: identity.standby,
                    publication: identity.publication.clone(),
                    ..record
                }),
            )
        };
        Ledger { positions: Arc::clone(&self.positions), entries: self.each.iter().map(entry).collect() }
    }

    /// Gives every batch to every sink until there are no more.
    pub(super) async fn deliver(
        mut self,
        mut batches: mpsc::Receiver<Arc<Batch>>,
        progress: Arc<Progress>,
        ledger: Arc<Ledger>,
    ) -> Result<(), SinkError> {
        let (mut units, reporter) = (0, self.reporter);
        while let Some(batch) = batches.recv().await {
            let whole = batch.units.saturating_sub(units);
            units = units.max(batch.units);
            let writes = self.each.iter_mut().enumerate().map(async |(at, open)| {
                progress.busy(at);
                let held = open.held.map_or(0, |held| batch.units_in(&held));
                if let Some(news) = open.news(&batch) {
                    let (cursor, end_lsn) = (news.cursor, news.end_lsn);
                    let (changes, bytes) = (news.len() as u64, news.wire_bytes() as u64);
                    let written = async {
                        open.sink.write(news).await?;
                        ledger.advance(at, cursor, end_lsn, !open.sink.holds_record()).await
                    };
                    written.await.inspect_err(|_| reporter.sink_failed(&open.name))?;
                    reporter.delivered(&open.name, changes, whole.saturating_sub(held), bytes);
                }
                faults::point(Point::BatchDurable);
                progress.durable(at, batch.units, batch.end_lsn);
                Ok(())
            });
            // What one sink refuses is told at once, whatever another waits for: that one's call ends by itself.
            try_join_all(writes).await?;
        }
        Ok(())
    }
}

impl OpenSink {
    /// The part of `batch` that the sink does not hold yet.
    fn news(&mut self, batch: &Arc<Batch>) -> Option<Arc<Batch>> {
        let Some(held) = &self.held else { return Some(Arc::clone(batch)) };
        let news = batch.beyond(held).map(Arc::new);
        if news.is_some() {
            self.held = None;
        }
        news
    }
}

/// What `sink` answers to `asked`, unless it takes longer than `patience`.
async fn in_time<T>(
    reporter: &Reporter,
    patience: Duration,
    sink: &SinkName,
    asked: impl Future<Output = Result<T, SinkError>>,
) -> Result<T, SinkError> {
    let answered = timeout(patience, asked).await.unwrap_or_else(|_| {
        Err(SinkError {
            sentence: format!("the sink {sink} is stuck: it has answered nothing for {patience:?}"),
            hint: "see what its disk or its reader waits for; slotd goes on by itself once it answers".to_owned(),
            source: None,
        })
    });
    answered.inspect_err(|_| reporter.sink_failed(sink))
}

/// Adds what the positions' store knows and the sink does not: idle acknowledgements, and all of a sink without a record.
fn merge(standing: &mut Standing, positions: &Positions, key: &Key) {
    match &mut standing.record {
        Some(record) => positions.of_beginning(record.beginning).iter().for_each(|stored| record.join(stored)),
        None => {
            standing.record = positions.get(key);
            if !standing.bare {
                standing.cursor = standing.record.as_ref().and_then(|record| record.cursor);
            }
        }
    }
}

fn unrecorded(error: &PositionsError) -> SinkError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    SinkError {
        sentence: format!("no position can be recorded: {error}{cause}"),
        hint: "make room in the state directory, or let slotd's user write there".to_owned(),
        source: None,
    }
}

/// The records of one stream's sinks, as the positions' store is to have them.
#[derive(Debug)]
pub(super) struct Ledger {
    positions: Arc<Positions>,
    entries: Vec<(Key, std::sync::Mutex<Record>)>,
}

impl Ledger {
    /// Records durably, with those of all other slots in one write, that `idle` may be acknowledged.
    pub(super) async fn record_idle(self: Arc<Self>, idle: EndLsn) -> Result<EndLsn, SinkError> {
        let each = self.entries.iter().map(|(key, record)| {
            let record = update(record, |record| record.acknowledged = record.acknowledged.max(Some(idle)));
            self.positions.record(key.clone(), record)
        });
        try_join_all(each).await.map_err(|error| unrecorded(&error))?;
        Ok(idle)
    }

    /// Sink `at` holds what ends at `cursor`; `now` if it has no record of its own.
    async fn advance(
        &self,
        at: usize,
        cursor: Option<Cursor>,
        end_lsn: Option<EndLsn>,
        now: bool,
    ) -> Result<(), SinkError> {
        let Some((key, record)) = self.entries.get(at) else { return Ok(()) };
        let record = update(record, |record| {
            record.cursor = cursor.or(record.cursor);
            record.acknowledged = record.acknowledged.max(end_lsn);
        });
        if now {
            self.positions.record_now(key.clone(), record).await.map_err(|error| unrecorded(&error))?;
        }
        Ok(())
    }
}

fn update(record: &std::sync::Mutex<Record>, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    change(&mut record);
    record.clone()
}
