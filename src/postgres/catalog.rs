//! What a server's catalog holds, as far as slotd asks.
//!
//! Views whose columns grow with every version are read as JSON, so that a column that is not there yet is just
//! absent. All names in the SQL are qualified or built in: the search path is empty.
//!
//! Source: <https://www.postgresql.org/docs/current/view-pg-replication-slots.html>.

use std::time::Duration;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::SqlError;
use super::sql::answer;
use crate::ident::SlotName;
use crate::lsn::Lsn;

/// What the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// `server_version_num`: 170002.
    pub version: u32,
    pub in_recovery: bool,
    /// `effective_wal_level` where the server has it, else `wal_level`.
    pub wal_level: String,
    /// `max_slot_wal_keep_size` in bytes; `None` without a limit.
    pub max_slot_wal_keep_size: Option<u64>,
    /// After which a slot that nobody holds is invalidated at a checkpoint; `None` without, and before 18.
    pub idle_replication_slot_timeout: Option<Duration>,
    /// Which standbys a COMMIT waits for.
    pub synchronous_standby_names: String,
    /// Of which standbys, by their physical slots, a failover slot waits for a change; `None` before 17.
    pub synchronized_standby_slots: Option<String>,
    /// Its clock.
    pub clock: Timestamp,
    /// When its postmaster was started.
    pub started: String,
    /// The end of WAL; on a standby, of what it has received.
    pub wal_end: Lsn,
    /// How many SQL sessions our role may have at once; `None` without a limit. Walsenders don't count.
    pub connection_limit: Option<u32>,
    /// Whether the settings of our SQL sessions hold. A pooler that is told to ignore `options` lets us in without them.
    pub has_our_settings: bool,
}

/// Holds for 15 to 18.
const SERVER: &str = "\
    select current_setting('server_version_num')::int, pg_is_in_recovery(),
           coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
           pg_size_bytes(current_setting('max_slot_wal_keep_size')),
           (case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                 else pg_current_wal_lsn() end)::text,
           current_setting('synchronous_standby_names'), pg_postmaster_start_time()::text,
           coalesce(extract(epoch from current_setting('idle_replication_slot_timeout', true)::interval), 0)::bigint,
           (extract(epoch from clock_timestamp()) * 1000)::bigint,
           (select rolconnlimit from pg_roles where rolname = current_user and not rolsuper and rolconnlimit >= 0),
           current_setting('search_path') = '' and current_setting('lock_timeout') = '10s',
           current_setting('synchronized_standby_slots', true)";

/// What the server is.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn server(client: &Client) -> Result<ServerFacts, SqlError> {
    let row = answer("the server's settings", client.query_typed_one(SERVER, &[])).await?;
    let (limit, idle): (i64, i64) = (row.try_get(3)?, row.try_get(7)?);
    Ok(ServerFacts {
        version: row.try_get::<_, i32>(0)?.unsigned_abs(),
        in_recovery: row.try_get(1)?,
        wal_level: row.try_get(2)?,
        max_slot_wal_keep_size: u64::try_from(limit).ok(),
        wal_end: row.try_get::<_, Option<&str>>(4)?.and_then(|lsn| lsn.parse().ok()).unwrap_or_default(),
        synchronous_standby_names: row.try_get(5)?,
        started: row.try_get(6)?,
        idle_replication_slot_timeout: u64::try_from(idle).ok().filter(|idle| *idle > 0).map(Duration::from_secs),
        clock: Timestamp::from_millisecond(row.try_get(8)?).unwrap_or_default(),
        connection_limit: row.try_get::<_, Option<i32>>(9)?.map(i32::unsigned_abs),
        has_our_settings: row.try_get(10)?,
        synchronized_standby_slots: row.try_get(11)?,
    })
}

/// Whether the server is a standby, or recovers otherwise.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn in_recovery(client: &Client) -> Result<bool, SqlError> {
    Ok(answer("recovery", client.query_typed_one("select pg_is_in_recovery()", &[])).await?.try_get(0)?)
}

/// The table that the column `name` names, schema and all; null if there is none. `to_regclass` fails where the role may not use
/// the schema.
pub(super) const OID_OF_NAME: &str = "\
    (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = (parse_ident(name))[1]::name and c.relname = (parse_ident(name))[2]::name)";

/// Which standbys a COMMIT waits for.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn synchronous_standby_names(client: &Client) -> Result<String, SqlError> {
    let sql = "select current_setting('synchronous_standby_names')";
    Ok(answer("synchronous_standby_names", client.query_typed_one(sql, &[])).await?.try_get(0)?)
}

/// A row of `pg_replication_slots`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SlotFacts {
    pub slot_name: SlotName,
    pub plugin: Option<String>,
    pub slot_type: String,
    /// The database that a logical slot decodes.
    pub database: Option<String>,
    pub temporary: bool,
    pub active_pid: Option<i32>,
    pub restart_lsn: Option<Lsn>,
    /// Every transaction before it had ended before all that the slot still sends.
    #[serde(default, deserialize_with = "xid")]
    pub catalog_xmin: Option<u32>,
    /// `None` while the slot is still being made.
    pub confirmed_flush_lsn: Option<Lsn>,
    pub wal_status: Option<String>,
    pub safe_wal_size: Option<i64>,
    #[serde(default)]
    pub two_phase: bool,
    /// Whether standbys may keep a copy of it; 17 and later.
    #[serde(default)]
    pub failover: bool,
    /// Whether it is such a copy; it stays one after a promotion. 17 and later.
    #[serde(default)]
    pub synced: bool,
    /// 17 and later.
    #[serde(default)]
    pub invalidation_reason: Option<String>,
    /// 16 and later; on 16 true for every invalidation.
    #[serde(default)]
    pub conflicting: Option<bool>,
    /// Since when nobody holds it; 17 and later.
    #[serde(default)]
    pub inactive_since: Option<Timestamp>,
    /// Who holds it, where we may see that.
    #[serde(default)]
    pub holder: Option<SlotHolder>,
}

/// The session that holds a slot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SlotHolder {
    pub pid: i32,
    pub application_name: Option<String>,
    pub client_addr: Option<String>,
}

impl SlotFacts {
    /// Why the server has invalidated the slot, in its own words; `None` while it has not.
    #[must_use]
    pub fn invalidation(&self) -> Option<&str> {
        let lost = self.wal_status.as_deref() == Some("lost") || self.conflicting == Some(true);
        // 16 does not tell which of the two conflicts with recovery it was. One whose WAL was removed stands nowhere.
        let by_conflict = self.conflicting == Some(true) && self.restart_lsn.is_some();
        let why = if by_conflict { "a conflict with recovery" } else { "wal_removed" };
        self.invalidation_reason.as_deref().or_else(|| lost.then_some(why))
    }
}

/// It comes as text.
fn xid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let xid: Option<String> = Deserialize::deserialize(deserializer)?;
    xid.map(|xid| xid.parse().map_err(D::Error::custom)).transpose()
}

/// Holds for 15 to 18.
const SLOTS: &str = "\
    select (to_jsonb(s) || jsonb_build_object('holder', case when s.active_pid is not null then
              (select jsonb_build_object('pid', a.pid, 'application_name', a.application_name,
                                         'client_addr', host(a.client_addr))
                 from pg_stat_get_activity(s.active_pid) a) end))::text
      from pg_replication_slots s
     where s.slot_name = any ($1)";

/// Those of `names` that exist.
///
/// # Errors
/// The server refuses, shows a slot in a form that is not known, or the session breaks off.
pub async fn slots(client: &Client, names: &[&SlotName]) -> Result<Vec<SlotFacts>, SqlError> {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let rows = answer("pg_replication_slots", client.query_typed(SLOTS, &[(&names, Type::NAME_ARRAY)])).await?;
    let facts = |row: &Row| {
        let unexpected = |source| SqlError::Unexpected { view: "pg_replication_slots", source };
        serde_json::from_str(row.try_get(0)?).map_err(unexpected)
    };
    rows.iter().map(facts).collect()
}

/// Transactions that a new slot waits for: those that write, and those that are prepared, which have no session. Holds for
/// 15 to 18.
const WRITERS: &str = "\
    select coalesce(string_agg(who, ', ' order by since), 'none that we may see') from (
        select format('pid %s (%s, since %s)', pid, coalesce(nullif(application_name, ''), 'no name'),
                      xact_start::timestamptz(0)) as who, xact_start as since
          from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
        union all
        select format('the prepared transaction %L of the database %s (since %s)', gid, database, prepared::timestamptz(0)),
               prepared
          from pg_prepared_xacts) open";

/// The role may have `track_activities` off, and then nobody can say more than that there is a walsender.
const IS_MAKING: &str = "\
    select exists (
        select from pg_stat_activity
         where backend_type = 'walsender' and datname = current_database()
           and application_name = current_setting('application_name')
           and (state = 'disabled'
                or state = 'active' and starts_with(query, format('CREATE_REPLICATION_SLOT %s ', $1::text))))";

/// Whether a session of ours is at work on making `slot`.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn is_making(client: &Client, slot: &SlotName) -> Result<bool, SqlError> {
    Ok(answer("pg_stat_activity", client.query_typed_one(IS_MAKING, &[(&slot.as_str(), Type::TEXT)]))
        .await?
        .try_get(0)?)
}

/// Who keeps a slot from being made, in words.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn writers(client: &Client) -> Result<String, SqlError> {
    Ok(answer("pg_stat_activity", client.query_typed_one(WRITERS, &[])).await?.try_get(0)?)
}

/// The most costly ones first, and not all of hundreds. Holds for 15 to 18.
const SLOTS_IN_USE: &str = "\
    with slots as (
        select slot_name, active_pid, database,
               pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                               restart_lsn) as held
          from pg_replication_slots),
    first as (select * from slots order by active_pid is not null, held desc nulls last, slot_name limit 10)
    select (select string_agg(format('%s (%s, holds back %s)', slot_name,
                                     coalesce('in use by pid ' || active_pid, 'nobody uses it'),
                                     coalesce(pg_size_pretty(held), 'nothing')), ', '
                              order by active_pid is not null, held desc nulls last, slot_name) from first)
           || (select case when count(*) > 10 then format(' and %s more', count(*) - 10) else '' end from slots)";

/// All slots of the server and the WAL that each holds back, in words; those that nobody uses first.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn slots_in_use(client: &Client) -> Result<String, SqlError> {
    let slots: Option<String> =
        answer("pg_replication_slots", client.query_typed_one(SLOTS_IN_USE, &[])).await?.try_get(0)?;
    Ok(slots.unwrap_or_default())
}
