//! All that is known of one database, and how its condition changes.

use jiff::Timestamp;

use super::told::{Count, STEADY, Told};
use super::wal_growth::WalGrowth;
use super::{Condition, Finding, Holder, Lag, Positions, Reason, State, Trouble, WalUse};
use crate::config::Status;
use crate::ident::{DatabaseName, PublicationName, SlotName};
use crate::status::verdict::elapsed;

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
    /// Since when it is neither disabled nor streaming steadily, nor waits behind another agent: what `grace` is measured from. Without it a database
    /// whose trouble changes its name every few seconds would stay young for ever.
    pub(super) unsettled: Timestamp,
    /// What the log says of it.
    told: Told,
    /// How many tries have failed since it last streamed steadily.
    pub failures: u32,
    /// When the next one comes.
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
    /// What the slot retained at the last looks.
    pub(super) growth: WalGrowth,
    /// The server has warned on the stream since the last look.
    pub(super) stream_warned: bool,
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
            told: Told::default(),
            failures: 0,
            next_try: None,
            positions: Positions::default(),
            lag: Lag::default(),
            last_message: None,
            last_acknowledged: None,
            wal: None,
            observed: None,
            last_round: None,
            findings: Vec::new(),
            growth: WalGrowth::default(),
            stream_warned: false,
        }
    }

    /// Takes `condition` as it is at `now`; `failed` if one more try or stream has ended so. Gives the count to log it
    /// with, if it is to be logged.
    pub(super) fn enter(&mut self, condition: Condition, failed: bool, now: Timestamp) -> Option<Count> {
        // Whether the stream has recovered by now is judged before it ends.
        let recovered = self.steady(now);
        let before = self.condition.state();
        let reason = |condition: &Condition| condition.trouble().map(|trouble| trouble.reason);
        let changed = (before, reason(&self.condition)) != (condition.state(), reason(&condition));
        let settled = match before {
            State::Disabled => true,
            State::Streaming => elapsed(self.since, now) >= STEADY,
            State::Failed | State::Lost | State::Pending | State::Provisioning | State::Retrying | State::Waiting => {
                self.is_behind_an_agent()
            }
        };
        self.condition = condition;
        if settled && (changed || !self.is_behind_an_agent()) {
            self.unsettled = now;
        }
        if changed {
            self.since = now;
        }
        self.told.report(&self.condition, self.since, failed, now).or(recovered)
    }

    /// A stream that has gone on for a while has recovered from the trouble before it. Gives the count to log that with,
    /// if the log does not say so yet.
    pub(super) fn steady(&mut self, now: Timestamp) -> Option<Count> {
        let open = self.told.is_open() && self.condition.state() == State::Streaming;
        if open { self.told.report(&self.condition, self.since, false, now) } else { None }
    }

    /// Whether it waits for another agent, which streams the slot meanwhile.
    pub(super) fn is_behind_an_agent(&self) -> bool {
        let holder = self.condition.trouble().and_then(|trouble| trouble.holder.as_ref());
        self.condition.state() == State::Waiting && holder.is_some_and(Holder::is_agent)
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
        let mut enter = |condition, second| {
            let told = status.enter(condition, true, at(second)).is_some();
            (told, status.since)
        };
        assert_eq!(enter(trouble(State::Retrying, Reason::Connection), 1), (true, at(1)));
        assert_eq!(enter(trouble(State::Retrying, Reason::Connection), 2), (false, at(1)));
        assert_eq!(enter(trouble(State::Retrying, Reason::Authentication), 3), (true, at(3)));
        let other = Condition::Other(State::Retrying, Trouble::new(Reason::Authentication, "other words", ""));
        assert_eq!(enter(other, 4), (true, at(3)));
        assert_eq!(enter(Condition::Streaming, 5), (true, at(5)));
        assert_eq!(enter(Condition::Streaming, 6), (false, at(5)));
    }

    #[test]
    fn who_waited_behind_an_agent_has_all_of_its_grace_once_that_is_gone() {
        let held_by = |name: &str| {
            let holder = Holder { pid: 1, application_name: name.to_owned(), client_addr: None, ours: false };
            Condition::Other(State::Waiting, Trouble::new(Reason::SlotHeld, "held", "").held_by(holder))
        };
        for next in [
            trouble(State::Waiting, Reason::SlotHeld),
            held_by("psql"),
            trouble(State::Retrying, Reason::Connection),
            trouble(State::Waiting, Reason::Sink),
        ] {
            let mut status = shop(at(0));
            let _ = status.enter(held_by("slotd/1"), true, at(10));
            let _ = status.enter(held_by("slotd/1"), true, at(500));
            assert_eq!(status.unsettled, at(0), "it has waited since then");
            let _ = status.enter(next, true, at(600));
            assert_eq!(status.unsettled, at(600));
            let _ = status.enter(trouble(State::Waiting, Reason::SlotHeld), true, at(650));
            assert_eq!(status.unsettled, at(600));
        }
    }

    #[test]
    fn trouble_that_changes_its_name_stays_as_old_as_it_is() {
        let mut status = shop(at(0));
        let _ = status.enter(trouble(State::Retrying, Reason::Connection), true, at(10));
        let _ = status.enter(trouble(State::Provisioning, Reason::Starting), true, at(20));
        assert_eq!(status.unsettled, at(0));

        let _ = status.enter(Condition::Streaming, true, at(30));
        let _ = status.enter(trouble(State::Retrying, Reason::Sink), true, at(35));
        assert_eq!(status.unsettled, at(0), "five seconds of streaming are no recovery");

        let _ = status.enter(Condition::Streaming, true, at(40));
        let _ = status.enter(trouble(State::Retrying, Reason::Sink), true, at(60));
        assert_eq!(status.unsettled, at(60));
    }
}
