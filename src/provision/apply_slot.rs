//! Taking a step of a plan that is about the slot.

use std::time::Duration;

use tokio::time::sleep;

use super::made::MadeSlot;
use super::plan::SlotStep;
use super::primary;
use super::round::Round;
use crate::config::{Connection, Database};
use crate::postgres::catalog;
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::{Connector, ReplicationError, ReplicationSession, SqlError, slot_trouble};
use crate::status::{Condition, Reason, Reporter, State, Trouble};
use crate::storage::json::JsonFileError;

/// After this long the operator is told whom the making of a slot waits for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked after that.
const LOOK: Duration = Duration::from_secs(10);

/// Takes `step`; `primary` is that of the standby where the slot is. Losing a race to another agent is success: the next look tells
/// what there is.
pub(super) async fn slot(
    step: SlotStep,
    round: &Round<'_>,
    primary: Option<&Connection>,
    replication: &mut ReplicationSession,
) -> Result<(), Diagnosis> {
    let Round { database, connector, reporter, made, system_identifier, .. } = *round;
    let to = &database.connection;
    let slot = &database.slot;
    match step {
        SlotStep::Create => {
            let watch = async {
                match primary {
                    Some(primary) => Box::pin(primary::help_making(round, primary)).await,
                    None => watch_making(database, connector, reporter).await,
                }
            };
            let making = async {
                if database.failover {
                    replication.create_failover_slot(slot).await
                } else {
                    replication.create_slot(slot).await
                }
            };
            let outcome = tokio::select! {
                biased;
                outcome = making => outcome,
                given_up = watch => return Err(given_up),
            };
            match outcome {
                Ok(()) => {
                    reporter.info(None, &format!("made the slot {slot}"));
                    let noted = MadeSlot { system_identifier, database: to.database.clone(), slot: slot.clone() };
                    made.note_slot(noted).await.map_err(|error| unrecorded(&error))?;
                }
                Err(ReplicationError::Server(error)) if error.sqlstate == "42710" => {}
                Err(ReplicationError::Server(error)) => {
                    let slots = if error.sqlstate == "53400" { slots_in_use(database, connector).await } else { None };
                    return Err(trouble::of_server(
                        Step::CreateSlot,
                        &error,
                        to,
                        &slots.unwrap_or_else(|| "SELECT slot_name, active FROM pg_replication_slots".to_owned()),
                    ));
                }
                Err(error) => return Err(trouble::of_replication(Step::CreateSlot, &error, to)),
            }
        }
        SlotStep::LetFailOver => {
            if let Err(error) = replication.let_fail_over(slot).await {
                let refused = trouble::of_replication(Step::AlterSlot, &error, to);
                return Err(with_holder(refused, database, connector).await);
            }
            reporter.info(None, &format!("set failover for the slot {slot}: standbys may keep a copy of it"));
        }
        SlotStep::Drop => {
            if let Err(error) = replication.drop_slot(slot).await {
                let refused = trouble::of_replication(Step::DropSlot, &error, to);
                return Err(with_holder(refused, database, connector).await);
            }
            reporter.info(None, &format!("dropped the invalidated slot {slot}"));
        }
        SlotStep::Advance => {
            if let Err(error) = advance(database, connector).await {
                let refused = trouble::of_sql(Step::AdvanceSlot, &error, to);
                return Err(with_holder(refused, database, connector).await);
            }
            reporter.info(None, &format!("advanced the slot {slot} past the gap"));
        }
    }
    Ok(())
}

/// What is made can't be noted: nothing more is made until it can.
pub(super) fn unrecorded(error: &JsonFileError) -> Diagnosis {
    let trouble = Trouble::new(Reason::Sink, error.to_string(), "`state_dir` needs room and a disk that answers");
    Diagnosis { class: Class::Retry, trouble }
}

/// Moves the slot to the server's WAL end; on a standby, of what it has replayed.
const ADVANCE: &str = "\
    select pg_replication_slot_advance(
        $1, case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end)";

/// Moves the slot to the server's WAL end. The server decodes all up to there: minutes, where the slot was left behind for long.
/// Too long for a turn, so nothing bounds it but a look at it.
///
/// # Errors
/// The server refuses, or can't be reached.
pub async fn advance(database: &Database, connector: &Connector) -> Result<(), SqlError> {
    let sql = connector.sql(&database.connection).await?;
    sql.run("statement_timeout", "set statement_timeout = 0").await?;
    let slot = database.slot.as_str();
    let advanced = async { Ok(sql.execute(ADVANCE, &[&slot]).await?) };
    tokio::select! {
        biased;
        advanced = advanced => advanced.map(drop),
        given_up = watch_moving(database, connector) => Err(given_up),
    }
}

/// Watches over the moving of the slot as over its making: another session has to see it at work. Ends with why not.
async fn watch_moving(database: &Database, connector: &Connector) -> SqlError {
    loop {
        sleep(LOOK).await;
        let slots = match connector.visit(&database.connection).await {
            Ok(sql) => catalog::slots(&sql, &[&database.slot]).await,
            Err(error) => Err(error.into()),
        };
        match slots {
            Ok(slots) if slots.iter().any(|slot| slot.active_pid.is_some()) => {}
            Ok(_) => break,
            Err(error) => return error,
        }
    }
    // The answer may be on its way.
    sleep(connector.connect_timeout()).await;
    SqlError::Silent { about: "pg_replication_slot_advance" }
}

/// Watches over the making of the slot. It may rightly take hours, so nothing bounds it but this: another session has to
/// see it at work, or it waits for an answer that got lost on the way. Tells whom it waits for.
async fn watch_making(database: &Database, connector: &Connector, reporter: &Reporter) -> Diagnosis {
    let to = &database.connection;
    let mut told = false;
    sleep(PATIENCE).await;
    loop {
        match writers(database, connector).await {
            Err(error) => return trouble::of_sql(Step::Observe, &error, to),
            Ok(None) => break,
            Ok(Some(_)) if told => {}
            Ok(Some(writers)) => {
                told = true;
                let trouble = Trouble::new(
                    Reason::Starting,
                    format!(
                        "the slot {} can be made once the transactions that are open now have ended",
                        database.slot
                    ),
                    format!("end them, or wait: {writers}"),
                );
                reporter.condition(Condition::Other(State::Provisioning, trouble));
            }
        }
        sleep(LOOK).await;
    }
    // The answer may be on its way.
    let patience = connector.connect_timeout();
    sleep(patience).await;
    let silent = ReplicationError::Silent { command: "CREATE_REPLICATION_SLOT".to_owned(), patience };
    trouble::of_replication(Step::CreateSlot, &silent, to)
}

/// The same refusal with the one who holds the slot, if that can be asked.
async fn with_holder(refused: Diagnosis, database: &Database, connector: &Connector) -> Diagnosis {
    if refused.class != Class::Held {
        return refused;
    }
    match connector.visit(&database.connection).await {
        Ok(sql) => slot_trouble::with_holder(refused, &database.slot, &sql, connector).await,
        Err(_) => refused,
    }
}

/// All slots of the server, if that can be asked.
async fn slots_in_use(database: &Database, connector: &Connector) -> Option<String> {
    let sql = connector.visit(&database.connection).await.ok()?;
    catalog::slots_in_use(&sql).await.ok()
}

/// Whom the making of the slot waits for, in words; `None` if no session makes it.
async fn writers(database: &Database, connector: &Connector) -> Result<Option<String>, SqlError> {
    let sql = connector.visit(&database.connection).await?;
    let making = catalog::is_making(&sql, &database.slot).await?;
    Ok(if making { Some(catalog::writers(&sql).await?) } else { None })
}
