//! What each slot costs its server, whoever streams it.
//!
//! One watch per server looks at all declared slots of it each [`PERIOD`], the disabled ones above all: a slot that
//! nobody reads pins WAL until the disk is full. It opens a SQL session, asks, and closes it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::config::{Budget, Database};
use crate::lsn::Lsn;
use crate::postgres::catalog::{self, ServerFacts, SlotFacts};
use crate::postgres::{Connector, SqlError};
use crate::status::{Reporter, WalUse};

/// How often a server is looked at; whatever befalls a slot is reported within it.
pub const PERIOD: Duration = Duration::from_secs(10);
/// The budget where neither the file nor the server sets one.
const DEFAULT_BUDGET: u64 = 10 << 30;

/// What was last seen of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Absent,
    Present(Box<SlotFacts>),
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
pub async fn watch(connector: Connector, slots: Vec<Watched>, stop: CancellationToken) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut through = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Any of the databases leads to the server; one that does not gives way to the next.
        let Some(door) = slots.get(through % slots.len().max(1)) else { return };
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            looked = look(&connector, &door.database, &slots) => looked,
        };
        if let Err(error) = looked {
            debug!(database = %door.database.name, "the slots of the server could not be observed: {error}");
            through += 1;
        }
    }
}

async fn look(connector: &Connector, door: &Database, slots: &[Watched]) -> Result<(), SqlError> {
    let sql = connector.sql(&door.connection).await?;
    let server = catalog::server(&sql).await?;
    let names: Vec<_> = slots.iter().map(|watched| &watched.database.slot).collect();
    let found = catalog::slots(&sql, &names).await?;
    for watched in slots {
        let slot = found.iter().find(|slot| slot.slot_name == watched.database.slot);
        report(watched, &server, slot);
    }
    Ok(())
}

fn report(watched: &Watched, server: &ServerFacts, slot: Option<&SlotFacts>) {
    let reporter = &watched.reporter;
    reporter.positions(|positions| {
        positions.wal_end = positions.wal_end.max(Some(server.wal_end));
        positions.confirmed_flush_lsn = slot.and_then(|slot| slot.confirmed_flush_lsn);
        positions.restart_lsn = slot.and_then(|slot| slot.restart_lsn);
    });
    reporter.wal(slot.map(|slot| wal_use(watched.database.max_retained_wal, server, slot)));
    reporter.observed();
    let seen = slot.map_or(Seen::Absent, |slot| Seen::Present(Box::new(slot.clone())));
    watched.seen.send_if_modified(|last| {
        let news = last.as_ref() != Some(&seen);
        *last = Some(seen);
        news
    });
}

fn wal_use(budget: Budget, server: &ServerFacts, slot: &SlotFacts) -> WalUse {
    let behind = |lsn: Option<Lsn>| lsn.map_or(0, |lsn| server.wal_end.since(lsn));
    WalUse {
        retained_bytes: behind(slot.restart_lsn),
        ours_bytes: behind(slot.confirmed_flush_lsn),
        budget_bytes: match budget {
            Budget::Bytes(bytes) => bytes,
            Budget::Server => server.max_slot_wal_keep_size.unwrap_or(DEFAULT_BUDGET),
        },
        wal_status: slot.wal_status.clone(),
        safe_wal_size: slot.safe_wal_size,
    }
}
