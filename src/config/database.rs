//! `[[postgres_databases]]`: one database, its slot and its publication.

use std::collections::BTreeMap;
use std::ops::Range;

use super::connection::{connection, primary, primary_table};
use super::defaults::{SAMPLE, made_fit, shared};
use super::origins::Origins;
use super::read::At;
use super::sinks::{DEFAULT_SINK, SinkEntry};
use super::table::Table;
use super::units::size;
use super::wrong::{Wrong, nearest};
use super::{
    Budget, Connection, Database, GeneratedColumns, OnDisable, OnSlotLost, OnWalLimit, Provision, Server, Status, keys,
    names, publication,
};
use crate::ident::{DatabaseName, NameError, PublicationName, SinkName, SlotName};

/// Begins the name of a slot that the file does not name.
const SLOT_PREFIX: &str = "slotd_";

/// Of a replica and its primary, which one has the slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SlotOn {
    #[default]
    Replica,
    Primary,
}

/// Where the name of a slot comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotNamed {
    /// From the database's own `slot_name`.
    Here(Range<usize>),
    /// From one in `[defaults]`, the same for all.
    ForAll(Range<usize>),
    /// From the database's name.
    ByDatabase,
}

/// A database, and where the file speaks of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: At<DatabaseName>,
    /// Where it is, if that can be read.
    pub(super) servers: Vec<Server>,
    pub(super) slot: Option<SlotName>,
    pub(super) slot_named: SlotNamed,
    pub(super) sinks: Vec<SinkName>,
    pub(super) origins: EntryOrigins,
    /// `None` if a part of it is wrong.
    pub(super) database: Option<Database>,
}

/// Where the values of a database stand.
#[derive(Debug, Default)]
pub(super) struct EntryOrigins {
    /// Of `name`, `primary` and the slot's keys.
    pub(super) slot: Origins,
    pub(super) connection: Origins,
    pub(super) primary: Option<Origins>,
}

/// A connection, and where the files speak of it.
struct Reached {
    connection: Connection,
    origins: Origins,
}

const KEY: &str = "postgres_databases";

/// What a database is read with.
struct With<'a, 's> {
    defaults: &'s Table<'a>,
    /// What is taken from them.
    shared: Vec<&'static str>,
    sinks: &'s BTreeMap<SinkName, SinkEntry>,
}

/// The databases of all files, as far as they can be read. What is wrong in `defaults` by itself is recorded once.
pub(super) fn databases<'a>(
    tops: &[&Table<'a>],
    defaults: &Table<'a>,
    sinks: &BTreeMap<SinkName, SinkEntry>,
) -> Vec<Entry> {
    let with = With { defaults, shared: shared(), sinks };
    defaults.reader().complete(|| {
        let _ = entry(None, defaults, &with);
        let _ = primary_table(defaults).and_then(|primary| connection(&primary));
    });
    let known = [keys::DATABASE, keys::CONNECTION, keys::SLOT, keys::NESTED];
    let tables = tops.iter().flat_map(|top| top.tables(KEY, KEY, &known).unwrap_or_default());
    tables.filter_map(|table| database(table, &with)).collect()
}

fn database(table: Table<'_>, with: &With<'_, '_>) -> Option<Entry> {
    let name = table.parsed("name", |text| Ok(DatabaseName::new(text)?));
    if table.key("name").is_none() {
        let wrong = Wrong::new("`name` is missing from [[postgres_databases]]");
        table.reader().absent(table.span(), wrong.hint("write `name = \"shop\"`; it stands in logs, health and paths"));
    }
    let subject = name.as_ref().map_or_else(|| table.span().clone(), |name| name.span.clone());
    let table = table.with_defaults(with.defaults, &with.shared, name_of(name.as_ref()));
    table.reader().about(&subject, || entry(name, &table, with))
}

/// What stands for `{name}`.
fn name_of(name: Option<&At<DatabaseName>>) -> &str {
    name.map_or(SAMPLE, |name| name.value.as_str())
}

/// Reads what stands in `table`, and what it takes from `[defaults]`.
fn entry(name: Option<At<DatabaseName>>, table: &Table<'_>, with: &With<'_, '_>) -> Option<Entry> {
    let nested = nested(table).map(|nested| nested.with_defaults(with.defaults, &with.shared, name_of(name.as_ref())));
    let at = nested.as_ref().unwrap_or(table);
    let source = source(table, at);

    let slot_name = at.parsed("slot_name", |text| Ok(SlotName::new(text)?));
    let publication_name = at.parsed("publication_name", |text| Ok(PublicationName::new(text)?));
    let status = at.choice("status", &[("active", Status::Active), ("disabled", Status::Disabled)]);
    let scope = publication::scope(at);
    let publish = at.parsed("publish", publication::publish);
    let publish_via_partition_root = at.flag("publish_via_partition_root");
    let generated = [("none", GeneratedColumns::None), ("stored", GeneratedColumns::Stored)];
    let publish_generated_columns = at.choice("publish_generated_columns", &generated);
    let provision = at.choice("provision", Provision::ALL);
    let on_wal_limit = at.choice("on_wal_limit", OnWalLimit::ALL);
    let on_disable = at.choice("on_disable", OnDisable::ALL);
    let on_slot_lost = at.choice("on_slot_lost", OnSlotLost::ALL);
    let sinks = sink_names(at, with.sinks);
    let max_retained_wal = at.quantity("max_retained_wal", "10GB", |text| match size(text)? {
        0 => Err(Wrong::new("no slot can keep to a budget of nothing")),
        bytes => Ok(Budget::Bytes(bytes)),
    });
    let allow_no_identity = at.list("allow_no_identity", false, names::table);
    let allow_sync_standby = at.flag("allow_sync_standby");
    let failover = at.flag("failover");
    let on_replica = source.as_ref().is_some_and(|(_, primary)| primary.is_some());
    // That of [defaults] is for those whose slot is on a primary.
    let failover = failover.filter(|_| at.has("failover") || !on_replica);
    if let Some(at) = failover.as_ref().filter(|at| at.value && on_replica) {
        let wrong = Wrong::new("`failover` is for a slot on a primary, and this one is on a replica");
        let hint = "leave `failover` out: the slot stays with the replica, and lives through its promotion; or write slot_on = \"primary\"";
        table.reader().error(&at.span, wrong.hint(hint));
    }

    let name = name?;
    let slot_named = match at.key("slot_name") {
        Some(span) if at.has("slot_name") => SlotNamed::Here(span),
        Some(span) if !at.is_template("slot_name") => SlotNamed::ForAll(span),
        _ => SlotNamed::ByDatabase,
    };
    let slot = match slot_name {
        Some(given) => Some(given.value),
        None if at.key("slot_name").is_some() => None,
        None => default_slot(&name.value)
            .map_err(|error| {
                let wrong = Wrong::new(format!("`slot_name` is missing, and none can be made of this name: {error}"));
                table.reader().error(&name.span, wrong.hint("write `slot_name`, or a shorter `name`"));
            })
            .ok(),
    };
    let publication = match publication_name {
        Some(given) => Some(given.value),
        None => slot.as_ref().and_then(|slot| PublicationName::new(slot.as_str()).ok()),
    };
    let (reached, primary) = source.map_or((None, None), |(reached, primary)| (Some(reached), primary));
    let (connection, connection_origins) = reached.map(|to| (to.connection, to.origins)).unzip();
    let (primary, primary_origins) = primary.map(|to| (to.connection, to.origins)).unzip();
    let origins = EntryOrigins {
        slot: Origins::of(at, &[keys::SLOT]).below(&Origins::of(table, &[keys::DATABASE])),
        connection: connection_origins.unwrap_or_default(),
        primary: primary_origins,
    };
    let servers = connection.as_ref().map(Connection::servers).unwrap_or_default();
    let sinks = sinks.unwrap_or_default();
    let whole = connection.zip(slot.clone()).zip(publication);
    let database = whole.map(|((connection, slot), publication)| Database {
        name: name.value.clone(),
        connection,
        primary,
        slot,
        publication,
        status: status.map_or(Status::Active, |at| at.value),
        scope,
        publish: publish.map(|at| at.value),
        publish_via_partition_root: publish_via_partition_root.map(|at| at.value),
        publish_generated_columns: publish_generated_columns.map(|at| at.value),
        provision: provision.map(|at| at.value).unwrap_or_default(),
        sinks: sinks.clone(),
        max_retained_wal: max_retained_wal.map_or(Budget::Server, |at| at.value),
        on_wal_limit: on_wal_limit.map(|at| at.value).unwrap_or_default(),
        on_disable: on_disable.map(|at| at.value).unwrap_or_default(),
        on_slot_lost: on_slot_lost.map(|at| at.value).unwrap_or_default(),
        allow_no_identity: allow_no_identity.map(values).unwrap_or_default(),
        allow_sync_standby: allow_sync_standby.is_some_and(|at| at.value),
        failover: failover.is_some_and(|at| at.value),
    });
    Some(Entry { name, servers, slot, slot_named, sinks, origins, database })
}

/// Where the slot is, and where the primary is if that is elsewhere.
fn source(table: &Table<'_>, at: &Table<'_>) -> Option<(Reached, Option<Reached>)> {
    let slot_on = at.choice("slot_on", &[("replica", SlotOn::Replica), ("primary", SlotOn::Primary)]);
    let origins_of = |table: &Table<'_>| Origins::of(table, &[keys::CONNECTION]).with_url(table);
    let replica = Reached { connection: connection(table)?, origins: origins_of(table) };
    let Some(span) = table.key("primary") else {
        // One of [defaults] is for those that have a primary.
        if let Some(slot_on) = slot_on.filter(|_| at.has("slot_on")) {
            let wrong = Wrong::new("`slot_on` is given, and no `primary`");
            let hint = "write `primary = { hostname = \"…\" }`, or leave `slot_on` out";
            table.reader().absent(&slot_on.span, wrong.hint(hint));
        }
        return Some((replica, None));
    };
    let inner = primary_table(table)?;
    let to_primary = primary(&inner, &replica.connection)?;
    if let Some(hosts) = table.key("hosts") {
        let wrong = Wrong::new("`primary` is given beside `hosts`, of which the primary is found");
        let hint = "name the replica with `hostname`; `hosts` may stand in `primary`";
        table.reader().error_with(&span, wrong.hint(hint), &hosts, "the servers");
        return None;
    }
    if to_primary.database != replica.connection.database {
        let wrong = Wrong::new(format!(
            "`primary` leads to the database {}, and the replica to {}",
            to_primary.database, replica.connection.database
        ));
        table.reader().error(&span, wrong.hint("both are one database of one cluster: leave `database` out"));
        return None;
    }
    let primary = Reached { connection: to_primary, origins: origins_of(&inner).below(&replica.origins) };
    if replica.connection.servers().iter().any(|server| primary.connection.servers().contains(server)) {
        let wrong = Wrong::new("`primary` is the server that `hostname` names already");
        table
            .reader()
            .error(&span, wrong.hint("leave `primary` out; it is for a database whose `hostname` is a replica"));
        return None;
    }
    Some(match slot_on.map(|at| at.value).unwrap_or_default() {
        SlotOn::Replica => (replica, Some(primary)),
        SlotOn::Primary => (primary, None),
    })
}

/// The slot's own table, if the slot's keys stand there.
fn nested<'a>(table: &Table<'a>) -> Option<Table<'a>> {
    let key = "replication_slots";
    let span = table.key(key)?;
    let tables = table.tables(key, "postgres_databases.replication_slots", &[keys::SLOT])?;
    for flat in keys::SLOT {
        if let Some((_, flat_span)) = table.first_of(&[flat]) {
            let wrong = Wrong::new(format!("`{flat}` stands beside `{key}`, and one of the two forms is meant"));
            let hint =
                format!("move it under [[postgres_databases.{key}]], or write the slot's keys without that table");
            table.reader().error_with(&flat_span, wrong.hint(hint), &span, "the slot's own table");
        }
    }
    let several = |span: &Range<usize>, count: usize| {
        let wrong = Wrong::new(format!("a database has one replication slot, and this one has {count}"));
        table.reader().error(span, wrong.hint("write one more [[postgres_databases]] for each further slot"));
    };
    match tables.get(1) {
        Some(second) => several(second.span(), tables.len()),
        None if tables.is_empty() => several(&span, 0),
        None => {}
    }
    tables.into_iter().next()
}

/// The slot's name where the file gives none.
fn default_slot(name: &DatabaseName) -> Result<SlotName, NameError> {
    SlotName::new(format!("{SLOT_PREFIX}{}", made_fit(name.as_str())))
}

fn values<T>(list: At<Vec<At<T>>>) -> Vec<T> {
    list.value.into_iter().map(|at| at.value).collect()
}

fn sink_names(at: &Table<'_>, sinks: &BTreeMap<SinkName, SinkEntry>) -> Option<Vec<SinkName>> {
    if at.key("sink").is_none() {
        return SinkName::new(DEFAULT_SINK).ok().map(|name| vec![name]);
    }
    let list = at.list("sink", true, |text| {
        let there = |name: &SinkName| at.reader().is_unsure() || sinks.contains_key(name);
        SinkName::new(text).ok().filter(there).ok_or_else(|| {
            let wrong = Wrong::new("there is no such sink");
            match nearest(text, sinks.keys().map(SinkName::as_str)) {
                Some(near) => wrong.hint(format!("did you mean \"{near}\"?")),
                None => wrong.hint("make it with [sinks.NAME]"),
            }
        })
    })?;
    if list.value.is_empty() {
        let wrong = Wrong::new("`sink` is empty, and changes would go nowhere");
        at.reader().error(&list.span, wrong.hint(format!("leave `sink` out for \"{DEFAULT_SINK}\"")));
        return None;
    }
    Some(values(list))
}
