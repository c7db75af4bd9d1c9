//! Waiting between tries: exponential, with jitter, bounded, reset after success.

use std::time::Duration;

/// How often something failed in a row, and with that how long to wait before the next try.
///
/// Each wait is drawn from the upper half of a ceiling that doubles from [`Backoff::FIRST`] to [`Backoff::MOST`], so
/// that databases that failed together do not come back together.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The first ceiling.
    pub const FIRST: Duration = Duration::from_millis(250);
    /// The last ceiling: what a try alone finds out is to be told within a health period.
    pub const MOST: Duration = Duration::from_secs(10);

    /// Counts a failure.
    pub const fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Draws the wait that follows the last failure.
    #[must_use]
    pub fn wait(&self) -> Duration {
        below(Self::FIRST.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(Self::MOST))
    }

    /// Draws a wait for what no try of ours will end: the longest, whatever the count.
    #[must_use]
    pub fn long_wait() -> Duration {
        below(Self::MOST)
    }

    /// Failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// It works: the next failure waits the shortest time again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

fn below(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[test]
    fn waits_grow_stay_bounded_and_start_over_after_success() {
        let mut backoff = Backoff::default();
        let next = |backoff: &mut Backoff| {
            backoff.fail();
            backoff.wait()
        };
        let waits: Vec<_> = (0..40).map(|_| next(&mut backoff)).collect();
        assert!(waits[0] <= Backoff::FIRST && waits[0] >= Backoff::FIRST / 2);
        assert!(waits.iter().all(|wait| *wait <= Backoff::MOST));
        assert!(waits[39] >= Backoff::MOST / 2);
        assert_eq!(backoff.failures(), 40);
        backoff.reset();
        assert!(next(&mut backoff) <= Backoff::FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_gone_for_an_hour_is_tried_all_the_time_and_never_in_a_rush() {
        let (mut backoff, begun) = (Backoff::default(), Instant::now());
        while begun.elapsed() < Duration::from_secs(3600) {
            backoff.fail();
            sleep(backoff.wait()).await;
        }
        // Between one in ten seconds and one in five, and a few at the beginning.
        assert!((360..=726).contains(&backoff.failures()), "{} tries", backoff.failures());
    }

    #[test]
    fn two_that_failed_together_do_not_come_back_together() {
        let mut backoff = Backoff::default();
        (0..10).for_each(|_| backoff.fail());
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| backoff.wait()).collect();
        assert!(waits.len() > 90, "{waits:?}");
        let spread = *waits.last().unwrap() - *waits.first().unwrap();
        assert!(spread > Backoff::MOST / 4, "{spread:?}");
    }
}
