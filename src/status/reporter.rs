//! Reports for one database, and the log lines that go with them.
//!
//! A change of state, reason or sentence is logged here and nowhere else, once, in the words that health shows. Trouble
//! that is reported again is counted and not logged again, so a server that is down for a night leaves one line.

use std::sync::Arc;

use jiff::{Timestamp, Unit};
use tokio::sync::watch;

use super::verdict::wal_sentence;
use super::{Clock, Condition, DatabaseStatus, Finding, Positions, Registry, State, Verdict, WalUse, one_line};

/// The code of what the server warns of on the stream.
const STREAM_WARNING: &str = "stream_warning";

/// Reports for one database; clones report for the same one, and with the last of them it leaves the registry.
#[derive(Debug, Clone)]
pub struct Reporter {
    seat: Arc<Seat>,
}

#[derive(Debug)]
struct Seat {
    id: u64,
    status: watch::Sender<Arc<DatabaseStatus>>,
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
    pub(super) fn new(id: u64, status: watch::Sender<Arc<DatabaseStatus>>, registry: Registry) -> Self {
        Self { seat: Arc::new(Seat { id, status, registry }) }
    }

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

    /// The state and why. A try that ends as the last one did is reported again and changes nothing; so `provisioning`
    /// is to be reported once there is something to do, not at each try.
    pub fn condition(&self, condition: Condition) {
        if self.modify(|status| status.enter(condition, now())) == Some(true) {
            self.log_condition();
            self.seat.registry.changed();
        }
    }

    /// Where the stream stands; cheap enough to be called several times a second.
    pub fn positions(&self, update: impl FnOnce(&mut Positions)) {
        let now = now();
        self.modify(|status| {
            let acknowledged = status.positions.acknowledged;
            update(&mut status.positions);
            if status.positions.acknowledged > acknowledged {
                status.last_acknowledged = Some(now);
            }
            let positions = status.positions;
            status.lag.note(&positions, now);
        });
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
    pub fn wal(&self, wal: Option<WalUse>) {
        let verdict = |wal: &Option<WalUse>| wal.as_ref().map_or(Verdict::Pass, Verdict::of_wal);
        let after = verdict(&wal);
        if self.modify(|status| verdict(&std::mem::replace(&mut status.wal, wal)) != after) != Some(true) {
            return;
        }
        let status = self.status();
        let sentence =
            status.wal.as_ref().map_or_else(|| "it retains no WAL".to_owned(), |wal| wal_sentence(&status, wal));
        let (database, slot) = (status.name.as_str(), status.slot.as_str());
        match after {
            Verdict::Pass => tracing::info!(database, slot, verdict = after.as_str(), "{sentence}"),
            Verdict::Warn => tracing::warn!(database, slot, verdict = after.as_str(), "{sentence}"),
            Verdict::Fail => tracing::error!(database, slot, verdict = after.as_str(), "{sentence}"),
        }
        self.seat.registry.changed();
    }

    /// All that a look at the database found to be mended. A warning of the stream stays with it if the server has
    /// repeated it since the look before.
    pub fn findings(&self, mut found: Vec<Finding>) {
        self.change_findings(|status| {
            let warned = std::mem::take(&mut status.stream_warned);
            found.extend(status.findings.extract_if(.., |finding| warned && finding.code == STREAM_WARNING));
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

    /// Logs what is new and what is gone.
    fn change_findings(&self, change: impl FnOnce(&mut DatabaseStatus)) {
        let changed = self.modify(|status| {
            let before = status.findings.clone();
            change(status);
            before
        });
        let before = changed.unwrap_or_default();
        let status = self.status();
        let (database, slot) = (status.name.as_str(), status.slot.as_str());
        let same = |a: &Finding, b: &Finding| a.code == b.code && a.sentence == b.sentence;
        let mut changed = false;
        for found in status.findings.iter().filter(|found| !before.iter().any(|old| same(old, found))) {
            changed = true;
            let (finding, hint) = (found.code, one_line(&found.hint));
            tracing::warn!(database, slot, finding, hint, "{}", one_line(&found.sentence));
        }
        for gone in before.iter().filter(|old| !status.findings.iter().any(|found| same(old, found))) {
            changed = true;
            tracing::info!(database, slot, finding = gone.code, "no longer: {}", one_line(&gone.sentence));
        }
        if changed {
            self.seat.registry.changed();
        }
    }

    fn log_condition(&self) {
        let status = self.status();
        let (database, slot, lsn) =
            (status.name.as_str(), status.slot.as_str(), status.lsn().map(tracing::field::display));
        let state = status.condition.state();
        let Some(trouble) = status.condition.trouble() else {
            tracing::info!(database, slot, state = state.as_str(), lsn, "streaming");
            return;
        };
        let (word, reason, hint) = (state.as_str(), trouble.reason.as_str(), one_line(&trouble.hint));
        let sentence = one_line(&trouble.sentence);
        match state {
            State::Disabled | State::Pending | State::Provisioning | State::Streaming => {
                tracing::info!(database, slot, state = word, reason, lsn, hint, "{sentence}");
            }
            State::Retrying | State::Waiting => {
                tracing::warn!(database, slot, state = word, reason, lsn, hint, "{sentence}");
            }
            State::Failed | State::Lost => {
                tracing::error!(database, slot, state = word, reason, lsn, hint, "{sentence}");
            }
        }
    }
}
