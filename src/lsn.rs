//! Positions in the write-ahead log.
//!
//! A [`Lsn`] is a byte offset in the WAL, printed as Postgres prints it (`16/B374D848`). Most LSNs that cross the
//! wire must never be acknowledged: a message's start is not unique, and start plus length lies anywhere. Only few
//! kinds can, and they have a type of their own, [`EndLsn`]; nothing else turns into one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A log sequence number: a byte offset in the WAL of one timeline.
///
/// Source: <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// `0/0`, which no record has: "from where the slot stands" in `START_REPLICATION`.
    pub const ZERO: Self = Self(0);

    /// Bytes from `earlier` to `self`; 0 where `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an LSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an LSN, which has the form 16/B374D848")]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |digits: &str| {
            if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(ParseLsnError);
            }
            u64::from_str_radix(digits, 16).map_err(|_| ParseLsnError)
        };
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        Ok(Self(half(high)? << 32 | half(low)?))
    }
}

impl Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A timeline of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its number. Servers that were promoted apart from each other give the same one.
    pub id: u32,
    /// Where it left the timeline before it, which tells those apart; 0/0 for the first one.
    pub begin: Lsn,
}

/// An LSN that may be acknowledged: a COMMIT's end, the WAL end of a keepalive that came while nothing was in flight,
/// or what the slot itself has as acknowledged.
///
/// It is made by [`EndLsn::of_commit`], [`EndLsn::of_idle`] and [`EndLsn::of_confirmed_flush`], and read back from where
/// one was recorded. There is no way from an [`Lsn`] to it besides these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndLsn(Lsn);

impl EndLsn {
    /// The end LSN that a COMMIT message carries; called by the decoder alone.
    #[must_use]
    pub(crate) const fn of_commit(end: Lsn) -> Self {
        Self(end)
    }

    /// A keepalive's WAL end while nothing is in flight; called by `stream::progress` alone, which knows.
    #[must_use]
    pub(crate) const fn of_idle(wal_end: Lsn) -> Self {
        Self(wal_end)
    }

    /// What the server itself has as `confirmed_flush_lsn`: somebody has acknowledged it before.
    #[must_use]
    pub(crate) const fn of_confirmed_flush(confirmed: Lsn) -> Self {
        Self(confirmed)
    }

    /// The position, for comparing and printing.
    #[must_use]
    pub const fn lsn(self) -> Lsn {
        self.0
    }
}

impl fmt::Display for EndLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_as_postgres_does() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/1"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        assert_eq!("0/0A".parse::<Lsn>().unwrap(), Lsn(10));
        for text in ["", "/", "1/", "/1", "1", "1/123456789", "1/G", "+1/2", "1/2/3"] {
            assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError), "{text:?}");
        }
    }

    #[test]
    fn distance_never_goes_below_zero() {
        assert_eq!(Lsn(5).since(Lsn(3)), 2);
        assert_eq!(Lsn(3).since(Lsn(5)), 0);
    }
}
