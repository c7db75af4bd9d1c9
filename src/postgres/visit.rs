//! A SQL session in a turn at its server: it asks and goes.

use std::ops::Deref;
use std::time::Duration;

use tokio::time::timeout;

use super::sql::SqlSession;
use super::turns::Turn;
use super::{ConnectError, Connector};
use crate::config::Connection;

/// How long a turn waits for what may take its time.
const PATIENCE: Duration = Duration::from_millis(100);

/// A SQL session, open as long as the turn lasts.
#[derive(Debug)]
pub struct Visit {
    // Closed before the turn is another's.
    sql: SqlSession,
    _turn: Turn,
}

impl Connector {
    /// Waits for a turn at the server that `to` leads to, and opens a SQL session.
    ///
    /// # Errors
    /// The step of connecting that failed.
    pub async fn visit(&self, to: &Connection) -> Result<Visit, ConnectError> {
        let turn = self.turn(to).await;
        Ok(Visit { sql: self.sql(to).await?, _turn: turn })
    }
}

impl Visit {
    /// Awaits `work`. If that takes its time the visit ends meanwhile, so that other databases get its turn.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> (T, Option<Self>) {
        tokio::pin!(work);
        match timeout(PATIENCE, &mut work).await {
            Ok(done) => (done, Some(self)),
            Err(_) => {
                drop(self);
                (work.await, None)
            }
        }
    }
}

impl Deref for Visit {
    type Target = SqlSession;

    fn deref(&self) -> &Self::Target {
        &self.sql
    }
}
