//! Feedback on its own clock: acknowledgements, replies, and the watch over a stuck sink or a silent server.
//!
//! At most one message each [`PACE`], so that a storm of keepalives does not become a storm of answers, and at least
//! one each third of the server's patience. An idle position is recorded durably before it is sent, once a second at
//! the most, in one write with those of all other slots. While that can't be done, changes flow on; but a server that is
//! being stopped waits for the position as it waits for a sink, so the same bound holds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::hush::{ASK, Hush};
use super::progress::Progress;
use super::sinks::Ledger;
use crate::faults::{self, Point};
use crate::lsn::{EndLsn, Lsn};
use crate::pgoutput::POSTGRES_EPOCH;
use crate::postgres::CopyWriter;
use crate::sink::SinkError;
use crate::status::{Condition, Reason, Reporter, State, Trouble};
use crate::wire::replication::standby_status;

/// The shortest time between two messages.
const PACE: Duration = Duration::from_millis(100);
/// A sink that takes longer over one batch is told as trouble, long before the copy is ended for it.
const BLOCKED: Duration = Duration::from_secs(5);
/// After trouble with a sink, a stream that brings nothing for this long counts as well.
const QUIET: Duration = Duration::from_secs(2);
/// After an idle position could not be recorded, the next is tried this much later.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// How often the sinks and the server are looked at. What was in flight at one look and still is at the next may be what
/// a COMMIT of the application waits for.
const WATCH: Duration = Duration::from_millis(250);
/// An idle position that has waited this long for its record may be that, too.
const SLOW_RECORD: Duration = Duration::from_secs(2);

/// Why feedback ended, unless it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedbackError {
    #[error("the connection broke off while acknowledging: {0}")]
    Io(#[from] io::Error),
    // The bounds, not what was measured: each new sentence is a line of the log.
    #[error("the server has been silent for more than {0:?}")]
    Silent(Duration),
    #[error("a sink has been blocked for more than {0:?}")]
    Stalled(Duration),
    #[error("no position could be recorded in the state directory for more than {0:?}")]
    Unrecorded(Duration),
}

/// How long what may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) wal_sender_timeout: Duration,
    pub(super) sink_stall_timeout: Duration,
}

/// What others hear of, besides the server.
pub(super) struct Told {
    pub(super) reporter: Arc<Reporter>,
    /// Whoever looks whether a COMMIT waits for what is not acknowledged.
    pub(super) unacknowledged: Arc<Notify>,
}

/// Sends the feedback of one stream.
pub(super) struct Feedback {
    writer: CopyWriter,
    progress: Arc<Progress>,
    ledger: Arc<Ledger>,
    reporter: Arc<Reporter>,
    patience: Patience,
    /// What the server knows already; at first, what its slot has.
    acknowledged: Option<EndLsn>,
    sent: Instant,
    /// When the server was last heard, as last reported.
    heard: Instant,
    /// Whether trouble with a sink was told.
    told: bool,
    waiting: Option<Waiting>,
    /// The stream before ended for a sink, which has not shown yet that it takes something again; and since when.
    unproven: Option<Instant>,
    unacknowledged: Arc<Notify>,
    hush: Hush,
    /// How many units had been seen at the last look that found all of those before it delivered.
    seen: u64,
}

/// An idle position that waits for its record.
struct Waiting {
    idle: EndLsn,
    /// Since when the server waits for it.
    since: Instant,
    /// Why the record was not taken the last time.
    refused: Option<SinkError>,
}

impl Feedback {
    pub(super) fn new(
        writer: CopyWriter,
        progress: Arc<Progress>,
        ledger: Arc<Ledger>,
        told: Told,
        confirmed: EndLsn,
        patience: Patience,
        hush: Hush,
    ) -> Self {
        let Told { reporter, unacknowledged } = told;
        let heard = progress.heard().0;
        let told = reporter.status().condition.trouble().is_some_and(|trouble| trouble.reason == Reason::Sink);
        let unproven = told.then(Instant::now);
        Self {
            writer,
            progress,
            ledger,
            reporter,
            patience,
            acknowledged: Some(confirmed),
            sent: Instant::now(),
            heard,
            told,
            waiting: None,
            unproven,
            unacknowledged,
            hush,
            seen: 0,
        }
    }

    /// Runs until `stop`, and gives itself back for the end of the copy.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<Self, FeedbackError> {
        let mut watch = interval_at(Instant::now() + WATCH, WATCH);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // At most one idle position is on its way to the disk.
        let mut recording: Option<BoxFuture<'static, Result<EndLsn, SinkError>>> = None;
        let mut recorded: Option<EndLsn> = None;
        let mut record_again = Instant::now();
        let mut soon = false;
        loop {
            let may = self.progress.acknowledgeable();
            soon |= self.progress.take_reply_requested();
            let target = may.committed.max(recorded);
            if recording.is_none() && record_again <= Instant::now() {
                let idle = may.idle.filter(|idle| Some(*idle) > target.max(self.acknowledged));
                // One that was refused is tried until it is taken, so that the trouble is told no longer than it lasts.
                let idle = idle.or(self.waiting.as_ref().map(|waiting| waiting.idle));
                recording = idle.map(|idle| Arc::clone(&self.ledger).record_idle(idle).boxed());
                self.waiting = idle.map(|idle| match self.waiting.take() {
                    Some(waiting) => Waiting { idle, ..waiting },
                    None => Waiting { idle, since: Instant::now(), refused: None },
                });
            }
            if let Some(waiting) = &mut self.waiting
                && (may.idle.is_none() || target >= Some(waiting.idle))
            {
                // The server has changes to wait for, or has what it waited for.
                waiting.since = Instant::now();
            }
            let pace = if soon || target > self.acknowledged {
                PACE
            } else if self.hush.lasts() {
                ASK.min(self.patience.wal_sender_timeout / 3)
            } else {
                self.patience.wal_sender_timeout / 3
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(self),
                () = sleep_until(self.sent + pace) => {
                    self.send(target).await?;
                    soon = false;
                }
                Some(outcome) = OptionFuture::from(recording.as_mut()) => {
                    recording = None;
                    match outcome {
                        Ok(idle) => {
                            recorded = recorded.max(Some(idle));
                            self.waiting = None;
                        }
                        Err(error) => {
                            self.waiting = self.waiting.take().map(|waiting| Waiting { refused: Some(error), ..waiting });
                            record_again = Instant::now() + RECORD_AGAIN;
                        }
                    }
                }
                () = self.progress.changed() => {}
                // Of the many that come meanwhile the last is as good.
                () = self.progress.idled(), if recording.is_none() => {}
                _ = watch.tick() => {
                    self.watch()?;
                    soon |= self.hush.is_due(self.progress.units().0);
                }
            }
        }
    }

    /// The last word: what the sinks hold by now, then the end of the copy.
    pub(super) async fn finish(mut self) -> io::Result<CopyWriter> {
        self.send(self.progress.acknowledgeable().committed).await?;
        self.writer.copy_done().await?;
        Ok(self.writer)
    }

    async fn send(&mut self, target: Option<EndLsn>) -> io::Result<()> {
        self.acknowledged = self.acknowledged.max(target);
        let acknowledged = self.acknowledged;
        // A server that is content with our regular word has no reason of its own to speak while it is idle.
        let (heard, received) = self.progress.heard();
        let ahead = self.hush.ahead(received, self.progress.units().0);
        let ask = ahead.is_some() || heard.elapsed() > self.patience.wal_sender_timeout / 2;
        let micros = Timestamp::now().as_microsecond() - POSTGRES_EPOCH.as_microsecond();
        self.writer
            .send(|out| {
                standby_status(out, acknowledged, ahead, micros, ask);
                faults::point(Point::AckEncoded);
            })
            .await?;
        self.sent = Instant::now();
        faults::point(Point::AckSent);
        self.report();
        Ok(())
    }

    fn report(&self) {
        let (_, received) = self.progress.heard();
        let committed = self.progress.acknowledgeable().committed;
        let oldest_commit = self.progress.oldest_commit();
        self.reporter.positions(|positions| {
            positions.oldest_commit = oldest_commit;
            positions.wal_end = positions.wal_end.max(Some(received));
            positions.received = Some(received).filter(|lsn| *lsn > Lsn::ZERO);
            positions.durable = positions.durable.max(committed.map(EndLsn::lsn));
            positions.acknowledged = positions.acknowledged.max(self.acknowledged.map(EndLsn::lsn));
        });
    }

    /// What keeps changes or positions from being safe, long before the copy is ended for it.
    fn trouble(&self, blocked: Option<Duration>) -> Option<Trouble> {
        let waiting = self.waiting.as_ref();
        if let Some(error) = waiting.and_then(|waiting| waiting.refused.as_ref()) {
            return Some(Trouble::new(Reason::Sink, error.to_string(), error.hint.clone()));
        }
        // It says so again whenever it hears of us, three times in this time at the least.
        if let Some(why) = self.progress.held_back(self.patience.wal_sender_timeout) {
            return Some(Trouble::new(
                Reason::SynchronizedStandbySlots,
                format!("the server sends a failover slot nothing while it waits for a standby: {why}"),
                "start the standby of that slot, or take the slot out of the list: ALTER SYSTEM SET \
                 synchronized_standby_slots = ''; SELECT pg_reload_conf();",
            ));
        }
        let (sentence, hint) = if blocked.is_some_and(|blocked| blocked > BLOCKED) {
            (
                "a sink has not taken a batch for several seconds; the connection is kept for now",
                "see what the sink waits for; after `sink_stall_timeout` the copy is ended",
            )
        } else if waiting.is_some_and(|waiting| waiting.since.elapsed() > BLOCKED) {
            (
                "no position could be recorded in the state directory for several seconds; the connection is kept for now",
                "see what its disk waits for; after `sink_stall_timeout` the copy is ended",
            )
        } else {
            return None;
        };
        Some(Trouble::new(Reason::Sink, sentence, hint))
    }

    /// A stream with such trouble is never shown as streaming.
    fn tell(&mut self, trouble: Option<Trouble>) {
        if let Some(trouble) = trouble {
            self.told = true;
            self.reporter.condition(Condition::Other(State::Retrying, trouble));
        } else if self.unproven.is_none() && std::mem::take(&mut self.told) {
            self.reporter.condition(Condition::Streaming);
        }
    }

    /// Says so if a transaction that was there at the last look is not acknowledged yet.
    fn look_for_waiting_commits(&mut self) {
        let (seen, whole) = self.progress.units();
        let slow = self.waiting.as_ref().is_some_and(|waiting| waiting.since.elapsed() > SLOW_RECORD);
        if whole < self.seen || slow {
            self.unacknowledged.notify_one();
        } else {
            self.seen = seen;
        }
    }

    fn watch(&mut self) -> Result<(), FeedbackError> {
        let Patience { wal_sender_timeout, sink_stall_timeout } = self.patience;
        let blocked = self.progress.busy_since().map(|since| since.elapsed());
        self.look_for_waiting_commits();
        if let Some(since) = self.unproven
            && self.waiting.is_none()
            && (self.progress.has_delivered() || blocked.is_none() && since.elapsed() > QUIET)
        {
            self.unproven = None;
        }
        self.tell(self.trouble(blocked));
        if self.waiting.as_ref().is_some_and(|waiting| waiting.since.elapsed() > sink_stall_timeout) {
            return Err(FeedbackError::Unrecorded(sink_stall_timeout));
        }
        if let Some(blocked) = blocked {
            return if blocked > sink_stall_timeout { Err(FeedbackError::Stalled(sink_stall_timeout)) } else { Ok(()) };
        }
        let heard = self.progress.heard().0;
        if heard != self.heard {
            self.heard = heard;
            self.reporter.last_message();
            self.report();
        }
        let patience = wal_sender_timeout * 6;
        if heard.elapsed() > patience { Err(FeedbackError::Silent(patience)) } else { Ok(()) }
    }
}
