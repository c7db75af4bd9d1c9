//! What a standby keeps of the slots of its primary; 17 and later.
//!
//! Source: <https://www.postgresql.org/docs/current/logicaldecoding-explanation.html#LOGICALDECODING-REPLICATION-SLOTS-SYNCHRONIZATION>.

use super::catalog::{self, SlotFacts};
use super::sql::answer;
use super::{SqlError, SqlSession};
use crate::ident::SlotName;

/// What stands between a standby and its copy of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are settings of a server, each apart")]
pub struct StandbyCopy {
    pub in_recovery: bool,
    /// `sync_replication_slots`.
    pub syncs: bool,
    /// `hot_standby_feedback`.
    pub feedback: bool,
    /// `primary_slot_name`.
    pub physical_slot: Option<String>,
    /// Whether `primary_conninfo` lacks a `dbname`, if our role may see that.
    pub lacks_dbname: bool,
    /// What has the slot's name there.
    pub slot: Option<SlotFacts>,
}

/// Holds for 17 and 18. Of `primary_conninfo`, which has a password in it, nothing but the one word is asked.
const COPY: &str = "\
    select pg_is_in_recovery(), current_setting('sync_replication_slots', true)::bool,
           current_setting('hot_standby_feedback')::bool, nullif(current_setting('primary_slot_name'), ''),
           (select setting !~ '\\mdbname\\s*=' from pg_settings where name = 'primary_conninfo')";

/// What the standby that `sql` leads to has of `slot`.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn copy(sql: &SqlSession, slot: &SlotName) -> Result<StandbyCopy, SqlError> {
    let row = answer("the standby's settings", sql.query_typed_one(COPY, &[])).await?;
    Ok(StandbyCopy {
        in_recovery: row.try_get(0)?,
        syncs: row.try_get::<_, Option<bool>>(1)?.unwrap_or_default(),
        feedback: row.try_get(2)?,
        physical_slot: row.try_get(3)?,
        lacks_dbname: row.try_get::<_, Option<bool>>(4)?.unwrap_or_default(),
        slot: catalog::slots(sql, &[slot]).await?.pop(),
    })
}
