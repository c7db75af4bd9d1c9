//! Which of `hosts` is the primary: looked for anew at each connection, names and all.
//!
//! The one that was it last is asked first, and what is slow gets company after a second, so that an old primary whose
//! host is gone costs no more than that. Of two that both say that they are the primary the first to answer is taken; on
//! which history it is, is judged by whoever streams from it, and that one may pass it over.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::{ConnectError, Connector};
use crate::config::{Connection, Server};

/// How long a server is asked alone.
const STAGGER: Duration = Duration::from_secs(1);

/// Which server was found to be the primary last; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Primaries {
    found: Arc<Mutex<HashMap<Vec<Server>, Server>>>,
}

/// What a server is that is not the primary we want.
#[derive(Debug)]
pub enum NotPrimary {
    Failed(Box<ConnectError>),
    /// A primary whose history is not ours.
    PassedOver,
    Standby,
}

impl NotPrimary {
    /// All of `tried`, in a sentence.
    pub(super) fn list(tried: &[(Server, Self)]) -> String {
        let mut list = String::new();
        for (server, what) in tried {
            let parted = if list.is_empty() { "" } else { "; " };
            // Writing into a String can't fail.
            let _ = match what {
                Self::Failed(error) => write!(list, "{parted}{server}: {error}"),
                Self::PassedOver => write!(list, "{parted}{server} is a primary with another history"),
                Self::Standby => write!(list, "{parted}{server} is a standby"),
            };
        }
        list
    }
}

/// A session whose server said at the login what it is.
pub(super) trait Session: Sized + Send {
    /// Opens one at the very server that `to` leads to.
    fn open(connector: &Connector, to: &Connection) -> impl Future<Output = Result<Self, ConnectError>> + Send;

    /// Whether the server was in recovery.
    fn is_of_standby(&self) -> bool;
}

impl Connector {
    /// Opens a session at the one server of `to`, or at the one of several that is the primary and not among
    /// `passed_over`. Gives the connection that leads there and nowhere else.
    pub(super) async fn at_primary<S: Session>(
        &self,
        to: &Connection,
        passed_over: &[Server],
    ) -> Result<(S, Connection), ConnectError> {
        if to.others.is_empty() {
            return Ok((S::open(self, to).await?, to.clone()));
        }
        let servers = to.servers();
        let is_out = |server: &Server| passed_over.contains(server);
        let mut waiting: VecDeque<_> =
            self.primaries.order(&servers).into_iter().filter(|server| !is_out(server)).collect();
        let mut tried: Vec<_> = servers
            .iter()
            .filter(|server| is_out(server))
            .map(|server| (server.clone(), NotPrimary::PassedOver))
            .collect();
        let mut running = FuturesUnordered::new();
        let mut next_start = Instant::now();
        loop {
            if next_start <= Instant::now()
                && let Some(server) = waiting.pop_front()
            {
                let to = to.to(&server);
                running.push(async move { (server, S::open(self, &to).await, to) });
                next_start = Instant::now() + STAGGER;
            }
            tokio::select! {
                biased;
                Some((server, connected, to)) = running.next() => {
                    let what = match connected {
                        Ok(session) if session.is_of_standby() => NotPrimary::Standby,
                        Ok(session) => {
                            self.primaries.found(servers, server);
                            return Ok((session, to));
                        }
                        Err(error) => NotPrimary::Failed(Box::new(error)),
                    };
                    tried.push((server, what));
                    next_start = Instant::now();
                }
                () = sleep_until(next_start), if !waiting.is_empty() => {}
                else => return Err(ConnectError::NoPrimary { tried }),
            }
        }
    }
}

impl Primaries {
    /// `servers`, the one first that was the primary last.
    fn order(&self, servers: &[Server]) -> Vec<Server> {
        let last = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(servers).cloned();
        let mut order = servers.to_vec();
        order.sort_by_key(|server| last.as_ref() != Some(server));
        order
    }

    fn found(&self, servers: Vec<Server>, primary: Server) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(servers, primary);
    }
}
