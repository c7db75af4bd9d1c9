//! What a stream has to know at once when it has begun, in one question.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::SqlError;
use super::sql::answer;
use super::types::Horizon;
use crate::ident::SlotName;
use crate::lsn::Lsn;

/// `xmin` is the first transaction that may not have ended before `position`, the end of the WAL.
const FACTS: &str = "
select
    (
        select s.confirmed_flush_lsn::pg_catalog.text
        from pg_catalog.pg_replication_slots as s
        where s.slot_name = $1
    ) as confirmed_flush_lsn,
    pg_catalog.current_setting('synchronous_standby_names') as synchronous_standby_names,
    pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text as xmin,
    pg_catalog.pg_wal_lsn_diff(
        case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
            else pg_catalog.pg_current_wal_insert_lsn() end,
        '0/0'
    )::pg_catalog.int8 as position";

/// What the server has while a stream holds its slot.
#[derive(Debug)]
pub struct StreamFacts {
    /// The slot's.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// Which standbys a COMMIT waits for.
    pub synchronous_standby_names: String,
    /// What the types of its rows are compared with.
    pub horizon: Horizon,
}

impl StreamFacts {
    /// Of this moment, for the stream from `slot`.
    ///
    /// # Errors
    /// The server refuses, or the session breaks off.
    pub async fn look(client: &Client, slot: &SlotName) -> Result<Self, SqlError> {
        let slot = slot.as_str();
        let parameters = [(&slot as _, Type::NAME)];
        let row = answer("the slot and the server's settings", client.query_typed_one(FACTS, &parameters)).await?;
        let confirmed: Option<&str> = row.try_get("confirmed_flush_lsn")?;
        Ok(Self {
            confirmed_flush_lsn: confirmed.and_then(|lsn| lsn.parse().ok()),
            synchronous_standby_names: row.try_get("synchronous_standby_names")?,
            horizon: Horizon::of(&row)?,
        })
    }
}
