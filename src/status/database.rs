//! All that is known of one database, and how its condition changes.

use std::time::Duration;

use jiff::Timestamp;

use super::{Condition, Finding, Holder, Lag, Positions, Reason, State, Trouble, WalUse};
use crate::config::Status;
use crate::ident::{DatabaseName, PublicationName, SlotName};
use crate::status::verdict::elapsed;

/// How many sentences are remembered as told; more than one trouble has in turn.
const TOLD: usize = 16;
/// A stream that lived this long has recovered; one that broke sooner is still in the trouble it was in.
pub const STEADY: Duration = super::PERIOD;

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
    /// How often the condition was reported in a row.
    pub reports: u32,
    /// The sentences that were told since then, without their figures: trouble that has two of them in turn, or one
    /// with a position that moves, is not told for ever.
    told: Vec<String>,
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
            reports: 1,
            told: Vec::new(),
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
            stream_warned: false,
        }
    }

    /// Takes `condition` as it is at `now`; true if it is to be told: the state, the reason or the sentence is another
    /// than before, and this sentence was not told since the state and the reason are what they are.
    pub(super) fn enter(&mut self, condition: Condition, now: Timestamp) -> bool {
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
        if !changed {
            self.reports = self.reports.saturating_add(1);
            return self.is_news();
        }
        self.since = now;
        self.reports = 1;
        self.told.clear();
        let _ = self.is_news();
        true
    }

    /// Whether it waits for another agent, which streams the slot meanwhile.
    pub(super) fn is_behind_an_agent(&self) -> bool {
        let holder = self.condition.trouble().and_then(|trouble| trouble.holder.as_ref());
        self.condition.state() == State::Waiting && holder.is_some_and(Holder::is_agent)
    }

    /// Whether the sentence was not told yet. It is, from now on.
    fn is_news(&mut self) -> bool {
        let Some(trouble) = self.condition.trouble() else { return false };
        let words = without_figures(&trouble.sentence);
        if self.told.contains(&words) {
            return false;
        }
        if self.told.len() == TOLD {
            self.told.remove(0);
        }
        self.told.push(words);
        true
    }

    /// The most telling position for a log line: what is safe.
    pub(super) fn lsn(&self) -> Option<crate::lsn::Lsn> {
        self.positions.done()
    }
}

/// `sentence` with a mark in place of each number and each LSN.
fn without_figures(sentence: &str) -> String {
    let figure = |word: &str| {
        let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
        word.contains(|c: char| c.is_ascii_digit())
            && word.split('/').all(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F' | b'.')))
    };
    let words = sentence.split_inclusive(' ');
    words.map(|word| if figure(word.trim_end()) { "# " } else { word }).collect()
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
    fn other_words_are_told_once_and_make_nothing_younger() {
        let mut status = shop(at(0));
        let mut says = |sentence: &str, second| {
            let trouble = Trouble::new(Reason::Sink, sentence, "");
            let told = status.enter(Condition::Other(State::Retrying, trouble), at(second));
            (told, status.since, status.condition.trouble().map(|trouble| trouble.sentence.clone()))
        };
        for (sentence, second, told) in
            [("full", 1, true), ("full", 2, false), ("stuck", 3, true), ("full", 4, false), ("stuck", 5, false)]
        {
            assert_eq!(says(sentence, second), (told, at(1), Some(sentence.to_owned())));
        }
        // A position that moves is no other sentence; another name is.
        assert!(says("the WAL of shop1 ends at 0/16B3748, 12 behind", 6).0);
        assert!(!says("the WAL of shop1 ends at 1/AF, 9 behind", 6).0);
        assert!(says("the WAL of shop2 ends at 1/AF, 9 behind", 6).0);
        // Every word in turn is told in the end, and memory has a bound.
        for number in 0..100 {
            assert!(says(&format!("table t{number}"), 6).0);
        }
        assert_eq!(status.told.len(), TOLD);
        assert!(status.enter(Condition::Streaming, at(7)) && !status.enter(Condition::Streaming, at(8)));
        let again = Condition::Other(State::Retrying, Trouble::new(Reason::Sink, "full", ""));
        assert!(status.enter(again, at(9)), "it is told anew when it comes again");
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
            let _ = status.enter(held_by("slotd/1"), at(10));
            let _ = status.enter(held_by("slotd/1"), at(500));
            assert_eq!(status.unsettled, at(0), "it has waited since then");
            let _ = status.enter(next, at(600));
            assert_eq!(status.unsettled, at(600));
            let _ = status.enter(trouble(State::Waiting, Reason::SlotHeld), at(650));
            assert_eq!(status.unsettled, at(600));
        }
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
