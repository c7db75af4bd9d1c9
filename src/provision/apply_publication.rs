//! Taking the step of a plan that is about the publication, in one transaction.
//!
//! What the transaction has made is looked at before it is committed: tables whose UPDATE and DELETE would begin to fail undo
//! all of it, and no statement of the application has seen it by then. A publication that is dropped and made anew in one
//! transaction lacks at no position of the WAL, so a slot that decodes it loses nothing but what is not declared.

use super::apply_slot::unrecorded;
use super::made::{MadeFilter, MadePublication};
use super::plan::{Kind, PublicationStep};
use super::refusals;
use super::round::{Publisher, Round};
use crate::config::{Database, Scope};
use crate::postgres::identity::{self, Unpublishable};
use crate::postgres::publication::{self, PublicationFacts};
use crate::postgres::trouble::{self, Diagnosis, Step};
use crate::postgres::{SqlError, SqlSession};

/// Why the transaction came to nothing.
enum Undone {
    /// Another one made it first.
    Raced,
    Failed(SqlError),
    Unpublishable(Vec<Unpublishable>),
}

impl From<SqlError> for Undone {
    fn from(error: SqlError) -> Self {
        match error {
            // 23505: both looked before either had made it.
            SqlError::Server(error) if matches!(error.sqlstate.as_str(), "42710" | "23505") => Self::Raced,
            error => Self::Failed(error),
        }
    }
}

/// Takes `step`, and gives what there is then. Losing a race to another agent is success, and gives nothing: the next look tells
/// what there is. `before` are tables that can't be updated already.
pub(super) async fn publication(
    step: &PublicationStep,
    before: &[Unpublishable],
    ours: bool,
    round: &Round<'_>,
    publisher: Publisher<'_>,
) -> Result<Option<(PublicationFacts, MadePublication)>, Diagnosis> {
    let Round { database, reporter, made, system_identifier, .. } = *round;
    let Publisher { sql, to } = publisher;
    let Database { publication, connection, .. } = database;
    let intent = MadePublication {
        system_identifier,
        database: connection.database.clone(),
        publication: publication.clone(),
        ours: ours || step.kind != Kind::Alter,
        oid: None,
        filters: Vec::new(),
    };
    let before_it = match step.kind {
        Kind::Alter => None,
        Kind::Create | Kind::Recreate => {
            made.intend_publication(intent.clone()).await.map_err(|error| unrecorded(&error))?
        }
    };
    let done = match transaction(step, before, database, sql).await {
        Ok(found) => found,
        Err(undone) => {
            // A session that broke off, or that the server does not answer, is not asked once more. What became of the
            // transaction is not known then, and the intent stands.
            if !matches!(undone, Undone::Failed(SqlError::Silent { .. } | SqlError::Session(_))) {
                let _ = sql.run("ROLLBACK", "ROLLBACK").await;
                if step.kind != Kind::Alter {
                    made.retract_publication(&intent, before_it).await.map_err(|error| unrecorded(&error))?;
                }
            }
            return match undone {
                Undone::Raced => Ok(None),
                Undone::Unpublishable(found) => Err(refusals::unpublishable(database, &found)),
                Undone::Failed(SqlError::Server(error)) => {
                    Err(trouble::of_server(Step::CreatePublication, &error, to, &step.sql()))
                }
                Undone::Failed(error) => Err(trouble::of_sql(Step::CreatePublication, &error, to)),
            };
        }
    };
    reporter.info(None, &format!("{} the publication {publication}: {}", step.kind.done(), step.sql()));
    let noted = MadePublication { oid: Some(done.oid), filters: filters(database, &done), ..intent };
    made.note_publication(noted.clone()).await.map_err(|error| unrecorded(&error))?;
    Ok(Some((done, noted)))
}

/// What there is after the statements, once that is committed.
async fn transaction(
    step: &PublicationStep,
    before: &[Unpublishable],
    database: &Database,
    sql: &SqlSession,
) -> Result<PublicationFacts, Undone> {
    // It waits for locks on the tables inside a turn, so not for long: less than what ends an autovacuum in its way.
    sql.run("BEGIN", "BEGIN; SET LOCAL lock_timeout = '900ms'").await?;
    for statement in &step.statements {
        // One statement each: what stands in a row filter can't end it and begin another.
        sql.statement("the publication", statement).await?;
    }
    let mut found = identity::of_existing(sql, &database.publication).await?;
    found.retain(|found| !database.allow_no_identity.contains(&found.table) && !before.contains(found));
    if !found.is_empty() {
        return Err(Undone::Unpublishable(found));
    }
    let facts = publication::publication(sql, &database.publication).await?;
    let facts = facts.ok_or(Undone::Raced)?;
    sql.run("COMMIT", "COMMIT").await?;
    Ok(facts)
}

/// How the server writes the filters of the file.
fn filters(database: &Database, done: &PublicationFacts) -> Vec<MadeFilter> {
    let Some(Scope::Tables(tables)) = &database.scope else { return Vec::new() };
    let stored = |name| done.tables.iter().find(|found| found.table.name == name)?.table.row_filter.clone();
    let filter = |table: &crate::config::DeclaredTable| {
        let (declared, stored) = (table.row_filter.clone()?, stored(table.name.clone())?);
        let (schema, table) = (table.name.schema.clone(), table.name.table.clone());
        Some(MadeFilter { schema, table, declared, stored })
    };
    tables.iter().filter_map(filter).collect()
}
