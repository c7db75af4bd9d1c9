//! How far a stream is behind, in seconds, by our own clock alone.
//!
//! The server's clock may differ from ours, and an idle slot has no commit to compare with. So the moments at which
//! the server's WAL end was seen are kept, as the walsender's own lag tracker does: the lag is the age of the oldest
//! WAL end that is not safe yet. The ring is bounded; marks are at least a second apart and thinned when it is full,
//! which costs resolution and never the oldest mark.
//!
//! After a restart with a backlog the first WAL end seen is new, though the changes are old. Then the commit time of
//! the oldest transaction in flight says more, and the greater of the two counts.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::Positions;
use super::verdict::elapsed;
use crate::lsn::Lsn;

const MARKS: usize = 32;
const APART: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    wal_end: Lsn,
    seen: Timestamp,
}

/// The moments at which WAL ends were seen that are not safe yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lag {
    marks: VecDeque<Mark>,
    newest: Option<Mark>,
}

impl Lag {
    /// Takes in what `positions` say at `now`.
    pub(super) fn note(&mut self, positions: &Positions, now: Timestamp) {
        let unsafe_end = positions.wal_end.filter(|wal_end| positions.done().is_some_and(|done| done < *wal_end));
        let (Some(wal_end), Some(done)) = (unsafe_end, positions.done()) else {
            // Nothing is behind; or the positions begin anew, and what was seen is of another history.
            self.marks.clear();
            self.newest = None;
            return;
        };
        if self.newest.is_none_or(|newest| newest.wal_end < wal_end) {
            let mark = Mark { wal_end, seen: now };
            self.newest = Some(mark);
            if self.marks.back().is_none_or(|last| elapsed(last.seen, now) >= APART) {
                self.push(mark);
            }
        }
        while self.marks.front().is_some_and(|mark| mark.wal_end <= done) {
            self.marks.pop_front();
        }
        if let (true, Some(newest)) = (self.marks.is_empty(), self.newest) {
            self.marks.push_back(newest);
        }
    }

    fn push(&mut self, mark: Mark) {
        if self.marks.len() >= MARKS {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.marks.push_back(mark);
    }

    /// The lag at `now`; `None` while the server's WAL end or our own position is unknown.
    #[must_use]
    pub fn at(&self, positions: &Positions, now: Timestamp) -> Option<Duration> {
        positions.lag_bytes()?;
        let unseen = self.marks.front().map_or(Duration::ZERO, |mark| elapsed(mark.seen, now));
        let in_flight = positions.oldest_commit.map_or(Duration::ZERO, |commit| elapsed(commit, now));
        Some(unseen.max(in_flight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn positions(wal_end: u64, durable: u64) -> Positions {
        Positions { wal_end: Some(Lsn(wal_end)), durable: Some(Lsn(durable)), ..Positions::default() }
    }

    #[test]
    fn the_lag_is_the_age_of_the_oldest_unsafe_wal_end() {
        let mut lag = Lag::default();
        let steps = [
            // second, WAL end, durable, expected lag
            (0, 100, 100, 0),
            (10, 200, 100, 0),
            (15, 300, 100, 5),
            (20, 400, 200, 5),
            (21, 400, 300, 1),
            (30, 400, 400, 0),
            (90, 400, 400, 0),
            (91, 500, 400, 0),
        ];
        for (second, wal_end, durable, expected) in steps {
            let now = positions(wal_end, durable);
            lag.note(&now, at(second));
            assert_eq!(lag.at(&now, at(second)), Some(Duration::from_secs(expected)), "at {second}");
        }
        assert_eq!(lag.at(&positions(500, 400), at(121)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_busy_stream_that_keeps_up_has_a_small_lag() {
        let mut lag = Lag::default();
        for second in 0..1_000_i64 {
            let end = u64::try_from(second).unwrap() * 10 + 20;
            let now = positions(end, end - 10);
            lag.note(&now, at(second));
            assert!(lag.at(&now, at(second)).unwrap() <= Duration::from_secs(1));
        }
    }

    #[test]
    fn a_stalled_stream_keeps_its_oldest_mark_in_bounded_memory() {
        let mut lag = Lag::default();
        for second in 0..10_000_i64 {
            lag.note(&positions(u64::try_from(second).unwrap() + 2, 1), at(second));
            assert!(lag.marks.len() <= MARKS);
        }
        assert_eq!(lag.at(&positions(10_001, 1), at(9_999)), Some(Duration::from_secs(9_999)));
    }

    #[test]
    fn a_backlog_after_a_restart_counts_from_its_commit() {
        let mut now = positions(500, 100);
        let mut lag = Lag::default();
        lag.note(&now, at(0));
        now.oldest_commit = Some(at(-3_600));
        assert_eq!(lag.at(&now, at(0)), Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn what_was_seen_of_another_history_is_no_lag() {
        let mut lag = Lag::default();
        lag.note(&positions(900, 100), at(0));
        // A slot that was made anew: its own WAL end is not known yet.
        lag.note(&Positions { durable: Some(Lsn(50)), ..Positions::default() }, at(100));
        let now = positions(60, 50);
        lag.note(&now, at(101));
        assert_eq!(lag.at(&now, at(103)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn unknown_positions_have_no_lag() {
        let unknown = Positions { wal_end: Some(Lsn(1)), ..Positions::default() };
        assert_eq!(Lag::default().at(&unknown, at(0)), None);
    }
}
