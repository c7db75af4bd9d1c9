//! Kills at random moments under a running workload: afterwards the file holds the tables' own history, nothing lost,
//! nothing repeated, in commit order.

use crate::support::{Cluster, History, Options, Slotd, compare, seed};

/// Kills slotd and Postgres in turn, `kills` times, each at a moment of its own.
async fn survives(major: u32, kills: u32) {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cluster = Cluster::start(major, &Options { fsync: true, ..Options::default() });
    let dbname = cluster.create_database().await;
    History::create(&cluster, &dbname).await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    let history = History::begin(&cluster, &dbname, 2, seed);
    for kill in 0..kills {
        let size = slotd.lines(&dbname).len() + random.usize(1..300);
        slotd.await_lines(&dbname, size).await;
        if kill % 2 == 0 {
            slotd.kill9().await;
            slotd.start();
        } else {
            cluster.kill9().unwrap();
            cluster.start_again();
        }
    }
    slotd.await_state(&dbname, "streaming").await;
    history.stop().await;
    slotd.await_acknowledged(&cluster, &dbname).await;
    compare(&slotd.lines(&dbname), &History::expected(&cluster, &dbname).await).assert_exact();
}

#[tokio::test]
async fn five_kills_lose_and_repeat_nothing() {
    survives(18, 5).await;
}

#[tokio::test]
#[ignore = "long: make test-long"]
async fn a_hundred_kills_lose_and_repeat_nothing_pg15() {
    survives(15, 100).await;
}

#[tokio::test]
#[ignore = "long: make test-long"]
async fn a_hundred_kills_lose_and_repeat_nothing_pg18() {
    survives(18, 100).await;
}
