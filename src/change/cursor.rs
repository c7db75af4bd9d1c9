//! Where a sink stands, and what is recorded beside it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::ident::{DatabaseName, PublicationName, SlotName};
use crate::lsn::{EndLsn, Lsn, Timeline};

/// Where a sink stands: the last change that is durable in it.
///
/// Message starts are neither unique nor ordered, so the place of a change is the commit LSN of its transaction, as
/// BEGIN carries it, and its ordinal in there. Cursors of one history are ordered by ([`Cursor::commit_lsn`],
/// [`Cursor::ordinal`]).
///
/// BEGIN carries where the COMMIT record begins, and a non-transactional message where its own record ends, which may be
/// the same: then the message comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The timeline that the server's history gives to `commit_lsn`.
    pub timeline: u32,
    /// The commit LSN as BEGIN carries it; a non-transactional message's own LSN.
    pub commit_lsn: Lsn,
    /// The ordinal, from 0, of the last change taken; 0 too for a complete transaction without one. `None` of a
    /// non-transactional message.
    pub ordinal: Option<u64>,
    /// The transaction's end, once all of it is taken.
    pub end_lsn: Option<EndLsn>,
}

impl Cursor {
    /// What two cursors of one history are compared by.
    #[must_use]
    pub const fn position(&self) -> (Lsn, Option<u64>) {
        (self.commit_lsn, self.ordinal)
    }

    /// The transaction or the non-transactional message that it stands in.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        match self.ordinal {
            None => Unit::Message(self.commit_lsn),
            Some(_) => Unit::Transaction(self.commit_lsn),
        }
    }

    /// The LSN to ask the server to start at: all that ends before it is taken, nothing after it is lost.
    #[must_use]
    pub fn start_lsn(&self) -> Lsn {
        self.end_lsn.map_or(self.commit_lsn, EndLsn::lsn)
    }

    /// Whether it stands inside a transaction: what is taken of it is told by a number.
    #[must_use]
    pub const fn is_half(&self) -> bool {
        self.ordinal.is_some() && self.end_lsn.is_none()
    }

    /// Whether the change at (`commit_lsn`, `ordinal`) is taken already.
    #[must_use]
    pub fn holds(&self, commit_lsn: Lsn, ordinal: Option<u64>) -> bool {
        commit_lsn < self.commit_lsn
            || commit_lsn == self.commit_lsn && (self.end_lsn.is_some() || ordinal <= self.ordinal)
    }
}

/// What the server sends as a whole, in the order in which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A non-transactional message, by its LSN.
    Message(Lsn),
    /// By the commit LSN that BEGIN carries.
    Transaction(Lsn),
}

impl Unit {
    /// Its LSN.
    #[must_use]
    pub const fn lsn(self) -> Lsn {
        match self {
            Self::Message(lsn) | Self::Transaction(lsn) => lsn,
        }
    }

    /// Whether the server sends it, if it has it, to one who asks it to start at `start`: it goes by where records
    /// begin, which of a message is before its LSN.
    #[must_use]
    pub fn is_sent_from(self, start: Lsn) -> bool {
        match self {
            Self::Message(lsn) => start < lsn,
            Self::Transaction(lsn) => start <= lsn,
        }
    }
}

impl Ord for Unit {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |unit: &Self| (unit.lsn(), matches!(unit, Self::Transaction(_)));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Unit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is recorded of one slot and one sink, durably, before anything that rests on it is acknowledged.
///
/// A sink may hold its record itself; the positions' store has one of every sink. They are of one *beginning* if they go
/// on from the same moment at which a sink took a slot up, and then they are joined: the furthest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Drawn when the sink took the slot up, anew each time.
    pub beginning: u64,
    /// The cluster, as `IDENTIFY_SYSTEM` names it.
    pub system_identifier: u64,
    /// The timeline of the server when this was written.
    pub timeline: Timeline,
    /// Whether that server was a standby: its promotion changes the history under a stream that goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// The slot.
    pub slot: SlotName,
    /// The publication through which it was read: another one may number the changes of a transaction otherwise.
    pub publication: PublicationName,
    /// The most that may have been acknowledged.
    pub acknowledged: Option<EndLsn>,
    /// Where the sink stood.
    pub cursor: Option<Cursor>,
    /// What is discarded since a gap record was opened; the gap is closed where the stream goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_gap: Option<OpenGap>,
    /// How the server was seen to have another history than ours, on our timeline: it was restored, and what it has
    /// written since hides that. Stays until the slot is taken up anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<String>,
}

/// A hole whose end is not known yet. The sink holds a gap record with the same `from` and without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGap {
    pub from: Lsn,
    /// As the gap record has it.
    pub reason: String,
    /// slotd has dropped the slot on purpose: one that is not there is made anew, and not lost.
    pub dropped: bool,
}

impl Record {
    /// The record of a sink that takes up the slot of `stream`, which has `acknowledged`.
    #[must_use]
    pub fn begin(stream: &StreamIdentity, acknowledged: Option<EndLsn>) -> Self {
        Self {
            beginning: fastrand::u64(..),
            system_identifier: stream.system_identifier,
            timeline: stream.timeline,
            standby: stream.standby,
            slot: stream.slot.clone(),
            publication: stream.publication.clone(),
            acknowledged,
            cursor: None,
            open_gap: None,
            diverged: None,
        }
    }

    /// How far the sink and the slot are known to have come, in WAL.
    #[must_use]
    pub fn position(&self) -> Lsn {
        let acknowledged = self.acknowledged.map_or(Lsn::ZERO, EndLsn::lsn);
        acknowledged.max(self.cursor.map_or(Lsn::ZERO, |cursor| cursor.start_lsn()))
    }

    /// Whether slotd has dropped the slot on purpose: one that is not there is missed by nobody.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.open_gap.as_ref().is_some_and(|open| open.dropped)
    }

    /// The one of `records`, which are all of one slot, that was written last. Of a sink that the slot went to before there may
    /// be an old one.
    pub fn last<'a>(records: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        records.into_iter().max_by_key(|record| (record.position(), record.is_dropped()))
    }

    /// Takes what `other` knows better, if it is of the same beginning.
    pub fn join(&mut self, other: &Self) {
        if other.beginning != self.beginning {
            return;
        }
        self.acknowledged = self.acknowledged.max(other.acknowledged);
        if self.diverged.is_none() {
            self.diverged.clone_from(&other.diverged);
        }
        let place = |record: &Self| record.cursor.map(|cursor| (cursor.position(), cursor.end_lsn));
        if place(other) > place(self) {
            self.cursor = other.cursor;
            self.publication.clone_from(&other.publication);
        }
        if other.timeline.begin > self.timeline.begin {
            self.timeline = other.timeline;
            self.standby = other.standby;
        }
    }
}

/// Which stream a change comes from: what its key and its metadata need besides its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamIdentity {
    /// The cluster, as `IDENTIFY_SYSTEM` names it.
    pub system_identifier: u64,
    /// The timeline that the server is on, as `IDENTIFY_SYSTEM` and `TIMELINE_HISTORY` name it.
    pub timeline: Timeline,
    /// Whether the server is a standby.
    pub standby: bool,
    /// The slot.
    pub slot: SlotName,
    /// The publication through which it is read.
    pub publication: PublicationName,
    /// The name in the file.
    pub database: DatabaseName,
    /// The database's name on the server.
    pub dbname: String,
    /// The server as the file names it.
    pub hostname: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(commit: u64, ordinal: u64, end: Option<u64>) -> Cursor {
        let end_lsn = end.map(|end| EndLsn::of_commit(Lsn(end)));
        Cursor { timeline: 1, commit_lsn: Lsn(commit), ordinal: Some(ordinal), end_lsn }
    }

    #[test]
    fn a_half_taken_transaction_is_asked_for_again_and_its_taken_part_dropped() {
        let half = cursor(100, 4, None);
        assert_eq!(half.start_lsn(), Lsn(100));
        assert!(half.holds(Lsn(99), Some(9)));
        assert!(half.holds(Lsn(100), Some(4)));
        assert!(!half.holds(Lsn(100), Some(5)));
        assert!(!half.holds(Lsn(101), Some(0)));
    }

    #[test]
    fn a_message_comes_before_the_transaction_whose_commit_follows_it() {
        let message = Cursor { ordinal: None, ..cursor(100, 0, None) };
        assert!(message.position() < cursor(100, 0, None).position());
        assert!(message.unit() < cursor(100, 0, None).unit() && message.unit() > cursor(99, 9, None).unit());
        assert!(message.holds(Lsn(100), None) && message.holds(Lsn(99), Some(9)));
        assert!(!message.holds(Lsn(100), Some(0)));
        assert!(cursor(100, 0, None).holds(Lsn(100), None));
        assert!(message.unit().is_sent_from(Lsn(99)) && !message.unit().is_sent_from(Lsn(100)));
        assert!(cursor(100, 0, None).unit().is_sent_from(Lsn(100)));
    }

    #[test]
    fn a_whole_transaction_is_not_asked_for_again() {
        let whole = cursor(100, 4, Some(140));
        assert_eq!(whole.start_lsn(), Lsn(140));
        assert!(whole.holds(Lsn(100), Some(5)));
        assert!(!whole.holds(Lsn(140), Some(0)));
    }

    #[test]
    fn the_record_reads_back_as_it_was_written() {
        let open_gap = Some(OpenGap { from: Lsn(140), reason: "disabled".to_owned(), dropped: true });
        for (diverged, open_gap) in [(None, None), (Some("seen".to_owned()), None), (None, open_gap)] {
            let record = Record { diverged, open_gap, ..record(Some(140), Some(cursor(100, 4, Some(140)))) };
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        }
    }

    fn record(acknowledged: Option<u64>, cursor: Option<Cursor>) -> Record {
        Record {
            beginning: u64::MAX,
            system_identifier: 7_300_000_000_000_000_001,
            timeline: Timeline { id: 2, begin: Lsn(90) },
            standby: false,
            slot: SlotName::new("slotd_shop").unwrap(),
            publication: PublicationName::new("slotd_shop").unwrap(),
            acknowledged: acknowledged.map(|lsn| EndLsn::of_commit(Lsn(lsn))),
            cursor,
            open_gap: None,
            diverged: None,
        }
    }

    #[test]
    fn of_two_records_of_one_beginning_the_furthest_counts_whichever_comes_first() {
        let (half, whole) = (cursor(100, 4, None), cursor(100, 4, Some(140)));
        let old = record(Some(90), Some(half));
        let new = Record {
            timeline: Timeline { id: 3, begin: Lsn(120) },
            diverged: Some("seen".to_owned()),
            ..record(Some(150), Some(whole))
        };
        for (mut first, second) in [(old.clone(), &new), (new.clone(), &old)] {
            first.join(second);
            assert_eq!(first, new);
        }
        let mut bare = record(None, None);
        bare.join(&old);
        assert_eq!(bare, old);
        let mut another = Record { beginning: 1, ..old.clone() };
        another.join(&new);
        assert_eq!(another, Record { beginning: 1, ..old }, "another beginning");
    }
}
