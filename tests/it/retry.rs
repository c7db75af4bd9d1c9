//! Servers that go and come back, have no room, or hold the slot for a session that is dead.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Cluster, History, Line, Options, Slotd, compare, seed, stands_in_the_page};

/// The entry of a database that is reached through `line`.
fn entry(cluster: &Cluster, dbname: &str, line: &Line) -> String {
    cluster.entry(dbname).replace(&format!("port = {}", cluster.port()), &format!("port = {}", line.port()))
}

/// Waits for a sentence in which `said` stands.
async fn told(slotd: &mut Slotd, name: &str, said: &str) -> Value {
    slotd.await_until(name, |health| health["sentence"].as_str().is_some_and(|sentence| sentence.contains(said))).await
}

async fn is_exact(cluster: &Cluster, dbname: &str, slotd: &mut Slotd) {
    slotd.await_acknowledged(cluster, dbname).await;
    compare(&slotd.lines(dbname), &History::expected(cluster, dbname).await).assert_exact();
}

#[tokio::test]
async fn tries_are_counted_and_announced_until_the_server_is_back_and_the_stream_has_run() {
    for major in [15, 18] {
        let mut cluster = Cluster::start(major, &Options { fsync: true, ..Options::default() });
        let dbname = cluster.create_database().await;
        History::create(&cluster, &dbname).await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        let workload = History::begin(&cluster, &dbname, 2, seed());
        History::await_more(&cluster, &dbname, 20).await;
        cluster.stop_immediate().unwrap();
        let health = slotd.await_until(&dbname, |health| health["failures"].as_u64() >= Some(3)).await;
        assert_eq!((&health["state"], health["next_try"].is_string()), (&"retrying".into(), true), "{health:#}");
        let (_, said) = slotd.command_output(&["status"]).await;
        assert!(said.contains("tries have failed, the next comes within"), "{said}");

        // It takes no one in yet: as after a crash, for as long as it recovers.
        let closed = cluster.data().join("postgresql.auto.conf");
        std::fs::write(&closed, "hot_standby = off\n").unwrap();
        cluster.make_standby();
        cluster.start_again();
        told(&mut slotd, &dbname, "57P03").await;
        cluster.stop_immediate().unwrap();
        std::fs::remove_file(cluster.data().join("standby.signal")).unwrap();
        std::fs::write(&closed, "").unwrap();
        cluster.start_again();

        let health = slotd.await_state(&dbname, "streaming").await;
        assert_eq!(health["next_try"], Value::Null, "{health:#}");
        assert_ne!(health["failures"], 0, "a connect is no success: {health:#}");
        workload.stop().await;
        is_exact(&cluster, &dbname, &mut slotd).await;
        slotd.await_until(&dbname, |health| health["failures"] == 0).await;
    }
}

#[tokio::test]
async fn a_server_that_has_no_connections_to_give_is_told_and_gets_over_it() {
    let options = Options::default()
        .set("max_connections", "8")
        .set("superuser_reserved_connections", "0")
        .set("max_wal_senders", "1");
    let cluster = Cluster::start(18, &options);
    let (first, second) = (cluster.create_database().await, cluster.create_database().await);
    // Those of the test itself end a moment after they are dropped.
    cluster
        .await_value("postgres", "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'", "1")
        .await;
    let mut taken = Vec::new();
    for _ in 0..20 {
        taken.extend(cluster.try_connect("postgres").await);
    }
    let mut slotd = Slotd::run(&cluster.entry(&first));
    let health = told(&mut slotd, &first, "53300").await;
    assert_eq!((&health["state"], &health["reason"]), (&"retrying".into(), &"server".into()), "{health:#}");
    taken.clear();
    slotd.await_state(&first, "streaming").await;

    // The only walsender is taken.
    slotd.configure(&format!("{}{}", cluster.entry(&first), cluster.entry(&second)));
    slotd.sighup();
    let health = told(&mut slotd, &second, "max_wal_senders").await;
    assert_eq!(health["state"], "retrying", "{health:#}");
    slotd.configure(&cluster.entry(&second));
    slotd.sighup();
    slotd.await_state(&second, "streaming").await;
}

/// How long the server waits for its client in these tests.
const PATIENCE: Duration = Duration::from_secs(2);

async fn through_a_line(cluster: &Cluster) -> (Line, String, Slotd) {
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let line = Line::to(cluster.port()).await;
    let mut slotd = Slotd::run(&format!(
        "agent.wal_sender_timeout = \"{}s\"\n{}",
        PATIENCE.as_secs(),
        entry(cluster, &dbname, &line)
    ));
    slotd.await_state(&dbname, "streaming").await;
    (line, dbname, slotd)
}

#[tokio::test]
async fn the_slot_of_a_session_that_died_unheard_is_ours_again_once_the_server_has_missed_it() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let (line, dbname, mut slotd) = through_a_line(cluster).await;
        let workload = History::begin(cluster, &dbname, 1, seed());
        History::await_more(cluster, &dbname, 20).await;
        line.cut();
        slotd.kill9().await;
        let begun = Instant::now();
        slotd.start();
        let health = slotd.await_until(&dbname, |health| health["reason"] == "slot_held").await;
        assert_eq!(health["state"], "waiting", "{health:#}");
        assert_eq!(health["verdict"], "warn", "{health:#}");
        let holder = &health["holder"];
        let pid = format!("pid {}", holder["pid"]);
        let who = holder["application_name"].as_str().unwrap();
        assert!(who.starts_with("slotd/"), "{health:#}");
        let slot = format!("slotd_{dbname}");
        stands_in_the_page(
            &health,
            &[(&slot, "slotd_shop"), (&pid, "pid 4711"), (who, "slotd/5c0f1e"), ("127.0.0.1", "10.0.0.7")],
        );
        slotd.await_state(&dbname, "streaming").await;
        let lasted = begun.elapsed();
        assert!(lasted < PATIENCE + Duration::from_secs(5), "{lasted:?}");
        workload.stop().await;
        is_exact(cluster, &dbname, &mut slotd).await;
    }
}

#[tokio::test]
async fn a_line_that_goes_dead_unheard_is_found_out_by_both_ends() {
    let cluster = Cluster::shared(18);
    let (line, dbname, mut slotd) = through_a_line(cluster).await;
    let workload = History::begin(cluster, &dbname, 1, seed());
    History::await_more(cluster, &dbname, 20).await;
    line.cut();
    let health = told(&mut slotd, &dbname, "silent for more than").await;
    assert_eq!((&health["state"], &health["reason"]), (&"retrying".into(), &"connection".into()), "{health:#}");
    slotd.await_state(&dbname, "streaming").await;
    workload.stop().await;
    is_exact(cluster, &dbname, &mut slotd).await;
}

#[tokio::test]
async fn a_session_of_somebody_else_is_named() {
    let cluster = Cluster::shared(18);
    let (_line, dbname, first) = through_a_line(cluster).await;
    let mut second = Slotd::run(&cluster.entry(&dbname));
    let health = second.await_state(&dbname, "waiting").await;
    let (sentence, hint) = (health["sentence"].as_str().unwrap(), health["hint"].as_str().unwrap());
    let pid = &health["holder"]["pid"];
    assert!(
        sentence.contains(&format!("held by pid {pid} (slotd/")) && sentence.ends_with("from 127.0.0.1"),
        "{sentence}"
    );
    assert!(hint.contains(&format!("pg_terminate_backend({pid})")), "{hint}");
    drop(first);
}

/// The two absolute times are the rule's own.
#[tokio::test]
async fn a_fast_stop_waits_for_no_blocked_sink_beyond_its_bound() {
    for major in [15, 18] {
        let mut cluster = Cluster::start(major, &Options { fsync: true, ..Options::default() });
        let dbname = cluster.create_database().await;
        History::create(&cluster, &dbname).await;
        let mut slotd = Slotd::new(&format!("agent.sink_stall_timeout = \"2s\"\n{}", cluster.entry(&dbname)));
        slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        let workload = History::begin(&cluster, &dbname, 2, seed());
        slotd.await_log(|log| log.contains("stall point")).await;
        let begun = Instant::now();
        cluster.stop_fast().unwrap();
        let lasted = begun.elapsed();
        println!("PostgreSQL {major}: the stop lasted {lasted:?}");
        assert!(lasted < Duration::from_secs(2 + 5), "PostgreSQL {major}: the stop lasted {lasted:?}");
        slotd.kill9().await;
        slotd.unset_env("SLOTD_STALL_AT");
        cluster.start_again();
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        workload.stop().await;
        is_exact(&cluster, &dbname, &mut slotd).await;
    }
}
