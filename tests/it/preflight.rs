//! All that will fail on a server is said before it does, all at once, and what is said ends it.

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Cluster, Options, Slotd, VERSIONS};

async fn says(slotd: &Slotd, args: &[&str], exit: i32) -> String {
    let (status, said) = slotd.command_output(args).await;
    assert_eq!(status.code(), Some(exit), "{args:?}\n{said}");
    said
}

/// The codes of what `check --connect --json` finds of the first database: what stands in the way, and what does not.
async fn codes(slotd: &Slotd, exit: i32) -> (Vec<String>, Vec<String>) {
    let found: Value = serde_json::from_str(&says(slotd, &["check", "--connect", "--json"], exit).await).unwrap();
    let of = |list: &str, key: &str| {
        let list = found[0][list].as_array().unwrap().iter();
        list.map(|found| found[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    (of("obstacles", "reason"), of("findings", "code"))
}

#[tokio::test]
async fn all_that_stands_in_the_way_of_a_slot_is_told_at_once_and_its_sql_ends_it() {
    join_all(VERSIONS.map(told_on)).await;
}

async fn told_on(major: u32) {
    let options = Options::default().set("max_replication_slots", "1").set("wal_level", "logical");
    let cluster = Cluster::start(major, &options);
    let dbname = cluster.create_database().await;
    let setup = format!(
        "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE log (line text); CREATE ROLE owner; \
         ALTER TABLE orders OWNER TO owner; ALTER TABLE log OWNER TO owner; CREATE ROLE agent LOGIN REPLICATION; \
         REVOKE CREATE ON DATABASE {dbname} FROM PUBLIC; SELECT pg_create_physical_replication_slot('standby')"
    );
    cluster.execute(&dbname, &setup).await;
    let entry = cluster.entry(&dbname).replace("username = \"postgres\"", "username = \"agent\"");
    let mut slotd = Slotd::new(&format!("{entry}tables = [\"orders\", \"log\"]\nallow_no_identity = [\"log\"]\n"));
    let (blocks, _) = codes(&slotd, 1).await;
    assert_eq!(blocks, ["no_free_slot", "may_not_create", "not_the_owner"], "PostgreSQL {major}");

    // In the agent the first is the reason and the others are findings.
    slotd.start();
    let health = slotd.await_state(&dbname, "failed").await;
    let findings: Vec<_> = health["findings"].as_array().unwrap().iter().map(|found| found["code"].clone()).collect();
    assert!(findings.contains(&"not_the_owner".into()) && findings.contains(&"no_free_slot".into()), "{health:#}");
    assert!(slotd.sigterm().await.success());

    let text = says(&slotd, &["check", "--connect"], 1).await;
    let run = |text: &str| -> Vec<String> {
        let hints = text.lines().filter_map(|line| line.trim().strip_prefix("hint: run: "));
        hints.filter(|hint| hint.starts_with("GRANT")).map(|hint| hint.split(';').next().unwrap().to_owned()).collect()
    };
    let grants = run(&text);
    assert_eq!(grants.len(), 2, "{text}");
    for grant in grants {
        cluster.execute(&dbname, &grant).await;
    }
    cluster.execute(&dbname, "SELECT pg_drop_replication_slot('standby')").await;
    let (blocks, findings) = codes(&slotd, 0).await;
    assert_eq!((blocks, findings), (vec![], vec!["unbounded_wal".to_owned()]), "PostgreSQL {major}");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    let text = says(&slotd, &["check", "--connect", &dbname], 0).await;
    assert!(text.contains("  = nothing stands in the way\n"), "{text}");
}

#[tokio::test]
async fn what_a_server_is_not_set_up_for_is_told_with_what_the_role_lacks() {
    join_all(VERSIONS.map(unfit_on)).await;
}

async fn unfit_on(major: u32) {
    let options = Options::default().set("wal_level", "replica").set("max_slot_wal_keep_size", "100MB");
    let cluster = Cluster::start(major, &options);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE log (line text); CREATE ROLE agent LOGIN REPLICATION").await;
    cluster.execute(&dbname, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    let superuser = format!("{}max_retained_wal = \"1GB\"\n", cluster.entry(&dbname));
    let slotd = Slotd::new(&superuser.replace("username = \"postgres\"", "username = \"agent\""));
    cluster.execute(&dbname, "SELECT pg_reload_conf()").await;
    cluster.await_value(&dbname, "SHOW synchronous_standby_names", "*").await;
    let (blocks, findings) = codes(&slotd, 1).await;
    let expected = ["server", "sync_standby", "no_replica_identity", "may_not_create", "not_a_superuser"];
    assert_eq!(blocks, expected, "PostgreSQL {major}");
    assert_eq!(findings, ["server_strikes_first"], "PostgreSQL {major}");
    // Without the right to replicate nothing else can be asked.
    cluster.execute(&dbname, "SET synchronous_commit = local; ALTER ROLE agent NOREPLICATION").await;
    let text = says(&slotd, &["check", "--connect"], 1).await;
    assert!(text.contains("  ! ") && text.contains("ALTER ROLE agent REPLICATION;"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_away_is_one_finding_and_hides_no_other() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let away =
        "[[postgres_databases]]\nname = \"away\"\nurl = \"postgresql://slotd:x@127.0.0.1:1/away\"\nssl = false\n";
    let slotd = Slotd::new(&format!("{away}{}", cluster.entry(&dbname)));
    let text = says(&slotd, &["check", "--connect"], 69).await;
    assert!(text.contains("  ! 127.0.0.1:1: ") && text.contains("  = nothing stands in the way"), "{text}");
    assert!(!text.contains("none is asked for"), "the password: {text}");
    says(&slotd, &["check", "--connect", &dbname], 0).await;
}

#[tokio::test]
async fn two_entries_that_name_one_slot_of_one_cluster_are_told_by_both_names() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let entry = cluster.entry(&dbname);
    let other =
        entry.replace(&format!("name = \"{dbname}\"\nhost"), "name = \"twin\"\nhost").replace("127.0.0.1", "localhost");
    let both = format!("{entry}slot_name = \"one_{dbname}\"\n{other}slot_name = \"one_{dbname}\"\n");
    let mut slotd = Slotd::new(&both);
    let text = says(&slotd, &["check", "--connect"], 1).await;
    assert_eq!(text.matches(&format!("name one slot of one cluster, one_{dbname}")).count(), 2, "{text}");
    slotd.start();
    let told =
        |health: &Value| health["sentence"].as_str().is_some_and(|it| it.contains("name one slot of one cluster"));
    let streams = |health: &Value| health["state"] == "streaming";
    // One of the two has it; the other says so, and whose it is.
    let first = slotd.await_until(&dbname, |health| told(health) || streams(health)).await;
    let second = slotd.await_until("twin", |health| told(health) || streams(health)).await;
    assert!(told(&first) != told(&second), "{first:#}\n{second:#}");
    // Once that one is out of the file the slot is free for the other.
    let left = if told(&first) { (&entry, &dbname[..]) } else { (&other, "twin") };
    slotd.configure(&format!("{}slot_name = \"one_{dbname}\"\n", left.0));
    slotd.sighup();
    slotd.await_state(left.1, "streaming").await;
}

#[tokio::test]
async fn a_disabled_slot_that_the_server_will_invalidate_is_told_when_it_is_disabled() {
    let cluster = Cluster::start(18, &Options::default().set("idle_replication_slot_timeout", "1h"));
    let dbname = cluster.create_database().await;
    let slotd = Slotd::new(&format!("{}status = \"disabled\"\n", cluster.entry(&dbname)));
    assert!(codes(&slotd, 0).await.1.contains(&"idle_timeout".to_owned()));
}
