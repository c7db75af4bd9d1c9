//! What is counted of a database, from the start of the process: it outlives streams and reloads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{SqlState, Trouble};
use crate::ident::SinkName;

/// More different codes than this, of one database, count as `other`: what stands between may send anything.
const MOST_CODES: usize = 32;

/// The counters of one database, shared by all that count.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Counts>);

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tries and streams that ended in trouble, by the reason's code and the server's SQLSTATE, `none` where the server
    /// gave none.
    pub reconnects: BTreeMap<(&'static str, String), u64>,
    pub sinks: BTreeMap<SinkName, SinkCounts>,
}

/// What one sink has made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkCounts {
    pub changes: u64,
    /// Whole transactions, and messages outside of any.
    pub transactions: u64,
    /// Of the replication messages that the changes came in.
    pub bytes: u64,
    /// How often it refused, or could not do, what it was asked.
    pub failures: u64,
}

impl Counters {
    fn with<T>(&self, count: impl FnOnce(&mut Counts) -> T) -> T {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn counts(&self) -> Counts {
        self.with(|counts| counts.clone())
    }

    pub(super) fn reconnect(&self, trouble: &Trouble) {
        let code = trouble.sqlstate.as_ref().map_or("none", SqlState::as_str).to_owned();
        self.with(|counts| {
            let mut key = (trouble.reason.as_str(), code);
            if counts.reconnects.len() >= MOST_CODES && !counts.reconnects.contains_key(&key) {
                "other".clone_into(&mut key.1);
            }
            *counts.reconnects.entry(key).or_default() += 1;
        });
    }

    pub(super) fn sink(&self, name: &SinkName, count: impl FnOnce(&mut SinkCounts)) {
        self.with(|counts| {
            if !counts.sinks.contains_key(name) {
                counts.sinks.insert(name.clone(), SinkCounts::default());
            }
            counts.sinks.get_mut(name).map(count);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Reason;

    #[test]
    fn however_many_codes_a_server_sends_their_number_has_a_bound() {
        let counters = Counters::default();
        for code in 0..1000 {
            counters.reconnect(&Trouble::new(Reason::Server, "", "").with_sqlstate(&format!("{code:05}")));
        }
        let counts = counters.counts().reconnects;
        assert_eq!((counts.len(), counts.values().sum::<u64>()), (MOST_CODES + 1, 1000));
    }
}
