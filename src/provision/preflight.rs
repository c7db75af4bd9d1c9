//! What will fail later, or is about to strike, said now and all at once: beside what the plan itself refuses.

use super::difference;
use super::{Kind, Observed, Plan, SlotStep};
use crate::config::{Budget, Connection, Database, OnDisable, Scope, Status};
use crate::ident::{quote_ident, quote_literal};
use crate::postgres::preflight::Allowed;
use crate::status::{Finding, age, size};

/// All that was found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preflight {
    /// What a step of the plan will run into.
    pub blocks: Vec<Finding>,
    /// What does no harm yet.
    pub warns: Vec<Finding>,
    /// Whether it will take a replication slot that it has not.
    pub takes_slot: bool,
    /// Whether it will take a walsender that it has not.
    pub takes_walsender: bool,
}

/// Looks at what `plan` is about to do on the server that `observed` is of and that allows `allowed`.
#[must_use]
pub fn preflight(database: &Database, observed: &Observed, plan: &Plan, allowed: &Allowed) -> Preflight {
    let is_active = database.status == Status::Active;
    let is_read = observed.slot.as_ref().is_some_and(|slot| slot.active_pid.is_some());
    let mut found = Preflight {
        blocks: Vec::new(),
        warns: warnings(database, observed),
        takes_slot: is_active && plan.slot.contains(&SlotStep::Create) && !plan.slot.contains(&SlotStep::Drop),
        takes_walsender: is_active && !is_read,
    };
    if found.takes_slot && allowed.slots.is_used_up() {
        let most = allowed.slots.most;
        found.blocks.push(Finding {
            code: "no_free_slot",
            sentence: format!("no replication slot is left: max_replication_slots is {most}, and all of them are in use"),
            hint: format!(
                "drop one that nobody uses: SELECT slot_name, active, wal_status FROM pg_replication_slots; or run: ALTER \
                 SYSTEM SET max_replication_slots = {}; and restart the server",
                most.saturating_add(10)
            ),
        });
    }
    if found.takes_walsender && allowed.walsenders.is_used_up() {
        let most = allowed.walsenders.most;
        found.blocks.push(Finding {
            code: "no_free_walsender",
            sentence: format!("no walsender is left: max_wal_senders is {most}, and all of them run"),
            hint: format!(
                "end one: SELECT pid, application_name FROM pg_stat_replication; or run: ALTER SYSTEM SET max_wal_senders = \
                 {}; and restart the server",
                most.saturating_add(10)
            ),
        });
    }
    if plan.publication.as_ref().is_some_and(|step| step.kind == Kind::Create) {
        found.blocks.extend(rights(database, database.publisher(observed.primary.is_some()), allowed));
    }
    found
}

/// What the role that `to` names lacks for making the publication there.
fn rights(database: &Database, to: &Connection, allowed: &Allowed) -> Vec<Finding> {
    if allowed.superuser {
        return Vec::new();
    }
    let (user, dbname) = (quote_ident(&to.username), quote_ident(&to.database));
    let create = difference::create(database, &difference::declared(database, None));
    let mut found = Vec::new();
    if !allowed.may_create {
        found.push(Finding {
            code: "may_not_create",
            sentence: format!(
                "the role {user} may not create in the database {dbname}, which making a publication takes"
            ),
            hint: format!("run: GRANT CREATE ON DATABASE {dbname} TO {user}; or have one who may run: {create};"),
        });
    }
    if !allowed.not_usable.is_empty() {
        let schemas: Vec<_> = allowed.not_usable.iter().map(|schema| quote_ident(schema)).collect();
        let schemas = schemas.join(", ");
        found.push(Finding {
            code: "may_not_use_schema",
            sentence: format!("the role {user} may not use the schema {schemas}, which publishing its tables takes"),
            hint: format!("run: GRANT USAGE ON SCHEMA {schemas} TO {user}; or have one who may run: {create};"),
        });
    }
    match database.scope.as_ref().unwrap_or(&Scope::AllTables) {
        Scope::Tables(_) if allowed.not_owned.is_empty() => {}
        Scope::Tables(_) => {
            let anothers = &allowed.not_owned;
            let tables: Vec<_> = anothers.iter().map(|it| format!("{} (of {})", it.table, it.owner)).collect();
            let mut owners: Vec<_> = anothers.iter().map(|it| quote_ident(&it.owner)).collect();
            owners.sort();
            owners.dedup();
            let grant = if anothers.iter().any(|it| it.of_superuser) {
                String::new()
            } else {
                format!("run: GRANT {} TO {user}; or ", owners.join(", "))
            };
            found.push(Finding {
                code: "not_the_owner",
                sentence: format!(
                    "the role {user} does not own these tables, which publishing them takes: {}",
                    tables.join(", ")
                ),
                hint: format!("{grant}have their owner, or a superuser, run: {create};"),
            });
        }
        scope @ (Scope::AllTables | Scope::Schemas(_)) => {
            let what = if *scope == Scope::AllTables { "all tables" } else { "all tables of a schema" };
            found.push(Finding {
                code: "not_a_superuser",
                sentence: format!("the role {user} is no superuser, which a publication for {what} takes"),
                hint: format!("have a superuser run: {create}; or list the tables that {user} owns in `tables`"),
            });
        }
    }
    found
}

/// How many SQL sessions one database has at once at the most: of its round, of the guard, of its stream.
const SQL_SESSIONS: u32 = 3;

/// What the server is, and will do to the slot some day.
fn warnings(database: &Database, observed: &Observed) -> Vec<Finding> {
    let server = &observed.server;
    let mut found = Vec::new();
    if server.version >= 190_000 {
        found.push(Finding {
            code: "server_version",
            sentence: format!("PostgreSQL {} is newer than slotd knows", server.version / 10_000),
            hint: "look for a newer slotd".to_owned(),
        });
    }
    if let (Budget::Bytes(budget), Some(limit)) = (database.max_retained_wal, server.max_slot_wal_keep_size)
        && limit < budget
    {
        found.push(Finding {
            code: "server_strikes_first",
            sentence: format!(
                "the server invalidates the slot at {} of WAL (max_slot_wal_keep_size), before its budget of {} is used up",
                size(limit),
                size(budget)
            ),
            hint: format!(
                "set max_retained_wal = \"{}MB\", or run: ALTER SYSTEM SET max_slot_wal_keep_size = {}; SELECT \
                 pg_reload_conf();",
                limit >> 20,
                quote_literal(&format!("{}MB", budget.div_ceil(1 << 20)))
            ),
        });
    }
    if let Some(standby) = observed.standby.as_ref().filter(|_| observed.primary.is_some()) {
        if !standby.feedback {
            found.push(Finding {
                code: "standby_feedback",
                sentence: "hot_standby_feedback is off on the standby: the slot is lost once its primary removes catalog rows that it needs"
                    .to_owned(),
                hint: "run on the standby: ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf();".to_owned(),
            });
        }
        if !standby.has_physical_slot {
            found.push(Finding {
                code: "standby_without_slot",
                sentence: "the standby has no physical slot on its primary (primary_slot_name): while it is away, its feedback counts for \
                           nothing and WAL that it needs may be removed"
                    .to_owned(),
                hint: "run on the primary: SELECT pg_create_physical_replication_slot('standby'); and on the standby: ALTER \
                       SYSTEM SET primary_slot_name = 'standby'; SELECT pg_reload_conf();"
                    .to_owned(),
            });
        }
    }
    if database.primary.is_some() && observed.standby.is_none() {
        found.push(Finding {
            code: "promoted",
            sentence: "the server is no standby (any more), and `primary` is not used".to_owned(),
            hint: "take `primary` out of the file".to_owned(),
        });
    }
    if !server.has_our_settings {
        found.push(Finding {
            code: "pooler",
            sentence: "the settings of our SQL session do not hold, as behind a pooler that ignores `options`: no statement has \
                       a limit there, and names mean what another search_path makes of them"
                .to_owned(),
            hint: "give `hostname` and `port` of the server itself, past PgBouncer or whatever stands before it".to_owned(),
        });
    }
    if let Some(limit) = server.connection_limit.filter(|limit| *limit < SQL_SESSIONS) {
        let user = quote_ident(&database.connection.username);
        found.push(Finding {
            code: "few_connections",
            sentence: format!(
                "the role {user} may have {limit} SQL sessions at once (CONNECTION LIMIT), and slotd takes up to \
                 {SQL_SESSIONS}: it may learn late how its slot does"
            ),
            hint: format!("run: ALTER ROLE {user} CONNECTION LIMIT -1;"),
        });
    }
    let keeps = database.on_disable == OnDisable::Keep;
    if let Some(timeout) = server.idle_replication_slot_timeout.filter(|_| database.status == Status::Disabled && keeps)
    {
        found.push(Finding {
            code: "idle_timeout",
            sentence: format!(
                "the server invalidates a slot that nobody has read for {} (idle_replication_slot_timeout), and this \
                 database is disabled",
                age(timeout)
            ),
            hint: "set on_disable = \"drain\" or \"drop\", or enable the database before; or run: ALTER SYSTEM SET \
                   idle_replication_slot_timeout = 0; SELECT pg_reload_conf();"
                .to_owned(),
        });
    }
    found
}

#[cfg(test)]
mod tests;
