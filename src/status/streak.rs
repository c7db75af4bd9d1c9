//! Something that fails over and over: told when it begins, with a count now and then, and when it is over.

use std::time::Duration;

use jiff::Timestamp;

use super::verdict::elapsed;
use super::{failures, lasted};

/// A trouble that goes on is not told again any sooner.
pub(super) const AGAIN: Duration = Duration::from_secs(600);

/// Failures in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streak {
    running: Option<Running>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Running {
    failures: u32,
    since: Timestamp,
    told: Timestamp,
}

impl Streak {
    /// It has failed at `now`. If that is to be told, what to add to the words: nothing, or `, 60 times in 10 min 0 s`.
    pub fn failed(&mut self, now: Timestamp) -> Option<String> {
        let Some(running) = &mut self.running else {
            self.running = Some(Running { failures: 1, since: now, told: now });
            return Some(String::new());
        };
        running.failures = running.failures.saturating_add(1);
        if elapsed(running.told, now) < AGAIN {
            return None;
        }
        running.told = now;
        Some(format!(", {} times in {}", running.failures, lasted(elapsed(running.since, now))))
    }

    /// It works at `now`. If it did not before, what to add to the words: ` after 61 failures, 10 min 10 s`.
    pub fn ended(&mut self, now: Timestamp) -> Option<String> {
        let ended = self.running.take()?;
        Some(format!(" after {}, {}", failures(ended.failures), lasted(elapsed(ended.since, now))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::at;

    #[test]
    fn a_streak_is_told_at_its_begin_each_ten_minutes_and_at_its_end() {
        let mut streak = Streak::default();
        assert_eq!(streak.ended(at(0)), None);
        let told: Vec<_> = (0..=121).filter_map(|n| Some((n, streak.failed(at(10 * n))?))).collect();
        let words = ["", ", 61 times in 10 min 0 s", ", 121 times in 20 min 0 s"].map(str::to_owned);
        assert_eq!(told, [0, 60, 120].into_iter().zip(words).collect::<Vec<_>>());
        assert_eq!(streak.ended(at(1_215)).unwrap(), " after 122 failures, 20 min 15 s");
        assert_eq!(streak.failed(at(1_300)).unwrap(), "", "the next streak begins anew");
    }
}
