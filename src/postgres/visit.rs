//! A SQL session in a turn at its server: it asks and goes.

use std::ops::Deref;

use super::sql::SqlSession;
use super::turns::Turn;
use super::{ConnectError, Connector};
use crate::config::Connection;

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

impl Deref for Visit {
    type Target = SqlSession;

    fn deref(&self) -> &Self::Target {
        &self.sql
    }
}
