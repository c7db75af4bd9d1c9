//! Messages outside of transactions: they have no end, and a COMMIT can stand at the very place of one.

use serde_json::{Value, json};

use crate::support::{Cluster, Options, Slotd};

/// The versions whose `pg_logical_emit_message` can flush.
const FLUSHING: [u32; 2] = [17, 18];

const HEARTBEAT: &str = "SELECT pg_logical_emit_message(false, 'heartbeat', 'now', true)";

fn records(slotd: &Slotd, dbname: &str) -> Vec<Value> {
    slotd.lines(dbname).into_iter().map(|mut line| line["record"].take()).collect()
}

fn heartbeat() -> Value {
    json!({"prefix": "heartbeat", "content": "now"})
}

async fn end(slotd: &mut Slotd, kill: bool) {
    if kill {
        slotd.kill9().await;
    } else {
        assert!(slotd.sigterm().await.success());
    }
}

#[tokio::test]
async fn one_right_before_a_commit_hides_no_change_of_it() {
    for major in FLUSHING {
        for kill in [false, true] {
            let cluster = Cluster::start(major, &Options::default());
            let dbname = cluster.create_database().await;
            cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
            let mut slotd = Slotd::run(&cluster.entry(&dbname));
            slotd.await_state(&dbname, "streaming").await;
            let writer = cluster.connect(&dbname).await;
            writer.batch_execute("BEGIN; INSERT INTO t VALUES (1), (2)").await.unwrap();
            writer.batch_execute(HEARTBEAT).await.unwrap();
            slotd.await_lines(&dbname, 1).await;
            end(&mut slotd, kill).await;
            writer.batch_execute("COMMIT").await.unwrap();
            slotd.start();
            slotd.await_state(&dbname, "streaming").await;
            slotd.await_acknowledged(&cluster, &dbname).await;
            assert_eq!(records(&slotd, &dbname), [heartbeat(), json!({"id": 1}), json!({"id": 2})]);
            let lines = slotd.lines(&dbname);
            let place = |line: &Value| line["metadata"]["commit_lsn"].clone();
            assert_eq!(place(&lines[0]), place(&lines[1]), "what this test is about");
            assert_ne!(lines[0]["metadata"]["idempotency_key"], lines[1]["metadata"]["idempotency_key"]);
        }
    }
}

#[tokio::test]
async fn one_that_was_the_last_is_no_sign_of_another_history() {
    for major in FLUSHING {
        let mut cluster = Cluster::start(major, &Options::default());
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        let mut expected = Vec::new();
        for id in 1..=3 {
            cluster.execute(&dbname, HEARTBEAT).await;
            slotd.await_lines(&dbname, expected.len() + 1).await;
            slotd.await_acknowledged(&cluster, &dbname).await;
            match id {
                1 => end(&mut slotd, false).await,
                2 => end(&mut slotd, true).await,
                // The slot falls back behind the message, and the server sends it once more.
                _ => {
                    cluster.kill9().unwrap();
                    cluster.start_again();
                }
            }
            cluster.execute(&dbname, &format!("INSERT INTO t VALUES ({id})")).await;
            if id < 3 {
                slotd.start();
            }
            expected.extend([heartbeat(), json!({ "id": id })]);
            slotd.await_lines(&dbname, expected.len()).await;
            assert_eq!(slotd.await_state(&dbname, "streaming").await["verdict"], "pass");
            assert_eq!(records(&slotd, &dbname), expected, "PostgreSQL {major}");
        }
    }
}

#[tokio::test]
async fn one_larger_than_a_batch_arrives_whatever_its_prefix() {
    let cluster = Cluster::shared(15);
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    let emit = "SELECT pg_logical_emit_message(transactional, 'slotd', repeat('x', 300000))
                  FROM (VALUES (true), (false)) of (transactional)";
    cluster.execute(&dbname, emit).await;
    slotd.await_lines(&dbname, 2).await;
    let content = |line: &Value| line["record"]["content"].as_str().map(str::len);
    assert!(slotd.lines(&dbname).iter().all(|line| content(line) == Some(300_000)));
}
