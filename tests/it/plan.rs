//! `slotd plan` and `slotd apply` on real servers: what differs is shown, then ended, and nothing else is touched.

use serde_json::Value;

use crate::support::{Cluster, Slotd, VERSIONS};

const TABLES: &str = "CREATE TABLE orders (id int PRIMARY KEY, state text, note text); \
                      CREATE TABLE items (id int PRIMARY KEY, qty int); CREATE TABLE old (id int PRIMARY KEY)";

/// A slotd for one database that has [`TABLES`]; not started.
async fn shop(cluster: &Cluster, keys: &str) -> (String, Slotd) {
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, TABLES).await;
    let slotd = Slotd::new(&format!("{}{keys}\n", cluster.entry(&dbname)));
    (dbname, slotd)
}

async fn says(slotd: &Slotd, args: &[&str], exit: i32) -> String {
    let (status, said) = slotd.command_output(args).await;
    assert_eq!(status.code(), Some(exit), "{args:?}\n{said}");
    said
}

async fn published(cluster: &Cluster, dbname: &str) -> Option<String> {
    let sql = "SELECT string_agg(format('%s (%s) %s', tablename, array_to_string(attnames, ','), rowfilter), '; ' \
               ORDER BY tablename) FROM pg_publication_tables";
    cluster.value(dbname, sql).await
}

#[tokio::test]
async fn what_a_plan_says_is_what_apply_does_and_then_there_is_nothing_to_do() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let keys = "tables = [\"orders\", { name = \"items\", columns = [\"id\", \"qty\"], where = \"qty in (1, 2)\" }]\n\
                    publish = \"insert\"";
        let (dbname, slotd) = shop(cluster, keys).await;
        let drifted = format!("CREATE PUBLICATION slotd_{dbname} FOR TABLE orders (id), old");
        cluster.execute(&dbname, &drifted).await;
        let before = cluster.value(&dbname, "SELECT p::text || xmin::text FROM pg_publication p").await;

        let plan = says(&slotd, &["plan"], 3).await;
        for line in [
            format!("  ~ publication slotd_{dbname}: it is not as declared"),
            "      - TABLE public.orders (id)".to_owned(),
            "      + TABLE public.orders".to_owned(),
            "      + TABLE public.items (id, qty) WHERE (qty in (1, 2))".to_owned(),
            "      - TABLE public.old".to_owned(),
            "      + publish = 'insert'".to_owned(),
            format!("      by: slotd apply {dbname}"),
            format!("  + slot slotd_{dbname}: it does not exist"),
            "1 to create, 1 to alter".to_owned(),
        ] {
            assert!(plan.lines().any(|it| it == line), "PostgreSQL {major}: no {line:?} in\n{plan}");
        }
        let after = cluster.value(&dbname, "SELECT p::text || xmin::text FROM pg_publication p").await;
        assert_eq!(after, before, "a plan touches nothing");
        assert!(!slotd.state_dir().join("made.json").exists(), "nor does it here");

        says(&slotd, &["apply", &dbname], 0).await;
        let has = published(cluster, &dbname).await.unwrap();
        assert_eq!(has, "items (id,qty) (qty = ANY (ARRAY[1, 2])); orders (id,state,note) ", "PostgreSQL {major}");
        // Its filter reads otherwise there, and is known.
        let plan = says(&slotd, &["plan"], 0).await;
        assert!(plan.ends_with("nothing to do\n"), "{plan}");
        assert!(plan.contains(&format!("  = slot slotd_{dbname}: as declared")), "{plan}");
    }
}

#[tokio::test]
async fn what_slotd_made_is_known_again_and_what_it_streams_goes_on_while_it_is_altered() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let filter = |state: &str| format!("tables = [{{ name = \"orders\", where = \"state in ({state})\" }}]\n");
        let filter = |states: &str| format!("{}publish = \"insert\"", filter(states));
        let (dbname, mut slotd) = shop(cluster, &filter("'a', 'b'")).await;
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        // As the server writes it, and yet as declared.
        says(&slotd, &["plan"], 0).await;
        cluster.execute(&dbname, "INSERT INTO orders VALUES (1, 'a'), (2, 'c')").await;
        slotd.await_lines(&dbname, 1).await;

        slotd.configure(&format!("{}{}\n", cluster.entry(&dbname), filter("'c'")));
        slotd.sighup();
        let drift =
            |health: &Value| health["findings"][0]["code"] == "publication_drift" && health["state"] == "streaming";
        let health = slotd.await_until(&dbname, drift).await;
        let hint = health["findings"][0]["hint"].as_str().unwrap();
        assert!(hint.starts_with(&format!("run slotd apply {dbname}, which does: ALTER PUBLICATION")), "{hint}");
        let since = health["since"].clone();
        says(&slotd, &["apply"], 0).await;
        says(&slotd, &["plan"], 0).await;
        let health = slotd.await_until(&dbname, |health| health["findings"] == serde_json::json!([])).await;
        assert_eq!(health["since"], since, "the stream did not end for it");
        cluster.execute(&dbname, "INSERT INTO orders VALUES (3, 'a'), (4, 'c')").await;
        slotd.await_lines(&dbname, 2).await;
        let ids: Vec<_> = slotd.lines(&dbname).iter().map(|line| line["record"]["id"].clone()).collect();
        assert_eq!(ids, [1, 4]);
    }
}

#[tokio::test]
async fn provision_says_what_the_agent_does_by_itself() {
    let cluster = Cluster::shared(18);
    let (dbname, mut slotd) = shop(cluster, "tables = [\"orders\"]\nprovision = \"report\"").await;
    slotd.start();
    let health = slotd.await_state(&dbname, "failed").await;
    assert_eq!(health["reason"], "unprovisioned", "{health:#}");
    let hint = health["hint"].as_str().unwrap();
    assert!(hint.contains("CREATE PUBLICATION") && hint.contains("pg_create_logical_replication_slot"), "{health:#}");
    let made = "SELECT (SELECT count(*) FROM pg_publication) + \
                (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
    assert_eq!(cluster.value(&dbname, made).await.as_deref(), Some("0"));
    // At the operator's word it is made, and streamed at once.
    says(&slotd, &["apply", &dbname], 0).await;
    slotd.await_state(&dbname, "streaming").await;
    let entry = |keys: &str| format!("{}{keys}\n", cluster.entry(&dbname));
    let only_orders = published(cluster, &dbname).await;

    // "create" reports drift, "apply" ends it, since slotd made it.
    slotd.configure(&entry("tables = [\"orders\", \"items\"]"));
    slotd.sighup();
    slotd.await_until(&dbname, |health| health["findings"][0]["code"] == "publication_drift").await;
    assert_eq!(published(cluster, &dbname).await, only_orders);
    slotd.configure(&entry("tables = [\"orders\", \"items\"]\nprovision = \"apply\""));
    slotd.sighup();
    let both = "SELECT count(*) FROM pg_publication_tables";
    cluster.await_value(&dbname, both, "2").await;
    slotd
        .await_until(&dbname, |health| health["findings"] == serde_json::json!([]) && health["state"] == "streaming")
        .await;

    // One of the same name that somebody else made is not slotd's.
    let anothers = format!(
        "BEGIN; DROP PUBLICATION slotd_{dbname}; CREATE PUBLICATION slotd_{dbname} FOR TABLE orders, items, old; COMMIT"
    );
    cluster.execute(&dbname, &anothers).await;
    slotd.sighup();
    slotd.await_until(&dbname, |health| health["findings"][0]["code"] == "publication_drift").await;
    assert_eq!(cluster.value(&dbname, both).await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_table_whose_updates_would_fail_undoes_the_whole_alteration() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let (dbname, mut slotd) = shop(cluster, "tables = [\"orders\"]").await;
        cluster.execute(&dbname, "CREATE TABLE keyless (a int)").await;
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        for (table, why) in [
            ("\"keyless\"", "without a replica identity"),
            // Its columns are known once the server has parsed it.
            ("{ name = \"items\", where = \"qty > 0\" }", "with a row filter"),
        ] {
            let keys = format!("tables = [\"orders\", {table}]\nprovision = \"apply\"");
            slotd.configure(&format!("{}{keys}\n", cluster.entry(&dbname)));
            slotd.sighup();
            let refused = |health: &Value| {
                let findings = health["findings"].as_array().into_iter().flatten();
                findings.map(Value::to_string).any(|it| it.contains("\"publication_") && it.contains(why))
            };
            slotd.await_until(&dbname, |health| refused(health) && health["state"] == "streaming").await;
            let said = says(&slotd, &["apply", &dbname], 1).await;
            assert!(said.contains(why), "{said}");
            cluster
                .execute(&dbname, "INSERT INTO keyless VALUES (1); UPDATE keyless SET a = 2; DELETE FROM keyless")
                .await;
            let has = "SELECT string_agg(tablename, ',') FROM pg_publication_tables";
            assert_eq!(cluster.value(&dbname, has).await.as_deref(), Some("orders"), "PostgreSQL {major}");
        }
    }
}

/// In one transaction no position of the WAL lacks the publication, so the slot decodes on.
#[tokio::test]
async fn another_scope_of_a_publication_for_all_tables_takes_a_flag_and_loses_nothing_that_is_declared() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let (dbname, mut slotd) = shop(cluster, "").await;
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        slotd.configure(&format!("{}tables = [\"orders\"]\n", cluster.entry(&dbname)));
        slotd.sighup();
        slotd.await_until(&dbname, |health| health["findings"][0]["code"] == "publication_drift").await;
        let plan = says(&slotd, &["plan"], 3).await;
        assert!(plan.contains("-/+ publication") && plan.contains("loses: changes of tables"), "{plan}");
        assert!(plan.contains(&format!("by: slotd apply {dbname} --recreate-publication --yes")), "{plan}");
        let all_tables = "SELECT puballtables FROM pg_publication";
        // Not implied, nor without the word.
        says(&slotd, &["apply", &dbname], 1).await;
        let said = says(&slotd, &["apply", &dbname, "--recreate-publication"], 64).await;
        assert!(said.contains("it takes --yes"), "{said}");
        assert_eq!(cluster.value(&dbname, all_tables).await.as_deref(), Some("t"));

        // Under load: a transaction that is open across it, and others before and behind.
        let writer = cluster.connect(&dbname).await;
        for id in 0..50 {
            writer.batch_execute(&format!("INSERT INTO orders VALUES ({id}, 'x')")).await.unwrap();
        }
        writer
            .batch_execute("BEGIN; INSERT INTO items VALUES (1, 1); INSERT INTO orders VALUES (50, 'x')")
            .await
            .unwrap();
        says(&slotd, &["apply", &dbname, "--recreate-publication", "--yes"], 0).await;
        writer.batch_execute("INSERT INTO orders VALUES (51, 'x'); COMMIT").await.unwrap();
        for id in 52..100 {
            writer
                .batch_execute(&format!("INSERT INTO orders VALUES ({id}, 'x'); INSERT INTO old VALUES ({id})"))
                .await
                .unwrap();
        }
        slotd.await_acknowledged(cluster, &dbname).await;
        let health = slotd.health(&dbname).await;
        assert_eq!(health["state"], "streaming", "PostgreSQL {major}: {health:#}");
        let lines = slotd.lines(&dbname);
        let of = |table: &str| -> Vec<i64> {
            let of = lines.iter().filter(|line| line["metadata"]["table_name"] == *table);
            of.map(|line| line["record"]["id"].as_i64().unwrap()).collect()
        };
        assert!(of("orders").into_iter().eq(0..100), "PostgreSQL {major}: {:?}", of("orders"));
        assert_eq!(of("old"), Vec::<i64>::new(), "PostgreSQL {major}");
        says(&slotd, &["plan"], 0).await;
    }
}

/// What the file says and what the server says may be one condition in two spellings.
#[tokio::test]
async fn a_filter_that_somebody_else_made_is_compared_with_the_servers_words() {
    let cluster = Cluster::shared(18);
    let filter = |text: &str| format!("tables = [{{ name = \"items\", where = \"{text}\" }}]");
    let (dbname, slotd) = shop(cluster, &filter("qty in (1, 2)")).await;
    let by_hand =
        format!("CREATE PUBLICATION slotd_{dbname} FOR TABLE items WHERE (qty in (1, 2)) WITH (publish = 'insert')");
    cluster.execute(&dbname, &by_hand).await;
    let plan = says(&slotd, &["plan"], 3).await;
    assert!(plan.contains("+ TABLE public.items WHERE (qty in (1, 2))"), "{plan}");
    assert!(plan.contains("- TABLE public.items WHERE (qty = ANY (ARRAY[1, 2]))"), "{plan}");
    slotd.configure(&format!("{}{}\n", cluster.entry(&dbname), filter("qty = ANY (ARRAY[1, 2])")));
    let plan = says(&slotd, &["plan"], 3).await;
    assert!(!plan.contains(" ~ publication"), "{plan}");
}

#[tokio::test]
async fn what_the_sql_of_a_plan_makes_is_as_declared() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let (dbname, mut slotd) = shop(cluster, "tables = [\"orders\", \"items\"]\nprovision = \"report\"").await;
        let sql = says(&slotd, &["plan", "--sql"], 3).await;
        let client = cluster.connect(&dbname).await;
        for statement in sql.lines().filter(|line| !line.starts_with("--")) {
            client.batch_execute(statement).await.unwrap();
        }
        let nothing = says(&slotd, &["plan", "--sql"], 0).await;
        assert_eq!(nothing, "-- nothing to do\n");
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        // What destroys is shown, and not done by one who runs it all.
        client
            .batch_execute(&format!(
                "DROP PUBLICATION slotd_{dbname}; CREATE PUBLICATION slotd_{dbname} FOR ALL TABLES"
            ))
            .await
            .unwrap();
        let sql = says(&slotd, &["plan", "--sql"], 3).await;
        assert!(
            sql.contains("-- DROP PUBLICATION") && sql.lines().all(|line| line.is_empty() || line.starts_with("--")),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_plan_for_programs_has_each_step_with_who_takes_it() {
    let cluster = Cluster::shared(18);
    let (dbname, slotd) = shop(cluster, "tables = [\"orders\"]").await;
    let plan: Value = serde_json::from_str(&says(&slotd, &["plan", "--json"], 3).await).unwrap();
    let steps = plan[0]["steps"].as_array().unwrap();
    let told: Vec<_> = steps.iter().map(|step| (&step["action"], &step["object"], &step["by"])).collect();
    let publication = Value::from(format!("publication slotd_{dbname}"));
    let slot = Value::from(format!("slot slotd_{dbname}"));
    let (create, agent) = (Value::from("create"), Value::from("agent"));
    assert_eq!(told, [(&create, &publication, &agent), (&create, &slot, &agent)]);
}

#[tokio::test]
async fn a_lost_slot_is_in_the_plan_with_its_price_and_made_anew_only_at_the_word() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let (dbname, mut slotd) = shop(cluster, "").await;
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        cluster.execute(&dbname, "INSERT INTO old VALUES (1)").await;
        slotd.await_lines(&dbname, 1).await;
        slotd.await_acknowledged(cluster, &dbname).await;
        assert!(slotd.sigterm().await.success());
        cluster.execute(&dbname, &format!("SELECT pg_drop_replication_slot('slotd_{dbname}')")).await;
        let plan = says(&slotd, &["plan"], 3).await;
        assert!(plan.contains("-/+ slot") && plan.contains("lost, slot_missing"), "{plan}");
        assert!(plan.contains("loses: every change after "), "{plan}");
        let gone = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        says(&slotd, &["apply"], 1).await;
        assert_eq!(cluster.value(&dbname, gone).await.as_deref(), Some("0"));
        slotd.start();
        slotd.await_state(&dbname, "lost").await;
        says(&slotd, &["apply", "--recreate-slot"], 64).await;
        assert_eq!(cluster.value(&dbname, gone).await.as_deref(), Some("0"));
        says(&slotd, &["apply", "--recreate-slot", "--yes"], 0).await;
        slotd.await_state(&dbname, "streaming").await;
        let gap = slotd.lines(&dbname).pop().unwrap();
        assert_eq!(gap["metadata"]["reason"], "slot_missing", "{gap}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_hides_no_other() {
    let cluster = Cluster::shared(18);
    let (dbname, slotd) = shop(cluster, "").await;
    let away =
        "[[postgres_databases]]\nname = \"away\"\nurl = \"postgresql://slotd:x@127.0.0.1:1/away\"\nssl = false\n";
    slotd.configure(&format!("{}{away}", cluster.entry(&dbname)));
    let plan = says(&slotd, &["plan"], 69).await;
    assert!(plan.contains("  ! 127.0.0.1:1: no address answers") && plan.contains("+ slot slotd_"), "{plan}");
    let unknown = says(&slotd, &["plan", "shopp"], 1).await;
    assert!(unknown.contains("has no database called shopp") && unknown.contains(&dbname), "{unknown}");
}

/// What is rolled back changes nothing, nor who made it.
#[tokio::test]
async fn a_publication_that_could_not_be_made_anew_is_whose_it_was() {
    let cluster = Cluster::shared(18);
    for is_ours in [true, false] {
        let (dbname, mut slotd) = shop(cluster, "").await;
        if is_ours {
            slotd.start();
            slotd.await_state(&dbname, "streaming").await;
            assert!(slotd.sigterm().await.success());
        } else {
            cluster.execute(&dbname, &format!("CREATE PUBLICATION slotd_{dbname} FOR ALL TABLES")).await;
        }
        slotd.configure(&format!("{}tables = [\"orders\"]\n", cluster.entry(&dbname)));
        let holder = cluster.connect(&dbname).await;
        holder.batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await.unwrap();
        says(&slotd, &["apply", &dbname, "--recreate-publication", "--yes"], 1).await;
        holder.batch_execute("ROLLBACK").await.unwrap();
        if !is_ours {
            let by_hand = "ALTER PUBLICATION $name OWNER TO postgres; DROP PUBLICATION $name; \
                           CREATE PUBLICATION $name FOR TABLE orders WITH (publish_via_partition_root = true)";
            cluster.execute(&dbname, &by_hand.replace("$name", &format!("slotd_{dbname}"))).await;
        }
        says(&slotd, &["drop", &dbname, "--yes"], 0).await;
        let left = cluster.value(&dbname, "SELECT count(*) FROM pg_publication").await;
        assert_eq!(left.as_deref(), Some(if is_ours { "0" } else { "1" }), "slotd made it: {is_ours}");
    }
}

#[tokio::test]
async fn a_lost_slot_is_made_anew_at_the_operators_word_where_the_agent_makes_nothing_by_itself() {
    let cluster = Cluster::shared(18);
    let (dbname, mut slotd) = shop(cluster, "provision = \"report\"").await;
    says(&slotd, &["apply", &dbname], 0).await;
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO old VALUES (1)").await;
    slotd.await_acknowledged(cluster, &dbname).await;
    assert!(slotd.sigterm().await.success());
    cluster.execute(&dbname, &format!("SELECT pg_drop_replication_slot('slotd_{dbname}')")).await;
    slotd.start();
    slotd.await_state(&dbname, "lost").await;
    says(&slotd, &["resume", &dbname, "--accept-gap", "--yes"], 0).await;
    slotd.await_state(&dbname, "streaming").await;
}

#[tokio::test]
async fn another_publication_for_a_slot_that_is_not_read_now_is_made_without_a_gap() {
    let cluster = Cluster::shared(18);
    let (dbname, mut slotd) = shop(cluster, "").await;
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO old VALUES (1)").await;
    slotd.await_acknowledged(cluster, &dbname).await;
    let keys = "publication_name = \"another\"\nstatus = \"disabled\"";
    slotd.configure(&format!("{}{keys}\n", cluster.entry(&dbname)));
    slotd.sighup();
    slotd.await_state(&dbname, "disabled").await;
    says(&slotd, &["apply", &dbname], 0).await;
    let made = "SELECT count(*) FROM pg_publication WHERE pubname = 'another'";
    assert_eq!(cluster.value(&dbname, made).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_a_disabled_database_lacks_is_made_by_apply_alone() {
    let cluster = Cluster::shared(18);
    let (dbname, slotd) = shop(cluster, "status = \"disabled\"").await;
    let plan = says(&slotd, &["plan"], 3).await;
    assert!(plan.contains(&format!("by: slotd apply {dbname}")), "{plan}");
    says(&slotd, &["apply"], 0).await;
    assert!(says(&slotd, &["plan"], 0).await.contains("nothing to do"));
}
