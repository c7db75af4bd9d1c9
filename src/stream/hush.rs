//! When the server is told that it may spare its keepalives.
//!
//! A walsender that has nothing to send sends a keepalive as soon as the WAL has moved past both the flushed and the
//! written position of the last status update. A quiet slot of a busy server gets one for each transaction of the
//! others: thousands a second, which cost the server more than they cost us. It sends none while the *written* position
//! lies ahead. So once nothing but keepalives has come for a while, the written position is told as [`AHEAD`] of what was
//! received, and from then on the server is asked for the end of its WAL once each [`ASK`]. When that stands still, or a
//! change comes, all is as ever again.
//!
//! Only the flushed position moves a slot. The written one is shown in `pg_stat_replication`, and a COMMIT waits for it
//! with `synchronous_commit = remote_write`: so it never lies ahead where a COMMIT may wait for us.
//!
//! Source: `WalSndWaitForWal` in `walsender.c` of Postgres, and
//! <https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-STANDBY-STATUS-UPDATE>.

use std::time::Duration;

use crate::lsn::Lsn;
use crate::net::Lull;

/// How far ahead the written position is told: more WAL than most servers write between two questions.
const AHEAD: u64 = 256 << 20;
/// How often the server is asked then.
pub(super) const ASK: Duration = Duration::from_secs(1);

/// Decides it, for one stream.
#[derive(Debug)]
pub(super) struct Hush {
    /// Lasts while nothing but keepalives come, and many of them; `None` where a COMMIT may wait for us.
    lull: Option<Lull>,
    /// While it lasts: what had been received at the last question, and how many units had been seen when it began.
    since: Option<(Lsn, u64)>,
}

impl Hush {
    /// For the stream whose `lull` this is, unless a COMMIT may wait for it.
    pub(super) fn new(lull: Lull, may_be_waited_for: bool) -> Self {
        Self { lull: (!may_be_waited_for).then_some(lull), since: None }
    }

    /// Whether it lasts.
    pub(super) const fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// Whether a status update is due now, since it begins or ends: `seen` units have been seen.
    pub(super) fn is_due(&self, seen: u64) -> bool {
        match self.since {
            None => self.lull.as_ref().is_some_and(Lull::lasts),
            Some((_, before)) => seen != before,
        }
    }

    /// A status update goes out after `received` and `seen` units: the written position that it tells, if it is to lie
    /// ahead; then it asks for a reply as well.
    pub(super) fn ahead(&mut self, received: Lsn, seen: u64) -> Option<Lsn> {
        self.since = match self.since {
            None => self.is_due(seen).then_some((received, seen)),
            Some((before, units)) => (received > before && units == seen).then_some((received, seen)),
        };
        self.since.map(|(received, _)| Lsn(received.0.saturating_add(AHEAD)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hush(may_be_waited_for: bool) -> (Hush, Lull) {
        let lull = Lull::default();
        (Hush::new(lull.clone(), may_be_waited_for), lull)
    }

    const fn ahead_of(received: u64) -> Option<Lsn> {
        Some(Lsn(received + AHEAD))
    }

    #[test]
    fn a_storm_begins_it_and_it_lasts_as_long_as_the_wal_moves() {
        let (mut hush, lull) = hush(false);
        assert!(!hush.is_due(7));
        assert_eq!(hush.ahead(Lsn(100), 7), None);
        lull.set(true);
        assert!(hush.is_due(7));
        assert_eq!(hush.ahead(Lsn(200), 7), ahead_of(200));
        // It has worked: nothing comes but answers.
        lull.set(false);
        assert!(hush.lasts() && !hush.is_due(7));
        assert_eq!(hush.ahead(Lsn(300), 7), ahead_of(300));
        assert_eq!(hush.ahead(Lsn(300), 7), None, "the WAL stands still");
        assert!(!hush.lasts());
    }

    #[test]
    fn a_change_ends_it() {
        let (mut hush, lull) = hush(false);
        lull.set(true);
        assert_eq!(hush.ahead(Lsn(200), 7), ahead_of(200));
        lull.set(false);
        assert!(hush.is_due(8));
        assert_eq!(hush.ahead(Lsn(300), 8), None);
    }

    #[test]
    fn where_a_commit_may_wait_there_is_none() {
        let (mut hush, lull) = hush(true);
        lull.set(true);
        assert!(!hush.is_due(0));
        assert_eq!(hush.ahead(Lsn(200), 0), None);
    }
}
