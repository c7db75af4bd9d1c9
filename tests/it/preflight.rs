//! All that will fail on a server is said before it does, all at once, and what is said ends it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Cluster, Options, Pooler, Slotd, VERSIONS};

/// How long a setting may take to be in force.
const PATIENCE: Duration = Duration::from_secs(60);

async fn says(slotd: &Slotd, args: &[&str], exit: i32) -> String {
    let (status, said) = slotd.command_output(args).await;
    assert_eq!(status.code(), Some(exit), "{args:?}\n{said}");
    said
}

/// What is to be mended: its code and its hint.
type Found = (String, String);

/// What `check --connect --json` finds of the first database: what stands in the way, and what does not.
async fn found(slotd: &Slotd, exit: i32) -> (Vec<Found>, Vec<Found>) {
    both(&says(slotd, &["check", "--connect", "--json"], exit).await, 0)
}

fn both(json: &str, at: usize) -> (Vec<Found>, Vec<Found>) {
    let found: Value = serde_json::from_str(json).unwrap();
    let of = |list: &str, key: &str| {
        let text = |found: &Value, key: &str| found[key].as_str().unwrap().to_owned();
        found[at][list].as_array().unwrap().iter().map(|found| (text(found, key), text(found, "hint"))).collect()
    };
    (of("obstacles", "reason"), of("findings", "code"))
}

fn codes_of(found: &[Found]) -> Vec<&str> {
    found.iter().map(|(code, _)| code.as_str()).collect()
}

/// The codes alone.
async fn codes(slotd: &Slotd, exit: i32) -> (Vec<String>, Vec<String>) {
    let (blocks, findings) = found(slotd, exit).await;
    let codes = |found: Vec<Found>| found.into_iter().map(|(code, _)| code).collect();
    (codes(blocks), codes(findings))
}

/// The statements that a hint says to run; those that make the publication only if there are no others.
fn to_run(hint: &str) -> Vec<String> {
    let beginning = |words: &[&str]| -> Vec<String> {
        let from = |part: &str| words.iter().filter_map(|word| part.find(word)).min().map(|at| part[at..].to_owned());
        // What is in parentheses is for other servers.
        hint.split(';').filter(|part| !part.trim_start().starts_with('(')).filter_map(from).collect()
    };
    let statements = beginning(&["ALTER ", "GRANT ", "SELECT pg_"]);
    if statements.is_empty() { beginning(&["CREATE PUBLICATION"]) } else { statements }
}

/// Does as `hint` says.
async fn mend(cluster: &mut Cluster, dbname: &str, hint: &str) {
    let statements = to_run(hint);
    assert!(!statements.is_empty(), "nothing is to be run: {hint}");
    for statement in statements {
        cluster.execute(dbname, &statement).await;
    }
    if hint.contains("restart the server") {
        cluster.restart();
    }
}

/// Waits until all that the first database has are `wanted`; a setting that is reloaded takes its time.
async fn await_codes(slotd: &Slotd, wanted: &[&str]) {
    let begun = Instant::now();
    loop {
        let (_, said) = slotd.command_output(&["check", "--connect", "--json"]).await;
        let (blocks, findings) = both(&said, 0);
        let all = [codes_of(&blocks), codes_of(&findings)].concat();
        if all == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "still {all:?}, and not {wanted:?}");
    }
}

/// Does as the hints of all that stands in the way and of all else say, one after the other, and each ends its own.
async fn mend_all(cluster: &mut Cluster, dbname: &str, slotd: &Slotd) {
    let (blocks, findings) = found(slotd, 1).await;
    let mut left = [blocks, findings].concat();
    while !left.is_empty() {
        let (code, hint) = left.remove(0);
        println!("{code}: {hint}");
        mend(cluster, dbname, &hint).await;
        await_codes(slotd, &codes_of(&left)).await;
    }
    found(slotd, 0).await;
}

/// With the role `agent` in place of the superuser.
fn as_agent(entry: &str) -> String {
    entry.replace("username = \"postgres\"", "username = \"agent\"")
}

#[tokio::test]
async fn all_that_stands_in_the_way_of_a_slot_is_told_at_once_and_its_sql_ends_it() {
    join_all(VERSIONS.map(told_on)).await;
}

async fn told_on(major: u32) {
    let options = Options::default()
        .set("wal_level", "replica")
        .set("max_replication_slots", "1")
        .set("max_slot_wal_keep_size", "100MB")
        .set("synchronous_commit", "local")
        .set("synchronous_standby_names", "*");
    let mut cluster = Cluster::start(major, &options);
    let dbname = cluster.create_database().await;
    let setup = "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE log (line text); CREATE ROLE owner; \
                 ALTER TABLE orders OWNER TO owner; ALTER TABLE log OWNER TO owner; \
                 CREATE ROLE agent LOGIN CONNECTION LIMIT 2; SELECT pg_create_physical_replication_slot('standby')";
    cluster.execute(&dbname, setup).await;
    let entry = as_agent(&cluster.entry(&dbname));
    let mut slotd = Slotd::new(&format!("{entry}tables = [\"orders\", \"log\"]\nmax_retained_wal = \"1GB\"\n"));
    let (blocks, findings) = codes(&slotd, 1).await;
    let server = ["privilege", "server", "sync_standby", "no_replica_identity"];
    let role = ["no_free_slot", "may_not_create", "not_the_owner"];
    assert_eq!(blocks, [&server[..], &role[..]].concat(), "PostgreSQL {major}");
    assert_eq!(findings, ["server_strikes_first", "few_connections"], "PostgreSQL {major}");
    let text = says(&slotd, &["check", "--connect"], 1).await;
    let is_long = |line: &&str| line.chars().count() > 80 && line.trim().contains(' ');
    assert_eq!(text.lines().find(is_long), None, "{text}");
    assert!(!text.contains("none is asked for"), "the password: {text}");

    mend_all(&mut cluster, &dbname, &slotd).await;
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    let text = says(&slotd, &["check", "--connect", &dbname], 0).await;
    assert!(text.ends_with("  = nothing stands in the way\n"), "{text}");
}

#[tokio::test]
async fn the_agent_shows_what_stands_behind_its_reason_and_what_comes_up_while_it_streams() {
    join_all([15, 18].map(shown_on)).await;
}

async fn shown_on(major: u32) {
    let cluster = Cluster::start(major, &Options::default().set("max_replication_slots", "1"));
    let dbname = cluster.create_database().await;
    let setup = "CREATE TABLE orders (id int PRIMARY KEY); CREATE ROLE owner; ALTER TABLE orders OWNER TO owner; \
                 CREATE ROLE agent LOGIN; SELECT pg_create_physical_replication_slot('standby')";
    cluster.execute(&dbname, setup).await;
    let mut slotd = Slotd::run(&format!("{}tables = [\"orders\"]\n", as_agent(&cluster.entry(&dbname))));
    let has = |health: &Value, code: &str| {
        health["findings"].as_array().unwrap().iter().any(|found| found["code"].as_str() == Some(code))
    };
    for replicates in [false, true] {
        let behind = |health: &Value| has(health, "not_the_owner") && has(health, "no_free_slot");
        let may_not = |health: &Value| health["hint"].as_str().is_some_and(|hint| hint.contains("agent REPLICATION"));
        let failed = |health: &Value| health["state"] == "failed" && may_not(health) != replicates;
        let health = slotd.await_until(&dbname, failed).await;
        assert!(behind(&health), "PostgreSQL {major}: {health:#}");
        cluster.execute(&dbname, "ALTER ROLE agent REPLICATION").await;
        slotd.sighup();
    }

    let mended = format!(
        "GRANT CREATE ON DATABASE {dbname} TO agent; GRANT owner TO agent; SELECT pg_drop_replication_slot('standby')"
    );
    cluster.execute(&dbname, &mended).await;
    let health = slotd.await_state(&dbname, "streaming").await;
    assert_eq!(health["findings"], serde_json::json!([]), "{health:#}");
    for (limit, told) in [("2", true), ("-1", false)] {
        cluster.execute(&dbname, &format!("ALTER ROLE agent CONNECTION LIMIT {limit}")).await;
        slotd.sighup();
        slotd.await_until(&dbname, |health| has(health, "few_connections") == told).await;
    }
}

#[tokio::test]
async fn what_a_server_is_not_set_up_for_is_told_with_what_the_role_lacks() {
    join_all(VERSIONS.map(unfit_on)).await;
}

async fn unfit_on(major: u32) {
    let options = Options::default().set("wal_level", "replica");
    let mut cluster = Cluster::start(major, &options);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE log (line text); CREATE ROLE agent LOGIN REPLICATION").await;
    let slotd = Slotd::new(&as_agent(&cluster.entry(&dbname)));
    let (blocks, findings) = found(&slotd, 1).await;
    let expected = ["server", "no_replica_identity", "may_not_create", "not_a_superuser"];
    assert_eq!(codes_of(&blocks), expected, "PostgreSQL {major}");
    assert_eq!(codes_of(&findings), ["unbounded_wal"], "PostgreSQL {major}");
    for at in [1, 0] {
        mend(&mut cluster, &dbname, &blocks[at].1).await;
    }
    // What a superuser makes takes no right of ours.
    mend(&mut cluster, &dbname, &blocks[3].1).await;
    await_codes(&slotd, &["unbounded_wal"]).await;
    mend(&mut cluster, &dbname, &findings[0].1).await;
    await_codes(&slotd, &[]).await;
}

#[tokio::test]
async fn a_standby_is_told_as_one() {
    for major in [15, 18] {
        let mut cluster = Cluster::start(major, &Options::default());
        let dbname = cluster.create_database().await;
        let snapshot = cluster.save();
        let conninfo = format!("host=127.0.0.1 port={} user=postgres", cluster.port());
        let mut standby = cluster.twin(&snapshot, &Options::default().set("primary_conninfo", &conninfo));
        standby.make_standby();
        standby.start_again();
        let slotd = Slotd::new(&standby.entry(&dbname));
        let text = says(&slotd, &["check", "--connect"], 1).await;
        assert!(text.contains("  ! the server is a standby"), "{text}");
    }
}

#[tokio::test]
async fn a_walsender_is_missed_by_what_takes_one_and_not_by_what_has_one() {
    for major in [15, 18] {
        let mut cluster = Cluster::start(major, &Options::default().set("max_wal_senders", "1"));
        let (first, second) = (cluster.create_database().await, cluster.create_database().await);
        cluster.execute(&first, "CREATE ROLE agent LOGIN REPLICATION; CREATE PUBLICATION p FOR ALL TABLES").await;
        cluster.execute(&second, "CREATE PUBLICATION p FOR ALL TABLES").await;
        let entry = |dbname: &str| format!("{}publication_name = \"p\"\n", as_agent(&cluster.entry(dbname)));
        let (mut holder, slotd) = (Slotd::run(&entry(&first)), Slotd::new(&entry(&second)));
        let health = holder.await_state(&first, "streaming").await;
        assert_eq!(health["findings"], serde_json::json!([]), "its own session is none of the others: {health:#}");
        assert!(!holder.log().contains("no walsender is left"), "{}", holder.log());
        assert_eq!(codes(&holder, 0).await.0, Vec::<String>::new());
        let (blocks, _) = found(&slotd, 1).await;
        assert_eq!(codes_of(&blocks), ["no_free_walsender"], "PostgreSQL {major}");
        mend(&mut cluster, &second, &blocks[0].1).await;
        holder.await_state(&first, "streaming").await;
        await_codes(&slotd, &["unbounded_wal"]).await;
    }
}

#[tokio::test]
async fn what_many_databases_take_of_one_cluster_is_counted_together() {
    let options = Options::default().set("max_replication_slots", "2").set("max_wal_senders", "2");
    let mut cluster = Cluster::start(18, &options);
    let mut file = String::new();
    for _ in 0..3 {
        let dbname = cluster.create_database().await;
        file.push_str(&cluster.entry(&dbname));
    }
    let slotd = Slotd::new(&file);
    let said = says(&slotd, &["check", "--connect", "--json"], 1).await;
    for at in 0..3 {
        assert_eq!(codes_of(&both(&said, at).0), ["no_free_slot", "no_free_walsender"], "{said}");
    }
    for (_, hint) in both(&said, 0).0 {
        mend(&mut cluster, "postgres", &hint).await;
    }
    await_codes(&slotd, &["unbounded_wal"]).await;
    says(&slotd, &["check", "--connect"], 0).await;
}

#[tokio::test]
async fn a_schema_that_the_role_may_not_use_hides_nothing_else() {
    for major in [15, 18] {
        let mut cluster = Cluster::start(major, &Options::default());
        let dbname = cluster.create_database().await;
        let setup = "CREATE ROLE agent LOGIN REPLICATION; CREATE ROLE owner; CREATE SCHEMA sales AUTHORIZATION owner;
                     CREATE TABLE sales.orders (id int PRIMARY KEY); ALTER TABLE sales.orders OWNER TO owner";
        cluster.execute(&dbname, setup).await;
        let entry = format!("{}tables = [\"sales.orders\"]\n", as_agent(&cluster.entry(&dbname)));
        let slotd = Slotd::new(&entry);
        let (blocks, _) = codes(&slotd, 1).await;
        assert_eq!(blocks, ["may_not_create", "may_not_use_schema", "not_the_owner"], "PostgreSQL {major}");
        mend_all(&mut cluster, &dbname, &slotd).await;
    }
}

/// CREATE PUBLICATION asks for the owner of each table that inherits from a declared one, and of no partition.
#[tokio::test]
async fn a_child_of_a_declared_table_has_an_owner_too() {
    for major in [15, 18] {
        let mut cluster = Cluster::start(major, &Options::default());
        let dbname = cluster.create_database().await;
        let setup = format!(
            "CREATE ROLE owner; CREATE ROLE agent LOGIN REPLICATION; GRANT CREATE ON DATABASE {dbname} TO agent;
             CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
             CREATE TABLE whole (id int PRIMARY KEY) PARTITION BY LIST (id);
             CREATE TABLE part PARTITION OF whole FOR VALUES IN (1);
             ALTER TABLE parent OWNER TO agent; ALTER TABLE child OWNER TO owner; ALTER TABLE whole OWNER TO agent;
             ALTER TABLE part OWNER TO owner"
        );
        cluster.execute(&dbname, &setup).await;
        let entry = format!("{}tables = [\"parent\", \"whole\"]\n", as_agent(&cluster.entry(&dbname)));
        let mut slotd = Slotd::new(&entry);
        let (blocks, _) = found(&slotd, 1).await;
        assert_eq!(codes_of(&blocks), ["not_the_owner"], "PostgreSQL {major}");
        let text = says(&slotd, &["check", "--connect"], 1).await;
        assert!(text.contains("child (of owner)") && !text.contains("part (of"), "{text}");
        let makes = |table: &str| format!("SET ROLE agent; CREATE PUBLICATION of_{table} FOR TABLE {table}");
        let client = cluster.connect(&dbname).await;
        let refused = client.batch_execute(&makes("parent")).await.unwrap_err();
        assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("42501"));
        cluster.execute(&dbname, &makes("whole")).await;
        mend(&mut cluster, &dbname, &blocks[0].1).await;
        await_codes(&slotd, &["unbounded_wal"]).await;
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
    }
}

#[tokio::test]
async fn a_pooler_is_told_whatever_it_lets_through() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    let at = |port: u16| {
        let entry = cluster.entry(&dbname);
        entry.replace(&format!("port = {}", cluster.port()), &format!("port = {port}"))
    };
    let pooler = Pooler::before(&cluster);
    let slotd = Slotd::new(&at(pooler.port()));
    assert_eq!(codes(&slotd, 1).await, (vec!["server".to_owned()], vec![]));
    let text = says(&slotd, &["check", "--connect"], 1).await;
    assert!(text.contains("a pooler answers"), "{text}");
    drop(pooler);
    let pooler = Pooler::forgetting_settings(&cluster);
    let slotd = Slotd::new(&at(pooler.port()));
    let (blocks, findings) = codes(&slotd, 1).await;
    assert_eq!((blocks, findings), (vec!["server".to_owned()], vec!["pooler".to_owned(), "unbounded_wal".to_owned()]));
    let slotd = Slotd::new(&at(cluster.port()));
    assert_eq!(codes(&slotd, 0).await, (vec![], vec!["unbounded_wal".to_owned()]));
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
    // Who has it says so as well, at its next look.
    slotd.sighup();
    let streaming = if told(&first) { "twin" } else { &dbname[..] };
    let health = slotd.await_until(streaming, |health| health["findings"][0]["code"] == "shared_slot").await;
    assert!(health["findings"][0]["sentence"].as_str().unwrap().contains("name one slot of one cluster"), "{health:#}");
    // Once that one is out of the file the slot is free for the other.
    let left = if told(&first) { (&entry, &dbname[..]) } else { (&other, "twin") };
    slotd.configure(&format!("{}slot_name = \"one_{dbname}\"\n", left.0));
    slotd.sighup();
    let health = slotd.await_state(left.1, "streaming").await;
    assert_eq!(health["findings"], serde_json::json!([]), "{health:#}");
}

#[tokio::test]
async fn a_disabled_slot_that_the_server_will_invalidate_is_told_when_it_is_disabled() {
    let mut cluster = Cluster::start(18, &Options::default().set("idle_replication_slot_timeout", "1h"));
    let dbname = cluster.create_database().await;
    let slotd = Slotd::new(&format!("{}status = \"disabled\"\n", cluster.entry(&dbname)));
    let (_, findings) = found(&slotd, 0).await;
    assert_eq!(codes_of(&findings), ["idle_timeout", "unbounded_wal"]);
    mend(&mut cluster, &dbname, &findings[0].1).await;
    await_codes(&slotd, &["unbounded_wal"]).await;
}
