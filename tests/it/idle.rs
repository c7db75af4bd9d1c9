//! Slots that have nothing to do, servers that go, and clients that freeze.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, Flow, History, Options, Slotd, compare, seed};

/// Commits one row after the other until `stop`.
async fn keep_busy(client: Client, stop: CancellationToken) -> u64 {
    client.batch_execute("CREATE TABLE busy (id bigserial PRIMARY KEY, t text)").await.unwrap();
    let mut commits = 0;
    while !stop.is_cancelled() {
        client.batch_execute("INSERT INTO busy (t) VALUES ('busy')").await.unwrap();
        commits += 1;
    }
    commits
}

#[tokio::test]
async fn quiet_slots_beside_a_busy_database_advance_with_one_write_a_second() {
    for major in [15, 18] {
        let cluster = Cluster::start(major, &Options::default());
        let mut quiet = Vec::new();
        for _ in 0..4 {
            quiet.push(cluster.create_database().await);
        }
        let busy = cluster.create_database().await;
        let mut slotd = Slotd::run(&quiet.iter().map(|name| cluster.entry(name)).collect::<String>());
        for name in &quiet {
            slotd.await_state(name, "streaming").await;
        }
        let slots = "SELECT max(restart_lsn) FROM pg_replication_slots";
        let restart = cluster.value("postgres", slots).await;
        let stop = CancellationToken::new();
        let writer = tokio::spawn(keep_busy(cluster.connect(&busy).await, stop.clone()));
        let positions = slotd.state_dir().join("positions.jsonl");
        let writes = || std::fs::read_to_string(&positions).unwrap().lines().count();
        let (begun, before) = (Instant::now(), writes());
        for _ in 0..3 {
            for name in &quiet {
                slotd.await_acknowledged(&cluster, name).await;
            }
        }
        let (elapsed, written) = (begun.elapsed().as_secs_f64(), writes() - before);
        // A running_xacts record, which moves restart_lsn, comes with every checkpoint at the latest.
        cluster.execute("postgres", "CHECKPOINT").await;
        let behind = format!("SELECT count(*) FROM pg_replication_slots WHERE restart_lsn <= '{}'", restart.unwrap());
        cluster.await_value("postgres", &behind, "0").await;
        stop.cancel();
        let commits = writer.await.unwrap();
        assert!(commits > 100, "not busy at all: {commits} commits");
        assert!(written >= 2 && written as f64 <= elapsed + 2.0, "{written} writes in {elapsed} s");
        for name in &quiet {
            assert!(slotd.lines(name).is_empty());
            let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND oid >= 16384";
            assert_eq!(cluster.value(name, tables).await.as_deref(), Some("0"), "a table of slotd's own");
        }
    }
}

/// What has passed between slotd and a server.
#[derive(Debug, Default)]
struct Seen {
    /// When a standby status update passed.
    updates: Mutex<Vec<Instant>>,
    /// How many keepalives of the server's own have.
    keepalives: AtomicU64,
}

/// Hands connections on to a server, and notes what passes.
async fn proxy(port: u16, seen: Arc<Seen>, storm: u32) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(hand_on(client, server, Arc::clone(&seen), storm));
        }
    });
    own
}

/// The beginning of a copy.
const COPY_BOTH: u8 = b'W';
/// A keepalive that asks for a reply, at a position that nobody moves to.
const ASKS: &[u8] = b"d\0\0\0\x16k\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// Passes on what the server says; behind the beginning of a copy come so many times a hundred keepalives.
async fn stormily(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    seen: Arc<Seen>,
    storm: u32,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while server.read_buf(&mut buffer).await? > 0 {
        while let Some(length) = buffer.get(1..5) {
            let length = 1 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if buffer.len() < length {
                break;
            }
            let tag = buffer[0];
            if tag == b'd' && buffer[5] == b'k' {
                seen.keepalives.fetch_add(1, Ordering::Relaxed);
            }
            client.write_all(&buffer[..length]).await?;
            buffer.drain(..length);
            for _ in 0..if tag == COPY_BOTH { storm } else { 0 } {
                client.write_all(&ASKS.repeat(100)).await?;
                // A storm lasts; this is no wait for a state.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    Ok(())
}

async fn hand_on(client: TcpStream, server: TcpStream, seen: Arc<Seen>, storm: u32) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::spawn(stormily(from_server, to_client, Arc::clone(&seen), storm));
    let mut buffer = Vec::new();
    // The first message has no tag.
    let mut tag = 0;
    while let Ok(read @ 1..) = from_client.read_buf(&mut buffer).await {
        // One whose server is gone ends at its next read.
        let _ = to_server.write_all(&buffer[buffer.len() - read..]).await;
        while let Some(length) = buffer.get(tag..tag + 4) {
            let length = tag + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if buffer.len() < length {
                break;
            }
            if tag == 1 && buffer[0] == b'd' && buffer[5] == b'r' {
                seen.updates.lock().unwrap().push(Instant::now());
            }
            buffer.drain(..length);
            tag = 1;
        }
    }
}

#[tokio::test]
async fn status_updates_are_paced_however_fast_transactions_come() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let seen = Arc::new(Seen::default());
    let port = proxy(cluster.port(), Arc::clone(&seen), 0).await;
    let entry = cluster.entry(&dbname).replace(&cluster.port().to_string(), &port.to_string());
    let mut slotd = Slotd::run(&entry);
    slotd.await_state(&dbname, "streaming").await;
    let client = cluster.connect(&dbname).await;
    client.batch_execute("CREATE TABLE t (id bigserial PRIMARY KEY)").await.unwrap();
    for _ in 0..2000 {
        client.batch_execute("INSERT INTO t DEFAULT VALUES").await.unwrap();
    }
    slotd.await_acknowledged(cluster, &dbname).await;
    are_paced(&seen.updates);
    assert_eq!(slotd.lines(&dbname).len(), 2000);
}

/// At most one each 100 ms.
fn are_paced(seen: &Mutex<Vec<Instant>>) {
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() > 1, "{} updates", seen.len());
    let lasted = seen[seen.len() - 1] - seen[0];
    assert!(seen.len() as f64 <= lasted.as_secs_f64() * 10.0 + 2.0, "{} updates in {lasted:?}", seen.len());
}

#[tokio::test]
async fn keepalive_storms_are_answered_at_their_pace_and_hold_back_no_change() {
    for storm in [0, 400] {
        let cluster = Cluster::shared(18);
        let (quiet, busy) = (cluster.create_database().await, cluster.create_database().await);
        let seen = Arc::new(Seen::default());
        let port = proxy(cluster.port(), Arc::clone(&seen), storm).await;
        let entry = cluster.entry(&quiet).replace(&cluster.port().to_string(), &port.to_string());
        let mut slotd = Slotd::run(&entry);
        slotd.await_state(&quiet, "streaming").await;
        let stop = CancellationToken::new();
        let writer = tokio::spawn(keep_busy(cluster.connect(&busy).await, stop.clone()));
        cluster.execute(&quiet, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
        for _ in 0..3 {
            slotd.await_acknowledged(cluster, &quiet).await;
        }
        stop.cancel();
        assert!(writer.await.unwrap() > 100);
        are_paced(&seen.updates);
        assert_eq!(slotd.lines(&quiet).len(), 1);
    }
}

#[tokio::test]
async fn a_server_is_told_to_spare_its_keepalives_as_long_as_others_are_busy() {
    for major in [15, 18] {
        let cluster = Cluster::start(major, &Options::default());
        let (quiet, busy) = (cluster.create_database().await, cluster.create_database().await);
        let seen = Arc::new(Seen::default());
        let port = proxy(cluster.port(), Arc::clone(&seen), 0).await;
        let entry = cluster.entry(&quiet).replace(&cluster.port().to_string(), &port.to_string());
        let mut slotd = Slotd::run(&entry);
        slotd.await_state(&quiet, "streaming").await;
        let stop = CancellationToken::new();
        let writer = tokio::spawn(keep_busy(cluster.connect(&busy).await, stop.clone()));
        let ahead = "SELECT count(*) FROM pg_stat_replication WHERE write_lsn > sent_lsn";
        cluster.await_value("postgres", ahead, "1").await;
        let commits = async || cluster.value(&busy, "SELECT count(*) FROM busy").await.unwrap().parse::<u64>().unwrap();
        let (before, keepalives) = (commits().await, seen.keepalives.load(Ordering::Relaxed));
        // The slot goes on all the same, and no position is acknowledged that was not received.
        slotd.await_acknowledged(&cluster, &quiet).await;
        let beyond = "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn > sent_lsn";
        assert_eq!(cluster.value("postgres", beyond).await.as_deref(), Some("0"));
        let (commits, keepalives) = (commits().await - before, seen.keepalives.load(Ordering::Relaxed) - keepalives);
        assert!(commits > 100, "PostgreSQL {major}: not busy at all: {commits} commits");
        assert!(keepalives < commits / 10, "PostgreSQL {major}: {keepalives} keepalives for {commits} commits");
        // What changes here arrives, and a quiet server is taken at its word again.
        cluster.execute(&quiet, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
        slotd.await_acknowledged(&cluster, &quiet).await;
        assert_eq!(slotd.lines(&quiet).len(), 1);
        stop.cancel();
        writer.await.unwrap();
        cluster.await_value("postgres", ahead, "0").await;
    }
}

#[tokio::test]
async fn a_fast_stop_waits_for_no_slotd_and_the_stream_comes_back_exact() {
    for major in [15, 18] {
        let mut cluster = Cluster::start(major, &Options { fsync: true, ..Options::default() });
        let dbname = cluster.create_database().await;
        History::create(&cluster, &dbname).await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        let workload = History::begin(&cluster, &dbname, 2, seed());
        for idle in [true, false] {
            if idle {
                slotd.await_acknowledged(&cluster, &dbname).await;
            }
            let begun = Instant::now();
            cluster.stop_fast().unwrap();
            let lasted = begun.elapsed();
            assert!(lasted < Duration::from_secs(5), "the stop lasted {lasted:?}, idle: {idle}");
            slotd.await_until(&dbname, |health| health["state"] != "streaming").await;
            cluster.start().unwrap();
            slotd.await_state(&dbname, "streaming").await;
        }
        workload.stop().await;
        slotd.await_acknowledged(&cluster, &dbname).await;
        compare(&slotd.lines(&dbname), &History::expected(&cluster, &dbname).await).assert_exact();
    }
}

#[tokio::test]
async fn a_frozen_slotd_is_dropped_and_comes_back_exact() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    History::create(&cluster, &dbname).await;
    let mut slotd = Slotd::run(&format!("agent.wal_sender_timeout = \"1s\"\n{}", cluster.entry(&dbname)));
    slotd.await_state(&dbname, "streaming").await;
    let workload = History::begin(&cluster, &dbname, 2, seed());
    slotd.await_acknowledged(&cluster, &dbname).await;
    slotd.freeze();
    let walsenders = "SELECT count(*) FROM pg_replication_slots WHERE active";
    cluster.await_value("postgres", walsenders, "0").await;
    slotd.thaw();
    slotd.await_acknowledged(&cluster, &dbname).await;
    workload.stop().await;
    slotd.await_acknowledged(&cluster, &dbname).await;
    compare(&slotd.lines(&dbname), &History::expected(&cluster, &dbname).await).assert_exact();
    assert!(cluster.log().contains("terminating walsender process due to replication timeout"));
}

#[tokio::test]
async fn an_open_transaction_holds_back_no_acknowledgement_of_others() {
    let mut flow = Flow::start(Cluster::shared(18), "CREATE TABLE t (id int PRIMARY KEY)", "").await;
    let open = flow.cluster.connect(&flow.dbname).await;
    open.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let ids =
        |lines: Vec<serde_json::Value>| -> Vec<_> { lines.iter().map(|line| line["record"]["id"].clone()).collect() };
    flow.run(&["INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)"]).await;
    // Comes back only once all of it is acknowledged, the open transaction's row in between included.
    assert_eq!(ids(flow.take().await), [2, 3]);
    open.batch_execute("INSERT INTO t VALUES (4); COMMIT").await.unwrap();
    assert_eq!(ids(flow.take().await), [1, 4]);
    let health = flow.slotd.await_until(&flow.dbname, |health| health["lag"]["bytes"] == 0).await;
    assert_eq!(health["lag"]["seconds"], 0.0, "{health:#}");
}
