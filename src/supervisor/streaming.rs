//! What goes on beside a stream: the publication is looked at, commands are carried out, and what ends it is waited for.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::ask::{Wish, not_disabled, not_lost};
use super::database::{Keep, next, over_limit, shared};
use super::former;
use crate::config::Database;
use crate::postgres::sync_standby;
use crate::postgres::trouble::{Class, Diagnosis};
use crate::provision::{Consent, Round};
use crate::status::{Reason, Refusal, STEADY, State, Streak, Trouble};
use crate::stream::{End, Pipeline, Started};

/// How often the publication of a database that streams is looked at.
const CHECK_PERIOD: Duration = Duration::from_secs(60);
/// How old an answer about synchronous standbys may be, so that many streams that are held up ask as one.
const FRESH: Duration = Duration::from_millis(100);

impl Keep {
    /// Streams `through` what is declared or the former publication, and looks at the publication every so often.
    pub(super) async fn stream(&mut self, through: &Pipeline, started: Started, stop: &CancellationToken) -> End {
        let Self { pipeline, asks, poke, seen, backoff, made, claim, .. } = self;
        let Pipeline { database, connector, reporter, unacknowledged, .. } = &*pipeline;
        let own = connector.application_name();
        let former = Some(&through.database.publication).filter(|through| **through != database.publication);
        let period = if former.is_some() { former::LOOK } else { CHECK_PERIOD };
        // What a failover would cost is asked there for the first time.
        let period_of_first = if through.database.connection.standbys.is_empty() { period } else { STEADY };
        let first = period_of_first.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
        let mut checks = interval_at(Instant::now() + first, period);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (system_identifier, is_standby) = (started.system_identifier(), started.is_of_standby());
        let (progress, half) = (started.progress(), started.half());
        let declared = Round { database, connector, reporter, made, system_identifier, former: former.cloned() };
        let round = Round { database: &through.database, former: None, ..declared.clone() };
        let streaming = through.run(started, stop);
        let (mut over, mut standby_seen) = (seen.clone(), seen.clone());
        let sync_standby = async {
            if is_standby {
                return std::future::pending().await;
            }
            loop {
                // What the guard saw may be older than the stream; one that does not answer has not changed.
                let told = tokio::select! {
                    refusal = next(seen, |seen| {
                        sync_standby::refusal(database, &seen.synchronous_standby_names, own)
                    }) => Some(refusal),
                    () = unacknowledged.notified(), if !database.allow_sync_standby => None,
                };
                let refusal = match connector.synchronous_standby_names(&database.connection, FRESH).await {
                    Ok(names) => sync_standby::refusal(database, &names, own),
                    Err(_) => told,
                };
                if let Some(refusal) = refusal {
                    break refusal;
                }
            }
        };
        // A connect that breaks at once again is no success, nor is a stream whose sink takes nothing.
        let steady = async {
            loop {
                sleep(STEADY).await;
                if reporter.status().condition.state() == State::Streaming {
                    break;
                }
            }
        };
        // The history that the stream began with is not the server's any more.
        let promoted = async {
            if !is_standby {
                return std::future::pending().await;
            }
            next(&mut standby_seen, |seen| (!seen.in_recovery).then_some(())).await;
        };
        // What is done then is done once the stream has ended.
        let over = over_limit(&mut over, database);
        tokio::pin!(streaming, sync_standby, steady, over, promoted);
        let (mut is_steady, mut is_past) = (false, false);
        let mut blind = Streak::default();
        let ended = |end, is_past: bool| match end {
            End::Stopped if is_past && !stop.is_cancelled() => End::Trouble(former::past(database, &through.database)),
            end => end,
        };
        loop {
            let mut ask = None;
            tokio::select! {
                biased;
                end = &mut streaming => return ended(end, is_past),
                diagnosis = &mut sync_standby => return End::Trouble(diagnosis),
                () = &mut promoted => return End::Trouble(was_promoted(database)),
                () = &mut over => return End::Trouble(over_its_budget(database)),
                Some(asked) = asks.recv() => ask = Some(asked),
                () = &mut steady, if !is_steady => {
                    is_steady = true;
                    backoff.reset();
                    reporter.tries(0, None);
                    continue;
                }
                _ = checks.tick() => {}
                () = poke.notified() => {}
            }
            // Boxed, since it is seldom: a stream that is idle holds no memory for it.
            let checking = Box::pin(async {
                if let Some(ask) = ask {
                    let outcome = match ask.wish {
                        Wish::Drop => Err(not_disabled()),
                        Wish::Resume(_) => Err(not_lost()),
                        Wish::Apply(consent) => {
                            let applied = declared.apply_publication(consent, true).await;
                            applied.map_err(|Diagnosis { trouble, .. }| {
                                Refusal::Failed(format!("{} ({})", trouble.sentence, trouble.hint))
                            })
                        }
                    };
                    ask.answer(outcome);
                }
                let consent = Consent::from(database.provision);
                let needed = match former {
                    Some(_) => {
                        let durable = reporter.status().positions.durable;
                        let is_half = half.is_some_and(|half| durable <= Some(half));
                        declared.needs_former(consent, is_half).await?
                    }
                    None => None,
                };
                let is_past = former.is_some() && needed.is_none();
                let findings = round.check(consent).await?;
                Ok((is_past, needed.into_iter().chain(findings).collect::<Vec<_>>()))
            });
            let checked = tokio::select! {
                biased;
                end = &mut streaming => return ended(end, is_past),
                diagnosis = &mut sync_standby => return End::Trouble(diagnosis),
                checked = checking => checked,
            };
            match &checked {
                Ok(_) => {
                    if let Some(after) = blind.ended(Timestamp::now()) {
                        reporter.info(None, &format!("the publication is looked at again{after}"));
                    }
                }
                Err(Diagnosis { trouble, .. }) => {
                    if let Some(times) = blind.failed(Timestamp::now()) {
                        let sentence = format!("the publication can't be looked at{times}: {}", trouble.sentence);
                        reporter.warn(&sentence, &trouble.hint);
                    }
                }
            }
            if let Ok((past, findings)) = checked {
                if past && !is_past {
                    is_past = true;
                    // What is half in a sink is numbered by the former publication.
                    progress.end();
                }
                reporter.findings(findings.into_iter().chain(shared(claim, database)).collect());
            }
            reporter.round_done();
        }
    }
}

/// The server is a standby no more.
fn was_promoted(database: &Database) -> Diagnosis {
    let trouble = Trouble::new(
        Reason::Server,
        format!("the standby that has the slot {} was promoted", database.slot),
        "nothing to do: the stream is judged anew, and goes on",
    );
    Diagnosis { class: Class::Retry, trouble }
}

/// The stream was ended to free the disk.
fn over_its_budget(database: &Database) -> Diagnosis {
    let trouble = Trouble::new(
        Reason::WalLimit,
        format!("the slot {} retains all of its budget, and `on_wal_limit` is carried out", database.slot),
        "nothing to do: it goes on by itself",
    );
    Diagnosis { class: Class::Retry, trouble }
}
