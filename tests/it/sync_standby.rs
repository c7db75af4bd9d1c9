//! A slot that the server would take for a synchronous standby is not streamed: a blocked sink would hang every COMMIT.

use crate::support::{Cluster, Options, Slotd};

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
        assert_eq!(health["reason"], "sync_standby", "{health:#}");
        assert!(health["sentence"].as_str().unwrap().contains("synchronous_standby_names is *"), "{health:#}");
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
        assert_eq!(cluster.value(&dbname, WALSENDERS).await.as_deref(), Some("0"));
        cluster.execute(&dbname, "INSERT INTO t VALUES (1)").await;
        set(&cluster, "standby1").await;
        slotd.await_lines(&dbname, 1).await;
        slotd.await_state(&dbname, "streaming").await;
        assert_eq!(slotd.lines(&dbname).len(), 1);
    }
}
