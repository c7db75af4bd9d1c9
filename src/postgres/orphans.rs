//! The slots of a server, as they are told where nothing declares them, and what each pins.
//!
//! Source: <https://www.postgresql.org/docs/current/view-pg-replication-slots.html>.

use jiff::Timestamp;
use serde::Deserialize;
use tokio_postgres::Client;

use super::SqlError;
use super::sql::answer;
use crate::ident::SlotName;

/// A slot that may be one that nothing declares.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Orphan {
    pub slot_name: SlotName,
    /// `logical` or `physical`.
    pub slot_type: String,
    pub plugin: Option<String>,
    pub database: Option<String>,
    /// WAL that it makes the server keep, in bytes; `None` of one that keeps none.
    pub retained_bytes: Option<u64>,
    /// How many transactions ago the oldest catalog rows are that it keeps from being vacuumed.
    pub catalog_xmin_age: Option<u64>,
    /// The same of all rows, for physical ones.
    pub xmin_age: Option<u64>,
    pub wal_status: Option<String>,
    /// 17 and later.
    #[serde(default)]
    pub inactive_since: Option<Timestamp>,
    /// Who reads it, while somebody does.
    pub active_pid: Option<i32>,
    pub application_name: Option<String>,
    pub client_addr: Option<String>,
}

/// Holds for 15 to 18. Temporary slots go with their session, and a standby's copies of its primary's slots with those. On a
/// standby a slot may stand beyond what is known of its WAL end; `greatest` alone would take nothing for 0.
const SLOTS: &str = "\
    select (to_jsonb(s) || jsonb_build_object(
               'retained_bytes',
               case when s.restart_lsn is not null then greatest(0, pg_wal_lsn_diff(
                   case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                        else pg_current_wal_lsn() end, s.restart_lsn))::bigint end,
               'catalog_xmin_age', age(s.catalog_xmin), 'xmin_age', age(s.xmin),
               'application_name', nullif(a.application_name, ''), 'client_addr', host(a.client_addr)))::text
      from pg_replication_slots s left join pg_stat_get_activity(s.active_pid) a on s.active_pid is not null
     where not s.temporary and coalesce(to_jsonb(s)->>'synced', 'false') = 'false'
     order by s.active_pid is not null, 1";

/// The slots of the server; those that nobody reads first.
///
/// # Errors
/// The server refuses, shows a slot in a form that is not known, or the session breaks off.
pub async fn slots(client: &Client) -> Result<Vec<Orphan>, SqlError> {
    let rows = answer("pg_replication_slots", client.query_typed(SLOTS, &[])).await?;
    let unexpected = |source| SqlError::Unexpected { view: "pg_replication_slots", source };
    let mut orphans: Vec<Orphan> = Vec::new();
    for row in &rows {
        orphans.push(serde_json::from_str(row.try_get(0)?).map_err(unexpected)?);
    }
    orphans.sort_by_key(|orphan| (orphan.active_pid.is_some(), std::cmp::Reverse(orphan.retained_bytes)));
    Ok(orphans)
}
