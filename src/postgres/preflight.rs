//! What a server allows, as far as it can be known before it is tried.
//!
//! Source: <https://www.postgresql.org/docs/current/logical-replication-config.html>,
//! <https://www.postgresql.org/docs/current/sql-createpublication.html>.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::SqlError;
use super::identity::Parameter;
use super::sql::answer;
use crate::ident::TableName;

/// What a server allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `max_replication_slots`, and how many there are.
    pub slots: Limit,
    /// `max_wal_senders`, and how many run.
    pub walsenders: Limit,
    /// Whether our role is a superuser, or what a managed service has in its place.
    pub superuser: bool,
    /// Whether it may create in the database.
    pub may_create: bool,
    /// Which of the declared tables it does not own, each with its owner.
    pub not_owned: Vec<(TableName, String)>,
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

/// Holds for 15 to 18; a role without further rights sees all of it. The owner is asked for as CREATE PUBLICATION does: a
/// member of the owner owns.
const ALLOWED: &str = "\
    select (select count(*) from pg_replication_slots)::int, current_setting('max_replication_slots')::int,
           (select count(*) from pg_stat_get_wal_senders())::int, current_setting('max_wal_senders')::int,
           (select rolsuper from pg_roles where rolname = current_user)
           or exists (select from pg_roles admin
                       where admin.rolname in ('rds_superuser', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin')
                         and pg_has_role(admin.oid, 'MEMBER')),
           has_database_privilege(current_database(), 'CREATE'),
           array(select at from unnest($1::text[]) with ordinality declared(name, at)
                   join pg_class c on c.oid = to_regclass(name)
                  where not pg_has_role(c.relowner, 'USAGE') order by at),
           array(select pg_get_userbyid(c.relowner)::text from unnest($1::text[]) with ordinality declared(name, at)
                   join pg_class c on c.oid = to_regclass(name)
                  where not pg_has_role(c.relowner, 'USAGE') order by at)";

/// What the server allows to our role, of `tables` too.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn allowed(client: &Client, tables: &[TableName]) -> Result<Allowed, SqlError> {
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let names: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
    let row = answer("what the server allows", client.query_typed_one(ALLOWED, &names)).await?;
    let number = |at: usize| Ok::<_, SqlError>(row.try_get::<_, i32>(at)?.unsigned_abs());
    let (at, owners): (Vec<i64>, Vec<String>) = (row.try_get(6)?, row.try_get(7)?);
    let table = |at: i64| tables.get(usize::try_from(at - 1).ok()?).cloned();
    Ok(Allowed {
        slots: Limit { used: number(0)?, most: number(1)? },
        walsenders: Limit { used: number(2)?, most: number(3)? },
        superuser: row.try_get(4)?,
        may_create: row.try_get(5)?,
        not_owned: at.into_iter().zip(owners).filter_map(|(at, owner)| Some((table(at)?, owner))).collect(),
    })
}
