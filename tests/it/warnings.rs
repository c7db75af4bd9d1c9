//! What the server merely warns of on a stream.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Cluster, Options, Slotd, stands_in_the_page};

/// 18 warns with the same SQLSTATE that it leaves rows out. The name of the publication in the text proves nothing.
#[tokio::test]
async fn a_failover_slot_that_waits_for_a_standby_is_told_as_long_as_it_does() {
    for major in [17, 18] {
        let cluster = Cluster::start(major, &Options::default());
        cluster
            .execute("postgres", "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION standby_one FOR ALL TABLES")
            .await;
        let slots = "SELECT pg_create_physical_replication_slot('standby_one');
                     SELECT pg_create_logical_replication_slot('slotd_postgres', 'pgoutput', false, false, true)";
        cluster.execute("postgres", slots).await;
        let mut slotd = Slotd::run(&format!(
            "agent.wal_sender_timeout = \"3s\"\n{}publication_name = \"standby_one\"\n",
            cluster.entry("postgres")
        ));
        slotd.await_state("postgres", "streaming").await;
        for (id, slot, says) in [(1, "standby_one", "active_pid"), (2, "gone", "does not exist")] {
            // What is missing can't be set, and may go missing.
            if slot == "gone" {
                cluster.execute("postgres", "SELECT pg_create_physical_replication_slot('gone')").await;
            }
            set(&cluster, &format!("synchronized_standby_slots = '{slot}'")).await;
            if slot == "gone" {
                cluster.execute("postgres", "SELECT pg_drop_replication_slot('gone')").await;
            }
            cluster.execute("postgres", &format!("INSERT INTO t VALUES ({id})")).await;
            let told = |health: &Value| health["reason"] == "synchronized_standby_slots";
            let health = slotd.await_until("postgres", told).await;
            assert_eq!(health["state"], "retrying", "{health:#}");
            let sentence = health["sentence"].as_str().unwrap();
            assert!(sentence.contains(&format!("\"{slot}\"")) && sentence.contains(says), "{health:#}");
            if slot == "standby_one" {
                stands_in_the_page(&health, &[]);
            }
            // It stays told, for longer than the server's patience, and in one line of the log.
            let begun = std::time::Instant::now();
            slotd
                .await_until("postgres", |health| {
                    assert!(told(health), "it wavers: {health:#}");
                    begun.elapsed() > Duration::from_secs(5)
                })
                .await;
            assert_eq!(slotd.log().matches(sentence).count(), 1, "{}", slotd.log());
            set(&cluster, "synchronized_standby_slots = ''").await;
            let health = slotd.await_state("postgres", "streaming").await;
            assert_eq!(health["failures"], 0, "the stream never ended: {health:#}");
            slotd.await_acknowledged(&cluster, "postgres").await;
            assert_eq!(slotd.lines("postgres").len(), id);
        }
    }
}

async fn set(cluster: &Cluster, setting: &str) {
    cluster.execute("postgres", &format!("ALTER SYSTEM SET {setting}")).await;
    cluster.execute("postgres", "SELECT pg_reload_conf()").await;
}
