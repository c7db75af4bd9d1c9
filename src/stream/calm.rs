//! When a stream has been bringing nothing but keepalives for so long that they may wait.
//!
//! A slot of a quiet database gets a keepalive for each transaction of its server's other databases: thousands a second.
//! Hundreds of such slots would cost more than all that is streamed. So after [`CALM`] they are gathered for as long as a
//! [`Lull`] lasts, and a stream that brings changes, or now and then a keepalive, is read at once as ever.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::Lull;

/// So long nothing but keepalives has to come.
const CALM: Duration = Duration::from_secs(1);
/// A longer time without even one is no storm of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches what the reads of one stream bring.
#[derive(Debug)]
pub(super) struct Calm {
    lull: Lull,
    /// When something else came last, or a keepalive after a pause.
    since: Instant,
    last_read: Instant,
}

impl Calm {
    pub(super) fn new(lull: Lull) -> Self {
        let now = Instant::now();
        Self { lull, since: now, last_read: now }
    }

    /// A read at `now` brought keepalives, and nothing else if `only`.
    pub(super) fn note(&mut self, only: bool, now: Instant) {
        if !only || now.duration_since(self.last_read) > PAUSE {
            self.since = now;
        }
        self.last_read = now;
        self.lull.set(now.duration_since(self.since) >= CALM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is a lull after each of some reads: how long after the one before, and whether it brought
    /// keepalives only.
    fn lulls(reads: impl IntoIterator<Item = (Duration, bool)>) -> Vec<bool> {
        let lull = Lull::default();
        let mut calm = Calm::new(lull.clone());
        let mut now = Instant::now();
        let note = |(after, only)| {
            now += after;
            calm.note(only, now);
            lull.lasts()
        };
        reads.into_iter().map(note).collect()
    }

    #[test]
    fn a_second_of_keepalives_alone_makes_a_lull_and_the_first_change_ends_it() {
        let storm = std::iter::repeat_n((Duration::from_millis(1), true), 1100);
        let mut lulls = lulls(storm.chain([(Duration::from_millis(1), false), (Duration::from_millis(1), true)]));
        assert_eq!(lulls.split_off(1100), [false, false]);
        let begin = lulls.iter().position(|lull| *lull).unwrap();
        assert!((999..=1001).contains(&begin) && lulls[begin..].iter().all(|lull| *lull), "from read {begin} on");
    }

    #[test]
    fn a_keepalive_now_and_then_makes_none() {
        assert!(!lulls(std::iter::repeat_n((Duration::from_secs(5), true), 100)).contains(&true));
    }
}
