//! A slot that the server would take for a synchronous standby is not streamed: a blocked sink would hang every COMMIT.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, Options, Slotd, stands_in_the_page};

/// A cluster with `synchronous_standby_names`, whose own sessions wait for nobody.
fn cluster(major: u32, names: &str) -> Cluster {
    let options = Options::default().set("synchronous_commit", "local");
    Cluster::start(major, &options.set("synchronous_standby_names", names))
}

async fn set(cluster: &Cluster, names: &str) {
    cluster.execute("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await;
    cluster.execute("postgres", "SELECT pg_reload_conf()").await;
}

const WALSENDERS: &str = "SELECT count(*) FROM pg_stat_replication";

#[tokio::test]
async fn a_server_that_would_wait_for_us_is_refused_before_anything_is_made() {
    for major in [15, 18] {
        let cluster = cluster(major, "*");
        let dbname = cluster.create_database().await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        let health = slotd.await_state(&dbname, "failed").await;
        stands_in_the_page(&health, &[]);
        let made = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)";
        assert_eq!(cluster.value(&dbname, made).await.as_deref(), Some("0"));

        // With the operator's word for it, and the server does count us.
        slotd.configure(&format!("{}allow_sync_standby = true\n", cluster.entry(&dbname)));
        slotd.sighup();
        slotd.await_state(&dbname, "streaming").await;
        cluster.await_value(&dbname, "SELECT sync_state FROM pg_stat_replication", "sync").await;
    }
}

#[tokio::test]
async fn a_stream_ends_when_the_server_begins_to_wait_for_it_and_goes_on_after_it() {
    for major in [15, 18] {
        let cluster = cluster(major, "");
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        set(&cluster, "FIRST 1 (standby1, *)").await;
        let health = slotd.await_state(&dbname, "failed").await;
        assert_eq!(health["reason"], "sync_standby", "{health:#}");
        cluster.await_value(&dbname, WALSENDERS, "0").await;
        cluster.execute(&dbname, "INSERT INTO t VALUES (1)").await;
        set(&cluster, "standby1").await;
        slotd.await_lines(&dbname, 1).await;
        slotd.await_state(&dbname, "streaming").await;
        assert_eq!(slotd.lines(&dbname).len(), 1);
    }
}

#[tokio::test]
async fn a_transaction_that_takes_its_time_is_looked_after_in_one_session() {
    let cluster = Cluster::start(18, &Options::default().set("log_connections", "on"));
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut slotd = Slotd::new(&cluster.entry(&dbname));
    slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO t VALUES (1)").await;
    slotd.await_log(|log| log.contains("stall point")).await;
    let looked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'slotd/%' AND datname = '{dbname}'
        AND backend_type = 'client backend' AND query LIKE '%synchronous_standby_names%'"
    );
    cluster.await_value("postgres", &looked, "1").await;
    // A sink that is stuck is told after five seconds; by then there were twenty looks.
    slotd.await_until(&dbname, |health| health["reason"] == "sink").await;
    let logins = cluster.log().matches(&format!("database={dbname} application_name=slotd/")).count();
    assert!(logins < 10, "{logins} SQL sessions");
}

/// A primary whose sessions wait for their standbys, with a slotd that streams it, and behind that, in the server's order
/// too, a physical standby called `standby1`.
async fn with_standby(major: u32) -> (Cluster, Cluster, String, Slotd) {
    let mut cluster = Cluster::start(major, &Options::default());
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE t (id bigserial PRIMARY KEY, n int)").await;
    let snapshot = cluster.save();
    let mut slotd = Slotd::new(&cluster.entry(&dbname));
    slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    let conninfo = format!("host=127.0.0.1 port={} user=postgres application_name=standby1", cluster.port());
    let mut standby = cluster.twin(&snapshot, &Options::default().set("primary_conninfo", &conninfo));
    standby.make_standby();
    standby.start_again();
    // Of those with the same priority that have told a position the first walsender counts.
    let order = "SELECT string_agg(left(a.application_name, 6), ' ' ORDER BY w.ordinality)
        FROM pg_stat_get_wal_senders() WITH ORDINALITY w JOIN pg_stat_activity a USING (pid)
        WHERE w.state = 'streaming' AND w.flush_lsn IS NOT NULL";
    cluster.await_value("postgres", order, "slotd/ standb").await;
    (cluster, standby, dbname, slotd)
}

/// Commits one row after the other until `stop`; gives how many, and how long the longest COMMIT took.
async fn commit(cluster: &Cluster, dbname: &str, stop: CancellationToken) -> JoinHandle<(u32, Duration)> {
    let client = cluster.connect(dbname).await;
    tokio::spawn(async move {
        let (mut commits, mut longest) = (0, Duration::ZERO);
        while !stop.is_cancelled() {
            let begun = Instant::now();
            client.batch_execute("INSERT INTO t (n) VALUES (1)").await.unwrap();
            longest = longest.max(begun.elapsed());
            commits += 1;
        }
        (commits, longest)
    })
}

/// The worst case: the sink hangs, nothing is written but what hangs in its COMMIT, and the server takes slotd for the
/// standby to wait for, since its walsender comes first.
#[tokio::test]
async fn no_commit_hangs_for_a_second_when_the_server_begins_to_wait_for_a_blocked_sink() {
    for major in [15, 18] {
        let (cluster, _standby, dbname, mut slotd) = with_standby(major).await;
        let stop = CancellationToken::new();
        let commits = commit(&cluster, &dbname, stop.clone()).await;
        slotd.await_log(|log| log.contains("stall point")).await;
        set(&cluster, "*").await;
        let health = slotd.await_state(&dbname, "failed").await;
        stands_in_the_page(&health, &[]);
        // The physical one takes over, and the application goes on.
        let count = cluster.value(&dbname, "SELECT count(*) FROM t").await.unwrap();
        cluster.await_value(&dbname, &format!("SELECT count(*) > {count} + 20 FROM t"), "t").await;
        stop.cancel();
        let (commits, longest) = commits.await.unwrap();
        println!("PostgreSQL {major}: {commits} commits, the longest took {longest:?}");
        assert!(longest < Duration::from_secs(1), "PostgreSQL {major}: a COMMIT took {longest:?}");
        let ours = "SELECT count(*) FROM pg_stat_replication WHERE application_name LIKE 'slotd/%'";
        assert_eq!(cluster.value("postgres", ours).await.as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn other_standbys_alone_end_no_stream() {
    for major in [15, 18] {
        let (cluster, _standby, dbname, mut slotd) = with_standby(major).await;
        let stop = CancellationToken::new();
        let commits = commit(&cluster, &dbname, stop.clone()).await;
        slotd.await_log(|log| log.contains("stall point")).await;
        set(&cluster, "FIRST 1 (standby1)").await;
        // Until the guard has seen it as well.
        let observed = slotd.health(&dbname).await["observed"].clone();
        slotd.await_until(&dbname, |health| health["observed"] != observed).await;
        stop.cancel();
        // How long one takes is between the server and its standby, which tells where it stands every ten seconds at least.
        assert!(commits.await.unwrap().0 > 0);
        let health = slotd.health(&dbname).await;
        assert_ne!(health["reason"], "sync_standby", "{health:#}");
        let state = "SELECT sync_state FROM pg_stat_replication WHERE application_name LIKE 'slotd/%'";
        assert_eq!(cluster.value("postgres", state).await.as_deref(), Some("async"));
    }
}
