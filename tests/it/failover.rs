//! The primary dies and a standby takes its place: the slot outlives it as the copy that the standby kept.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{self, Cluster, Options, Slotd, await_copy, set};

/// Versions whose slots outlive a failover.
const MAJORS: [u32; 2] = [17, 18];
/// From promotion to stream, as the README promises.
const AT_MOST: Duration = Duration::from_secs(5);

/// A primary and its standby, which copies slots.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    dbname: String,
    entry: String,
}

impl Pair {
    /// `waits` says whether the primary sends no slot what the standby has not got.
    async fn start(major: u32, waits: bool) -> Self {
        let options = Options::default().set("hot_standby_feedback", "on");
        let primary = Cluster::start(major, &options);
        let dbname = primary.create_database().await;
        primary.execute(&dbname, "CREATE TABLE orders (id int PRIMARY KEY)").await;
        let pair = support::Pair::that_fails_over(primary, &options, waits).await;
        let entry = pair.with_hosts(&dbname);
        let support::Pair { primary, standby } = pair;
        Self { primary, standby, dbname, entry }
    }

    /// A stream, and a copy of its slot on the standby.
    async fn streamed(&self) -> Slotd {
        let mut slotd = Slotd::run(&self.entry);
        slotd.await_state(&self.dbname, "streaming").await;
        self.insert(&self.primary, 1..=10).await;
        await_copy(&self.standby).await;
        slotd
    }

    async fn insert(&self, on: &Cluster, ids: std::ops::RangeInclusive<u32>) {
        let client = on.connect(&self.dbname).await;
        for id in ids {
            client.batch_execute(&format!("INSERT INTO orders VALUES ({id})")).await.unwrap();
        }
    }

    /// Nothing that the primary writes from now on reaches the standby.
    async fn cut_off(&self) {
        set(&self.standby, "primary_conninfo", "host=127.0.0.1 port=1").await;
        let gone = "SELECT count(*) FROM pg_stat_get_wal_receiver() WHERE pid IS NOT NULL";
        self.standby.await_value("postgres", gone, "0").await;
        self.primary
            .await_value("postgres", "SELECT count(*) FROM pg_stat_replication WHERE application_name !~ 'slotd'", "0")
            .await;
    }
}

fn ids(slotd: &Slotd, dbname: &str) -> Vec<u64> {
    slotd.lines(dbname).iter().filter_map(|line| line["record"]["id"].as_u64()).collect()
}

fn codes(health: &Value) -> Vec<&str> {
    health["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_death_of_the_primary_under_load_loses_and_repeats_nothing() {
    join_all(MAJORS.map(outlived_on)).await;
}

async fn outlived_on(major: u32) {
    let mut pair = Pair::start(major, true).await;
    let dbname = pair.dbname.clone();
    let mut slotd = pair.streamed().await;
    // What was not copied yet at the first look is told until the next one, a minute later.
    slotd.sighup();
    slotd.await_until(&dbname, |health| health["findings"] == serde_json::json!([])).await;
    let writer = pair.primary.connect(&dbname).await;
    let load = tokio::spawn(async move {
        for id in 1000.. {
            if writer.batch_execute(&format!("INSERT INTO orders VALUES ({id})")).await.is_err() {
                return;
            }
        }
    });
    slotd.await_lines(&dbname, 200).await;
    pair.primary.kill9().unwrap();
    load.await.unwrap();
    slotd.await_state(&dbname, "retrying").await;

    let begun = Instant::now();
    pair.standby.promote().await;
    let promoted = begun.elapsed();
    slotd.await_state(&dbname, "streaming").await;
    let lasted = begun.elapsed();
    println!("PostgreSQL {major}: promoted within {promoted:?}, streaming again after {lasted:?}");
    assert!(lasted < AT_MOST, "PostgreSQL {major}: {lasted:?}");
    pair.insert(&pair.standby, 1_000_001..=1_000_100).await;
    let rows = "SELECT array_to_json(array_agg(id ORDER BY id)) FROM orders";
    let is_exact = async |slotd: &mut Slotd| {
        slotd.await_acknowledged(&pair.standby, &dbname).await;
        let rows: Vec<u64> = serde_json::from_str(&pair.standby.value(&dbname, rows).await.unwrap()).unwrap();
        assert_eq!(ids(slotd, &dbname), rows, "PostgreSQL {major}");
    };
    is_exact(&mut slotd).await;

    // The old primary comes back and knows nothing of all this: it is not streamed from, though it stands first.
    slotd.kill9().await;
    pair.primary.start_again();
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    pair.insert(&pair.standby, 1_000_101..=1_000_110).await;
    pair.insert(&pair.primary, 2_000_001..=2_000_010).await;
    is_exact(&mut slotd).await;
    let health = slotd.await_until(&dbname, |health| codes(health).contains(&"second_primary")).await;
    assert_eq!(health["state"], "streaming", "{health:#}");
    pair.standby.kill9().unwrap();
    let health = slotd
        .await_until(&dbname, |health| {
            health["sentence"].as_str().is_some_and(|sentence| sentence.contains("a primary with another history"))
        })
        .await;
    assert_eq!(health["state"], "retrying", "{health:#}");
}

/// It answers nobody, and the kernel goes on taking connections for it.
#[tokio::test]
async fn a_primary_that_is_frozen_is_left_for_the_one_that_was_promoted() {
    let pair = Pair::start(18, true).await;
    let dbname = &pair.dbname;
    let mut slotd = pair.streamed().await;
    slotd.configure(&format!("agent.wal_sender_timeout = \"2s\"\nagent.connect_timeout = \"2s\"\n{}", pair.entry));
    assert!(slotd.sigterm().await.success());
    slotd.start();
    slotd.await_state(dbname, "streaming").await;
    pair.insert(&pair.primary, 11..=60).await;
    slotd.await_lines(dbname, 60).await;
    pair.primary.freeze().unwrap();
    slotd.await_state(dbname, "retrying").await;
    pair.standby.promote().await;
    slotd.await_state(dbname, "streaming").await;
    pair.insert(&pair.standby, 101..=110).await;
    slotd.await_lines(dbname, 70).await;
    pair.primary.thaw().unwrap();
    pair.insert(&pair.primary, 201..=210).await;
    pair.insert(&pair.standby, 111..=120).await;
    slotd.await_acknowledged(&pair.standby, dbname).await;
    assert_eq!(ids(&slotd, dbname), (1..=60).chain(101..=120).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_never_reached_the_new_primary_is_told_and_its_lsns_are_not_taken_for_ours() {
    join_all(MAJORS.iter().flat_map(|major| [false, true].map(|reused| diverged_on(*major, reused)))).await;
}

/// Whether the new primary has written beyond our position before it is looked at.
async fn diverged_on(major: u32, reused: bool) {
    let mut pair = Pair::start(major, false).await;
    let dbname = pair.dbname.clone();
    let mut slotd = pair.streamed().await;
    let health = slotd.await_until(&dbname, |health| codes(health).contains(&"failover_loses")).await;
    assert_eq!((&health["state"], &health["verdict"]), (&"streaming".into(), &"warn".into()), "{health:#}");
    slotd.await_lines(&dbname, 10).await;
    pair.cut_off().await;
    pair.insert(&pair.primary, 11..=60).await;
    slotd.await_acknowledged(&pair.primary, &dbname).await;
    assert_eq!(ids(&slotd, &dbname), (1..=60).collect::<Vec<_>>());
    if reused {
        slotd.freeze();
    }
    pair.primary.kill9().unwrap();
    pair.standby.promote().await;
    if reused {
        pair.insert(&pair.standby, 1001..=1400).await;
        slotd.thaw();
    }
    let health = slotd.await_state(&dbname, "lost").await;
    assert_eq!(health["reason"], "diverged", "{health:#}");
    let history = "SELECT split_part(pg_read_file('pg_wal/00000002.history'), E'\\t', 2)";
    let switch = pair.standby.value("postgres", history).await.unwrap();
    let sentence = health["sentence"].as_str().unwrap();
    let durable = health["positions"]["durable"].as_str().unwrap();
    let both = sentence.contains(&format!("left timeline 1 at {switch}")) && sentence.contains(durable);
    assert!(both, "PostgreSQL {major}: {switch}, {sentence}");
    let (status, said) = slotd.command_output(&["resume", &dbname, "--accept-gap", "--yes"]).await;
    assert!(status.success(), "PostgreSQL {major}: {said}");
    slotd.await_state(&dbname, "streaming").await;
    pair.insert(&pair.standby, 2001..=2010).await;
    slotd.await_acknowledged(&pair.standby, &dbname).await;
    let new: Vec<u64> = ids(&slotd, &dbname).into_iter().filter(|id| *id > 1000).collect();
    let expected: Vec<u64> = if reused { (1001..=1400).chain(2001..=2010).collect() } else { (2001..=2010).collect() };
    assert_eq!(new, expected, "PostgreSQL {major}");
    let gaps = slotd.lines(&dbname).iter().filter(|line| line["action"] == "gap").count();
    assert!(gaps > 0, "PostgreSQL {major}");
}
