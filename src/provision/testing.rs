//! What the tests of this room share.

use std::path::Path;

use crate::config::{self, Database};
use crate::lsn::Lsn;
use crate::postgres::catalog::{ServerFacts, SlotFacts};

/// The database `shop` with further keys.
pub(super) fn database(keys: &str) -> Database {
    let text =
        format!("[[postgres_databases]]\nname = \"shop\"\nurl = \"postgresql://slotd:x@127.0.0.1/shop\"\n{keys}\n");
    let config = config::parse(Path::new("slotd.toml"), &text, &|_| None)
        .map_err(|mistakes| mistakes.render(config::Style::Plain));
    (*config.unwrap().databases[0]).clone()
}

/// A server that has neither publication nor slot.
pub(super) fn server() -> ServerFacts {
    ServerFacts {
        version: 180_000,
        in_recovery: false,
        wal_level: "logical".to_owned(),
        max_slot_wal_keep_size: Some(1 << 30),
        idle_replication_slot_timeout: None,
        synchronous_standby_names: String::new(),
        synchronized_standby_slots: None,
        clock: jiff::Timestamp::UNIX_EPOCH,
        started: String::new(),
        wal_end: Lsn(1000),
        connection_limit: None,
        has_our_settings: true,
    }
}

/// A slot that is as declared and that nobody reads.
pub(super) fn slot() -> SlotFacts {
    SlotFacts {
        slot_name: crate::ident::SlotName::new("slotd_shop").unwrap(),
        plugin: Some("pgoutput".to_owned()),
        slot_type: "logical".to_owned(),
        database: Some("shop".to_owned()),
        temporary: false,
        active_pid: None,
        restart_lsn: Some(Lsn(90)),
        catalog_xmin: Some(701),
        confirmed_flush_lsn: Some(Lsn(100)),
        wal_status: Some("reserved".to_owned()),
        safe_wal_size: None,
        two_phase: false,
        failover: false,
        synced: false,
        invalidation_reason: None,
        conflicting: None,
        inactive_since: None,
        holder: None,
    }
}
