//! Hundreds of databases in one process: what is wrong with some harms no other, and none is asked more than it has to be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{Cluster, Options, Slotd};

/// Slots that stream, each in one of [`DATABASES`].
const GOOD: usize = 440;
const DATABASES: usize = 20;
/// Of each kind that does not.
const BAD: usize = 20;

/// A cluster that has room for all.
async fn roomy() -> (Cluster, Vec<String>) {
    let options = Options::default()
        .set("max_wal_senders", "520")
        .set("max_replication_slots", "520")
        .set("max_connections", "60")
        .set("log_connections", "on")
        .set("logical_decoding_work_mem", "1MB");
    let cluster = Cluster::start(18, &options);
    let mut databases = Vec::new();
    for _ in 0..DATABASES {
        databases.push(cluster.create_database().await);
    }
    (cluster, databases)
}

fn entry(name: &str, port: u16, dbname: &str) -> String {
    format!(
        "[[postgres_databases]]\nname = \"{name}\"\nhostname = \"127.0.0.1\"\nport = {port}\ndatabase = \"{dbname}\"\n\
         username = \"postgres\"\npassword = \"none is asked for\"\nssl = false\npublication_name = \"all_of_it\"\n"
    )
}

/// How many databases are in each state.
async fn states(slotd: &Slotd) -> BTreeMap<String, usize> {
    let Some((_, body)) = slotd.get("/health").await else { return BTreeMap::new() };
    let health: Value = serde_json::from_str(&body).unwrap();
    let mut states = BTreeMap::new();
    for database in health["databases"].as_array().unwrap() {
        *states.entry(database["state"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    states
}

/// SQL sessions that were let in since the cluster began, and replication sessions.
fn let_in(cluster: &Cluster) -> (usize, usize) {
    let log = cluster.log();
    let authorized = || log.lines().filter(|line| line.contains("authorized: user=") && line.contains("slotd/"));
    let replication = authorized().filter(|line| line.contains("replication connection")).count();
    (authorized().count() - replication, replication)
}

#[tokio::test]
async fn five_hundred_databases_stream_beside_those_that_can_not_and_a_reload_touches_one() {
    let (cluster, databases) = roomy().await;
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Nobody listens on the port 1.
    let nobody = 1;
    let slow_port = slow.local_addr().unwrap().port();
    let _deaf = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = slow.accept().await {
            held.push(stream);
        }
    });
    let good = |number: usize| entry(&format!("good{number}"), cluster.port(), &databases[number % DATABASES]);
    let mut text = "agent.connect_timeout = \"5s\"\n".to_owned();
    for number in 0..GOOD {
        text.push_str(&good(number));
        if number < BAD {
            let _ = write!(text, "{}", entry(&format!("gone{number}"), nobody, "x"));
            let _ = write!(text, "{}", entry(&format!("slow{number}"), slow_port, "x"));
            let _ = write!(text, "{}", entry(&format!("wrong{number}"), cluster.port(), "no_such_database"));
        }
    }
    let mut slotd = Slotd::run(&text);
    slotd.await_until("good0", |health| health["state"] == "streaming").await;
    let all =
        BTreeMap::from([("streaming".to_owned(), GOOD), ("retrying".to_owned(), 2 * BAD), ("failed".to_owned(), BAD)]);
    let mut last = BTreeMap::new();
    for _ in 0..600 {
        last = states(&slotd).await;
        if last == all {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(last, all);
    assert_eq!(slotd.get("/readyz").await.unwrap().0, 200, "each had its first round");

    // At rest: one replication session each, and no other.
    let at_rest = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'slotd/%' AND backend_type = 'client backend'";
    cluster.await_value("postgres", at_rest, "0").await;
    let walsenders = "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_replication";
    let before = cluster.value("postgres", walsenders).await.unwrap();
    assert_eq!(before.split(' ').count(), GOOD);

    // One of them changes.
    let (sql, replication) = let_in(&cluster);
    let changed = good(7);
    slotd.configure(&text.replace(&changed, &format!("{changed}publish = \"insert\"\n")));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success() && said.contains("1 database begun or changed, 0 ended"), "{said}");
    slotd.await_until("good7", |health| health["state"] == "streaming" && health["findings"][0].is_object()).await;
    let after = cluster.value("postgres", walsenders).await.unwrap();
    let kept = after.split(' ').filter(|pid| before.split(' ').any(|other| other == *pid)).count();
    assert_eq!(kept, GOOD - 1);
    let (sql_after, replication_after) = let_in(&cluster);
    // Its round, the watch of its server, and at most one look that was due; those that fail are tried again.
    assert!(sql_after - sql <= 4, "{} SQL sessions", sql_after - sql);
    assert!(replication_after - replication <= 1 + BAD, "{} replication sessions", replication_after - replication);
}

/// Databases that are all busy at once.
const BUSY: usize = 64;
/// What each of them has to deliver, in transactions of a hundred rows.
const TRANSACTIONS: usize = 60;

#[tokio::test]
async fn sixty_four_busy_databases_share_evenly() {
    let (cluster, databases) = roomy().await;
    let databases = &databases[..BUSY / 4];
    let names: Vec<_> = (0..BUSY).map(|number| format!("busy{number}")).collect();
    let of = |number: usize| &databases[number % databases.len()];
    let text: String = names.iter().zip(0..).map(|(name, number)| entry(name, cluster.port(), of(number))).collect();
    for dbname in databases {
        cluster.execute(dbname, "CREATE TABLE items (id bigserial PRIMARY KEY, content text)").await;
    }
    let mut slotd = Slotd::run(&format!("agent.wal_sender_timeout = \"60s\"\n{text}"));
    for name in &names {
        slotd.await_state(name, "streaming").await;
    }
    slotd.freeze();
    // Each database's WAL is replayed for all of its slots.
    for dbname in databases {
        let rows = format!(
            "DO $$ BEGIN FOR n IN 1..{TRANSACTIONS} LOOP INSERT INTO items (content) SELECT repeat('x', 500) FROM \
             generate_series(1, 100); COMMIT; END LOOP; END $$"
        );
        cluster.execute(dbname, &rows).await;
    }
    slotd.thaw();
    // Each row's content alone is so long.
    let least_of_all = (TRANSACTIONS * 100 * 500) as u64;
    let mut samples: Vec<Vec<u64>> = Vec::new();
    loop {
        let sample: Vec<_> = names.iter().map(|name| slotd.bytes(name)).collect();
        let is_through = sample.iter().all(|bytes| *bytes > least_of_all) && samples.last() == Some(&sample);
        samples.push(sample);
        if is_through && slotd.lines(&names[0]).len() == TRANSACTIONS * 100 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let whole = samples[samples.len() - 1][0];
    let mean = |sample: &[u64]| sample.iter().sum::<u64>() / BUSY as u64;
    let halfway = samples.iter().find(|sample| mean(sample) > whole / 2).unwrap();
    let least = halfway.iter().min().unwrap();
    println!(
        "halfway {} of {} samples: {least} to {} bytes",
        samples.len(),
        halfway.iter().max().unwrap(),
        mean(halfway)
    );
    assert!(*least > mean(halfway) / 3, "{halfway:?}");
    for name in &names {
        slotd.await_lines(name, TRANSACTIONS * 100).await;
        assert_eq!(slotd.lines(name).len(), TRANSACTIONS * 100, "{name}");
    }
}
