//! How fast a slot comes to retain more, and with that when it reaches a limit.
//!
//! That WAL is written says nothing while the slot follows, and `restart_lsn` follows in steps, about 15 s apart, so that
//! what is retained goes up and down all the time. Of a slot that nobody reads nothing will follow: what it came to
//! retain since its `restart_lsn` last moved counts, from the second look on. Of one that is read, its lowest values in the
//! older and the newer half of the last five minutes are compared.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::PERIOD;
use super::verdict::elapsed;
use crate::lsn::Lsn;

/// Looks that are kept: five minutes of them.
const LOOKS: usize = 30;
/// With fewer looks nothing is said of a slot that is read.
const LEAST: usize = 6;

/// What one look showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: Timestamp,
    pub(super) wal_end: Lsn,
    pub(super) restart_lsn: Option<Lsn>,
    /// Whether somebody holds the slot.
    pub(super) is_read: bool,
}

/// What the last looks showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WalGrowth {
    looks: VecDeque<Look>,
}

impl Look {
    fn retained(&self) -> u64 {
        self.restart_lsn.map_or(0, |restart| self.wal_end.since(restart))
    }
}

impl WalGrowth {
    /// Takes in a look.
    pub(super) fn note(&mut self, look: Look) {
        // A rate over a gap between the looks would be one of another time.
        if self.looks.back().is_some_and(|last| elapsed(last.at, look.at) > PERIOD * 6) {
            self.looks.clear();
        }
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(look);
    }

    /// How much WAL the server writes, in bytes a second, over the looks that are kept.
    pub(super) fn wal_rate(&self) -> Option<f64> {
        rate(self.looks.front()?, self.looks.back()?, |look| look.wal_end.0)
    }

    /// By how much more the slot retains each second; `None` while nothing grows, or too little was seen.
    pub(super) fn rate(&self) -> Option<f64> {
        let last = self.looks.back()?;
        let rate = if last.is_read {
            if self.looks.len() < LEAST {
                return None;
            }
            let half = self.looks.len() / 2;
            let before = self.looks.iter().take(half).min_by_key(|look| look.retained())?;
            let after = self.looks.iter().skip(half).min_by_key(|look| look.retained())?;
            rate(before, after, Look::retained)
        } else {
            let stands = |look: &&Look| look.restart_lsn == last.restart_lsn && !look.is_read;
            let first = self.looks.iter().rev().take_while(stands).last()?;
            rate(first, last, Look::retained)
        };
        rate.filter(|rate| *rate >= 1.0)
    }

    /// How long `room` bytes last.
    pub(super) fn time_for(&self, room: i64) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        Duration::try_from_secs_f64(room.max(0) as f64 / self.rate()?).ok()
    }
}

/// The bytes a second between two looks; `None` if there is no time or no growth between them.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn rate(then: &Look, now: &Look, of: impl Fn(&Look) -> u64) -> Option<f64> {
    let time = elapsed(then.at, now.at).as_secs_f64();
    let grown = of(now).checked_sub(of(then))? as f64;
    (time > 0.0).then(|| grown / time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::at;

    const MB: u64 = 1 << 20;

    /// Looks each ten seconds, each with (WAL end, restart_lsn) in bytes.
    fn growth(is_read: bool, looks: u64, of: impl Fn(u64) -> (u64, u64)) -> WalGrowth {
        let mut growth = WalGrowth::default();
        for look in 0..looks {
            let (wal_end, restart) = of(look);
            growth.note(Look {
                at: at(i64::try_from(look * 10).unwrap()),
                wal_end: Lsn(wal_end),
                restart_lsn: Some(Lsn(restart)),
                is_read,
            });
        }
        growth
    }

    fn seconds(growth: &WalGrowth, room: u64) -> Option<u64> {
        growth.time_for(i64::try_from(room).unwrap()).map(|time| time.as_secs())
    }

    #[test]
    fn a_slot_that_nobody_reads_has_a_time_from_the_second_look_on() {
        // 1 MB a second.
        let unread = |looks| growth(false, looks, |look| ((100 + look * 10) * MB, 50 * MB));
        assert_eq!(seconds(&unread(1), 3600 * MB), None);
        for looks in [2, 20, 100] {
            assert_eq!(seconds(&unread(looks), 3600 * MB), Some(3600), "{looks} looks");
        }
        assert_eq!(unread(5).time_for(-1), Some(Duration::ZERO), "it is over");
        assert_eq!(unread(5).wal_rate(), Some(1_048_576.0));
    }

    #[test]
    fn what_was_before_it_was_left_alone_does_not_count() {
        let mut growth = growth(true, 10, |look| (look * 100 * MB, look * 100 * MB));
        for look in 10..13 {
            growth.note(Look {
                at: at(i64::try_from(look * 10).unwrap()),
                wal_end: Lsn((1000 + (look - 10) * 10) * MB),
                restart_lsn: Some(Lsn(900 * MB)),
                is_read: false,
            });
        }
        assert_eq!(seconds(&growth, 60 * MB), Some(60));
    }

    #[test]
    fn a_slot_that_is_read_and_stuck_has_the_time_that_its_room_lasts() {
        let stuck = growth(true, 20, |look| ((50 + look * 10) * MB, 50 * MB));
        assert_eq!(seconds(&stuck, 3600 * MB), Some(3600));
        assert_eq!(seconds(&growth(true, 5, |look| (look * MB, 0)), 1 << 30), None, "too little was seen");
    }

    #[test]
    fn a_slot_that_follows_in_steps_has_none_however_much_is_written() {
        let follows = growth(true, 30, |look| (look * 1000 * MB, look / 3 * 3000 * MB));
        assert_eq!(seconds(&follows, 1 << 30), None);
        assert_eq!(seconds(&growth(false, 30, |_| (5 * MB, 0)), 1 << 30), None, "nothing is written");
    }

    #[test]
    fn a_gap_between_the_looks_is_no_rate() {
        let mut late = growth(false, 20, |look| (look * MB, 0));
        late.note(Look { at: at(10_000), wal_end: Lsn(1 << 30), restart_lsn: Some(Lsn(0)), is_read: false });
        assert_eq!(seconds(&late, 1 << 30), None);
    }
}
