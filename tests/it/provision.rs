//! Publications and slots are made as declared, what exists is left alone, and what would harm the application is
//! refused.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use slotd::net::resolve::Resolver;
use slotd::postgres::Connector;
use slotd::stream::Holes;
use slotd::{config, provision};
use tokio::time::Instant;

use crate::support::{Cluster, Options, Slotd, VERSIONS};

/// What a publication and its slot are, as the catalog has them: equal before and after means that nothing was touched.
async fn catalog(cluster: &Cluster, dbname: &str) -> Option<String> {
    let sql = "SELECT (SELECT string_agg(p::text || p.xmin::text, ' ') FROM pg_publication p)
               || (SELECT string_agg(slot_name || plugin, ' ') FROM pg_replication_slots WHERE database = current_database())";
    cluster.value(dbname, sql).await
}

async fn database(cluster: &Cluster, tables: &str) -> String {
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, tables).await;
    dbname
}

#[tokio::test]
async fn what_exists_is_left_alone() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let dbname =
            database(cluster, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)").await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        let made = catalog(cluster, &dbname).await;
        assert!(slotd.sigterm().await.success());
        // Declared otherwise now: used as it is, and told.
        slotd.configure(&format!("{}tables = [\"a\"]\npublish = \"insert\"\n", cluster.entry(&dbname)));
        slotd.start();
        let drift = |health: &Value| health["findings"][0]["code"] == "publication_drift";
        let health = slotd.await_until(&dbname, drift).await;
        assert_eq!(health["verdict"], "warn", "{health:#}");
        slotd.await_state(&dbname, "streaming").await;
        assert_eq!(catalog(cluster, &dbname).await, made);
    }
}

#[tokio::test]
async fn listed_tables_and_schemas_are_published_and_no_others() {
    let cluster = Cluster::shared(18);
    let tables = "CREATE SCHEMA \"Odd \"\"one\"\"\"; CREATE TABLE \"Odd \"\"one\"\"\".\"Größe\" (id int PRIMARY KEY);
                  CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)";
    let published = "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_publication_tables";
    for (keys, names) in
        [(r#"tables = ["plain", '"Odd ""one"""."Größe"']"#, "Größe,plain"), (r#"schemas = ['"Odd ""one"""']"#, "Größe")]
    {
        let dbname = database(cluster, tables).await;
        let mut slotd = Slotd::run(&format!("{}{keys}\n", cluster.entry(&dbname)));
        slotd.await_state(&dbname, "streaming").await;
        assert_eq!(cluster.value(&dbname, published).await.as_deref(), Some(names));
    }
}

#[tokio::test]
async fn tables_whose_updates_would_fail_are_refused_by_name_and_nothing_is_published() {
    let cluster = Cluster::shared(15);
    let tables = "CREATE TABLE keyed (id int PRIMARY KEY);
                  CREATE TABLE \"Log\" (line text); INSERT INTO \"Log\" VALUES ('one');
                  CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
                  CREATE TABLE whole (line text); ALTER TABLE whole REPLICA IDENTITY FULL;
                  CREATE UNLOGGED TABLE unlogged (line text);
                  CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day);
                  CREATE TABLE part PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')";
    let dbname = database(cluster, tables).await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    let health = slotd.await_state(&dbname, "failed").await;
    assert_eq!(health["reason"], "no_replica_identity");
    let sentence = health["sentence"].as_str().unwrap();
    assert!(sentence.ends_with(": public.\"Log\", public.deferred, public.part"), "{sentence}");
    assert!(health["hint"].as_str().unwrap().contains("ALTER TABLE public.\"Log\" REPLICA IDENTITY FULL;"));
    assert_eq!(cluster.value(&dbname, "SELECT count(*) FROM pg_publication").await.as_deref(), Some("0"));
    cluster.execute(&dbname, "UPDATE \"Log\" SET line = 'two'; DELETE FROM parts").await;

    let allow = "allow_no_identity = ['\"Log\"', \"deferred\", \"part\"]\n";
    slotd.configure(&format!("{}{allow}", cluster.entry(&dbname)));
    slotd.sighup();
    slotd.await_state(&dbname, "streaming").await;
}

#[tokio::test]
async fn the_operators_sql_ends_the_refusal_without_a_restart() {
    let cluster = Cluster::shared(18);
    let dbname = database(cluster, "CREATE TABLE log (line text)").await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "failed").await;
    cluster.execute(&dbname, "ALTER TABLE public.log REPLICA IDENTITY FULL").await;
    slotd.await_state(&dbname, "streaming").await;
}

#[tokio::test]
async fn slots_that_are_not_ours_to_use_say_why() {
    let cluster = Cluster::shared(15);
    let other = cluster.create_database().await;
    for (make, words) in [
        ("SELECT pg_create_logical_replication_slot($, 'test_decoding')", "test_decoding"),
        ("SELECT pg_create_physical_replication_slot($)", "physical"),
        ("SELECT pg_create_logical_replication_slot($, 'pgoutput', false, true)", "two_phase"),
        ("", &*other),
    ] {
        let dbname = cluster.create_database().await;
        let name = format!("'slotd_{dbname}'");
        if make.is_empty() {
            let sql = format!("SELECT pg_create_logical_replication_slot({name}, 'pgoutput')");
            cluster.execute(&other, &sql).await;
        } else {
            cluster.execute(&dbname, &make.replace('$', &name)).await;
        }
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        let health = slotd.await_state(&dbname, "failed").await;
        assert_eq!(health["reason"], "slot_unusable", "{health:#}");
        assert!(health["sentence"].as_str().unwrap().contains(words), "{health:#}");
    }
}

#[tokio::test]
async fn of_two_agents_that_race_one_streams_and_the_other_names_it() {
    let cluster = Cluster::shared(18);
    for _ in 0..3 {
        let dbname = cluster.create_database().await;
        let text = cluster.entry(&dbname);
        let (mut one, mut two) = (Slotd::run(&text), Slotd::run(&text));
        let settled = |health: &Value| health["state"] == "streaming" || health["holder"].is_object();
        let states = [one.await_until(&dbname, settled).await, two.await_until(&dbname, settled).await];
        let streams = states.iter().filter(|health| health["state"] == "streaming").count();
        assert_eq!(streams, 1, "{states:#?}");
        let waiting = states.iter().find(|health| health["state"] == "waiting").unwrap();
        assert!(waiting["holder"]["application_name"].as_str().unwrap().starts_with("slotd/"), "{waiting:#}");
        for slotd in [&one, &two] {
            assert!(!slotd.log().contains("ERROR"), "{}", slotd.log());
        }
    }
}

#[tokio::test]
async fn a_role_that_may_only_replicate_uses_what_its_owner_made() {
    let cluster = Cluster::shared(15);
    let dbname = database(
        cluster,
        "CREATE TABLE items (id int PRIMARY KEY); CREATE ROLE modest LOGIN REPLICATION; CREATE ROLE bare LOGIN",
    )
    .await;
    let text = cluster.entry(&dbname).replace("\"postgres\"", "\"modest\"");
    let mut slotd = Slotd::run(&text);
    let health = slotd.await_state(&dbname, "failed").await;
    assert_eq!(health["reason"], "privilege", "{health:#}");
    cluster.execute(&dbname, &format!("CREATE PUBLICATION slotd_{dbname} FOR ALL TABLES")).await;
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO items VALUES (1)").await;
    slotd.await_acknowledged(cluster, &dbname).await;
    assert_eq!(slotd.lines(&dbname).len(), 1);

    let mut bare = Slotd::run(&text.replace("\"modest\"", "\"bare\""));
    let health = bare.await_state(&dbname, "failed").await;
    assert_eq!(health["reason"], "privilege", "{health:#}");
    assert!(health["hint"].as_str().unwrap().contains("ALTER ROLE bare REPLICATION"), "{health:#}");

    cluster
        .execute("postgres", &format!("ALTER ROLE bare REPLICATION; REVOKE CONNECT ON DATABASE {dbname} FROM public"))
        .await;
    bare.sighup();
    let grant = format!("run: GRANT CONNECT ON DATABASE {dbname} TO bare;");
    bare.await_until(&dbname, |health| health["hint"] == *grant).await;
}

#[tokio::test]
async fn making_a_slot_waits_for_open_transactions_and_says_for_whom() {
    let cluster = Cluster::start(18, &Options::default().set("max_prepared_transactions", "1"));
    let dbname = cluster.create_database().await;
    let writer = cluster.connect(&dbname).await;
    cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
    writer.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let pid: i32 = writer.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    cluster.execute(&dbname, "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'tuesday'").await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    let named = |health: &Value| health["sentence"].as_str().is_some_and(|sentence| sentence.contains("open now"));
    let health = slotd.await_until(&dbname, named).await;
    let hint = health["hint"].as_str().unwrap();
    assert!(hint.contains(&format!("pid {pid} (slotd tests, since ")), "{hint}");
    assert!(hint.contains(&format!("the prepared transaction 'tuesday' of the database {dbname} (since ")), "{hint}");
    writer.batch_execute("COMMIT").await.unwrap();
    cluster.execute(&dbname, "ROLLBACK PREPARED 'tuesday'").await;
    slotd.await_state(&dbname, "streaming").await;
}

#[tokio::test]
async fn a_changed_file_disturbs_no_other_database_and_a_bad_one_changes_nothing() {
    let cluster = Cluster::shared(18);
    let (one, two) = (cluster.create_database().await, cluster.create_database().await);
    let mut slotd = Slotd::run(&cluster.entry(&one));
    slotd.await_state(&one, "streaming").await;
    let pid = format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'slotd_{one}'");
    let before = cluster.value("postgres", &pid).await;
    let both = format!("{}{}", cluster.entry(&one), cluster.entry(&two));
    slotd.configure(&both);
    slotd.sighup();
    slotd.await_state(&two, "streaming").await;

    slotd.configure(&both.replace("ssl = false", "ssl = maybe"));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("maybe"), "{said}");
    let (code, whole) = slotd.get("/health").await.unwrap();
    assert_eq!(code, 200);
    assert_eq!(serde_json::from_str::<Value>(&whole).unwrap()["status"], "warn", "{whole}");

    slotd.configure(&cluster.entry(&one));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success(), "{said}");
    assert_eq!(slotd.get(&format!("/health/{two}")).await.unwrap().0, 404);
    assert_eq!(cluster.value("postgres", &pid).await, before, "the first stream was disturbed");
    assert_eq!(slotd.get("/healthz").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_reload_brings_the_next_round_at_once() {
    let cluster = Cluster::shared(18);
    let dbname = database(cluster, "CREATE TABLE keyed (id int PRIMARY KEY)").await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    let begun = Instant::now();
    // Tomorrow's table is published too.
    cluster.execute(&dbname, "CREATE TABLE \"New\" (line text)").await;
    slotd.sighup();
    let found = |code: &'static str| move |health: &Value| health["findings"][0]["code"] == code;
    let health = slotd.await_until(&dbname, found("no_replica_identity")).await;
    assert_eq!((&health["state"], &health["verdict"]), (&"streaming".into(), &"warn".into()), "{health:#}");
    let finding = &health["findings"][0];
    assert!(finding["sentence"].as_str().unwrap().ends_with(": public.\"New\""), "{health:#}");
    let sql = "ALTER TABLE public.\"New\" REPLICA IDENTITY FULL;";
    assert!(finding["hint"].as_str().unwrap().contains(sql), "{health:#}");
    cluster.execute(&dbname, sql).await;
    slotd.sighup();
    slotd.await_until(&dbname, |health| health["findings"].as_array().is_some_and(Vec::is_empty)).await;

    // Under an idle stream nothing on the wire tells of it.
    let publication = format!("slotd_{dbname}");
    cluster.execute(&dbname, &format!("DROP PUBLICATION {publication}")).await;
    slotd.sighup();
    let health = slotd.await_until(&dbname, found("publication_missing")).await;
    assert_eq!(health["verdict"], "warn", "{health:#}");
    let hint = health["findings"][0]["hint"].as_str().unwrap();
    cluster.execute(&dbname, hint.strip_prefix("run at once: ").unwrap()).await;
    slotd.sighup();
    slotd.await_until(&dbname, |health| health["findings"].as_array().is_some_and(Vec::is_empty)).await;
    // Four rounds: by themselves they come once a minute.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    cluster.execute(&dbname, "INSERT INTO keyed VALUES (1)").await;
    slotd.await_acknowledged(cluster, &dbname).await;
    assert_eq!(slotd.lines(&dbname).len(), 1);
}

#[tokio::test]
async fn a_slot_is_advanced_however_long_it_takes() {
    let cluster = Cluster::start(18, &Options::default().set("allow_system_table_mods", "on"));
    // The server's own function, and before it a word of how long it may take.
    let watched = "CREATE TABLE t (id int PRIMARY KEY);
        ALTER FUNCTION pg_replication_slot_advance(name, pg_lsn) RENAME TO the_real_advance;
        CREATE FUNCTION pg_catalog.pg_replication_slot_advance(slot name, upto pg_lsn, OUT slot_name name, OUT end_lsn pg_lsn)
        LANGUAGE plpgsql AS $$ BEGIN
            RAISE LOG 'advanced under %', current_setting('statement_timeout');
            SELECT a.slot_name, a.end_lsn INTO slot_name, end_lsn FROM the_real_advance(slot, upto) a;
        END $$";
    cluster.execute("postgres", watched).await;
    let mut slotd = Slotd::run(&cluster.entry("postgres"));
    slotd.await_state("postgres", "streaming").await;
    cluster.execute("postgres", "DROP PUBLICATION slotd_postgres; INSERT INTO t VALUES (1)").await;
    slotd.await_state("postgres", "lost").await;
    let (status, said) = slotd.command_output(&["resume", "postgres", "--accept-gap", "--yes"]).await;
    assert!(status.success(), "{said}");
    slotd.await_state("postgres", "streaming").await;
    assert!(cluster.log().contains("advanced under 0"), "{}", cluster.log());
}

#[tokio::test]
async fn a_slot_in_a_form_that_is_not_known_is_no_missing_slot() {
    let cluster = Cluster::start(18, &Options::default().set("allow_system_table_mods", "on"));
    let mut slotd = Slotd::run(&cluster.entry("postgres"));
    slotd.await_state("postgres", "streaming").await;
    let changed = "ALTER VIEW pg_replication_slots RENAME TO the_real_slots;
                   CREATE VIEW pg_catalog.pg_replication_slots AS
                   SELECT s.slot_name, s.plugin, s.slot_type, s.database, s.temporary, s.active_pid,
                          array[s.restart_lsn] AS restart_lsn, s.confirmed_flush_lsn, s.wal_status, s.safe_wal_size,
                          s.two_phase FROM the_real_slots s";
    cluster.execute("postgres", changed).await;
    slotd.sighup();
    let blind = |log: &str| log.contains("can't be observed") && log.contains("another form");
    slotd.await_log(blind).await;
    assert!(slotd.sigterm().await.success());
    slotd.start();
    let health = slotd.await_state("postgres", "failed").await;
    assert!(health["sentence"].as_str().unwrap().contains("another form"), "{health:#}");
    cluster.execute("postgres", "DROP VIEW pg_catalog.pg_replication_slots").await;
    cluster.execute("postgres", "ALTER VIEW the_real_slots RENAME TO pg_replication_slots").await;
    slotd.sighup();
    slotd.await_state("postgres", "streaming").await;
}

#[tokio::test]
async fn what_can_not_be_published_is_named() {
    let tables = "CREATE TABLE \"Good\" (id int PRIMARY KEY); CREATE VIEW a_view AS SELECT 1 AS one;
                  CREATE UNLOGGED TABLE forgetful (id int PRIMARY KEY); CREATE SEQUENCE numbers";
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = database(cluster, tables).await;
        for (keys, name) in [
            ("tables = ['\"Good\"', \"nosuch\", \"gone.too\"]", "public.nosuch, gone.too"),
            ("tables = ['\"Good\"', \"a_view\"]", "\"a_view\""),
            ("tables = [\"forgetful\"]", "\"forgetful\""),
            ("tables = [\"numbers\"]", "\"numbers\""),
            ("tables = [\"pg_catalog.pg_class\"]", "\"pg_class\""),
            ("schemas = [\"nosuch\"]", "no such schema: nosuch"),
            ("schemas = [\"pg_catalog\"]", "\"pg_catalog\""),
        ] {
            let mut slotd = Slotd::run(&format!("{}{keys}\n", cluster.entry(&dbname)));
            let health = slotd.await_state(&dbname, "failed").await;
            assert_eq!(health["reason"], "publication", "PostgreSQL {major}: {keys}: {health:#}");
            assert!(health["sentence"].as_str().unwrap().contains(name), "PostgreSQL {major}: {keys}: {health:#}");
            let made = "SELECT count(*) FROM pg_publication";
            assert_eq!(cluster.value(&dbname, made).await.as_deref(), Some("0"), "{keys}");
        }
    }
}

/// What is said of drift against `keys`.
async fn drift(cluster: &Cluster, dbname: &str, connector: &Connector, keys: &str) -> String {
    let text = format!("{}{keys}\n", cluster.entry(dbname));
    let config = config::parse(Path::new("/nowhere/slotd.toml"), &text, &|_| None).unwrap();
    let database = &config.databases[0];
    let sql = connector.sql(&database.connection).await.unwrap();
    let observed = provision::observe(&sql, None, database, None, None).await.unwrap();
    let findings = provision::plan(database, &observed, false, Holes::Refuse, "slotd/test").findings;
    findings.into_iter().map(|finding| finding.sentence).collect()
}

#[tokio::test]
async fn a_publication_that_leaves_rows_or_columns_out_or_adds_tables_has_drifted() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let sql = "CREATE TABLE orders (id int PRIMARY KEY, t text); CREATE TABLE other (id int PRIMARY KEY); \
                   CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent); \
                   CREATE TABLE grandchild (PRIMARY KEY (id)) INHERITS (child); CREATE SCHEMA sales; \
                   CREATE TABLE sales.t (id int PRIMARY KEY)";
        let dbname = database(cluster, sql).await;
        let (client, patience) = (cluster.connect(&dbname).await, Duration::from_secs(60));
        let connector =
            Connector::new(Resolver::new(config::Resolver::Hickory), patience, patience, "slotd/test".to_owned());
        let publication = format!("slotd_{dbname}");
        for (has, keys, said) in [
            ("TABLE orders", "tables = [\"orders\"]", ""),
            (
                "TABLE orders WHERE (id > 5)",
                "tables = [\"orders\"]",
                "TABLE public.orders WHERE (id > 5) where TABLE public.orders is declared",
            ),
            (
                "TABLE orders (id)",
                "tables = [\"orders\"]",
                "TABLE public.orders (id) where TABLE public.orders is declared",
            ),
            ("TABLE orders, other", "tables = [\"orders\"]", "TABLE public.other is not declared"),
            ("TABLE orders", "tables = [\"orders\", \"other\"]", "TABLE public.other is missing"),
            ("TABLE orders, TABLES IN SCHEMA sales", "tables = [\"orders\"]", "TABLES IN SCHEMA sales is not declared"),
            ("TABLE orders, TABLES IN SCHEMA sales", "schemas = [\"sales\"]", "TABLE public.orders is not declared"),
            ("TABLE sales.t, TABLES IN SCHEMA sales", "schemas = [\"sales\"]", ""),
            ("TABLE parent", "tables = [\"parent\"]", ""),
            ("TABLE parent", "tables = [\"child\"]", "TABLE public.parent is not declared"),
            ("TABLE orders WHERE (id > 5)", "", ""),
        ] {
            client.batch_execute(&format!("CREATE PUBLICATION {publication} FOR {has}")).await.unwrap();
            let drift = drift(cluster, &dbname, &connector, keys).await;
            assert!(
                if said.is_empty() { drift.is_empty() } else { drift.contains(said) },
                "{major}, {has}, {keys}: {drift}"
            );
            client.batch_execute(&format!("DROP PUBLICATION {publication}")).await.unwrap();
        }
    }
}

/// Through which publication the database is streamed.
const THROUGH: &str = "SELECT string_agg(substring(query FROM 'publication_names .([^'']*)'), ' ') FROM pg_stat_activity \
                       WHERE backend_type = 'walsender' AND datname = current_database()";

/// What is changed before it is made can't be decoded with it, not even in a transaction that is committed after.
#[tokio::test]
async fn another_publication_is_used_once_the_slot_is_past_its_making() {
    join_all([15, 18].map(switched_on)).await;
}

async fn switched_on(major: u32) {
    let cluster = Cluster::start(major, &Options::default());
    let dbname = database(&cluster, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let entry = cluster.entry(&dbname);
    let mut slotd = Slotd::run(&entry);
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO t VALUES (1)").await;
    slotd.await_lines(&dbname, 1).await;

    let straddling = cluster.connect(&dbname).await;
    straddling.batch_execute("BEGIN; INSERT INTO t VALUES (2)").await.unwrap();
    slotd.configure(&format!("{entry}publication_name = \"another\"\n"));
    slotd.sighup();
    let former = |health: &Value| health["findings"][0]["code"] == "former_publication";
    slotd.await_until(&dbname, |health| former(health) && health["state"] == "streaming").await;
    let (status, said) = slotd.command_output(&["plan"]).await;
    assert!(status.success() && said.contains("the former publication"), "PostgreSQL {major}: {said}");
    cluster.execute(&dbname, "INSERT INTO t VALUES (3)").await;
    slotd.await_lines(&dbname, 2).await;
    slotd.kill9().await;
    slotd.start();
    slotd.await_until(&dbname, |health| former(health) && health["state"] == "streaming").await;
    straddling.batch_execute("INSERT INTO t VALUES (4); COMMIT").await.unwrap();
    slotd.await_lines(&dbname, 4).await;
    assert_eq!(cluster.value(&dbname, THROUGH).await, Some(format!("\"slotd_{dbname}\"")), "PostgreSQL {major}");
    // With it the server says who still runs.
    cluster.execute(&dbname, "CHECKPOINT").await;
    cluster.await_value(&dbname, THROUGH, "\"another\"").await;
    let health = slotd.await_state(&dbname, "streaming").await;
    assert_eq!(health["findings"], serde_json::json!([]), "PostgreSQL {major}");
    cluster.execute(&dbname, "INSERT INTO t VALUES (5)").await;
    slotd.await_lines(&dbname, 5).await;
    let ids: Vec<_> = slotd.lines(&dbname).iter().map(|line| line["record"]["id"].clone()).collect();
    assert_eq!(ids, [1, 3, 2, 4, 5], "PostgreSQL {major}");
}

#[tokio::test]
async fn a_table_that_is_locked_is_waited_for_and_told() {
    let cluster = Cluster::shared(18);
    let dbname = database(cluster, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let locker = cluster.connect(&dbname).await;
    locker.batch_execute("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let mut slotd = Slotd::run(&format!("{}tables = [\"t\"]\n", cluster.entry(&dbname)));
    let health = slotd.await_state(&dbname, "retrying").await;
    assert_eq!(health["reason"], "publication", "{health:#}");
    assert!(health["hint"].as_str().unwrap().contains("lock on one of the tables"), "{health:#}");
    locker.batch_execute("COMMIT").await.unwrap();
    slotd.await_state(&dbname, "streaming").await;
}

/// Its ordinals are those that the publication gives: another one may leave rows out.
#[tokio::test]
async fn a_transaction_that_is_half_in_the_file_is_ended_through_its_own_publication() {
    let cluster = Cluster::shared(18);
    let tables = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE more (id int PRIMARY KEY);
                  CREATE PUBLICATION another FOR TABLE t";
    let dbname = database(cluster, tables).await;
    let entry = cluster.entry(&dbname);
    let mut slotd = Slotd::new(&entry);
    slotd.set_env("SLOTD_CRASH_AT", "SidecarSynced:4");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    let rows = "BEGIN; INSERT INTO more SELECT generate_series(1, 100); \
                INSERT INTO t SELECT generate_series(1, 50000); COMMIT";
    cluster.execute(&dbname, rows).await;
    assert!(!slotd.ended().await.success());
    slotd.unset_env("SLOTD_CRASH_AT");
    slotd.configure(&format!("{entry}publication_name = \"another\"\n"));
    slotd.start();
    cluster.await_value(&dbname, THROUGH, "\"another\"").await;
    cluster.execute(&dbname, "INSERT INTO t VALUES (0)").await;
    slotd.await_lines(&dbname, 50_101).await;
    let lines = slotd.lines(&dbname);
    let ids =
        lines.iter().filter(|line| line["metadata"]["table_name"] == "t").map(|line| line["record"]["id"].as_i64());
    assert!(ids.eq((1..=50_000).chain([0]).map(Some)), "every row once, in order");
}

/// Whatever pokes it while a transaction is under way: what would end the stream in the midst of it waits for its end.
#[tokio::test]
async fn a_long_transaction_gets_through_before_another_publication_is_used() {
    let cluster = Cluster::shared(18);
    let tables = "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION another FOR TABLE t";
    let dbname = database(cluster, tables).await;
    let entry = cluster.entry(&dbname);
    let mut slotd = Slotd::run(&entry);
    slotd.await_state(&dbname, "streaming").await;
    let behind = "SELECT txid_current(); CHECKPOINT; SELECT count(*) FROM pg_replication_slots s, pg_publication p
        WHERE s.database = current_database() AND p.pubname = 'another' AND age(p.xmin) <= age(s.catalog_xmin)";
    cluster.await_value(&dbname, behind, "0").await;
    assert!(slotd.sigterm().await.success());
    slotd.set_env("SLOTD_CRASH_AT", "SidecarSynced:3");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO t SELECT generate_series(1, 400000)").await;
    assert!(!slotd.ended().await.success());
    slotd.unset_env("SLOTD_CRASH_AT");
    slotd.configure(&format!("{entry}publication_name = \"another\"\n"));
    let half = slotd.bytes(&dbname);
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    // Each is a look at once.
    slotd.sighup();
    slotd.await_bytes(&dbname, half + 1).await;
    slotd.sighup();
    cluster.await_value(&dbname, THROUGH, "\"another\"").await;
    let resumed = "the slot is behind what the sink holds";
    assert_eq!(slotd.log().matches(resumed).count(), 1, "once, after the crash: {}", slotd.log());
    let ids = slotd.lines(&dbname).into_iter().map(|line| line["record"]["id"].as_i64());
    assert!(ids.eq((1..=400_000).map(Some)), "every row once, in order");
}
