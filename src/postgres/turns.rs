//! Whose turn it is at a server.
//!
//! A round of a database asks the server much and briefly, and an agent with hundreds of databases at one server must not
//! take the connections that its applications need. So a round takes a turn, opens its SQL session and closes it before
//! the turn ends. Nobody waits inside a turn for a sink, or for the transactions that a new slot waits for, longer than a tenth of
//! a second.
//! The guard's session, and those in which a stream looks up types or whether a COMMIT waits for it, take none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Server;

/// How many have a turn at one server at once.
const TURNS: usize = 8;

/// The turns at each server; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    servers: Arc<Mutex<HashMap<Vec<Server>, Arc<Semaphore>>>>,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits for a turn at the one of `servers` that is meant.
    pub(super) async fn next(&self, servers: Vec<Server>) -> Turn {
        let turns = {
            let mut all = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(servers).or_insert_with(|| Arc::new(Semaphore::new(TURNS))))
        };
        // Nobody closes it.
        Turn { _permit: turns.acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::config::Host;

    #[test]
    fn a_server_that_hangs_keeps_no_other_waiting() {
        let turns = Turns::default();
        let next =
            |name: &str, port| turns.next(vec![Server { host: Host::Name(name.to_owned()), port }]).now_or_never();
        let taken: Vec<_> = (0..TURNS).map(|_| next("a", 5432).unwrap()).collect();
        assert!(next("a", 5432).is_none());
        assert!(next("a", 5433).is_some() && next("b", 5432).is_some());
        drop(taken);
        assert!(next("a", 5432).is_some());
    }
}
