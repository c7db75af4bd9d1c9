//! What the server merely warns of on a stream.

use serde_json::Value;

use crate::support::{Cluster, Options, Slotd};

/// 18 warns with the same SQLSTATE that it leaves rows out. The name of the publication in the text proves nothing.
#[tokio::test]
async fn a_standby_that_is_waited_for_is_told_and_is_no_gap() {
    for major in [17, 18] {
        let cluster = Cluster::start(major, &Options::default());
        cluster
            .execute("postgres", "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION standby_one FOR ALL TABLES")
            .await;
        let slots = "SELECT pg_create_physical_replication_slot('standby_one');
                     SELECT pg_create_logical_replication_slot('slotd_postgres', 'pgoutput', false, false, true)";
        cluster.execute("postgres", slots).await;
        let mut slotd = Slotd::run(&format!(
            "{}publication_name = \"standby_one\"\npublish = \"insert\"\n",
            cluster.entry("postgres")
        ));
        slotd.await_state("postgres", "streaming").await;
        set(&cluster, "synchronized_standby_slots = 'standby_one'").await;
        cluster.execute("postgres", "INSERT INTO t VALUES (1)").await;
        let health = slotd.await_until("postgres", |health| finding(health, "stream_warning").is_some()).await;
        assert_eq!(health["state"], "streaming", "{health:#}");
        let sentence = finding(&health, "stream_warning").unwrap();
        assert!(sentence.contains("\"standby_one\"") && sentence.contains("55000"), "{health:#}");
        set(&cluster, "synchronized_standby_slots = ''").await;
        slotd.await_acknowledged(&cluster, "postgres").await;
        assert_eq!(slotd.lines("postgres").len(), 1);
        // What was found before stands beside it, and it is gone once it is not repeated between two looks.
        assert!(finding(&slotd.health("postgres").await, "publication_drift").is_some());
        for _ in 0..2 {
            let last = slotd.health("postgres").await["last_round"].clone();
            slotd.sighup();
            slotd.await_until("postgres", |health| health["last_round"] != last).await;
        }
        let health = slotd.health("postgres").await;
        assert_eq!(finding(&health, "stream_warning"), None, "{health:#}");
        assert!(finding(&health, "publication_drift").is_some(), "{health:#}");
    }
}

async fn set(cluster: &Cluster, setting: &str) {
    cluster.execute("postgres", &format!("ALTER SYSTEM SET {setting}")).await;
    cluster.execute("postgres", "SELECT pg_reload_conf()").await;
}

/// The sentence of the finding `code`, if there is one.
fn finding<'a>(health: &'a Value, code: &str) -> Option<&'a str> {
    let findings = health["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["code"] == code).map(|finding| finding["sentence"].as_str().unwrap())
}
