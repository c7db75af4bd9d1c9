//! A standby that has a slot, and what its primary does for it.
//!
//! A standby makes a slot once it replays a record of the transactions that run on its primary, and an idle primary writes none.
//!
//! Source: <https://www.postgresql.org/docs/current/logicaldecoding-explanation.html#LOGICALDECODING-REPLICATION-SLOTS>,
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION>.

use super::sql::answer;
use super::{SqlError, SqlSession};
use crate::lsn::Lsn;

/// What a slot on it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbyFacts {
    /// `hot_standby_feedback`: without, the primary removes rows that a slot here needs.
    pub feedback: bool,
    /// `primary_slot_name`: without, the primary removes WAL that was not sent yet.
    pub has_physical_slot: bool,
    /// Whether WAL comes.
    pub receives: bool,
    /// Where it comes from, if our role may see that.
    pub sender: Option<String>,
    /// Whether somebody has paused replay.
    pub paused: bool,
    pub replayed: Lsn,
}

/// Holds for 15 to 18; all of it is null once the standby is promoted.
const STANDBY: &str = "\
    select current_setting('hot_standby_feedback')::bool, current_setting('primary_slot_name') <> '',
           exists (select from pg_stat_get_wal_receiver() where pid is not null),
           (select sender_host || ':' || sender_port from pg_stat_get_wal_receiver()),
           case when pg_is_in_recovery() then pg_is_wal_replay_paused() end,
           pg_last_wal_replay_lsn()::text";

/// What a slot on the standby depends on.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn standby(sql: &SqlSession) -> Result<StandbyFacts, SqlError> {
    let row = answer("the standby's settings", sql.query_typed_one(STANDBY, &[])).await?;
    Ok(StandbyFacts {
        feedback: row.try_get(0)?,
        has_physical_slot: row.try_get(1)?,
        receives: row.try_get(2)?,
        sender: row.try_get(3)?,
        paused: row.try_get::<_, Option<bool>>(4)?.unwrap_or_default(),
        replayed: row.try_get::<_, Option<&str>>(5)?.and_then(|lsn| lsn.parse().ok()).unwrap_or_default(),
    })
}

/// The end of all that the `primary` has inserted.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn inserted(primary: &SqlSession) -> Result<Lsn, SqlError> {
    let row = answer("the end of the WAL", primary.query_typed_one("select pg_current_wal_insert_lsn()::text", &[]));
    Ok(row.await?.try_get::<_, &str>(0)?.parse().unwrap_or_default())
}

/// How the primary was made to say what runs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshot {
    /// At once.
    Logged,
    /// Our role may not call `pg_log_standby_snapshot()`. Any WAL makes the server do it by itself, within 15 seconds.
    Message,
}

/// The prefix of our messages, which are empty.
const PREFIX: &str = "slotd";

/// Whether a message outside of transactions is one of ours, which streams leave out.
#[must_use]
pub fn is_ours(prefix: &[u8], content: &[u8]) -> bool {
    prefix == PREFIX.as_bytes() && content.is_empty()
}

/// Makes the `primary` say what runs on it.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn log_snapshot(primary: &SqlSession) -> Result<Snapshot, SqlError> {
    match primary.run("a standby snapshot", "select pg_log_standby_snapshot()").await {
        Ok(()) => Ok(Snapshot::Logged),
        // 42883: a primary of 15 has no such function.
        Err(SqlError::Server(error)) if matches!(error.sqlstate.as_str(), "42501" | "42883") => {
            primary.run("a logical message", &format!("select pg_logical_emit_message(false, '{PREFIX}', '')")).await?;
            Ok(Snapshot::Message)
        }
        Err(error) => Err(error),
    }
}
