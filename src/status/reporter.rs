//! Reports for one database, and the log lines that go with them.
//!
//! A change of state, reason or sentence is logged here and nowhere else, once, in the words that health shows. Trouble
//! that is reported again is counted, and logged with the count now and then.

use std::sync::Arc;

use jiff::{Timestamp, Unit};
use tokio::sync::watch;
use tracing::Level;

use super::counters::Counters;
use super::event::Event;
use super::told::Count;
use super::verdict::{wal_hint, wal_sentence};
use super::wal_growth::{Look, WalGrowth};
use super::{Clock, Condition, DatabaseStatus, Finding, Positions, Registry, State, Trouble, Verdict, WalUse, lasted};
use crate::ident::SinkName;
use crate::lsn::Lsn;

/// The code of what the server warns of on the stream.
const STREAM_WARNING: &str = "stream_warning";

/// The code of WAL that was to be freed and could not be; it stays until it is.
pub const WAL_NOT_FREED: &str = "wal_not_freed";

/// Reports for one database; clones report for the same one, and with the last of them it leaves the registry.
#[derive(Debug, Clone)]
pub struct Reporter {
    seat: Arc<Seat>,
}

#[derive(Debug)]
struct Seat {
    id: u64,
    status: watch::Sender<Arc<DatabaseStatus>>,
    counters: Arc<Counters>,
    registry: Registry,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry.remove(self.id);
    }
}

/// The time, to the millisecond.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

impl Reporter {
    pub(super) fn new(
        id: u64,
        status: watch::Sender<Arc<DatabaseStatus>>,
        counters: Arc<Counters>,
        registry: Registry,
    ) -> Self {
        Self { seat: Arc::new(Seat { id, status, counters, registry }) }
    }

    /// What no other reporter of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.seat.id
    }

    /// Changes what is recorded. What is logged of it is logged by `update`, so that the log has said it once it is shown.
    fn modify<T>(&self, update: impl FnOnce(&mut DatabaseStatus) -> T) -> Option<T> {
        let mut result = None;
        // Clones only while a reader holds the last snapshot.
        self.seat.status.send_modify(|status| result = Some(update(Arc::make_mut(status))));
        result
    }

    /// What is recorded.
    #[must_use]
    pub fn status(&self) -> Arc<DatabaseStatus> {
        Arc::clone(&self.seat.status.borrow())
    }

    /// A clock for the feedback of the database's stream.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.seat.registry.clock_of(self.status().name.clone())
    }

    /// The state and why, as it is seen: seen again, it changes nothing. `provisioning` is to be reported once there is
    /// something to do, not at each try.
    pub fn condition(&self, condition: Condition) {
        self.enter(condition, false);
    }

    /// A try, or a stream, has ended with `trouble`. The next one that ends alike is counted.
    pub fn failed(&self, state: State, trouble: Trouble) {
        self.seat.counters.reconnect(&trouble);
        self.enter(Condition::Other(state, trouble), true);
    }

    fn enter(&self, condition: Condition, failed: bool) {
        let changed = self.modify(|status| {
            let before = (status.condition.state(), status.since);
            let told = status.enter(condition, failed, now());
            if let Some(count) = told {
                log_condition(status, count);
            }
            // What is not logged again, since it comes and goes, is shown all the same.
            told.is_some() || before != (status.condition.state(), status.since)
        });
        if changed == Some(true) {
            self.seat.registry.changed();
        }
    }

    /// Logs something that changes no state, with the position that it is about.
    pub fn info(&self, lsn: Option<Lsn>, sentence: &str) {
        Event { lsn, ..Event::default() }.log(Level::INFO, &self.status(), sentence);
    }

    /// Logs something that changes no state and that somebody may have to mend.
    pub fn warn(&self, sentence: &str, hint: &str) {
        Event { hint: Some(hint), ..Event::default() }.log(Level::WARN, &self.status(), sentence);
    }

    /// Where the stream stands; cheap enough to be called several times a second.
    pub fn positions(&self, update: impl FnOnce(&mut Positions)) {
        let now = now();
        let told = self.modify(|status| {
            let acknowledged = status.positions.acknowledged;
            update(&mut status.positions);
            if status.positions.acknowledged > acknowledged {
                status.last_acknowledged = Some(now);
            }
            let positions = status.positions;
            status.lag.note(&positions, now);
            let told = status.steady(now);
            if let Some(count) = told {
                log_condition(status, count);
            }
            told.is_some()
        });
        if told == Some(true) {
            self.seat.registry.changed();
        }
    }

    /// The sink `name` has made durable so much.
    pub fn delivered(&self, name: &SinkName, changes: u64, transactions: u64, bytes: u64) {
        self.seat.counters.sink(name, |sink| {
            sink.changes += changes;
            sink.transactions += transactions;
            sink.bytes += bytes;
        });
    }

    /// The sink `name` refused, or could not do, what it was asked.
    pub fn sink_failed(&self, name: &SinkName) {
        self.seat.counters.sink(name, |sink| sink.failures += 1);
    }

    /// A change or a keepalive came.
    pub fn last_message(&self) {
        self.modify(|status| status.last_message = Some(now()));
    }

    /// How many tries have failed in a row, and when the next one comes.
    pub fn tries(&self, failures: u32, next: Option<Timestamp>) {
        self.modify(|status| (status.failures, status.next_try) = (failures, next));
    }

    /// The slot was seen, or its absence was.
    pub fn observed(&self) {
        self.modify(|status| status.observed = Some(now()));
    }

    /// A round ended, whatever it found.
    pub fn round_done(&self) {
        if self.modify(|status| status.last_round.replace(now()).is_none()) == Some(true) {
            self.seat.registry.changed();
        }
    }

    /// What the slot costs; logs when that changes the verdict.
    pub fn wal(&self, mut wal: Option<WalUse>) {
        // 100 % is told too, though it fails no more than 80 % does.
        let verdict = |wal: &Option<WalUse>| {
            wal.as_ref().map_or((Verdict::Pass, false), |wal| (Verdict::of_wal(wal), wal.percent() >= 100))
        };
        let after = verdict(&wal);
        let changed = self.modify(|status| {
            match &mut wal {
                None => status.growth = WalGrowth::default(),
                Some(wal) => {
                    let Positions { wal_end, restart_lsn, .. } = status.positions;
                    let (wal_end, is_read) = (wal_end.unwrap_or_default(), wal.active_pid.is_some());
                    status.growth.note(Look { at: now(), wal_end, restart_lsn, is_read });
                    wal.wal_bytes_per_second = status.growth.wal_rate();
                    let time_for = |room| status.growth.time_for(room).map(|left| left.as_secs_f64());
                    let to_budget = i128::from(wal.budget_bytes) - i128::from(wal.retained_bytes);
                    wal.seconds_to_budget = time_for(i64::try_from(to_budget).unwrap_or(i64::MAX));
                    wal.seconds_to_invalidation = wal.safe_wal_size.and_then(time_for);
                }
            }
            let changed = verdict(&std::mem::replace(&mut status.wal, wal)) != after;
            if changed {
                log_wal(status, after.0);
            }
            changed
        });
        if changed == Some(true) {
            self.seat.registry.changed();
        }
    }

    /// All that a look at the database found to be mended. A warning of the stream stays with it if the server has
    /// repeated it since the look before.
    pub fn findings(&self, mut found: Vec<Finding>) {
        self.change_findings(|status| {
            let warned = std::mem::take(&mut status.stream_warned);
            let stays =
                |finding: &mut Finding| warned && finding.code == STREAM_WARNING || finding.code == WAL_NOT_FREED;
            found.extend(status.findings.extract_if(.., stays));
            status.findings = found;
        });
    }

    /// What the server warns of on the stream; of several warnings the last.
    pub fn stream_warning(&self, sentence: String, hint: String) {
        self.change_findings(|status| {
            status.stream_warned = true;
            status.findings.retain(|finding| finding.code != STREAM_WARNING);
            status.findings.push(Finding { code: STREAM_WARNING, sentence, hint });
        });
    }

    /// Something to be mended that no look at the server finds, in place of what was said of it before.
    pub fn add_finding(&self, finding: Finding) {
        self.change_findings(|status| {
            status.findings.retain(|other| other.code != finding.code);
            status.findings.push(finding);
        });
    }

    /// What `code` tells is mended.
    pub fn withdraw(&self, code: &'static str) {
        self.change_findings(|status| status.findings.retain(|finding| finding.code != code));
    }

    /// Logs what is new and what is gone.
    fn change_findings(&self, change: impl FnOnce(&mut DatabaseStatus)) {
        let changed = self.modify(|status| {
            let before = status.findings.clone();
            change(status);
            log_findings(status, &before)
        });
        if changed == Some(true) {
            self.seat.registry.changed();
        }
    }
}

/// One event for the verdict `after` on what the slot costs.
fn log_wal(status: &DatabaseStatus, after: Verdict) {
    let level = match after {
        Verdict::Pass => Level::INFO,
        Verdict::Warn => Level::WARN,
        Verdict::Fail => Level::ERROR,
    };
    let (sentence, hint) = match &status.wal {
        Some(wal) => (wal_sentence(status, wal), (after != Verdict::Pass).then(|| wal_hint(status, wal))),
        None => (format!("slot {} retains no WAL", status.slot), None),
    };
    Event { hint: hint.as_deref(), ..Event::default() }.log(level, status, &sentence);
}

/// One event for each finding that is not among those of `before`, and for each of those that is gone; whether there was
/// any.
fn log_findings(status: &DatabaseStatus, before: &[Finding]) -> bool {
    let same = |a: &Finding, b: &Finding| a.code == b.code && a.sentence == b.sentence;
    let mut changed = false;
    for found in status.findings.iter().filter(|found| !before.iter().any(|old| same(old, found))) {
        changed = true;
        let event = Event { finding: Some(found.code), hint: Some(&found.hint), ..Event::default() };
        event.log(Level::WARN, status, &found.sentence);
    }
    for gone in before.iter().filter(|old| !status.findings.iter().any(|found| same(old, found))) {
        changed = true;
        let event = Event { finding: Some(gone.code), ..Event::default() };
        event.log(Level::INFO, status, &format!("no longer: {}", gone.sentence));
    }
    changed
}

/// One event for the condition that `status` is in, in the words that health shows.
fn log_condition(status: &DatabaseStatus, count: Count) {
    let (state, lsn) = (status.condition.state(), status.lsn());
    let failures = Some(count.failures).filter(|failures| *failures > 0);
    let event = Event { state: Some(state), lsn, failures, ..Event::default() };
    let Some(trouble) = status.condition.trouble() else {
        let from = lsn.map(|lsn| format!(" from {lsn}")).unwrap_or_default();
        let after = failures.map(|failures| format!(" after {}, {}", super::failures(failures), lasted(count.over)));
        return event.log(Level::INFO, status, &format!("streaming{from}{}", after.unwrap_or_default()));
    };
    let level = match state {
        State::Disabled | State::Pending | State::Provisioning | State::Streaming => Level::INFO,
        State::Retrying | State::Waiting => Level::WARN,
        State::Failed | State::Lost => Level::ERROR,
    };
    let times = failures.map(|failures| format!(", {failures} times in {}", lasted(count.over))).unwrap_or_default();
    let sentence = format!("{}{times}, {}: {}", state.as_str(), trouble.reason.as_str(), trouble.sentence);
    Event { reason: Some(trouble.reason), hint: Some(&trouble.hint), ..event }.log(level, status, &sentence);
}
