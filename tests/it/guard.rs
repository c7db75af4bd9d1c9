//! The watch over a server's slots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use serde_json::Value;
use slotd::config;
use slotd::guard::{self, Watched};
use slotd::net::resolve::Resolver;
use slotd::postgres::Connector;
use slotd::status::{Bounds, DatabaseStatus, PERIOD, Registry};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Cluster, Options, Slotd};

#[tokio::test]
async fn databases_that_let_nobody_in_keep_the_others_from_nothing() {
    let cluster = Cluster::shared(15);
    let dbname = cluster.create_database().await;
    let mut text: String = (0..4).map(|n| cluster.entry(&format!("nosuch_{n}"))).collect();
    text.push_str(&cluster.entry(&dbname));
    let config = config::parse(Path::new("/nowhere/slotd.toml"), &text, &|_| None).unwrap();
    let registry = Registry::new(PathBuf::new(), Bounds::from(&config.agent));
    let mut seen = Vec::new();
    let slots = config.databases.iter().map(|database| {
        let (name, slot, publication) = (&database.name, &database.slot, &database.publication);
        let now = jiff::Timestamp::now();
        let status = DatabaseStatus::new(name.clone(), slot.clone(), publication.clone(), database.status, now);
        let (tell, told) = watch::channel(None);
        seen.push(told);
        Watched { database: Arc::clone(database), reporter: Arc::new(registry.add(status)), seen: tell }
    });
    let slots: Vec<_> = slots.collect();
    let patience = Duration::from_secs(60);
    let connector =
        Connector::new(Resolver::new(config::Resolver::Hickory), patience, patience, "slotd/test".to_owned());
    let begun = Instant::now();
    let _watch = AbortOnDropHandle::new(tokio::spawn(guard::watch(connector, slots, CancellationToken::new())));
    for told in &mut seen {
        told.wait_for(Option::is_some).await.unwrap();
    }
    // One door at each look would take four periods.
    assert!(begun.elapsed() < 2 * PERIOD, "{:?}", begun.elapsed());
}

/// Writes `bytes` of WAL that no slot of another database holds.
async fn write_wal(cluster: &Cluster, dbname: &str, bytes: usize) {
    let sql = format!("SELECT pg_logical_emit_message(false, 'x', repeat('x', {}))", 64 * 1024);
    let client = cluster.connect(dbname).await;
    for _ in 0..bytes.div_ceil(64 * 1024) {
        client.simple_query(&sql).await.unwrap();
    }
}

fn troubles(health: &Value) -> String {
    health["troubles"].as_array().into_iter().flatten().map(|row| format!("{row}\n")).collect()
}

/// Streams once, so that there is a slot, and is disabled then.
async fn disabled(cluster: &Cluster, keys: &str) -> (String, Slotd) {
    let dbname = cluster.create_database().await;
    let entry = format!("{}{keys}\n", cluster.entry(&dbname));
    let mut slotd = Slotd::run(&entry);
    slotd.await_state(&dbname, "streaming").await;
    slotd.configure(&format!("{entry}status = \"disabled\"\n"));
    slotd.sighup();
    slotd.await_state(&dbname, "disabled").await;
    (dbname, slotd)
}

/// Its acknowledgements free nothing, so the one who holds the WAL is named.
#[tokio::test]
async fn a_transaction_that_holds_acknowledged_wal_is_named_with_what_ends_it() {
    join(named_on(15), named_on(18)).await;
}

async fn named_on(major: u32) {
    let cluster = Cluster::start(major, &Options::default().set("max_prepared_transactions", "2"));
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&format!("{}max_retained_wal = \"20MB\"\n", cluster.entry(&dbname)));
    slotd.await_state(&dbname, "streaming").await;
    let holder = cluster.connect("postgres").await;
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    holder.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    write_wal(&cluster, &dbname, 18 << 20).await;
    let named = format!("held by the transaction of pid {pid}");
    let health = slotd.await_until(&dbname, |health| troubles(health).contains(&named)).await;
    let said = troubles(&health);
    assert!(said.contains(&format!("SELECT pg_terminate_backend({pid});")), "{said}");
    assert!(said.contains("open since 20"), "{said}");
    let wal = &health["wal"];
    assert!(wal["held_bytes"].as_u64() > wal["ours_bytes"].as_u64(), "{wal:#}");
    assert_eq!(wal["held_by"]["pid"], pid, "{wal:#}");

    holder.batch_execute("PREPARE TRANSACTION 'left behind'").await.unwrap();
    let named = "held by the prepared transaction 'left behind' in the database postgres";
    let health = slotd.await_until(&dbname, |health| troubles(health).contains(named)).await;
    assert!(troubles(&health).contains("ROLLBACK PREPARED 'left behind';"), "{health:#}");
    holder.batch_execute("ROLLBACK PREPARED 'left behind'").await.unwrap();
    // The server tells the slot so with its next running transactions.
    cluster.execute(&dbname, "SELECT pg_current_xact_id(); CHECKPOINT").await;
    slotd.await_until(&dbname, |health| health["verdict"] == "pass").await;
}

/// "At a known WAL rate within 30 % of the truth": the moment at which the budget is told to be reached, and the one at
/// which it is.
#[tokio::test]
async fn the_time_to_the_budget_is_told_within_a_third_of_the_truth() {
    let cluster = Cluster::start(18, &Options::default());
    let (dbname, mut slotd) = disabled(&cluster, "max_retained_wal = \"60MB\"").await;
    let writer = cluster.connect(&dbname).await;
    // 2 MB a second, by its own clock.
    let writing = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            writer.simple_query("SELECT pg_logical_emit_message(false, 'x', repeat('x', 102400))").await.unwrap();
        }
    }));
    // A projection over a whole period in which nothing else was written.
    let steady = |health: &Value| health["wal"]["retained_bytes"].as_u64().is_some_and(|retained| retained > 20 << 20);
    let health =
        slotd.await_until(&dbname, |health| steady(health) && health["wal"]["seconds_to_budget"].is_f64()).await;
    let observed: jiff::Timestamp = health["observed"].as_str().unwrap().parse().unwrap();
    let told = health["wal"]["seconds_to_budget"].as_f64().unwrap();
    let crossed =
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) >= 60 * 1024 * 1024 FROM pg_replication_slots";
    cluster.await_value(&dbname, crossed, "t").await;
    let truth = jiff::Timestamp::now().duration_since(observed).as_secs_f64();
    assert!((told - truth).abs() <= 0.3 * truth, "told {told} s, and it took {truth} s: {health:#}");
    let health = slotd.await_until(&dbname, |health| troubles(health).contains("and is over it")).await;
    assert_eq!(health["verdict"], "fail");
    drop(writing);
}

#[tokio::test]
async fn a_disabled_slot_warns_at_half_of_its_budget_and_says_when_it_is_used_up() {
    join(warned_on(15), warned_on(18)).await;
}

async fn warned_on(major: u32) {
    let cluster = Cluster::start(major, &Options::default());
    let (dbname, mut slotd) = disabled(&cluster, "max_retained_wal = \"50MB\"").await;
    write_wal(&cluster, &dbname, 30 << 20).await;
    let health = slotd.await_until(&dbname, |health| health["verdict"] == "warn").await;
    assert_eq!((&health["state"], &health["reason"]), (&"disabled".into(), &"disabled_by_file".into()));
    let said = troubles(&health);
    assert!(said.contains("retains 30 MB of WAL, 60 % of its budget of 50 MB"), "{said}");
    // Once a second look has shown that more is written.
    write_wal(&cluster, &dbname, 1 << 20).await;
    slotd.await_until(&dbname, |health| troubles(health).contains("and reaches it in about ")).await;
}

#[tokio::test]
async fn the_servers_idle_timeout_is_told_before_it_strikes() {
    let cluster = Cluster::start(18, &Options::default().set("idle_replication_slot_timeout", "24s"));
    let (dbname, mut slotd) = disabled(&cluster, "").await;
    let told = |health: &Value| troubles(health).contains("by idle_replication_slot_timeout");
    let health = slotd.await_until(&dbname, told).await;
    assert_eq!(health["state"], "disabled", "{health:#}");
    slotd.await_until(&dbname, |health| told(health) && health["verdict"] == "fail").await;
    // It strikes at a checkpoint; idle for long enough the slot is by the server's clock alone.
    let invalidated = "CHECKPOINT; SELECT invalidation_reason FROM pg_replication_slots";
    cluster.await_value(&dbname, invalidated, "idle_timeout").await;
    let health = slotd.await_state(&dbname, "lost").await;
    assert_eq!(health["reason"], "slot_invalidated");
    assert!(health["sentence"].as_str().unwrap().contains("idle_timeout"), "{health:#}");
}
