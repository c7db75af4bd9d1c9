//! One round: observe, plan, apply, until there is nothing to do.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plan::{Refusal, publication_missing};
use super::{Action, Plan, apply, observe, plan};
use crate::config::Database;
use crate::postgres::catalog;
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::{Connector, ReplicationSession, SqlError, Visit};
use crate::status::{Finding, Reason, Reporter, Trouble};
use crate::stream::{Anew, Holes, Ready};

/// How often a lost race or a step is followed by another look.
const LOOKS: usize = 4;

/// The slot is there and as declared.
#[derive(Debug)]
pub struct Ensured {
    pub ready: Ready,
    pub findings: Vec<Finding>,
    /// In which that was seen.
    pub visit: Visit,
}

/// One round of one database.
#[derive(Debug)]
pub struct Round<'a> {
    pub database: &'a Database,
    pub connector: &'a Connector,
    pub reporter: &'a Reporter,
}

impl Round<'_> {
    /// Makes what is missing. `known` says that the slot has been streamed before.
    ///
    /// # Errors
    /// Why it may not be made, or could not.
    pub async fn ensure(
        &self,
        replication: &mut ReplicationSession,
        known: bool,
        holes: Holes,
    ) -> Result<Ensured, Refusal> {
        let Self { database, connector, reporter } = *self;
        let (own, to) = (connector.application_name(), &database.connection);
        // The stream broke off because its publication is younger than the slot's position.
        let mut advance = holes == Holes::Accept(Reason::PublicationGap);
        let mut anew = None;
        for _ in 0..LOOKS {
            let sql = connector.visit(to).await.map_err(|error| Refusal::Trouble(trouble::of_connect(&error, to)))?;
            let observed = observe(&sql, database).await;
            let observed = observed.map_err(|error| Refusal::Trouble(trouble::of_sql(Step::Observe, &error, to)))?;
            let plan = plan(database, &observed, known, holes, own);
            if let Some(refusal) = plan.refusal {
                reporter.findings(plan.findings);
                return Err(refusal);
            }
            let Plan { create_publication, mut steps, .. } = plan;
            if std::mem::take(&mut advance) && steps.is_empty() {
                steps.push(Action::AdvanceSlot);
            }
            match observed.slot {
                Some(slot) if create_publication.is_none() && steps.is_empty() => {
                    let ready = Ready { slot, anew, in_recovery: observed.server.in_recovery };
                    return Ok(Ensured { ready, findings: plan.findings, visit: sql });
                }
                slot => {
                    if steps.iter().any(|step| matches!(step, Action::AdvanceSlot | Action::CreateSlot)) {
                        anew = anew.or(Some(Anew { before: slot.and_then(|slot| slot.confirmed_flush_lsn) }));
                    }
                }
            }
            if let Some(statement) = create_publication {
                apply::create_publication(&statement, database, &sql, reporter).await.map_err(Refusal::Trouble)?;
            }
            // What follows may wait for every transaction of the server.
            drop(sql);
            for step in &steps {
                apply::apply(step, database, connector, replication, reporter).await.map_err(Refusal::Trouble)?;
            }
        }
        Err(Refusal::Trouble(Diagnosis {
            class: Class::Retry,
            trouble: Trouble::new(
                Reason::SlotHeld,
                format!("somebody changes the slot {} or its publication as fast as slotd makes them", database.slot),
                "let one agent look after a slot",
            ),
        }))
    }
}

/// Looks without touching anything: what is to be mended of a database that streams.
///
/// # Errors
/// The server refuses, or can't be reached.
pub async fn check(database: &Database, connector: &Connector) -> Result<Vec<Finding>, Diagnosis> {
    let to = &database.connection;
    let sql = connector.visit(to).await.map_err(|error| trouble::of_connect(&error, to))?;
    let observed = observe(&sql, database).await.map_err(|error| trouble::of_sql(Step::Observe, &error, to))?;
    let mut findings = plan(database, &observed, true, Holes::Refuse, connector.application_name()).findings;
    if observed.publication.is_none() {
        findings.push(publication_missing(database));
    }
    Ok(findings)
}

/// How long the end of our walsender is waited for.
const GONE: Duration = Duration::from_secs(3);
/// Between two looks for that.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Lets the commits go that waited for our stream, which has ended. The server looks who waits when a standby answers,
/// and an idle one answers to new WAL or every `wal_receiver_status_interval`, 10 s: so there has to be new WAL once our
/// walsender is gone, and a transaction without content is the least of it.
///
/// Source: <https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION>.
///
/// # Errors
/// The server refuses, or can't be reached.
pub async fn release_commits(database: &Database, connector: &Connector) -> Result<(), SqlError> {
    let sql = connector.sql(&database.connection).await?;
    let deadline = Instant::now() + GONE;
    while catalog::slots(&sql, &[&database.slot]).await?.iter().any(|slot| slot.active_pid.is_some())
        && Instant::now() < deadline
    {
        sleep(LOOK_AGAIN).await;
    }
    // It must not wait as those do.
    sql.run("a transaction without content", "set synchronous_commit = off; select pg_current_xact_id()").await
}
