//! What is in flight, and with that what may be acknowledged.
//!
//! A *unit* is a transaction or a non-transactional message. The reader counts the units it has seen begin, each sink
//! reports how many it holds whole. In flight is what is seen and not whole in every sink. A COMMIT's end may be
//! acknowledged once every sink holds it; a keepalive's WAL end only while nothing is in flight, since it may lie
//! behind a transaction that no sink has.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::faults::{self, Break};
use crate::lsn::{EndLsn, Lsn};
use crate::wire::ServerError;

/// The progress of one stream, shared by its reader, its sinks and its feedback.
#[derive(Debug)]
pub struct Progress {
    /// Units that the reader has seen begin.
    seen: AtomicU64,
    /// When the last transaction among them was committed, in microseconds; 0 before there is one.
    commit: AtomicI64,
    /// Batches that the reader has handed on.
    sent: AtomicU64,
    inner: Mutex<Inner>,
    /// Something changed that feedback may act on.
    changed: Notify,
    /// The server's WAL end has moved on while it had nothing to send.
    idled: Notify,
    /// A batch is done.
    delivered: Notify,
    /// The stream is to end where no unit is open.
    ending: AtomicBool,
    ends: Notify,
}

#[derive(Debug)]
struct Inner {
    sinks: Vec<SinkProgress>,
    /// The last keepalive, and how many units had been seen then.
    keepalive: Option<(u64, Lsn)>,
    /// The server asked for a reply that it has not had.
    reply_requested: bool,
    /// When the server was last heard.
    heard: Instant,
    /// The last position that was received.
    received: Lsn,
    held_back: Option<HeldBack>,
    /// A unit in flight, by how many had been seen with it, and its commit.
    oldest: Option<(u64, i64)>,
    /// Only ever set by a break.
    broken: Option<EndLsn>,
}

#[derive(Debug, Clone)]
struct SinkProgress {
    units: u64,
    end_lsn: Option<EndLsn>,
    batches: u64,
    /// Since when the sink has had a batch that is not durable yet.
    busy_since: Option<Instant>,
}

/// The server said that it sends nothing, though there is something.
#[derive(Debug)]
struct HeldBack {
    why: ServerError,
    said: Instant,
    /// How many units had been seen then.
    seen: u64,
}

/// What may be acknowledged now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acknowledgeable {
    /// The end of the last transaction that every sink holds: recorded by each sink already.
    pub committed: Option<EndLsn>,
    /// A keepalive's WAL end, with nothing in flight: to be recorded before it is sent.
    pub idle: Option<EndLsn>,
}

impl Progress {
    /// For a stream that goes to `sinks` sinks.
    #[must_use]
    pub fn new(sinks: usize) -> Self {
        let sink = SinkProgress { units: 0, end_lsn: None, batches: 0, busy_since: None };
        Self {
            seen: AtomicU64::new(0),
            commit: AtomicI64::new(0),
            sent: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                sinks: vec![sink; sinks],
                keepalive: None,
                reply_requested: false,
                heard: Instant::now(),
                received: Lsn::ZERO,
                held_back: None,
                oldest: None,
                broken: None,
            }),
            changed: Notify::new(),
            idled: Notify::new(),
            delivered: Notify::new(),
            ending: AtomicBool::new(false),
            ends: Notify::new(),
        }
    }

    /// The reader has seen a transaction begin.
    pub fn begin_transaction(&self, commit: Timestamp) {
        self.commit.store(commit.as_microsecond(), Ordering::Relaxed);
        self.begin_unit();
    }

    /// The reader has seen a unit begin.
    pub fn begin_unit(&self) {
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    /// The reader has handed a batch on, which was received up to `received`.
    pub fn send_batch(&self, received: Lsn) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.lock();
        inner.received = inner.received.max(received);
    }

    /// The reader has heard something of the server; gives when.
    pub fn hear(&self) -> Instant {
        let now = Instant::now();
        self.lock().heard = now;
        now
    }

    /// The reader has seen a keepalive.
    pub fn keepalive(&self, wal_end: Lsn, reply_requested: bool) {
        let seen = self.seen.load(Ordering::Relaxed);
        let mut inner = self.lock();
        inner.received = inner.received.max(wal_end);
        inner.keepalive = Some((seen, wal_end));
        inner.reply_requested |= reply_requested;
        drop(inner);
        if reply_requested { &self.changed } else { &self.idled }.notify_one();
    }

    /// The server says that it sends nothing, and why.
    pub fn hold_back(&self, why: ServerError) {
        let seen = self.seen.load(Ordering::Relaxed);
        self.lock().held_back = Some(HeldBack { why, said: Instant::now(), seen });
    }

    /// Why the server sends nothing, if it has said so within `age` and has sent no change since.
    #[must_use]
    pub fn held_back(&self, age: Duration) -> Option<ServerError> {
        let seen = self.seen.load(Ordering::Relaxed);
        let inner = self.lock();
        let held = inner.held_back.as_ref().filter(|held| held.seen == seen && held.said.elapsed() <= age);
        held.map(|held| held.why.clone())
    }

    /// How many units were seen, and how many of them every sink holds whole.
    #[must_use]
    pub fn units(&self) -> (u64, u64) {
        let seen = self.seen.load(Ordering::Relaxed);
        (seen, self.lock().whole())
    }

    /// When the oldest transaction in flight was committed; of those that came between two calls, the last.
    #[must_use]
    pub fn oldest_commit(&self) -> Option<Timestamp> {
        let seen = self.seen.load(Ordering::Relaxed);
        let commit = self.commit.load(Ordering::Relaxed);
        let mut inner = self.lock();
        let whole = inner.whole();
        if inner.oldest.is_none_or(|(unit, _)| unit <= whole) {
            inner.oldest = (whole < seen && commit != 0).then_some((seen, commit));
        }
        inner.oldest.and_then(|(_, commit)| Timestamp::from_microsecond(commit).ok())
    }

    /// Ends the stream once no unit is open: at once, or behind the next COMMIT.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.ends.notify_one();
    }

    /// Whether the stream is to end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Waits until the stream is to end; for the reader alone.
    pub async fn ends(&self) {
        self.ends.notified().await;
    }

    /// Sink `sink` has been given a batch.
    pub fn busy(&self, sink: usize) {
        if let Some(sink) = self.lock().sinks.get_mut(sink) {
            sink.busy_since = Some(Instant::now());
        }
    }

    /// Sink `sink` holds the first `units` units whole, the last of them up to `end_lsn`, and its batch is done.
    pub fn durable(&self, sink: usize, units: u64, end_lsn: Option<EndLsn>) {
        if let Some(sink) = self.lock().sinks.get_mut(sink) {
            sink.units = sink.units.max(units);
            sink.end_lsn = sink.end_lsn.max(end_lsn);
            sink.busy_since = None;
            sink.batches += 1;
        }
        self.changed.notify_one();
        self.delivered.notify_one();
    }

    /// Whether every batch that was handed on is done, in every sink.
    #[must_use]
    pub fn has_delivered_all(&self) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        self.lock().sinks.iter().all(|sink| sink.batches == sent)
    }

    /// Whether every sink has taken a batch.
    #[must_use]
    pub fn has_delivered(&self) -> bool {
        self.lock().sinks.iter().all(|sink| sink.batches > 0)
    }

    /// Waits until a batch is done; for the reader alone.
    pub async fn delivered(&self) {
        self.delivered.notified().await;
    }

    /// When the server was last heard, and the last position received.
    #[must_use]
    pub fn heard(&self) -> (Instant, Lsn) {
        let inner = self.lock();
        (inner.heard, inner.received)
    }

    /// Takes a position that must never be acknowledged as if it could be.
    pub fn break_with(&self, position: Lsn) {
        if faults::broken(Break::AckStartPlusLength) {
            let mut inner = self.lock();
            inner.broken = inner.broken.max(Some(EndLsn::of_idle(position)));
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Waits for a change since the last call, other than a keepalive that asks for nothing.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits for a keepalive since the last call that asks for nothing.
    pub async fn idled(&self) {
        self.idled.notified().await;
    }

    /// Whether the server waits for a reply; it counts as given from now on.
    pub fn take_reply_requested(&self) -> bool {
        std::mem::take(&mut self.lock().reply_requested)
    }

    /// Since when the slowest sink has been busy with one batch.
    #[must_use]
    pub fn busy_since(&self) -> Option<Instant> {
        self.lock().sinks.iter().filter_map(|sink| sink.busy_since).min()
    }

    /// What may be acknowledged now.
    #[must_use]
    pub fn acknowledgeable(&self) -> Acknowledgeable {
        let seen = self.seen.load(Ordering::Relaxed);
        let inner = self.lock();
        // A sink that has ended no transaction yet holds all of them back.
        let committed = inner.sinks.iter().map(|sink| sink.end_lsn).min().flatten().max(inner.broken);
        let whole = inner.whole();
        let idle = inner.keepalive.filter(|(seen_then, _)| {
            whole == seen && *seen_then == seen || faults::broken(Break::AckKeepaliveInFlight)
        });
        Acknowledgeable { committed, idle: idle.map(|(_, wal_end)| EndLsn::of_idle(wal_end)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    /// How many units every sink holds whole.
    fn whole(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.units).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(lsn: u64) -> Option<EndLsn> {
        Some(EndLsn::of_commit(Lsn(lsn)))
    }

    #[test]
    fn a_commit_counts_once_every_sink_holds_it() {
        let progress = Progress::new(2);
        progress.begin_unit();
        progress.durable(0, 1, end(100));
        assert_eq!(progress.acknowledgeable(), Acknowledgeable::default());
        progress.durable(1, 1, end(100));
        assert_eq!(progress.acknowledgeable().committed, end(100));
    }

    #[test]
    fn a_keepalive_counts_only_while_nothing_is_in_flight() {
        let progress = Progress::new(1);
        progress.keepalive(Lsn(50), false);
        assert_eq!(progress.acknowledgeable().idle, end(50));
        progress.begin_unit();
        assert_eq!(progress.acknowledgeable().idle, None, "a BEGIN was seen");
        progress.keepalive(Lsn(90), false);
        assert_eq!(progress.acknowledgeable().idle, None, "the keepalive came inside a transaction");
        progress.durable(0, 1, end(100));
        // The position is true by now: all before it was whole when it was sent, but for the unit that is durable.
        assert_eq!(progress.acknowledgeable().idle, end(90));
        progress.begin_unit();
        progress.durable(0, 1, end(100));
        assert_eq!(progress.acknowledgeable().idle, None, "the second unit is not durable");
    }

    #[test]
    fn the_oldest_commit_is_one_in_flight_and_none_without() {
        let (at, progress) = (|second| Timestamp::from_second(second).unwrap(), Progress::new(1));
        assert_eq!(progress.oldest_commit(), None);
        progress.begin_transaction(at(10));
        assert_eq!(progress.oldest_commit(), Some(at(10)));
        progress.begin_transaction(at(20));
        assert_eq!(progress.oldest_commit(), Some(at(10)));
        progress.durable(0, 1, end(100));
        assert_eq!(progress.oldest_commit(), Some(at(20)));
        progress.durable(0, 2, end(200));
        assert_eq!(progress.oldest_commit(), None);
    }

    /// Whatever comes in whatever order, only what the server itself sent as an end is acknowledged, and nothing beyond
    /// the first unit that is not durable.
    #[test]
    fn no_position_is_acknowledged_that_was_not_received_as_an_end() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let progress = Progress::new(1);
            let (mut wal, mut open, mut ends, mut keepalives) = (10, false, Vec::new(), Vec::new());
            let mut durable = 0;
            for _ in 0..60 {
                wal += random.u64(1..50);
                match random.u32(0..5) {
                    0 | 1 if open => {
                        open = false;
                        ends.push(wal);
                    }
                    0 | 1 => {
                        open = true;
                        progress.begin_unit();
                    }
                    2 => {
                        keepalives.push(wal);
                        progress.keepalive(Lsn(wal), random.bool());
                    }
                    3 => progress.send_batch(Lsn(wal)),
                    _ => {
                        durable = random.usize(durable..=ends.len());
                        progress.durable(0, durable as u64, durable.checked_sub(1).and_then(|last| end(ends[last])));
                    }
                }
                let Acknowledgeable { committed, idle } = progress.acknowledgeable();
                assert_eq!(committed, durable.checked_sub(1).and_then(|last| end(ends[last])), "seed {seed}");
                if let Some(idle) = idle {
                    assert_eq!((durable, open), (ends.len(), false), "seed {seed}: in flight");
                    assert_eq!(Some(&idle.lsn().0), keepalives.last(), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn nothing_reported_moves_back() {
        let progress = Progress::new(1);
        progress.begin_unit();
        progress.begin_unit();
        progress.durable(0, 2, end(200));
        progress.durable(0, 1, end(100));
        assert_eq!(progress.acknowledgeable().committed, end(200));
    }
}
