//! Breaks: each rule of delivery is broken behind a switch, and the comparison that guards it has to see it. The same
//! steps without the switch are exact. docs/PROOF.md has the table.
//!
//! Acknowledging before fsync is not among them: a process that is killed loses nothing that it wrote. The storage that
//! forgets what was not fsynced catches it, in `src/sink/file/crash.rs`.

use std::fs;

use serde_json::Value;
use slotd::faults::{Break, Point};

use crate::support::{Cluster, History, Slotd, compare, lsn_of, seed};

/// Without a rule broken, and with it.
const fn without_and_with(rule: Break) -> [Option<Break>; 2] {
    [None, Some(rule)]
}

fn set_break(slotd: &mut Slotd, rule: Option<Break>) {
    if let Some(rule) = rule {
        slotd.set_env("SLOTD_BREAK", &format!("{rule:?}"));
    }
}

/// Adds a few hundred changes and lets the writers end.
async fn work(cluster: &Cluster, dbname: &str) {
    let history = History::begin(cluster, dbname, 1, seed());
    History::await_more(cluster, dbname, 200).await;
    history.stop().await;
}

/// A database with the history's tables, and a slotd that streams it.
async fn begun(cluster: &Cluster, rule: Option<Break>) -> (String, Slotd) {
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let mut slotd = Slotd::new(&format!("agent.wal_sender_timeout = \"3s\"\n{}", cluster.entry(&dbname)));
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    set_break(&mut slotd, rule);
    (dbname, slotd)
}

/// What the server takes for delivered.
async fn confirmed(cluster: &Cluster, dbname: &str) -> u64 {
    let sql = format!("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE database = '{dbname}'");
    lsn_of(&cluster.value("postgres", &sql).await.unwrap()).unwrap()
}

async fn insert_lsn(cluster: &Cluster) -> u64 {
    lsn_of(&cluster.value("postgres", "SELECT pg_current_wal_insert_lsn()").await.unwrap()).unwrap()
}

/// One row of 10 MB that compresses well: its length lies far beyond the WAL that it takes.
#[tokio::test]
async fn a_position_that_is_no_end_is_seen_by_the_server_and_at_the_next_start() {
    for rule in without_and_with(Break::AckStartPlusLength) {
        let cluster = Cluster::shared(18);
        let dbname = cluster.create_database().await;
        History::create(cluster, &dbname).await;
        cluster.execute(&dbname, "CREATE TABLE wide (id int PRIMARY KEY, content text)").await;
        let mut slotd = Slotd::new(&cluster.entry(&dbname));
        set_break(&mut slotd, rule);
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        cluster.execute(&dbname, "INSERT INTO wide VALUES (1, repeat('x', 10000000))").await;
        slotd.await_acknowledged(cluster, &dbname).await;
        slotd.await_lines(&dbname, 1).await;
        slotd.kill9().await;
        let ahead = confirmed(cluster, &dbname).await > insert_lsn(cluster).await + 1_000_000;
        work(cluster, &dbname).await;

        slotd.start();
        if rule.is_none() {
            slotd.await_acknowledged(cluster, &dbname).await;
        } else {
            let health = slotd.await_state(&dbname, "lost").await;
            assert_eq!(health["reason"], "slot_advanced");
            assert!(slotd.sigterm().await.success(), "{}", slotd.log());
            // Whoever does not compare goes on, and what was committed meanwhile never comes.
            set_break(&mut slotd, Some(Break::SkipComparison));
            slotd.start();
            slotd.await_state(&dbname, "streaming").await;
            slotd.await_acknowledged(cluster, &dbname).await;
        }
        let report = compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await);
        assert_eq!((ahead, !report.lost.is_empty()), (rule.is_some(), rule.is_some()), "{rule:?}: {report}");
        assert_eq!(report.is_exact(), rule.is_none(), "{rule:?}: {report}");
    }
}

/// slotd dies with half of a batch in the file.
#[tokio::test]
async fn a_torn_tail_that_is_kept_is_seen_in_the_file() {
    for rule in without_and_with(Break::KeepTornTail) {
        let cluster = Cluster::shared(18);
        let (dbname, mut slotd) = begun(cluster, rule).await;
        assert!(slotd.sigterm().await.success(), "{}", slotd.log());
        work(cluster, &dbname).await;
        slotd.set_env("SLOTD_CRASH_AT", &format!("{:?}", Point::FileHalfWritten));
        slotd.start();
        slotd.ended_at("crash point FileHalfWritten").await;
        slotd.unset_env("SLOTD_CRASH_AT");
        slotd.start();
        slotd.await_acknowledged(cluster, &dbname).await;

        let text: String = slotd.files(&dbname).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let torn = text.lines().count() - lines.len();
        let report = compare(&lines, &History::expected(cluster, &dbname).await);
        match rule {
            None => assert!(torn == 0 && report.is_exact(), "{torn} torn; {report}"),
            Some(_) => assert!(torn > 0 || !report.repeated.is_empty(), "{torn} torn; {report}"),
        }
    }
}

/// Somebody advances the slot while slotd is down.
#[tokio::test]
async fn a_comparison_that_is_skipped_lets_a_loss_pass() {
    for rule in without_and_with(Break::SkipComparison) {
        let cluster = Cluster::shared(18);
        let (dbname, mut slotd) = begun(cluster, rule).await;
        work(cluster, &dbname).await;
        slotd.await_acknowledged(cluster, &dbname).await;
        assert!(slotd.sigterm().await.success(), "{}", slotd.log());
        work(cluster, &dbname).await;
        let slot = format!("SELECT slot_name FROM pg_replication_slots WHERE database = '{dbname}'");
        let advance = format!("SELECT pg_replication_slot_advance(({slot}), pg_current_wal_insert_lsn())");
        cluster.value(&dbname, &advance).await.unwrap();

        slotd.start();
        if rule.is_none() {
            let health = slotd.await_state(&dbname, "lost").await;
            assert_eq!(health["reason"], "slot_advanced", "{health:#}");
        } else {
            work(cluster, &dbname).await;
            slotd.await_acknowledged(cluster, &dbname).await;
            let health = slotd.await_state(&dbname, "streaming").await;
            let report = compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await);
            assert!(!report.lost.is_empty(), "{report}; {health:#}");
        }
    }
}

/// A unit is stuck in the sink while others move the WAL, and slotd is killed.
async fn in_flight(rule: Option<Break>, unit: &str, kind: &str) {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
    let mut slotd = Slotd::new(&format!("agent.wal_sender_timeout = \"3s\"\n{}", cluster.entry(&dbname)));
    set_break(&mut slotd, rule);
    slotd.set_env("SLOTD_STALL_AT", &format!("{:?}", Point::FileHalfWritten));
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, unit).await;
    // A database beside it, whose commits make keepalives: only one of them can carry this end.
    cluster.execute("postgres", "SELECT pg_logical_emit_message(true, 'others', 'move the WAL')").await;
    let end = insert_lsn(cluster).await;
    let at = |health: &Value, position: &str| health["positions"][position].as_str().and_then(lsn_of);
    let heard = |health: &Value| at(health, "received") >= Some(end);
    let acknowledged = |health: &Value| at(health, "acknowledged") >= Some(end);
    let health = match rule {
        None => slotd.await_until(&dbname, heard).await,
        Some(_) => slotd.await_until(&dbname, acknowledged).await,
    };
    assert!(slotd.log().contains("stall point FileHalfWritten"), "the sink is not stuck: {health:#}");
    assert_eq!(acknowledged(&health), rule.is_some(), "{health:#}");
    slotd.kill9().await;
    assert_eq!(confirmed(cluster, &dbname).await >= end, rule.is_some());

    slotd.unset_env("SLOTD_STALL_AT");
    slotd.unset_env("SLOTD_BREAK");
    slotd.start();
    slotd.await_acknowledged(cluster, &dbname).await;
    let lines = slotd.lines(&dbname);
    let delivered = lines.iter().filter(|line| line["action"] == kind).count();
    assert_eq!(delivered, usize::from(rule.is_none()), "{rule:?}: {lines:?}");
}

#[tokio::test]
async fn a_keepalive_acknowledged_over_a_transaction_loses_it() {
    for rule in without_and_with(Break::AckKeepaliveInFlight) {
        in_flight(rule, "INSERT INTO items VALUES (1)", "insert").await;
    }
}

#[tokio::test]
async fn a_keepalive_acknowledged_over_a_message_loses_it() {
    for rule in without_and_with(Break::AckKeepaliveInFlight) {
        in_flight(rule, "SELECT pg_logical_emit_message(false, 'one', 'of its own')", "message").await;
    }
}
