//! A replica as the source: the publication is made on its primary, the slot on the replica, and an idle primary keeps nobody
//! waiting.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{self, Authority, Cluster, Options, Slotd};

/// Versions whose standbys can decode.
const DECODING: [u32; 3] = [16, 17, 18];

/// A primary and its standby.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    dbname: String,
}

impl Pair {
    async fn start(major: u32) -> Self {
        Self::with(major, Options::default()).await
    }

    async fn with(major: u32, options: Options) -> Self {
        // Nothing but what a test does writes WAL.
        let options = options.set("autovacuum", "off").set("hot_standby_feedback", "on");
        let primary = Cluster::start(major, &options);
        let dbname = primary.create_database().await;
        let setup = "CREATE TABLE orders (id int PRIMARY KEY); CREATE ROLE agent LOGIN REPLICATION; \
                     ALTER TABLE orders OWNER TO agent";
        primary.execute(&dbname, setup).await;
        primary.execute(&dbname, &format!("GRANT CREATE ON DATABASE {dbname} TO agent")).await;
        let support::Pair { primary, standby } = support::Pair::of(primary, &options, &[]).await;
        Self { primary, standby, dbname }
    }

    /// The standby with its primary, for the role `agent`, which owns the table.
    fn entry(&self) -> String {
        let entry = self.standby.entry(&self.dbname).replace("\"postgres\"", "\"agent\"");
        format!("{entry}tables = [\"orders\"]\n{}", self.primary_key())
    }

    fn primary_key(&self) -> String {
        format!("primary = {{ hostname = \"127.0.0.1\", port = {} }}\n", self.primary.port())
    }
}

/// What the server does by itself takes up to 15 seconds.
const BY_ITSELF: Duration = Duration::from_secs(20);
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_slot_on_a_replica_of_an_idle_primary_is_made_and_streamed() {
    join_all(DECODING.map(streamed_on)).await;
}

async fn streamed_on(major: u32) {
    let pair = Pair::start(major).await;
    let Pair { primary, dbname, .. } = &pair;
    for (grant, bound) in [(false, BY_ITSELF), (true, AT_ONCE)] {
        if grant {
            primary.execute(dbname, "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO agent").await;
        }
        // Until nothing is written any more.
        primary.execute(dbname, "CHECKPOINT").await;
        let slot = format!("on_replica_{grant}");
        let mut slotd = Slotd::new(&format!("{}slot_name = \"{slot}\"\npublication_name = \"{slot}\"\n", pair.entry()));
        let begun = Instant::now();
        slotd.start();
        if !grant {
            let told = |health: &Value| health["hint"].as_str().is_some_and(|hint| hint.contains("GRANT EXECUTE"));
            slotd.await_until(dbname, |health| told(health) || health["state"] == "streaming").await;
        }
        slotd.await_state(dbname, "streaming").await;
        assert!(begun.elapsed() < bound, "PostgreSQL {major}, granted: {grant}: {:?}", begun.elapsed());
        let made = format!(
            "SELECT (SELECT count(*) FROM pg_publication WHERE pubname = '{slot}') || ' ' || \
             (SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}')"
        );
        assert_eq!(primary.value(dbname, &made).await.as_deref(), Some("1 0"), "PostgreSQL {major}");
        assert_eq!(pair.standby.value(dbname, &made).await.as_deref(), Some("1 1"), "PostgreSQL {major}");
        let id = u32::from(grant) + 1;
        let insert = format!("INSERT INTO orders VALUES ({id}); SELECT pg_logical_emit_message(false, 'slotd', '')");
        primary.execute(dbname, &insert).await;
        slotd.await_lines(dbname, 1).await;
        primary.execute(dbname, &format!("UPDATE orders SET id = {id}0 WHERE id = {id}")).await;
        slotd.await_lines(dbname, 2).await;
        let lines = slotd.lines(dbname);
        assert!(lines.iter().all(|line| line["metadata"]["table_name"] == "orders"), "{lines:#?}");
        let health = slotd.health(dbname).await;
        assert_eq!(health["findings"], serde_json::json!([]), "PostgreSQL {major}: {health:#}");
    }
}

#[tokio::test]
async fn a_replica_of_15_is_refused_and_its_primary_is_offered() {
    let pair = Pair::start(15).await;
    let mut slotd = Slotd::run(&pair.entry());
    let health = slotd.await_state(&pair.dbname, "failed").await;
    assert!(health["sentence"].as_str().unwrap().contains("standby of PostgreSQL 15"), "{health:#}");
    assert!(health["hint"].as_str().unwrap().contains("slot_on = \"primary\""), "{health:#}");
    slotd.configure(&format!("{}slot_on = \"primary\"\n", pair.entry()));
    slotd.sighup();
    slotd.await_state(&pair.dbname, "streaming").await;
    pair.primary.execute(&pair.dbname, "INSERT INTO orders VALUES (1)").await;
    slotd.await_lines(&pair.dbname, 1).await;
}

#[tokio::test]
async fn a_replica_without_its_primary_is_told_what_to_write() {
    let pair = Pair::start(18).await;
    let mut slotd = Slotd::run(&pair.standby.entry(&pair.dbname));
    let health = slotd.await_state(&pair.dbname, "failed").await;
    let write = pair.primary_key();
    assert!(health["hint"].as_str().unwrap().contains(write.trim()), "{health:#}");
    let other = Cluster::start(18, &Options { own_identifier: true, ..Options::default() });
    other.execute("postgres", &format!("CREATE DATABASE {}", pair.dbname)).await;
    let elsewhere = format!("primary = {{ hostname = \"127.0.0.1\", port = {} }}\n", other.port());
    slotd.configure(&format!("{}{elsewhere}", pair.standby.entry(&pair.dbname)));
    slotd.sighup();
    let told = |health: &Value| health["sentence"].as_str().unwrap().contains("is another cluster");
    slotd.await_until(&pair.dbname, told).await;
    // The standby once more, by another name.
    let itself = format!("primary = {{ hostname = \"localhost\", port = {} }}\n", pair.standby.port());
    slotd.configure(&format!("{}{itself}", pair.standby.entry(&pair.dbname)));
    slotd.sighup();
    let told = |health: &Value| health["sentence"].as_str().unwrap().contains("is a standby itself");
    slotd.await_until(&pair.dbname, told).await;
}

#[tokio::test]
async fn a_primary_without_logical_decoding_is_told() {
    let pair = Pair::with(18, Options::default().set("wal_level", "replica")).await;
    let mut slotd = Slotd::run(&pair.entry());
    let health = slotd.await_state(&pair.dbname, "failed").await;
    assert!(health["sentence"].as_str().unwrap().contains("wal_level of the primary is replica"), "{health:#}");
}

#[tokio::test]
async fn what_a_slot_on_a_replica_depends_on_is_told() {
    join_all(DECODING.map(told_on)).await;
}

async fn told_on(major: u32) {
    let pair = Pair::start(major).await;
    let dbname = &pair.dbname;
    let unsafe_settings = "ALTER SYSTEM SET hot_standby_feedback = off; ALTER SYSTEM SET primary_slot_name = '';";
    for statement in unsafe_settings.split_inclusive(';') {
        pair.standby.execute("postgres", statement).await;
    }
    pair.standby.execute("postgres", "SELECT pg_reload_conf()").await;
    pair.standby.await_value("postgres", "SELECT current_setting('hot_standby_feedback')", "off").await;
    let mut slotd = Slotd::run(&pair.entry());
    let health = slotd.await_state(dbname, "streaming").await;
    let codes: Vec<_> = health["findings"].as_array().unwrap().iter().map(|found| found["code"].clone()).collect();
    assert_eq!(codes, ["standby_feedback", "standby_without_slot"], "PostgreSQL {major}: {health:#}");
}

#[tokio::test]
async fn a_slot_on_a_replica_is_drained_and_dropped_like_any_other() {
    join_all(DECODING.map(given_up_on)).await;
}

async fn given_up_on(major: u32) {
    let pair = Pair::start(major).await;
    let (standby, dbname) = (&pair.standby, &pair.dbname);
    pair.primary.execute(dbname, "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO agent").await;
    let mut slotd = Slotd::run(&format!("{}on_disable = \"drain\"\n", pair.entry()));
    slotd.await_state(dbname, "streaming").await;
    let says = async |slotd: &Slotd, args: &[&str]| {
        let (status, said) = slotd.command_output(args).await;
        assert!(status.success(), "PostgreSQL {major}, {args:?}: {said}");
    };
    says(&slotd, &["disable", dbname]).await;
    slotd.await_state(dbname, "disabled").await;
    pair.primary.execute(dbname, "INSERT INTO orders VALUES (1)").await;
    standby.await_value(dbname, "SELECT count(*) FROM orders", "1").await;
    let drained = "SELECT confirmed_flush_lsn >= pg_last_wal_replay_lsn() FROM pg_replication_slots WHERE plugin <> ''";
    standby.await_value(dbname, drained, "t").await;
    says(&slotd, &["enable", dbname]).await;
    slotd.await_state(dbname, "streaming").await;
    pair.primary.execute(dbname, "INSERT INTO orders VALUES (2)").await;
    slotd.await_lines(dbname, 3).await;
    let lines = slotd.lines(dbname);
    let told: Vec<_> = lines.iter().map(|line| (line["action"].as_str().unwrap(), &line["record"]["id"])).collect();
    assert_eq!(told, [("gap", &Value::Null), ("gap", &Value::Null), ("insert", &2.into())], "PostgreSQL {major}");
    says(&slotd, &["disable", dbname]).await;
    slotd.await_state(dbname, "disabled").await;
    says(&slotd, &["drop", dbname, "--yes"]).await;
    standby.await_value(dbname, "SELECT count(*) FROM pg_replication_slots WHERE plugin <> ''", "0").await;
    pair.primary.await_value(dbname, "SELECT count(*) FROM pg_publication", "0").await;
}

#[tokio::test]
async fn a_slot_that_is_lost_to_a_conflict_with_recovery_is_told_with_its_cause() {
    join_all(DECODING.map(conflicted_on)).await;
}

async fn conflicted_on(major: u32) {
    let pair = Pair::start(major).await;
    let dbname = &pair.dbname;
    // The physical slot would hold back what feedback has told it before.
    pair.standby.execute("postgres", "ALTER SYSTEM SET hot_standby_feedback = off").await;
    pair.standby.execute("postgres", "SELECT pg_reload_conf()").await;
    let xmin =
        "SELECT coalesce(xmin::text, catalog_xmin::text, 'none') FROM pg_replication_slots WHERE slot_name = 'standby'";
    pair.primary.await_value("postgres", xmin, "none").await;
    pair.primary.execute(dbname, "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO agent").await;
    let mut slotd = Slotd::run(&pair.entry());
    slotd.await_state(dbname, "streaming").await;
    pair.primary.execute(dbname, "INSERT INTO orders VALUES (1)").await;
    slotd.await_lines(dbname, 1).await;
    for statement in
        ["CREATE TABLE gone (id int)", "DROP TABLE gone", "VACUUM pg_class", "INSERT INTO orders VALUES (2)"]
    {
        pair.primary.execute(dbname, statement).await;
    }
    let health = slotd.await_state(dbname, "lost").await;
    assert_eq!(health["reason"], "slot_invalidated", "PostgreSQL {major}: {health:#}");
    let sentence = health["sentence"].as_str().unwrap();
    assert!(sentence.contains("a conflict with recovery: the primary removed rows"), "PostgreSQL {major}: {sentence}");
    let (status, said) = slotd.command_output(&["resume", dbname, "--accept-gap", "--yes"]).await;
    assert!(status.success(), "PostgreSQL {major}: {said}");
    slotd.await_state(dbname, "streaming").await;
    pair.primary.execute(dbname, "INSERT INTO orders VALUES (3)").await;
    slotd.await_lines(dbname, 3).await;
    let actions: Vec<_> = slotd.lines(dbname).iter().map(|line| line["action"].clone()).collect();
    assert!(
        actions.starts_with(&["insert".into()]) && actions.contains(&"gap".into()),
        "PostgreSQL {major}: {actions:?}"
    );
}

/// The history of the server changes under a stream that goes on.
#[tokio::test]
async fn the_promotion_of_a_replica_loses_and_repeats_nothing() {
    join_all(DECODING.map(async |major| {
        for kill in [false, true] {
            promoted_on(major, kill).await;
        }
    }))
    .await;
}

/// Whether it is killed before it can notice.
async fn promoted_on(major: u32, kill: bool) {
    let pair = Pair::start(major).await;
    let (standby, dbname) = (&pair.standby, &pair.dbname);
    pair.primary.execute(dbname, "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO agent").await;
    let mut slotd = Slotd::run(&pair.entry());
    slotd.await_state(dbname, "streaming").await;
    let writer = pair.primary.connect(dbname).await;
    let write = async {
        for id in 0.. {
            writer.batch_execute(&format!("INSERT INTO orders VALUES ({id})")).await.unwrap();
        }
    };
    let promote = async {
        slotd.await_lines(dbname, 100).await;
        standby.promote().await;
        let writer = standby.connect(dbname).await;
        for id in 1_000_000..1_000_100 {
            writer.batch_execute(&format!("INSERT INTO orders VALUES ({id})")).await.unwrap();
        }
    };
    tokio::select! {
        () = write => unreachable!(),
        () = promote => {}
    }
    let begun = Instant::now();
    let has = async |slotd: &mut Slotd| {
        let rows = standby.value(dbname, "SELECT count(*) FROM orders").await.unwrap().parse().unwrap();
        slotd.await_lines(dbname, rows).await;
    };
    has(&mut slotd).await;
    let delivered = begun.elapsed();
    if kill {
        slotd.await_acknowledged(standby, dbname).await;
        slotd.kill9().await;
        slotd.start();
    }
    let is_promoted = |health: &Value| health["findings"][0]["code"] == "promoted" && health["state"] == "streaming";
    slotd.await_until(dbname, is_promoted).await;
    println!(
        "PostgreSQL {major}, killed: {kill}: what came after the promotion was delivered {delivered:?} later, and the stream \
         judged anew after {:?}",
        begun.elapsed()
    );
    standby.execute(dbname, "INSERT INTO orders SELECT generate_series(2000001, 2000010)").await;
    has(&mut slotd).await;
    slotd.kill9().await;
    slotd.start();
    slotd.await_state(dbname, "streaming").await;
    standby.execute(dbname, "INSERT INTO orders VALUES (3000000)").await;
    has(&mut slotd).await;
    let rows = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM orders";
    let ids: Vec<_> = slotd.lines(dbname).iter().map(|line| line["record"]["id"].to_string()).collect();
    assert_eq!(Some(ids.join(" ")), standby.value(dbname, rows).await, "PostgreSQL {major}, killed: {kill}");
}

/// A deadline of a few seconds in place of a minute.
const SOON: &str = "agent.connect_timeout = \"1s\"\n";

#[tokio::test]
async fn what_keeps_a_slot_on_a_replica_from_being_made_is_named() {
    join_all(DECODING.map(kept_on)).await;
}

async fn kept_on(major: u32) {
    let pair = Pair::start(major).await;
    let (standby, dbname) = (&pair.standby, &pair.dbname);
    pair.primary.execute(dbname, "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO agent").await;
    standby.execute("postgres", "SELECT pg_wal_replay_pause()").await;
    standby.await_value("postgres", "SELECT pg_get_wal_replay_pause_state()", "paused").await;
    let mut slotd = Slotd::run(&format!("{SOON}{}", pair.entry()));
    let told = |said: &'static str| {
        move |health: &Value| health["sentence"].as_str().is_some_and(|sentence| sentence.contains(said))
    };
    let health = slotd.await_until(dbname, told("its replay is paused")).await;
    assert!(health["hint"].as_str().unwrap().contains("pg_wal_replay_resume()"), "PostgreSQL {major}: {health:#}");
    standby.execute("postgres", "SELECT pg_wal_replay_resume()").await;
    slotd.await_state(dbname, "streaming").await;

    // A transaction that was open before is waited for, longer than any deadline.
    let writer = pair.primary.connect(dbname).await;
    writer.batch_execute("BEGIN; INSERT INTO orders VALUES (1)").await.unwrap();
    slotd.configure(&format!("{SOON}{}slot_name = \"another\"\n", pair.entry()));
    slotd.sighup();
    let waits = "SELECT bool_or(now() - query_start > '8 s') FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT another%'";
    standby.await_value("postgres", waits, "t").await;
    assert_eq!(slotd.health(dbname).await["state"], "provisioning", "PostgreSQL {major}");
    writer.batch_execute("COMMIT").await.unwrap();
    slotd.await_state(dbname, "streaming").await;
}

#[tokio::test]
async fn a_pair_is_reached_over_verified_tls_on_both_ends() {
    let authority = Authority::new();
    let options = Options {
        certificate: Some(authority.leaf(&["127.0.0.1"])),
        // The standby itself comes as it likes.
        hba: ["hostssl all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
            .map(str::to_owned)
            .to_vec(),
        ..Options::default()
    };
    let pair = Pair::with(18, options).await;
    let mut slotd = Slotd::new(&pair.entry().replace("ssl = false", "ssl_root_cert = \"root.pem\""));
    std::fs::write(slotd.path("root.pem"), authority.pem()).unwrap();
    slotd.start();
    slotd.await_state(&pair.dbname, "streaming").await;
    pair.primary.execute(&pair.dbname, "INSERT INTO orders VALUES (1)").await;
    slotd.await_lines(&pair.dbname, 1).await;
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'slotd/%' AND NOT ssl";
    assert_eq!(pair.standby.value("postgres", plain).await.as_deref(), Some("0"));
}

/// A standby waits for nobody, so what its setting says of a primary is nothing against a stream.
#[tokio::test]
async fn a_replica_that_names_every_synchronous_standby_is_streamed() {
    let pair = Pair::start(18).await;
    pair.standby.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    pair.standby.execute("postgres", "SELECT pg_reload_conf()").await;
    pair.standby.await_value("postgres", "SELECT current_setting('synchronous_standby_names')", "*").await;
    let mut slotd = Slotd::run(&pair.entry());
    slotd.await_state(&pair.dbname, "streaming").await;
    pair.primary.execute(&pair.dbname, "INSERT INTO orders VALUES (1)").await;
    slotd.await_acknowledged(&pair.primary, &pair.dbname).await;
    assert_eq!(slotd.lines(&pair.dbname).len(), 1);
}

#[tokio::test]
async fn a_replica_is_streamed_while_its_primary_is_away() {
    let mut pair = Pair::start(18).await;
    let dbname = pair.dbname.clone();
    pair.primary.execute(&dbname, "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO agent").await;
    let mut slotd = Slotd::run(&pair.entry());
    slotd.await_state(&dbname, "streaming").await;
    pair.primary.execute(&dbname, "INSERT INTO orders VALUES (1)").await;
    pair.standby.await_value(&dbname, "SELECT count(*) FROM orders", "1").await;
    pair.primary.stop_immediate().unwrap();
    slotd.kill9().await;
    slotd.start();
    let health = slotd.await_state(&dbname, "streaming").await;
    assert_eq!(health["findings"][0]["code"], "primary_away", "{health:#}");
    pair.primary.start_again();
    pair.primary.execute(&dbname, "INSERT INTO orders VALUES (2)").await;
    slotd.await_lines(&dbname, 2).await;
    slotd.sighup();
    slotd.await_until(&dbname, |health| health["findings"] == serde_json::json!([])).await;
    // What has to be made is made there alone.
    pair.primary.stop_immediate().unwrap();
    slotd.configure(&format!("{}slot_name = \"another\"\n", pair.entry()));
    slotd.sighup();
    let told =
        |health: &Value| health["sentence"].as_str().is_some_and(|sentence| sentence.starts_with("the primary: "));
    assert_eq!(slotd.await_until(&dbname, told).await["state"], "retrying");
}

#[tokio::test]
async fn what_the_primary_refuses_is_told_of_the_primary() {
    let pair = Pair::start(18).await;
    let revoke = format!("REVOKE CREATE ON DATABASE {} FROM agent", pair.dbname);
    pair.primary.execute(&pair.dbname, &revoke).await;
    let mut slotd = Slotd::new(&pair.entry());
    let on_primary = format!("127.0.0.1:{}", pair.primary.port());
    let (_, sql) = slotd.command_output(&["plan", "--sql"]).await;
    assert!(sql.contains(&format!("-- on the primary, {on_primary}:\nCREATE PUBLICATION")), "{sql}");
    slotd.start();
    let health = slotd.await_until(&pair.dbname, |health| health["reason"] == "privilege").await;
    assert!(health["sentence"].as_str().unwrap().contains(&on_primary), "{health:#}");
}
