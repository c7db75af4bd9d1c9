//! Kills at random moments under a running workload: afterwards the file holds the tables' own history, nothing lost,
//! nothing repeated, in commit order.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use serde::Deserialize;

use crate::support::{Cluster, History, Options, Slotd, compare, seed};

/// After so many kills the workload rests and the file is compared with the history.
const COMPARED: u32 = 10;

/// Kills slotd, Postgres, or both, `kills` times.
async fn survives(major: u32, kills: u32) {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cluster = Cluster::start(major, &Options { fsync: true, ..Options::default() });
    let dbname = cluster.create_database().await;
    History::create(&cluster, &dbname).await;
    let sink = "[sinks.changes]\ntype = \"file\"\nrotate_size = \"256kB\"\n";
    let mut slotd = Slotd::run(&format!("{sink}{}", cluster.entry(&dbname)));
    slotd.await_state(&dbname, "streaming").await;
    let mut history = History::begin(&cluster, &dbname, 2, seed);
    for kill in 1..=kills {
        if random.bool() {
            slotd.await_state(&dbname, "streaming").await;
        }
        // The moment is what is random here: nothing is waited for, be it in the midst of a start.
        tokio::time::sleep(Duration::from_millis(random.u64(0..400))).await;
        let which = random.u32(0..5);
        if which != 1 {
            slotd.kill9().await;
        }
        if which <= 1 {
            cluster.kill9().unwrap();
            cluster.start_again();
        }
        if which != 1 {
            slotd.start();
        }
        if kill.is_multiple_of(COMPARED) || kill == kills {
            slotd.await_state(&dbname, "streaming").await;
            History::await_more(&cluster, &dbname, 20).await;
            history.stop().await;
            slotd.await_acknowledged(&cluster, &dbname).await;
            let report = compare(&slotd.lines(&dbname), &History::expected(&cluster, &dbname).await);
            println!("PostgreSQL {major}, {kill} kills: {report}");
            report.assert_exact();
            history = History::begin(&cluster, &dbname, 2, seed.wrapping_add(u64::from(kill)));
        }
    }
    history.stop().await;
}

#[tokio::test]
async fn five_kills_lose_and_repeat_nothing() {
    survives(18, 5).await;
}

/// The long form: runs that know nothing of each other, each on a cluster of its own.
macro_rules! fifty_kills {
    ($($name:ident on $major:literal),* $(,)?) => {
        $(
            #[tokio::test]
            #[ignore = "long: make test-long"]
            async fn $name() {
                survives($major, 50).await;
            }
        )*
    };
}

fifty_kills! {
    fifty_kills_on_15_first on 15,
    fifty_kills_on_15_second on 15,
    fifty_kills_on_15_third on 15,
    fifty_kills_on_15_fourth on 15,
    fifty_kills_on_18_first on 18,
    fifty_kills_on_18_second on 18,
    fifty_kills_on_18_third on 18,
    fifty_kills_on_18_fourth on 18,
}

/// The part of a line that the large transaction is known by.
#[derive(Deserialize)]
struct Line {
    record: Numbered,
    metadata: Place,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

#[derive(Deserialize)]
struct Place {
    commit_idx: u64,
}

/// One transaction with `rows` rows: slotd is killed when half of it is in the file, and Postgres when there are three
/// quarters.
async fn large_transaction(major: u32, rows: u64) {
    let mut cluster = Cluster::start(major, &Options { fsync: true, ..Options::default() });
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigint PRIMARY KEY, name text)").await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    let insert = async |cluster: &Cluster, from: u64, to: u64| {
        let sql = format!("INSERT INTO items SELECT n, md5(n::text) FROM generate_series({from}, {to}) AS n");
        cluster.execute(&dbname, &sql).await;
    };
    insert(&cluster, 1, 1000).await;
    slotd.await_acknowledged(&cluster, &dbname).await;
    let all = slotd.bytes(&dbname) / 1000 * rows;

    insert(&cluster, 1001, 1000 + rows).await;
    slotd.await_bytes(&dbname, all / 2).await;
    slotd.kill9().await;
    let held = slotd.bytes(&dbname);
    assert!(held < all / 10 * 9, "{held} of about {all} bytes: slotd was killed too late");
    slotd.start();
    slotd.await_bytes(&dbname, all / 4 * 3).await;
    cluster.kill9().unwrap();
    let later = slotd.bytes(&dbname);
    println!("PostgreSQL {major}: slotd was killed at {held} and Postgres at {later} of about {all} bytes");
    assert!(later < all, "{later} of about {all} bytes: Postgres was killed too late");
    cluster.start_again();

    insert(&cluster, 1001 + rows, 2000 + rows).await;
    slotd.await_bytes(&dbname, all).await;
    slotd.await_acknowledged(&cluster, &dbname).await;
    let mut next = 1;
    for path in slotd.files(&dbname) {
        for line in BufReader::new(File::open(path).unwrap()).lines() {
            let Line { record, metadata } = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!(record.id, next, "each row once, in order");
            let first = [1, 1001, 1001 + rows].into_iter().rfind(|first| *first <= next).unwrap();
            assert_eq!(metadata.commit_idx, next - first, "the place in the transaction of row {next}");
            next += 1;
        }
    }
    assert_eq!(next, 2001 + rows, "every row");
}

#[tokio::test]
async fn a_transaction_that_was_half_in_the_file_is_there_once() {
    large_transaction(18, 200_000).await;
}

#[tokio::test]
#[ignore = "long: make test-long"]
async fn a_transaction_of_2_million_rows_that_was_half_in_the_file_is_there_once_on_15() {
    large_transaction(15, 2_000_000).await;
}

#[tokio::test]
#[ignore = "long: make test-long"]
async fn a_transaction_of_2_million_rows_that_was_half_in_the_file_is_there_once_on_18() {
    large_transaction(18, 2_000_000).await;
}
