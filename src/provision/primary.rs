//! The primary of a standby that has the slot: where the publication is made, and what has to come from there.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::round::Round;
use crate::config::{Connection, Database};
use crate::ident::quote_ident;
use crate::lsn::Lsn;
use crate::postgres::standby::{self, Snapshot, StandbyFacts};
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::{Connector, SqlError, SqlSession, Visit, catalog, preflight};
use crate::status::{Condition, Reason, State, Trouble, age, size};

/// How long the standby may take to replay a publication, or to make a slot with nothing in its way: so many times as a server
/// may take to answer. A minute, unless the file says otherwise.
const PATIENCE: u32 = 6;
/// How long transactions that are open on the primary may keep a slot from being made.
const LONGEST: Duration = Duration::from_hours(1);
/// Between two looks at how far the standby is.
const LOOK: Duration = Duration::from_millis(100);
/// How often the primary is asked to say what runs on it.
const ASK: Duration = Duration::from_secs(1);
/// After this long the operator is told what the making of a slot waits for.
const PATIENCE_UNTOLD: Duration = Duration::from_secs(2);

/// The primary of a standby.
#[derive(Debug)]
pub enum Primary {
    /// Why it can't be reached. What is there can be streamed all the same.
    Away(Diagnosis),
    At(Visit),
}

impl Primary {
    /// A session there, if it can be reached.
    #[must_use]
    pub fn session(&self) -> Option<&SqlSession> {
        match self {
            Self::At(sql) => Some(sql),
            Self::Away(_) => None,
        }
    }
}

/// The primary of `database`, if its server, which `on` leads to, is a standby and the file has one. Both are of the cluster
/// `system_identifier`.
///
/// # Errors
/// They are not, or a server refuses.
pub async fn of_standby(
    connector: &Connector,
    database: &Database,
    on: &SqlSession,
    system_identifier: u64,
) -> Result<Option<Primary>, Diagnosis> {
    let Some(to) = &database.primary else { return Ok(None) };
    let in_recovery = catalog::in_recovery(on).await;
    if !in_recovery.map_err(|error| trouble::of_sql(Step::Observe, &error, &database.connection))? {
        return Ok(None);
    }
    let sql = match connector.visit(to).await.map_err(|error| of_primary(trouble::of_connect(&error, to))) {
        Ok(sql) => sql,
        Err(away) if away.class == Class::Retry => return Ok(Some(Primary::Away(away))),
        Err(refused) => return Err(refused),
    };
    let its = check(&sql).await.map_err(|error| of_primary(trouble::of_sql(Step::Observe, &error, to)))?;
    let wrong = |sentence: String, hint: &str| {
        Err(Diagnosis { class: Class::Operator, trouble: Trouble::new(Reason::Server, sentence, hint) })
    };
    match its {
        (its, _) if its != system_identifier => wrong(
            format!(
                "`primary` is another cluster: its system identifier is {its}, and that of the replica is {system_identifier}"
            ),
            "give the primary that the replica follows",
        ),
        (_, true) => wrong(
            "`primary` is a standby itself, where no publication can be made".to_owned(),
            "give the primary, not another of its replicas",
        ),
        (_, false) => Ok(Some(Primary::At(sql))),
    }
}

/// Which cluster it is, and whether it is in recovery.
async fn check(sql: &SqlSession) -> Result<(u64, bool), SqlError> {
    Ok((preflight::system_identifier(sql).await?, catalog::in_recovery(sql).await?))
}

/// That it is the primary where this happened.
fn of_primary(Diagnosis { class, trouble }: Diagnosis) -> Diagnosis {
    let sentence = format!("the primary: {}", trouble.sentence);
    Diagnosis { class, trouble: Trouble { sentence, ..trouble } }
}

/// Waits until the standby has replayed what its primary has written by now.
///
/// # Errors
/// It has not within [`PATIENCE`], and why; or a server refuses.
pub(super) async fn replayed(round: &Round<'_>) -> Result<(), Diagnosis> {
    let Round { database, connector, .. } = *round;
    let (to, to_primary) = (&database.connection, database.publisher(true));
    let here = |error| trouble::of_sql(Step::Observe, &error, to);
    let there = |error| of_primary(trouble::of_sql(Step::Observe, &error, to_primary));
    // In no turn: it may take its time.
    let on = connector.sql(to).await.map_err(|error| here(error.into()))?;
    let primary = connector.sql(to_primary).await.map_err(|error| there(error.into()))?;
    let wanted = standby::inserted(&primary).await.map_err(there)?;
    let (begun, mut asked) = (Instant::now(), 0);
    loop {
        let facts = standby::standby(&on).await.map_err(here)?;
        if facts.replayed >= wanted {
            return Ok(());
        }
        if begun.elapsed() > connector.connect_timeout() * PATIENCE {
            let what = format!("replayed the publication {}", database.publication);
            return Err(late(&what, begun.elapsed(), &facts, wanted, None));
        }
        // What was written last may stay with the primary until more is.
        if begun.elapsed() >= ASK * asked {
            asked += 1;
            standby::log_snapshot(&primary).await.map_err(there)?;
        }
        sleep(LOOK).await;
    }
}

/// Helps a slot of a standby to be made: has the primary say every second what runs on it, without which an idle one would let
/// that wait for ever. Ends only with why it can't be made.
pub(super) async fn help_making(round: &Round<'_>, primary: &Connection) -> Diagnosis {
    let Round { database, connector, reporter, .. } = *round;
    let of_primary = |error: SqlError| of_primary(trouble::of_sql(Step::Observe, &error, primary));
    let sql = match connector.sql(primary).await {
        Ok(sql) => sql,
        Err(error) => return of_primary(error.into()),
    };
    let begun = Instant::now();
    // What the standby has to have replayed at the next look, whatever is written meanwhile.
    let mut wanted = match standby::inserted(&sql).await {
        Ok(wanted) => wanted,
        Err(error) => return of_primary(error),
    };
    let (mut told, mut looked) = (false, begun);
    loop {
        let asked = match standby::log_snapshot(&sql).await {
            Ok(asked) => asked,
            Err(error) => return of_primary(error),
        };
        if begun.elapsed() >= PATIENCE_UNTOLD && !told {
            told = true;
            let hint = match (asked, catalog::writers(&sql).await) {
                (Snapshot::Message, _) => grant(&primary.username),
                (Snapshot::Logged, Ok(writers)) => format!("end them, or wait: {writers}"),
                (Snapshot::Logged, Err(error)) => return of_primary(error),
            };
            let sentence = format!(
                "the slot {} can be made once the standby has replayed which transactions run on its primary, and those have \
                 ended",
                database.slot
            );
            reporter.condition(Condition::Other(State::Provisioning, Trouble::new(Reason::Starting, sentence, hint)));
        }
        if looked.elapsed() >= connector.connect_timeout() * PATIENCE {
            let seen = async {
                let on = connector.sql(&database.connection).await?;
                let writers = catalog::writers(&sql).await?;
                Ok::<_, SqlError>((standby::standby(&on).await?, standby::inserted(&sql).await?, writers))
            };
            let (facts, inserted, writers) = match seen.await {
                Ok(seen) => seen,
                Err(error) => return trouble::of_sql(Step::CreateSlot, &error, &database.connection),
            };
            // As on a primary, transactions that are open may rightly keep it waiting; begun anew, it would wait for younger ones.
            let only_writers = facts.receives && !facts.paused && facts.replayed >= wanted;
            if !only_writers || begun.elapsed() >= LONGEST {
                return late(
                    &format!("made the slot {}", database.slot),
                    begun.elapsed(),
                    &facts,
                    wanted,
                    Some(&writers),
                );
            }
            (looked, wanted, told) = (Instant::now(), inserted, false);
        }
        sleep(ASK).await;
    }
}

/// What makes a slot on a standby quick.
fn grant(user: &str) -> String {
    format!(
        "it may take 15 seconds more; to make it quick, run on the primary: GRANT EXECUTE ON FUNCTION \
         pg_log_standby_snapshot() TO {};",
        quote_ident(user)
    )
}

/// That the standby has not done `what` in time, and why; `wanted` is what it has to replay, `writers` who may be in the way on
/// the primary.
fn late(what: &str, after: Duration, facts: &StandbyFacts, wanted: Lsn, writers: Option<&str>) -> Diagnosis {
    let StandbyFacts { receives, paused, replayed, .. } = *facts;
    let (why, hint) = if paused {
        ("its replay is paused".to_owned(), "run on it: SELECT pg_wal_replay_resume();".to_owned())
    } else if !receives {
        (
            "it receives no WAL".to_owned(),
            "see what its log says of its connection to the primary (primary_conninfo)".to_owned(),
        )
    } else if replayed < wanted {
        (
            format!("it has replayed up to {replayed}, {} behind its primary", size(wanted.since(replayed))),
            "wait for it, or look for a query on it that holds replay up: SELECT pid, query FROM pg_stat_activity WHERE \
             backend_xmin IS NOT NULL;"
                .to_owned(),
        )
    } else {
        let writers = writers.unwrap_or_default();
        (
            "transactions that were open before have not ended".to_owned(),
            format!("end them on the primary, or wait: {writers}"),
        )
    };
    let sentence = format!("the standby has not {what} within {}: {why}", age(after));
    Diagnosis { class: Class::Retry, trouble: Trouble::new(Reason::Server, sentence, hint) }
}
