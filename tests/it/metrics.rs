//! `/metrics`, against what the server's own catalog says and what was written.

use std::collections::BTreeMap;

use crate::support::{Cluster, Slotd, VERSIONS};

/// The samples of one scrape, by name and labels as they are written.
async fn scrape(slotd: &Slotd) -> BTreeMap<String, f64> {
    let (status, body) = slotd.get("/metrics").await.unwrap();
    assert_eq!(status, 200, "{body}");
    let samples = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    });
    samples.collect()
}

#[tokio::test]
async fn what_is_written_is_counted_exactly_through_a_broken_connection_and_a_reload() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY)").await;
        let entry = cluster.entry(&dbname);
        let mut slotd = Slotd::run(&entry);
        slotd.await_state(&dbname, "streaming").await;
        let slot = format!("slotd_{dbname}");
        let changes = format!("slotd_delivered_changes_total{{database=\"{dbname}\",sink=\"changes\"}}");
        let transactions = format!("slotd_delivered_transactions_total{{database=\"{dbname}\",sink=\"changes\"}}");

        for _ in 0..3 {
            cluster.execute(&dbname, "INSERT INTO items SELECT FROM generate_series(1, 1000)").await;
        }
        slotd.await_acknowledged(cluster, &dbname).await;
        let seen = scrape(&slotd).await;
        assert_eq!((seen[&changes], seen[&transactions]), (3000.0, 3.0), "{major}");
        assert_eq!(seen[&format!("slotd_up{{database=\"{dbname}\"}}")], 1.0);
        assert_eq!(seen[&format!("slotd_state{{database=\"{dbname}\",state=\"streaming\"}}")], 1.0);

        // The server ends the session; the counters go on, and the end is counted under its SQLSTATE.
        let kill =
            format!("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'");
        let before = slotd.health(&dbname).await["since"].clone();
        assert_eq!(cluster.value("postgres", &kill).await.as_deref(), Some("t"));
        slotd.await_until(&dbname, |health| health["state"] == "streaming" && health["since"] != before).await;
        cluster.execute(&dbname, "INSERT INTO items DEFAULT VALUES").await;
        slotd.await_acknowledged(cluster, &dbname).await;
        let seen = scrape(&slotd).await;
        assert_eq!((seen[&changes], seen[&transactions]), (3001.0, 4.0), "{major}");
        let ended = format!("slotd_reconnects_total{{database=\"{dbname}\",reason=\"connection\",sqlstate=\"57P01\"}}");
        assert_eq!(seen.get(&ended), Some(&1.0), "{major}: {seen:#?}");

        // A reload that changes the entry begins the database anew.
        slotd.configure(&format!("{entry}max_retained_wal = \"1GB\"\n"));
        let (status, said) = slotd.command_output(&["reload"]).await;
        assert!(status.success(), "{said}");
        slotd.await_state(&dbname, "streaming").await;
        let seen = scrape(&slotd).await;
        assert_eq!((seen[&changes], seen[&transactions]), (3001.0, 4.0), "{major}");
        assert_eq!(slotd.lines(&dbname).len(), 3001);
    }
}

#[tokio::test]
async fn a_slot_that_is_not_read_costs_what_the_catalog_says() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        let slot = format!("slotd_{dbname}");
        let make = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        cluster.execute(&dbname, &make).await;
        let mut slotd =
            Slotd::run(&format!("{}status = \"disabled\"\nmax_retained_wal = \"1GB\"\n", cluster.entry(&dbname)));
        let health = slotd.await_until(&dbname, |health| !health["wal"].is_null()).await;
        let seen = scrape(&slotd).await;
        let of_slot =
            |name: &str| seen.get(&format!("slotd_slot_{name}{{database=\"{dbname}\",slot=\"{slot}\"}}")).copied();
        let sql = format!(
            "SELECT pg_wal_lsn_diff('{}', restart_lsn) || ' ' || pg_wal_lsn_diff(confirmed_flush_lsn, restart_lsn)
               FROM pg_replication_slots WHERE slot_name = '{slot}'",
            health["positions"]["wal_end"].as_str().unwrap()
        );
        let catalog = cluster.value("postgres", &sql).await.unwrap();
        let (retained, held) = catalog.split_once(' ').unwrap();
        assert_eq!(of_slot("retained_wal_bytes"), retained.parse().ok(), "{major}");
        assert_eq!(of_slot("held_wal_bytes"), held.parse().ok(), "{major}");
        assert_eq!(of_slot("wal_budget_bytes"), Some(f64::from(1 << 30)));
        assert_eq!(of_slot("wal_budget_ratio"), of_slot("retained_wal_bytes").map(|bytes| bytes / f64::from(1 << 30)));
        assert_eq!(of_slot("safe_wal_size_bytes"), None, "the server has no limit");
        assert_eq!(of_slot("time_to_invalidation_seconds"), None);
        assert_eq!(of_slot("inactive_seconds").is_some(), major >= 17, "{major}");
        let status = format!("slotd_slot_wal_status{{database=\"{dbname}\",slot=\"{slot}\",status=\"reserved\"}}");
        assert_eq!(seen[&status], 1.0);
        assert_eq!(seen[&format!("slotd_status{{database=\"{dbname}\",status=\"disabled\"}}")], 1.0);
        cluster.execute("postgres", &format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    }
}
