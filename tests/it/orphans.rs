//! `slotd orphans`: slots that nothing declares, on every version, with what they pin.

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Cluster, Options, Slotd, VERSIONS};

#[tokio::test]
async fn slots_that_nothing_declares_are_told_with_what_they_pin_and_what_drops_them() {
    join_all(VERSIONS.map(told_on)).await;
}

async fn told_on(major: u32) {
    let cluster = Cluster::start(major, &Options::default());
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    let (status, said) = slotd.command_output(&["orphans"]).await;
    assert_eq!((status.code(), said.lines().nth(1)), (Some(0), Some("  = every slot is declared")), "{said}");
    // In another database, by another plugin, and a physical one; each pins what is written from now on.
    let made = "SELECT pg_create_logical_replication_slot('slotd_gone', 'pgoutput'); \
                SELECT pg_create_logical_replication_slot('theirs', 'test_decoding'); \
                SELECT pg_create_physical_replication_slot('standby', true)";
    cluster.execute("postgres", made).await;
    cluster.execute("postgres", "SELECT pg_logical_emit_message(true, 'x', repeat('x', 3000000))").await;
    let (status, said) = slotd.command_output(&["orphans", "--json"]).await;
    assert_eq!(status.code(), Some(3), "{said}");
    let found: Value = serde_json::from_str(&said).unwrap();
    let orphans = found[0]["orphans"].as_array().unwrap();
    let mut names: Vec<_> = orphans.iter().map(|orphan| orphan["slot"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["slotd_gone", "standby", "theirs"], "PostgreSQL {major}");
    for orphan in orphans {
        assert!(orphan["retained_bytes"].as_u64().unwrap() >= 3_000_000, "PostgreSQL {major}: {orphan:#}");
        assert_eq!(orphan["inactive_since"].is_string(), major >= 17, "{orphan:#}");
        assert_eq!(orphan["named_like_ours"], orphan["slot"] == "slotd_gone");
        cluster.execute("postgres", orphan["sql"].as_str().unwrap()).await;
    }
    let (status, said) = slotd.command_output(&["orphans"]).await;
    assert_eq!(status.code(), Some(0), "{said}");
    slotd.await_state(&dbname, "streaming").await;
}

#[tokio::test]
async fn a_server_that_is_away_hides_no_other_and_a_database_that_lets_nobody_in_is_no_server_that_is_away() {
    let cluster = Cluster::start(18, &Options::default());
    let away =
        "[[postgres_databases]]\nname = \"away\"\nurl = \"postgresql://slotd:x@127.0.0.1:1/away\"\nssl = false\n";
    let slotd = Slotd::new(&format!("{away}{}{}", cluster.entry("nosuch"), cluster.entry("postgres")));
    cluster.execute("postgres", "SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')").await;
    let (status, said) = slotd.command_output(&["orphans"]).await;
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains("connection refused") && said.contains("  ? theirs (logical"), "{said}");
}

#[tokio::test]
async fn a_slot_whose_entry_is_gone_from_the_file_is_known_as_slotds_own() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    slotd.configure(&format!("{}slot_name = \"another\"\n", cluster.entry("postgres")));
    slotd.sighup();
    slotd.await_state("postgres", "streaming").await;
    let (status, said) = slotd.command_output(&["orphans"]).await;
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("  ? slotd_{dbname} (logical")) && said.contains("slotd made it"), "{said}");
}

/// One name on two clusters, and two names of one server.
#[tokio::test]
async fn what_is_declared_on_one_server_hides_nothing_on_another() {
    let cluster = Cluster::start(18, &Options::default());
    let other = Cluster::start(18, &Options { own_identifier: true, ..Options::default() });
    for cluster in [&cluster, &other] {
        cluster.execute("postgres", "SELECT pg_create_logical_replication_slot('shop', 'pgoutput')").await;
    }
    let alias = cluster.entry("template1").replace("127.0.0.1", "localhost");
    let entry = |entry: &str, slot: &str| format!("{entry}slot_name = \"{slot}\"\n");
    let mine = entry(&cluster.entry("postgres"), "shop");
    let theirs = other.entry("postgres").replacen("name = \"postgres\"", "name = \"other\"", 1);
    let slotd = Slotd::new(&format!("{mine}{}{}", entry(&alias, "none"), entry(&theirs, "nothing")));
    let (status, said) = slotd.command_output(&["orphans"]).await;
    assert_eq!(status.code(), Some(3), "{said}");
    let orphan = format!("127.0.0.1:{}\n  ? shop (logical", other.port());
    assert!(said.contains(&orphan) && said.matches("= every slot is declared").count() == 2, "{said}");
}
