//! All that is known of one database, and how its condition changes.

use std::time::Duration;

use jiff::Timestamp;

use super::{Condition, Finding, Lag, Positions, Reason, State, Trouble, WalUse};
use crate::config::Status;
use crate::ident::{DatabaseName, PublicationName, SlotName};
use crate::status::verdict::elapsed;

/// A stream that lived this long has recovered; one that broke sooner is still in the trouble it was in.
const STEADY: Duration = super::PERIOD;

/// All that is known of one database.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseStatus {
    pub name: DatabaseName,
    pub slot: SlotName,
    pub publication: PublicationName,
    /// The wish.
    pub status: Status,
    pub condition: Condition,
    /// Since when the state and its reason are what they are.
    pub since: Timestamp,
    /// Since when it is neither disabled nor streaming steadily: what `grace` is measured from. Without it a database
    /// whose trouble changes its name every few seconds would stay young for ever.
    pub(super) unsettled: Timestamp,
    /// How often the condition was reported in a row.
    pub reports: u32,
    /// When a retry comes.
    pub next_try: Option<Timestamp>,
    pub positions: Positions,
    pub lag: Lag,
    /// When a change or a keepalive last came.
    pub last_message: Option<Timestamp>,
    /// When something was last acknowledged.
    pub last_acknowledged: Option<Timestamp>,
    pub wal: Option<WalUse>,
    /// When the slot was last seen in `pg_replication_slots`, or its absence was.
    pub observed: Option<Timestamp>,
    /// When a round last ended.
    pub last_round: Option<Timestamp>,
    pub findings: Vec<Finding>,
}

impl DatabaseStatus {
    /// A database before its first round: `pending`, or `disabled` if that is the wish.
    #[must_use]
    pub fn new(
        name: DatabaseName,
        slot: SlotName,
        publication: PublicationName,
        status: Status,
        now: Timestamp,
    ) -> Self {
        let condition = match status {
            Status::Active => Condition::Other(
                State::Pending,
                Trouble::new(Reason::Starting, "the first round has not ended yet", "wait for it"),
            ),
            Status::Disabled => Condition::Other(
                State::Disabled,
                Trouble::new(
                    Reason::DisabledByFile,
                    "the file says status = \"disabled\"",
                    "set status = \"active\" and run slotd reload",
                ),
            ),
        };
        Self {
            name,
            slot,
            publication,
            status,
            condition,
            since: now,
            unsettled: now,
            reports: 1,
            next_try: None,
            positions: Positions::default(),
            lag: Lag::default(),
            last_message: None,
            last_acknowledged: None,
            wal: None,
            observed: None,
            last_round: None,
            findings: Vec::new(),
        }
    }

    /// Takes `condition` as it is at `now`; true if the state or the reason is another than before.
    pub(super) fn enter(&mut self, condition: Condition, now: Timestamp) -> bool {
        let before = self.condition.state();
        let reason = |condition: &Condition| condition.trouble().map(|trouble| trouble.reason);
        let changed = (before, reason(&self.condition)) != (condition.state(), reason(&condition));
        self.condition = condition;
        if !changed {
            self.reports = self.reports.saturating_add(1);
            return false;
        }
        let settled = match before {
            State::Disabled => true,
            State::Streaming => elapsed(self.since, now) >= STEADY,
            State::Failed | State::Lost | State::Pending | State::Provisioning | State::Retrying | State::Waiting => {
                false
            }
        };
        if settled {
            self.unsettled = now;
        }
        self.since = now;
        self.reports = 1;
        true
    }

    /// The most telling position for a log line: what is safe.
    pub(super) fn lsn(&self) -> Option<crate::lsn::Lsn> {
        self.positions.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::{at, shop, trouble};

    #[test]
    fn since_moves_only_with_the_state_or_the_reason() {
        let mut status = shop(at(0));
        assert!(status.enter(trouble(State::Retrying, Reason::Connection), at(1)));
        assert!(!status.enter(trouble(State::Retrying, Reason::Connection), at(2)));
        assert_eq!((status.since, status.reports), (at(1), 2));
        assert!(status.enter(trouble(State::Retrying, Reason::Authentication), at(3)));
        assert_eq!((status.since, status.reports), (at(3), 1));
        assert!(status.enter(Condition::Streaming, at(4)));
        assert!(!status.enter(Condition::Streaming, at(5)));
        assert_eq!(status.since, at(4));
    }

    #[test]
    fn trouble_that_changes_its_name_stays_as_old_as_it_is() {
        let mut status = shop(at(0));
        let _ = status.enter(trouble(State::Retrying, Reason::Connection), at(10));
        let _ = status.enter(trouble(State::Provisioning, Reason::Starting), at(20));
        assert_eq!(status.unsettled, at(0));

        let _ = status.enter(Condition::Streaming, at(30));
        let _ = status.enter(trouble(State::Retrying, Reason::Sink), at(35));
        assert_eq!(status.unsettled, at(0), "five seconds of streaming are no recovery");

        let _ = status.enter(Condition::Streaming, at(40));
        let _ = status.enter(trouble(State::Retrying, Reason::Sink), at(60));
        assert_eq!(status.unsettled, at(60));
    }
}
