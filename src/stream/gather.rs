//! Whether a batch had better grow a little before the sinks get it.
//!
//! Each batch costs the sinks the same fsyncs, however little it holds. What was committed just now is wanted at once;
//! of a backlog it counts when all of it is through.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A transaction that was committed longer ago is part of a backlog.
const BACKLOG: SignedDuration = SignedDuration::from_secs(1);
/// The longest that a batch of a backlog grows while the sinks have nothing to do.
const GROWTH: Duration = Duration::from_millis(20);

/// Decides it, for one stream.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// When the last transaction was committed that was seen to begin.
    committed: Option<Timestamp>,
    /// Until when the batch that grows may do so.
    until: Option<Instant>,
}

impl Gather {
    /// A transaction begins that was committed at `committed`.
    pub(super) const fn begin(&mut self, committed: Timestamp) {
        self.committed = Some(committed);
    }

    /// The sinks have nothing to do and there is a batch: until when it grows, if it does. The server's clock and ours
    /// may differ: then a backlog is not taken for one, or what is new is durable [`GROWTH`] later.
    pub(super) fn until(&mut self, now: Instant, clock: Timestamp) -> Option<Instant> {
        self.committed.filter(|committed| clock.duration_since(*committed) > BACKLOG)?;
        let until = *self.until.get_or_insert(now + GROWTH);
        (now < until).then_some(until)
    }

    /// The batch is handed on.
    pub(super) const fn cut(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_of_a_backlog_grows_for_a_moment_and_what_is_new_goes_at_once() {
        let (now, clock) = (Instant::now(), Timestamp::now());
        let mut gather = Gather::default();
        assert_eq!(gather.until(now, clock), None, "nothing is known");
        for (age, grows) in [(0, false), (900, false), (1100, true), (-5000, false)] {
            gather.begin(clock - SignedDuration::from_millis(age));
            assert_eq!(gather.until(now, clock).is_some(), grows, "committed {age} ms ago");
            gather.cut();
        }
        gather.begin(clock - SignedDuration::from_hours(1));
        let until = gather.until(now, clock);
        assert_eq!(until, Some(now + GROWTH));
        assert_eq!(gather.until(now + GROWTH / 2, clock), until, "more of it came");
        assert_eq!(gather.until(now + GROWTH, clock), None);
        gather.cut();
        assert_eq!(gather.until(now + GROWTH, clock), Some(now + 2 * GROWTH), "the next one");
    }
}
