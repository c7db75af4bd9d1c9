//! What is done to a slot that is to hold no WAL, as the file or the operator says: its changes are discarded, or it is
//! dropped. Either stands in the sinks first, as a gap that is open.

use tokio_util::sync::CancellationToken;

use super::database::Keep;
use crate::config::{Database, OnDisable, OnWalLimit};
use crate::guard;
use crate::ident::quote_ident;
use crate::postgres::slot_trouble;
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::provision::{self, Dropped};
use crate::status::{Finding, Reason, Refusal, Reply, Trouble, WAL_NOT_FREED};
use crate::stream::{End, Pipeline};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relief {
    /// Its changes up to now are discarded.
    Drain,
    /// The slot is dropped. `for_good`: one that is not there is made anew once it is wanted again; else it is `lost`, and the
    /// operator decides.
    Drop { for_good: bool },
}

/// The reason in the gap record of a database that is disabled.
pub(super) const DISABLED: &str = "disabled";
/// The reason in the gap record of a slot that retained its whole budget.
pub(super) const WAL_LIMIT: &str = "wal_limit";
/// The reason in the gap record of a slot that `slotd drop` dropped.
pub(super) const DROPPED: &str = "dropped";

/// Who says so.
fn by(reason: &str) -> &'static str {
    match reason {
        WAL_LIMIT => "`on_wal_limit`",
        DROPPED => "`slotd drop`",
        _ => "`on_disable`",
    }
}

impl Relief {
    /// What the file wants of a disabled database.
    pub(super) const fn of_disabled(database: &Database) -> Option<Self> {
        match database.on_disable {
            OnDisable::Keep => None,
            OnDisable::Drain => Some(Self::Drain),
            OnDisable::Drop => Some(Self::Drop { for_good: true }),
        }
    }

    /// What the file wants at the limit.
    pub(super) const fn at_limit(database: &Database) -> Option<Self> {
        match database.on_wal_limit {
            OnWalLimit::Alert => None,
            OnWalLimit::Drain => Some(Self::Drain),
            OnWalLimit::Drop => Some(Self::Drop { for_good: false }),
        }
    }
}

impl Keep {
    /// Does it, if there is a slot that nobody holds. What keeps it from being done is a finding, and to be tried again: then
    /// this is false.
    pub(super) async fn relieve(&self, relief: Relief, reason: &str, stop: &CancellationToken) -> bool {
        let relieved = tokio::select! {
            biased;
            () = stop.cancelled() => return true,
            relieved = self.try_to_relieve(relief, reason) => relieved,
        };
        let Pipeline { database, reporter, .. } = &self.pipeline;
        let done = relieved.is_ok();
        match relieved {
            Ok(()) => reporter.withdraw(WAL_NOT_FREED),
            Err(End::Stopped) => {}
            Err(End::Lost(trouble) | End::Trouble(Diagnosis { trouble, .. })) => {
                let verb = if relief == Relief::Drain { "drained" } else { "dropped" };
                reporter.add_finding(Finding {
                    code: WAL_NOT_FREED,
                    sentence: format!("the slot {} can't be {verb}: {}", database.slot, trouble.sentence),
                    hint: trouble.hint,
                });
            }
        }
        done
    }

    async fn try_to_relieve(&self, relief: Relief, reason: &str) -> Result<(), End> {
        let Pipeline { database, connector, reporter, .. } = &self.pipeline;
        let name = &database.slot;
        let (server, slot, facts) = self.look().await?;
        let Some(slot) = slot else { return Ok(()) };
        // What brought us here may be of before, and of another slot.
        if reason == WAL_LIMIT && !guard::is_over_limit(database, &facts, &slot) {
            return Ok(());
        }
        if let Some(diagnosis) = provision::unusable(database, &slot) {
            return Err(End::Trouble(diagnosis));
        }
        if let Some(pid) = slot.active_pid {
            return Err(End::Trouble(slot_trouble::held(&slot, pid, connector.application_name())));
        }
        let opened = self.pipeline.open(server).await;
        let given_up = match opened {
            Ok(mut opened) => {
                if let Some(trouble) = self.pipeline.other_cluster(&opened) {
                    return Err(End::Lost(trouble));
                }
                // What is lost is lost with its own reason, and not drained over.
                if relief == Relief::Drain {
                    let lost = slot_trouble::lost(name, Some(&slot));
                    if let Some((reason, sentence)) = lost {
                        return Err(End::Lost(self.pipeline.lost(reason, sentence)));
                    }
                    if let Some(trouble) = self.pipeline.inspect(&opened, &slot, facts.in_recovery).await {
                        return Err(End::Lost(trouble));
                    }
                }
                let was_open = opened.open_gap().is_some();
                let dropped = relief == Relief::Drop { for_good: true };
                let given_up = self.pipeline.give_up(&mut opened, &slot, facts.in_recovery, reason, dropped).await;
                given_up.map(|from| (!was_open).then_some(from))
            }
            Err((server, end)) => {
                let lost = self.pipeline.inspect_closed(&server, Some(&slot));
                if let Some(trouble) = lost.filter(|trouble| trouble.reason == Reason::OtherCluster) {
                    return Err(End::Lost(trouble));
                }
                Err(end)
            }
        };
        match (relief, given_up) {
            (Relief::Drain, Ok(opened_from)) => {
                if let Some(from) = opened_from {
                    reporter.info(
                        Some(from),
                        &format!(
                            "changes of the slot {name} after {from} are discarded, behind a gap record: {reason}"
                        ),
                    );
                }
                self.drain().await
            }
            (Relief::Drain, Err(end)) => Err(end),
            // The operator's word is to free the disk, whatever the sink can take.
            (Relief::Drop { for_good }, given_up) => {
                if for_good {
                    given_up?;
                }
                self.drop_slot(reason).await
            }
        }
    }

    /// Moves the slot to the server's WAL end.
    async fn drain(&self) -> Result<(), End> {
        let Pipeline { database, connector, .. } = &self.pipeline;
        let refused = |error| End::Trouble(trouble::of_sql(Step::AdvanceSlot, &error, &database.connection));
        provision::advance(database, connector).await.map_err(refused)
    }

    async fn drop_slot(&self, reason: &str) -> Result<(), End> {
        let Pipeline { database, connector, reporter, .. } = &self.pipeline;
        let Database { slot, connection: to, .. } = &**database;
        let mut replication =
            connector.replication(to).await.map_err(|error| End::Trouble(trouble::of_connect(&error, to)))?;
        let server = self.pipeline.identify(&mut replication).await?;
        replication
            .drop_slot(slot)
            .await
            .map_err(|error| End::Trouble(trouble::of_replication(Step::DropSlot, &error, to)))?;
        reporter.warn(&format!("dropped the slot {slot}, as {} says", by(reason)), "what it had not delivered is lost");
        self.made.forget_slot(server.system_identifier(), slot).await.map_err(|error| {
            let trouble =
                Trouble::new(Reason::Sink, error.to_string(), "`state_dir` needs room and a disk that answers");
            End::Trouble(Diagnosis { class: Class::Retry, trouble })
        })
    }

    /// What has become of a slot that is being dropped, and drops its publication too, if slotd made it. Says what stays.
    pub(super) async fn dropped(&self) -> Reply {
        let failed = |Trouble { sentence, hint, .. }: &Trouble| Refusal::Failed(format!("{sentence} ({hint})"));
        let of_end = |end: &End| match end {
            End::Lost(trouble) | End::Trouble(Diagnosis { trouble, .. }) => failed(trouble),
            End::Stopped => Refusal::Failed("the database is being ended".to_owned()),
        };
        let Pipeline { database, reporter, .. } = &self.pipeline;
        let Database { slot, publication, .. } = &**database;
        let (server, found, _) = self.look().await.map_err(|end| of_end(&end))?;
        if found.is_some() {
            let status = reporter.status();
            let why = status.findings.iter().find(|finding| finding.code == WAL_NOT_FREED);
            let why = why.map_or_else(
                || format!("the slot {slot} is still there"),
                |finding| format!("{} ({})", finding.sentence, finding.hint),
            );
            return Err(Refusal::Failed(format!("{why}; the database is disabled, and dropping goes on")));
        }
        let system_identifier = server.system_identifier();
        let done = self.round(system_identifier).drop_publication(&self.readers(system_identifier)).await;
        let stays = match done.map_err(|diagnosis| failed(&diagnosis.trouble))? {
            Dropped::Gone => {
                format!(
                    "the slot {slot} and the publication {publication} are gone; nothing of them is left on the server"
                )
            }
            Dropped::Read(other) => format!(
                "the slot {slot} is gone; the publication {publication} stays, since the slot {other} is read through it"
            ),
            Dropped::Anothers => format!(
                "the slot {slot} is gone; the publication {publication} stays, since slotd did not make it (DROP PUBLICATION {};)",
                quote_ident(publication.as_str())
            ),
        };
        Ok(format!(
            "{stays}. What was delivered stays in the sinks, behind it a gap record; take the entry out of the file, or slotd enable {} makes the slot anew",
            database.name
        ))
    }
}
