//! Waiting between tries: exponential, with jitter, bounded, reset after success.

use std::time::Duration;

/// How long to wait before the next try.
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

    /// Counts a failure and draws the wait that follows it.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::MOST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }

    /// Failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A try succeeded: the next failure waits the shortest time again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_bounded_and_start_over_after_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= Backoff::FIRST && waits[0] >= Backoff::FIRST / 2);
        assert!(waits.iter().all(|wait| *wait <= Backoff::MOST));
        assert!(waits[39] >= Backoff::MOST / 2);
        backoff.reset();
        assert!(backoff.next_wait() <= Backoff::FIRST);
    }
}
