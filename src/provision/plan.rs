//! What to do about the difference: a pure function.

use std::fmt::Write as _;

use super::Observed;
use crate::config::{Database, Publish, Scope};
use crate::ident::{TableName, quote_ident};
use crate::postgres::catalog::{PublicationFacts, PublishedTable, SlotFacts};
use crate::postgres::identity::{Unpublishable, Why};
use crate::postgres::trouble::{Class, Diagnosis};
use crate::postgres::{slot_trouble, sync_standby};
use crate::status::{Finding, Reason, Trouble};
use crate::stream::Holes;

/// What is done to the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Past what the publication can't be read for.
    AdvanceSlot,
    /// By the walsender's command.
    CreateSlot,
    /// It is invalidated, and the operator has accepted the gap.
    DropSlot,
}

/// What follows from what is wished and what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The SQL that makes the publication; it comes first.
    pub create_publication: Option<String>,
    /// In this order.
    pub steps: Vec<Action>,
    /// Why nothing may be done at all.
    pub refusal: Option<Refusal>,
    /// What is to be mended besides.
    pub findings: Vec<Finding>,
}

/// Why nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The slot leads on no more.
    Lost {
        reason: Reason,
        sentence: String,
    },
    Trouble(Diagnosis),
}

/// Compares. `known` says that the slot has been streamed before, `holes` what the operator said of gaps, `own` how our
/// own sessions call themselves.
#[must_use]
pub fn plan(database: &Database, observed: &Observed, known: bool, holes: Holes, own: &str) -> Plan {
    let mut plan = Plan { findings: findings(database, observed), ..Plan::default() };
    let names = &observed.server.synchronous_standby_names;
    let slot = refuse_slot(database, observed, known, holes, own);
    // That a slot is lost is not hidden by what stands in the way of another one.
    let (lost, other) = match slot {
        Some(lost @ Refusal::Lost { .. }) => (Some(lost), None),
        other => (None, other),
    };
    plan.refusal = (refuse_server(observed).map(Refusal::Trouble))
        .or(lost)
        .or_else(|| refuse_wal_level(observed).map(Refusal::Trouble))
        .or_else(|| sync_standby::refusal(database, names, own).map(Refusal::Trouble))
        .or_else(|| refuse_publication(database, observed).map(Refusal::Trouble))
        .or(other);
    if plan.refusal.is_some() {
        return plan;
    }
    let invalidated = observed.slot.as_ref().is_some_and(|slot| slot.invalidation().is_some());
    if observed.publication.is_none() {
        plan.create_publication = Some(create_publication(database));
    }
    if invalidated {
        plan.steps.push(Action::DropSlot);
    }
    if invalidated || observed.slot.is_none() {
        plan.steps.push(Action::CreateSlot);
    } else if observed.publication.is_none() {
        plan.steps.push(Action::AdvanceSlot);
    }
    plan
}

fn operator(reason: Reason, sentence: impl AsRef<str>, hint: impl AsRef<str>) -> Diagnosis {
    Diagnosis { class: Class::Operator, trouble: Trouble::new(reason, sentence, hint) }
}

fn refuse_server(observed: &Observed) -> Option<Diagnosis> {
    let server = &observed.server;
    if server.version < 150_000 {
        return Some(operator(
            Reason::Server,
            format!("the server is PostgreSQL {}, and slotd needs 15 or later", server.version / 10_000),
            "upgrade the server",
        ));
    }
    server.in_recovery.then(|| {
        operator(
            Reason::Server,
            "the server is a standby, where no publication can be made",
            "give the primary's `hostname`",
        )
    })
}

fn refuse_wal_level(observed: &Observed) -> Option<Diagnosis> {
    let wal_level = &observed.server.wal_level;
    (wal_level != "logical" && observed.slot.is_none()).then(|| {
        operator(
            Reason::Server,
            format!("wal_level is {wal_level}, and logical decoding needs logical"),
            "run: ALTER SYSTEM SET wal_level = 'logical'; and restart the server",
        )
    })
}

fn refuse_publication(database: &Database, observed: &Observed) -> Option<Diagnosis> {
    if observed.publication.is_some() {
        return None;
    }
    if !observed.missing_tables.is_empty() {
        let tables = list(&observed.missing_tables);
        return Some(operator(
            Reason::Publication,
            format!("the publication {} can't be made: no such table: {tables}", database.publication),
            "correct `tables`, or create the tables",
        ));
    }
    let found = &observed.unpublishable;
    (!found.is_empty()).then(|| {
        let sentence = format!(
            "UPDATE and DELETE would fail in the application once these tables are published: {}",
            refused(found)
        );
        operator(Reason::NoReplicaIdentity, sentence, mend(database, found))
    })
}

fn refuse_slot(database: &Database, observed: &Observed, known: bool, holes: Holes, own: &str) -> Option<Refusal> {
    let name = &database.slot;
    let lost = |reason, sentence| (holes != Holes::Accept(reason)).then_some(Refusal::Lost { reason, sentence });
    let gone = || slot_trouble::lost(name, observed.slot.as_ref());
    let Some(slot) = &observed.slot else {
        return gone().filter(|_| known).and_then(|(reason, sentence)| lost(reason, sentence));
    };
    if let Some(why) = unusable(database, slot) {
        let hint = format!("give another `slot_name`, or drop the slot: SELECT pg_drop_replication_slot('{name}');");
        return Some(Refusal::Trouble(operator(Reason::SlotUnusable, format!("the slot {name} {why}"), hint)));
    }
    if let Some((reason, sentence)) = gone() {
        return lost(reason, sentence);
    }
    if let Some(pid) = slot.active_pid {
        return Some(Refusal::Trouble(slot_trouble::held(slot, pid, own)));
    }
    if slot.confirmed_flush_lsn.is_none() {
        // The session that made it has just ended.
        let sentence = format!("the slot {name} is still being made by another session");
        let trouble = Trouble::new(Reason::SlotHeld, sentence, "wait for it");
        return Some(Refusal::Trouble(Diagnosis { class: Class::Retry, trouble }));
    }
    if observed.publication.is_none() {
        let publication = &database.publication;
        let sentence = format!("the slot {name} exists and its publication {publication} does not");
        return lost(Reason::PublicationGap, sentence);
    }
    None
}

fn unusable(database: &Database, slot: &SlotFacts) -> Option<String> {
    if slot.slot_type != "logical" {
        return Some(format!("is a {} slot", slot.slot_type));
    }
    if slot.plugin.as_deref() != Some("pgoutput") {
        return Some(format!("uses the plugin {}, not pgoutput", slot.plugin.as_deref().unwrap_or("none")));
    }
    let its = slot.database.as_deref().unwrap_or_default();
    if its != database.connection.database {
        return Some(format!("belongs to the database {its}"));
    }
    if slot.temporary {
        return Some("is a temporary slot of another session".to_owned());
    }
    slot.two_phase.then(|| "has two_phase on, by which a crash can lose prepared transactions".to_owned())
}

fn findings(database: &Database, observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(publication) = &observed.publication else { return findings };
    let drift = drift(database, publication);
    if !drift.is_empty() {
        findings.push(Finding {
            code: "publication_drift",
            sentence: format!("the publication {} is not as declared: {drift}", database.publication),
            hint: "alter the publication, or the file; slotd changes nothing that exists".to_owned(),
        });
    }
    let found = &observed.unpublishable;
    if !found.is_empty() {
        findings.push(Finding {
            code: "no_replica_identity",
            sentence: format!(
                "UPDATE and DELETE fail in the application on these published tables: {}",
                refused(found)
            ),
            hint: mend(database, found),
        });
    }
    if observed.server.version >= 190_000 {
        findings.push(Finding {
            code: "server_version",
            sentence: format!("PostgreSQL {} is newer than slotd knows", observed.server.version / 10_000),
            hint: "look for a newer slotd".to_owned(),
        });
    }
    findings
}

/// Of a slot that is being streamed.
pub(super) fn publication_missing(database: &Database) -> Finding {
    Finding {
        code: "publication_missing",
        sentence: format!(
            "the publication {} is gone: the first change that is committed without it ends the stream as `lost`",
            database.publication
        ),
        hint: format!("run at once: {};", create_publication(database)),
    }
}

/// What of the publication is not as the file says; where the file is silent, anything is.
fn drift(database: &Database, publication: &PublicationFacts) -> String {
    let mut drift = Vec::new();
    if let Some(scope) = &database.scope
        && !same(scope, publication)
    {
        drift.push(format!("it publishes {}, declared is {}", describe_found(publication), describe(scope)));
    }
    let has = Publish {
        insert: publication.insert,
        update: publication.update,
        delete: publication.delete,
        truncate: publication.truncate,
    };
    if let Some(publish) = &database.publish
        && *publish != has
    {
        drift.push(format!("publish is '{}', declared is '{}'", operations(&has), operations(publish)));
    }
    if let Some(via_root) = database.publish_via_partition_root
        && via_root != publication.via_partition_root
    {
        drift.push(format!("publish_via_partition_root is {}, declared is {via_root}", publication.via_partition_root));
    }
    drift.join("; ")
}

/// Whether the publication publishes what is declared, all of it and nothing else.
fn same(declared: &Scope, found: &PublicationFacts) -> bool {
    let PublicationFacts { all_tables, schemas, tables, .. } = found;
    match declared {
        Scope::AllTables => *all_tables,
        Scope::Schemas(declared) => {
            let all_there = declared.iter().all(|schema| schemas.contains(schema));
            let no_more = schemas.iter().chain(tables.iter().map(|table| &table.name.schema));
            !all_tables && all_there && no_more.into_iter().all(|schema| declared.contains(schema))
        }
        Scope::Tables(declared) => {
            let all_there = declared.iter().all(|name| tables.iter().any(|table| table.name == *name));
            let whole = |table: &PublishedTable| !table.filtered && !table.listed;
            let no_more = |table: &PublishedTable| table.inherited || declared.contains(&table.name);
            let as_declared = tables.iter().all(|table| whole(table) && no_more(table));
            !all_tables && schemas.is_empty() && all_there && as_declared
        }
    }
}

fn describe(scope: &Scope) -> String {
    match scope {
        Scope::AllTables => "all tables".to_owned(),
        Scope::Schemas(schemas) => format!("the schemas {}", schemas.join(", ")),
        Scope::Tables(tables) => format!("the tables {}", list(tables)),
    }
}

fn describe_found(found: &PublicationFacts) -> String {
    if found.all_tables {
        return describe(&Scope::AllTables);
    }
    let table = |table: &PublishedTable| {
        let how = match (table.filtered, table.listed) {
            (false, false) => "",
            (true, false) => " (with a row filter)",
            (false, true) => " (with a column list)",
            (true, true) => " (with a row filter and a column list)",
        };
        format!("{}{how}", table.name)
    };
    let tables = found.tables.iter().map(table).collect::<Vec<_>>().join(", ");
    match (&found.schemas[..], &found.tables[..]) {
        ([], []) => "nothing".to_owned(),
        ([], _) => format!("the tables {tables}"),
        (schemas, []) => format!("the schemas {}", schemas.join(", ")),
        (schemas, _) => format!("the schemas {} and the tables {tables}", schemas.join(", ")),
    }
}

fn list(tables: &[TableName]) -> String {
    tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The tables, after the reason that they share.
fn refused(found: &[Unpublishable]) -> String {
    let of = |why, because: &str| {
        let tables: Vec<_> =
            found.iter().filter(|found| found.why == why).map(|found| found.table.to_string()).collect();
        (!tables.is_empty()).then(|| format!("{because}: {}", tables.join(", ")))
    };
    let all = [
        of(Why::NoIdentity, "without a replica identity"),
        of(Why::ColumnList, "with a column list that leaves out columns of the replica identity"),
        of(Why::RowFilter, "with a row filter over columns that are not of the replica identity"),
        of(Why::Generated, "with generated columns in the replica identity, which are not published"),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The SQL that mends it, for each table.
fn mend(database: &Database, found: &[Unpublishable]) -> String {
    let publication = quote_ident(database.publication.as_str());
    let mut ways = Vec::new();
    let (full, not_full): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.full_mends);
    if !full.is_empty() {
        let mut sql = "give each a primary key, or run:".to_owned();
        for Unpublishable { table, .. } in full {
            // Writing into a String can't fail.
            let _ = write!(sql, " ALTER TABLE {table} REPLICA IDENTITY FULL;");
        }
        ways.push(sql);
    }
    for Unpublishable { table, why, .. } in not_full {
        ways.push(match why {
            Why::NoIdentity => format!("give {table} a primary key (REPLICA IDENTITY FULL would not do)"),
            Why::ColumnList => format!(
                "publish {table} with the columns of its replica identity, which must not be FULL: ALTER PUBLICATION \
                 {publication} SET TABLE …"
            ),
            Why::RowFilter => {
                format!(
                    "give {table} a row filter over its replica identity: ALTER PUBLICATION {publication} SET TABLE …"
                )
            }
            Why::Generated => format!(
                "give {table} a primary key without generated columns as its replica identity, or make the publication \
                 yourself, with publish_generated_columns = stored"
            ),
        });
    }
    format!("{}, or list them in `allow_no_identity`", ways.join("; "))
}

fn operations(publish: &Publish) -> String {
    let all = [
        (publish.insert, "insert"),
        (publish.update, "update"),
        (publish.delete, "delete"),
        (publish.truncate, "truncate"),
    ];
    all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

fn create_publication(database: &Database) -> String {
    let scope = match database.scope.as_ref().unwrap_or(&Scope::AllTables) {
        Scope::AllTables => "FOR ALL TABLES".to_owned(),
        Scope::Schemas(schemas) => {
            let names: Vec<_> = schemas.iter().map(|schema| quote_ident(schema)).collect();
            format!("FOR TABLES IN SCHEMA {}", names.join(", "))
        }
        Scope::Tables(tables) => format!("FOR TABLE {}", list(tables)),
    };
    format!(
        "CREATE PUBLICATION {} {scope} WITH (publish = '{}', publish_via_partition_root = {})",
        quote_ident(database.publication.as_str()),
        operations(&database.publish.unwrap_or(Publish::ALL)),
        database.publish_via_partition_root.unwrap_or(true)
    )
}

#[cfg(test)]
mod tests;
