//! How fast a slot comes to retain more, and with that when it will be invalidated.
//!
//! That WAL is written says nothing while the slot follows. But `restart_lsn` follows in steps, about 15 s apart, so that
//! what is retained goes up and down all the time; its lowest values in the older and the newer half of the last five
//! minutes are compared.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::PERIOD;
use super::verdict::elapsed;

/// Looks that are kept: five minutes of them.
const LOOKS: usize = 30;
/// With fewer looks nothing is said.
const LEAST: usize = 6;

/// What was retained at the last looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WalGrowth {
    looks: VecDeque<(Timestamp, u64)>,
}

impl WalGrowth {
    /// Takes in what is retained at `now`.
    pub(super) fn note(&mut self, retained: u64, now: Timestamp) {
        // A rate over a gap between the looks would be one of another time.
        if self.looks.back().is_some_and(|(last, _)| elapsed(*last, now) > PERIOD * 6) {
            self.looks.clear();
        }
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((now, retained));
    }

    /// How long `room` bytes last; `None` while nothing grows, or too little was seen.
    pub(super) fn time_for(&self, room: i64) -> Option<Duration> {
        if self.looks.len() < LEAST {
            return None;
        }
        let half = self.looks.len() / 2;
        let lowest =
            |looks: &mut dyn Iterator<Item = &(Timestamp, u64)>| looks.min_by_key(|(_, retained)| *retained).copied();
        let (then, before) = lowest(&mut self.looks.iter().take(half))?;
        let (now, after) = lowest(&mut self.looks.iter().skip(half))?;
        let grown = u32::try_from(after.checked_sub(before)? >> 10).ok().filter(|grown| *grown > 0)?;
        let room = u64::try_from(room).unwrap_or(0) >> 10;
        let per_second = f64::from(grown) / elapsed(then, now).as_secs_f64();
        let room = f64::from(u32::try_from(room).unwrap_or(u32::MAX));
        Duration::try_from_secs_f64(room / per_second).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::at;

    fn growth(retained: impl Fn(u64) -> u64, looks: u64) -> WalGrowth {
        let mut growth = WalGrowth::default();
        for look in 0..looks {
            growth.note(retained(look), at(i64::try_from(look * 10).unwrap()));
        }
        growth
    }

    #[test]
    fn a_slot_that_is_stuck_has_the_time_that_its_room_lasts() {
        // 1 MB a second.
        let stuck = growth(|look| look * (10 << 20), 20);
        assert_eq!(stuck.time_for(3600 << 20).map(|time| time.as_secs()), Some(3600));
        assert_eq!(stuck.time_for(-1), Some(Duration::ZERO), "it is over");
    }

    #[test]
    fn a_slot_that_follows_in_steps_has_none_however_much_is_written() {
        let follows = growth(|look| (look % 3) * (1 << 30), 30);
        assert_eq!(follows.time_for(1 << 30), None);
        assert_eq!(growth(|_| 5 << 20, 30).time_for(1 << 30), None);
    }

    #[test]
    fn nothing_is_said_of_too_little() {
        assert_eq!(growth(|look| look << 20, 5).time_for(1 << 30), None);
        let mut late = growth(|look| look << 20, 20);
        late.note(1 << 30, at(10_000));
        assert_eq!(late.time_for(1 << 30), None);
    }
}
