//! Who holds back the WAL that is acknowledged already: the oldest transaction that has an xid.
//!
//! A slot's `restart_lsn` can't pass the WAL of a transaction that was open when it was confirmed.
//!
//! Source: <https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW>,
//! <https://www.postgresql.org/docs/current/view-pg-prepared-xacts.html>.

use jiff::Timestamp;
use serde::Deserialize;
use tokio_postgres::Client;

use super::SqlError;
use super::sql::answer;
use crate::status::XidHolder;

#[derive(Deserialize)]
struct Row {
    pid: Option<i32>,
    gid: Option<String>,
    application_name: Option<String>,
    database: Option<String>,
    since: Option<Timestamp>,
}

/// Holds for 15 to 18. The start of another role's transaction is shown to `pg_read_all_stats` alone.
const OLDEST: &str = "\
    select to_jsonb(oldest)::text from (
        select pid, null::text as gid, application_name, datname::text as database, xact_start as since,
               age(backend_xid) as age
          from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
        union all
        select null, gid, null, database::text, prepared, age(transaction) from pg_prepared_xacts
        order by age desc limit 1) oldest";

/// The oldest of the server, if there is any.
///
/// # Errors
/// The server refuses, shows it in a form that is not known, or the session breaks off.
pub async fn oldest(client: &Client) -> Result<Option<XidHolder>, SqlError> {
    let row = answer("pg_stat_activity", client.query_typed_opt(OLDEST, &[])).await?;
    let Some(row) = row else { return Ok(None) };
    let unexpected = |source| SqlError::Unexpected { view: "pg_stat_activity", source };
    let Row { pid, gid, application_name, database, since } =
        serde_json::from_str(row.try_get(0)?).map_err(unexpected)?;
    let application_name = application_name.filter(|name| !name.is_empty());
    Ok(Some(XidHolder { pid, gid, application_name, database, since }))
}
