//! What a server allows, as far as it can be known before it is tried.
//!
//! Source: <https://www.postgresql.org/docs/current/logical-replication-config.html>,
//! <https://www.postgresql.org/docs/current/sql-createpublication.html>.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::SqlError;
use super::catalog::OID_OF_NAME;
use super::identity::Parameter;
use super::sql::answer;
use crate::ident::TableName;

/// What a server allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `max_replication_slots`, and how many there are.
    pub slots: Limit,
    /// `max_wal_senders`, and how many run; a session of ours that holds no slot is about to end or to stream, and does not
    /// count.
    pub walsenders: Limit,
    /// Whether our role is a superuser, or what a managed service has in its place.
    pub superuser: bool,
    /// Whether it may create in the database.
    pub may_create: bool,
    /// The schemas of declared tables that it may not use.
    pub not_usable: Vec<String>,
    /// Which of the declared tables it does not own, nor of those that inherit from them.
    pub not_owned: Vec<Anothers>,
}

/// A table of another role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anothers {
    pub table: TableName,
    pub owner: String,
    /// Whether the owner is a superuser, of whom nobody should be made a member for a table's sake.
    pub of_superuser: bool,
}

/// A limit and what is used of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    pub used: u32,
    pub most: u32,
}

impl Limit {
    /// Whether nothing is left.
    #[must_use]
    pub const fn is_used_up(&self) -> bool {
        self.used >= self.most
    }
}

/// Holds for 15 to 18; a role without further rights sees all of it: of others' sessions the pid, of its own all.
const ALLOWED: &str = "\
    select (select count(*) from pg_get_replication_slots())::int, current_setting('max_replication_slots')::int,
           (select count(*) from pg_stat_get_wal_senders() w
             where w.pid not in (select a.pid from pg_stat_get_activity(null) a
                                  where a.application_name = current_setting('application_name'))
                or w.pid in (select s.active_pid from pg_get_replication_slots() s where s.active_pid is not null))::int,
           current_setting('max_wal_senders')::int,
           current_setting('is_superuser') = 'on'
           or exists (select from unnest('{rds_superuser,cloudsqlsuperuser,alloydbsuperuser,azure_pg_admin}'::text[]) admin
                       where pg_has_role(to_regrole(admin), 'MEMBER')),
           has_database_privilege(current_database(), 'CREATE')";

/// Holds for 15 to 18. The owner is asked for as CREATE PUBLICATION does: a member of the owner owns, and what inherits from a
/// table is published with it, but for the partitions of a partitioned one.
const TABLES_ALLOWED: &str = "\
    with recursive tables(oid) as (
        select $oid_of_name from unnest($1::text[]) name
        union
        select i.inhrelid from pg_inherits i join tables t on t.oid = i.inhparent
          join pg_class parent on parent.oid = i.inhparent and parent.relkind <> 'p'),
    anothers as (
        select n.nspname::text as schema, c.relname::text as name, o.rolname::text as owner, o.rolsuper as of_superuser
          from tables t join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
          join pg_roles o on o.oid = c.relowner
         where not pg_has_role(c.relowner, 'USAGE'))
    select array(select schema from anothers order by schema, name),
           array(select name from anothers order by schema, name),
           array(select owner from anothers order by schema, name),
           array(select of_superuser from anothers order by schema, name),
           array(select distinct n.nspname::text
                   from tables t join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace
                  where not has_schema_privilege(n.oid, 'USAGE') order by 1)";

/// What the server allows to our role, of `tables` too.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn allowed(client: &Client, tables: &[TableName]) -> Result<Allowed, SqlError> {
    let row = answer("what the server allows", client.query_typed_one(ALLOWED, &[])).await?;
    let number = |at: usize| Ok::<_, SqlError>(row.try_get::<_, i32>(at)?.unsigned_abs());
    let allowed = Allowed {
        slots: Limit { used: number(0)?, most: number(1)? },
        walsenders: Limit { used: number(2)?, most: number(3)? },
        superuser: row.try_get(4)?,
        may_create: row.try_get(5)?,
        ..Allowed::default()
    };
    if tables.is_empty() {
        return Ok(allowed);
    }
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let names: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
    let query = TABLES_ALLOWED.replace("$oid_of_name", OID_OF_NAME);
    let row = answer("what the server allows of the tables", client.query_typed_one(&query, &names)).await?;
    let (schemas, names): (Vec<String>, Vec<String>) = (row.try_get(0)?, row.try_get(1)?);
    let (owners, superusers): (Vec<String>, Vec<bool>) = (row.try_get(2)?, row.try_get(3)?);
    let not_owned = schemas.into_iter().zip(names).zip(owners.into_iter().zip(superusers));
    let not_owned = not_owned.map(|((schema, table), (owner, of_superuser))| Anothers {
        table: TableName { schema, table },
        owner,
        of_superuser,
    });
    Ok(Allowed { not_usable: row.try_get(4)?, not_owned: not_owned.collect(), ..allowed })
}

/// Which cluster it is, where no replication session can ask.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn system_identifier(client: &Client) -> Result<u64, SqlError> {
    let sql = "select system_identifier::text from pg_control_system()";
    let row = answer("the system identifier", client.query_typed_one(sql, &[])).await?;
    // It is an unsigned number that the server shows as a signed one.
    Ok(row.try_get::<_, &str>(0)?.parse::<i64>().map(i64::cast_unsigned).unwrap_or_default())
}
