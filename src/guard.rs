//! What each slot costs its server, whoever streams it.
//!
//! One watch per server looks at all declared slots of it each [`PERIOD`], the disabled ones above all: a slot that
//! nobody reads pins WAL until the disk is full. It opens a SQL session, asks, and closes it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::{Budget, Database};
use crate::lsn::Lsn;
use crate::postgres::catalog::{self, ServerFacts, SlotFacts};
use crate::postgres::trouble::{self, Step};
use crate::postgres::{ConnectError, Connector, SqlError, xid_holder};
use crate::status::{PERIOD, Reporter, Streak, Trouble, WalUse, XidHolder, one_line};

/// How many databases are tried in one look: a server that refuses hundreds is not asked for all of them every time.
const DOORS: usize = 8;
/// The budget where neither the file nor the server sets one.
const DEFAULT_BUDGET: u64 = 10 << 30;

/// WAL that `restart_lsn` may lag behind by itself, since it follows in steps: nobody is looked for who holds so little.
const HELD: u64 = 4 << 20;

/// What was last seen of a slot and of its server, as far as it is judged: what moves by itself, such as `safe_wal_size`,
/// is no news, and would bring every disabled database to look at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `None` if there is none.
    pub slot: Option<SeenSlot>,
    pub synchronous_standby_names: String,
    /// A server that was restored, or another one in its place, was started later.
    pub started: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
}

/// What was last seen of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSlot {
    pub plugin: Option<String>,
    pub database: Option<String>,
    pub confirmed_flush_lsn: Option<Lsn>,
    /// Why it is invalidated.
    pub invalidation: Option<String>,
    /// It retains all of its budget, and at least half of that is what we have not acknowledged: discarding it frees the
    /// disk, which it would not if an open transaction held it.
    pub over_limit: bool,
}

impl Seen {
    fn new(server: &ServerFacts, slot: Option<&SlotFacts>, wal: Option<&WalUse>) -> Self {
        let over_limit = wal.is_some_and(is_over);
        let slot = slot.map(|slot| SeenSlot {
            over_limit,
            plugin: slot.plugin.clone(),
            database: slot.database.clone(),
            confirmed_flush_lsn: slot.confirmed_flush_lsn,
            invalidation: slot.invalidation().map(str::to_owned),
        });
        Self {
            slot,
            synchronous_standby_names: server.synchronous_standby_names.clone(),
            started: server.started.clone(),
            in_recovery: server.in_recovery,
        }
    }
}

/// One slot under watch.
#[derive(Debug)]
pub struct Watched {
    pub database: Arc<Database>,
    pub reporter: Arc<Reporter>,
    /// Where the database's own task hears of it.
    pub seen: watch::Sender<Option<Seen>>,
}

/// Watches the slots of one server until `stop`.
pub async fn watch(connector: Connector, mut slots: Vec<Watched>, stop: CancellationToken) {
    let Some(server) = slots.first().map(|watched| trouble::address(&watched.database.connection)) else { return };
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut blind = Streak::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            looked = look_through_any(&connector, &mut slots) => looked,
        };
        // What it means for each database is told in its health.
        match &looked {
            Ok(()) => {
                if let Some(after) = blind.ended(Timestamp::now()) {
                    info!(server, "the slots of {server} are observed again{after}");
                }
            }
            Err((door, error)) => {
                if let Some(times) = blind.failed(Timestamp::now()) {
                    let Trouble { sentence, hint, .. } =
                        trouble::of_sql(Step::Observe, error, &door.connection).trouble;
                    let (sentence, hint) = (one_line(&sentence), one_line(&hint));
                    warn!(server, hint, "the slots of {server} can't be observed{times}: {sentence} ({hint})");
                }
            }
        }
    }
}

/// Any of the databases leads to the server. One that does not gives way to the next at once, unless the server itself
/// is away; the one that led there comes first the next time.
async fn look_through_any(connector: &Connector, slots: &mut [Watched]) -> Result<(), (Arc<Database>, SqlError)> {
    let mut tried = 0;
    loop {
        let Some(door) = slots.first() else { return Ok(()) };
        let door = Arc::clone(&door.database);
        let Err(error) = look(connector, &door, slots).await else { return Ok(()) };
        let said = trouble::of_sql(Step::Observe, &error, &door.connection).trouble.sentence;
        debug!(database = %door.name, "{}: the slots of the server can't be observed through it: {said}", door.name);
        slots.rotate_left(1);
        tried += 1;
        if tried == slots.len().min(DOORS) || is_away(&error) {
            return Err((door, error));
        }
    }
}

/// Whether the other databases would meet the same: nobody answers.
const fn is_away(error: &SqlError) -> bool {
    use ConnectError::{Io, Reach, Socket, Timeout};

    matches!(error, SqlError::Silent { .. } | SqlError::Connect(Io(_) | Reach(_) | Socket { .. } | Timeout { .. }))
}

async fn look(connector: &Connector, door: &Database, slots: &[Watched]) -> Result<(), SqlError> {
    let sql = connector.sql(&door.connection).await?;
    let server = catalog::server(&sql).await?;
    let names: Vec<_> = slots.iter().map(|watched| &watched.database.slot).collect();
    let found = catalog::slots(&sql, &names).await?;
    let is_held = found.iter().any(|slot| {
        let WalUse { held_bytes, ours_bytes, .. } = wal_use(Budget::Server, &server, slot, None);
        held_bytes > ours_bytes.max(HELD)
    });
    let holder = if is_held { xid_holder::oldest(&sql).await? } else { None };
    for watched in slots {
        let slot = found.iter().find(|slot| slot.slot_name == watched.database.slot);
        report(watched, &server, slot, holder.as_ref());
    }
    Ok(())
}

fn report(watched: &Watched, server: &ServerFacts, slot: Option<&SlotFacts>, holder: Option<&XidHolder>) {
    let reporter = &watched.reporter;
    reporter.positions(|positions| {
        positions.wal_end = positions.wal_end.max(Some(server.wal_end));
        positions.confirmed_flush_lsn = slot.and_then(|slot| slot.confirmed_flush_lsn);
        positions.restart_lsn = slot.and_then(|slot| slot.restart_lsn);
    });
    let wal = slot.map(|slot| wal_use(watched.database.max_retained_wal, server, slot, holder));
    let seen = Seen::new(server, slot, wal.as_ref());
    reporter.wal(wal);
    reporter.observed();
    watched.seen.send_if_modified(|last| {
        let news = last.as_ref() != Some(&seen);
        *last = Some(seen);
        news
    });
}

/// Whether `slot` is over its budget by what we have not read.
#[must_use]
pub fn is_over_limit(database: &Database, server: &ServerFacts, slot: &SlotFacts) -> bool {
    is_over(&wal_use(database.max_retained_wal, server, slot, None))
}

fn is_over(wal: &WalUse) -> bool {
    wal.percent() >= 100 && wal.is_ours()
}

fn wal_use(budget: Budget, server: &ServerFacts, slot: &SlotFacts, holder: Option<&XidHolder>) -> WalUse {
    let behind = |lsn: Option<Lsn>| lsn.map_or(0, |lsn| server.wal_end.since(lsn));
    let ours_bytes = behind(slot.confirmed_flush_lsn);
    let held_bytes = match (slot.confirmed_flush_lsn, slot.restart_lsn) {
        (Some(confirmed), Some(restart)) => confirmed.since(restart),
        _ => 0,
    };
    let inactive = slot.inactive_since.and_then(|since| Duration::try_from(server.clock.duration_since(since)).ok());
    WalUse {
        retained_bytes: behind(slot.restart_lsn),
        ours_bytes,
        budget_bytes: match budget {
            Budget::Bytes(bytes) => bytes,
            Budget::Server => server.max_slot_wal_keep_size.unwrap_or(DEFAULT_BUDGET),
        },
        wal_status: slot.wal_status.clone(),
        safe_wal_size: slot.safe_wal_size,
        held_bytes,
        held_by: holder.filter(|_| held_bytes > ours_bytes.max(HELD)).cloned(),
        // The registry sees more than one look.
        wal_bytes_per_second: None,
        seconds_to_budget: None,
        seconds_to_invalidation: None,
        active_pid: slot.active_pid,
        inactive_since: slot.inactive_since,
        inactive_seconds: inactive.map(|time| time.as_secs_f64()),
        idle_timeout_seconds: server.idle_replication_slot_timeout.map(|time| time.as_secs_f64()),
        invalidation: slot.invalidation().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_by_itself_is_no_news() {
        let server = ServerFacts {
            version: 170_000,
            in_recovery: false,
            wal_level: "logical".to_owned(),
            max_slot_wal_keep_size: None,
            idle_replication_slot_timeout: None,
            synchronous_standby_names: String::new(),
            synchronized_standby_slots: None,
            clock: Timestamp::UNIX_EPOCH,
            started: "today".to_owned(),
            wal_end: Lsn(1000),
            connection_limit: None,
            has_our_settings: true,
        };
        let slot: SlotFacts = serde_json::from_str(
            r#"{"slot_name": "s", "slot_type": "logical", "temporary": false, "confirmed_flush_lsn": "0/1", "plugin": "pgoutput"}"#,
        )
        .unwrap();
        let before = Seen::new(&server, Some(&slot), None);
        let later = ServerFacts { wal_end: Lsn(2000), ..server.clone() };
        let moved = SlotFacts {
            safe_wal_size: Some(1),
            restart_lsn: Some(Lsn(900)),
            wal_status: Some("extended".to_owned()),
            ..slot.clone()
        };
        assert_eq!(Seen::new(&later, Some(&moved), None), before);
        let started = ServerFacts { started: "tomorrow".to_owned(), ..server.clone() };
        let advanced = SlotFacts { confirmed_flush_lsn: Some(Lsn(2)), ..slot.clone() };
        let lost = SlotFacts { wal_status: Some("lost".to_owned()), ..slot.clone() };
        for news in [
            Seen::new(&server, None, None),
            Seen::new(&started, Some(&slot), None),
            Seen::new(&server, Some(&advanced), None),
            Seen::new(&server, Some(&lost), None),
        ] {
            assert_ne!(news, before);
        }
    }
}
