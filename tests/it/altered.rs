//! Composite types that are altered while values of them are on their way: no value ever gets a name that is not its own.

use serde_json::{Value, json};

use crate::support::{Cluster, Flow, Options};

/// Where behaviour may differ.
const ENDS: [u32; 2] = [15, 18];

const SETUP: &str = "
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN alike AS pair;
    CREATE TYPE outside AS (p pair, l pair[], s alike);
    CREATE TABLE t (id int PRIMARY KEY, p pair, l pair[], o outside);";

/// A row whose values are all made of `pair`.
fn insert(id: u32, pair: &str) -> String {
    format!("INSERT INTO t VALUES ({id}, {pair}, ARRAY[{pair}::pair, NULL], ROW({pair}, ARRAY[{pair}::pair], {pair}))")
}

/// What [`insert`] becomes where the names are certain.
fn record(id: u32, pair: &Value) -> Value {
    json!({ "id": id, "p": pair, "l": [pair, null], "o": { "p": pair, "l": [pair], "s": pair } })
}

/// The records that `statements` gave.
async fn records(flow: &mut Flow<'_>, statements: &[&str]) -> Vec<Value> {
    flow.run(statements).await;
    flow.take().await.into_iter().map(|mut line| line["record"].take()).collect()
}

/// Whether every value in `record` is text that names nothing.
fn is_text(record: &Value) -> bool {
    ["p", "l", "o"].iter().all(|name| record[name].is_string())
}

#[tokio::test]
async fn a_composite_type_that_is_altered_in_mid_stream_is_read_as_it_was_at_each_row() {
    for major in ENDS {
        let mut flow = Flow::start(Cluster::shared(major), SETUP, "").await;
        let (two, three) = (json!({ "a": 1, "b": "x" }), json!({ "a": 1, "b": "x", "c": true }));
        assert_eq!(records(&mut flow, &[&insert(1, "(1,'x')")]).await, [record(1, &two)], "PostgreSQL {major}");

        // The number of fields tells which of both it is, on both sides of the change.
        let grown = [&insert(2, "(1,'x')"), "ALTER TYPE pair ADD ATTRIBUTE c boolean", &insert(3, "(1,'x',true)")];
        let expected = [record(2, &two), record(3, &three)];
        assert_eq!(records(&mut flow, &grown).await, expected, "PostgreSQL {major}");
        let grown = [&*insert(4, "(1,'x',true)"), "ALTER TYPE pair DROP ATTRIBUTE a", &insert(5, "('x',true)")];
        let expected = [record(4, &three), record(5, &json!({ "b": "x", "c": true }))];
        assert_eq!(records(&mut flow, &grown).await, expected, "PostgreSQL {major}");

        // Where nothing tells, no name is given; where all is null or empty there is none to give.
        let renamed = [
            "ALTER TYPE pair RENAME ATTRIBUTE b TO d",
            &insert(6, "('x',true)"),
            "INSERT INTO t VALUES (7, NULL, '{}', NULL)",
        ];
        let renamed = records(&mut flow, &renamed).await;
        assert!(is_text(&renamed[0]), "PostgreSQL {major}: {}", renamed[0]);
        assert_eq!(renamed[0]["p"], "(x,t)");
        assert_eq!(renamed[1], json!({ "id": 7, "p": null, "l": [], "o": null }));
        // From then on it is known.
        let known = records(&mut flow, &[&insert(8, "('x',true)")]).await;
        assert_eq!(known, [record(8, &json!({ "d": "x", "c": true }))], "PostgreSQL {major}");

        let replaced = ["ALTER TYPE pair DROP ATTRIBUTE c, ADD ATTRIBUTE e boolean", &insert(9, "('x',true)")];
        let replaced = records(&mut flow, &replaced).await;
        assert!(is_text(&replaced[0]), "PostgreSQL {major}: {}", replaced[0]);
        let known = records(&mut flow, &[&insert(10, "('x',true)")]).await;
        assert_eq!(known, [record(10, &json!({ "d": "x", "e": true }))], "PostgreSQL {major}");

        // There and back: what it was in between can't be told.
        let there_and_back = [
            "ALTER TYPE pair RENAME ATTRIBUTE d TO f",
            &insert(11, "('x',true)"),
            "ALTER TYPE pair RENAME ATTRIBUTE f TO d",
        ];
        flow.slotd.freeze();
        flow.run(&there_and_back).await;
        flow.slotd.thaw();
        let lines = flow.take().await;
        assert!(is_text(&lines[0]["record"]), "PostgreSQL {major}: {}", lines[0]["record"]);
        // A table that is described anew keeps what is known of its types.
        let known = records(&mut flow, &["ALTER TABLE t ADD n int", &insert(12, "('x',true)")]).await;
        assert_eq!(known[0]["o"], record(12, &json!({ "d": "x", "e": true }))["o"], "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn the_row_type_of_a_table_is_a_composite_type_too() {
    for major in ENDS {
        let setup = "CREATE TABLE other (a int, b text); CREATE TABLE t (id int PRIMARY KEY, p other)";
        let keys = "tables = [\"public.t\"]";
        let mut flow = Flow::start(Cluster::shared(major), setup, keys).await;
        let first = records(&mut flow, &["INSERT INTO t VALUES (1, (1, 'x'))"]).await;
        assert_eq!(first, [json!({ "id": 1, "p": { "a": 1, "b": "x" } })], "PostgreSQL {major}");
        let rows = [
            "INSERT INTO t VALUES (2, (1, 'x'))",
            "ALTER TABLE other ADD c int",
            "INSERT INTO t VALUES (3, (1, 'x', 2))",
        ];
        let expected =
            [json!({ "id": 2, "p": { "a": 1, "b": "x" } }), json!({ "id": 3, "p": { "a": 1, "b": "x", "c": 2 } })];
        assert_eq!(records(&mut flow, &rows).await, expected, "PostgreSQL {major}");
        let renamed = ["ALTER TABLE other RENAME b TO d", "INSERT INTO t VALUES (4, (1, 'x', 2))"];
        assert_eq!(records(&mut flow, &renamed).await, [json!({ "id": 4, "p": "(1,x,2)" })], "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn rows_from_before_the_first_look_are_named_only_if_their_type_has_not_changed_since() {
    for major in ENDS {
        let cluster = Cluster::start(major, &Options::default());
        let setup = format!("{SETUP} CREATE TYPE calm AS (a int); CREATE TABLE u (id int PRIMARY KEY, c calm);");
        let mut flow = Flow::start(&cluster, &setup, "").await;
        assert!(flow.slotd.sigterm().await.success());
        flow.run(&[
            &insert(1, "(1,'x')"),
            "ALTER TYPE pair RENAME ATTRIBUTE b TO c",
            &insert(2, "(1,'x')"),
            "INSERT INTO u VALUES (1, ROW(7))",
            // New, and never altered: there is one form that it can have had.
            "CREATE TYPE young AS (n int, t text); CREATE TABLE v (id int PRIMARY KEY, y young)",
            "INSERT INTO v VALUES (1, (1, 'y'))",
        ])
        .await;
        flow.slotd.start();
        let lines = flow.take().await;
        assert!(is_text(&lines[0]["record"]) && is_text(&lines[1]["record"]), "PostgreSQL {major}: {lines:#?}");
        assert_eq!(lines[2]["record"], json!({ "id": 1, "c": { "a": 7 } }), "PostgreSQL {major}");
        assert_eq!(lines[3]["record"], json!({ "id": 1, "y": { "n": 1, "t": "y" } }), "PostgreSQL {major}");
        let expected = [record(3, &json!({ "a": 1, "c": "x" }))];
        assert_eq!(records(&mut flow, &[&insert(3, "(1,'x')")]).await, expected, "PostgreSQL {major}");

        // Once the slot's horizon has passed the change, a new start knows at once.
        let behind = "SELECT txid_current(); CHECKPOINT; SELECT count(*) FROM pg_replication_slots, pg_attribute
            WHERE attrelid = 'pair'::regclass AND age(pg_attribute.xmin) <= age(pg_replication_slots.catalog_xmin)";
        cluster.await_value(&flow.dbname, behind, "0").await;
        assert!(flow.slotd.sigterm().await.success());
        flow.run(&[&insert(4, "(1,'x')")]).await;
        flow.slotd.start();
        let lines = flow.take().await;
        assert_eq!(lines[0]["record"], record(4, &json!({ "a": 1, "c": "x" })), "PostgreSQL {major}");
    }
}

/// Another slot holds the horizon of all slots back, so that a new one begins with an old one.
#[tokio::test]
async fn a_type_that_was_altered_before_the_stream_began_is_known_from_the_first_row_on() {
    for major in ENDS {
        let cluster = Cluster::start(major, &Options::default());
        cluster.execute("postgres", "SELECT pg_create_logical_replication_slot('lagging', 'pgoutput')").await;
        let setup = format!("{SETUP} ALTER TYPE pair RENAME ATTRIBUTE b TO c;");
        let mut flow = Flow::start(&cluster, &setup, "").await;
        let expected = [record(1, &json!({ "a": 1, "c": "x" }))];
        assert_eq!(records(&mut flow, &[&insert(1, "(1,'x')")]).await, expected, "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn the_session_that_looks_at_types_is_closed_when_the_stream_is_idle() {
    let cluster = Cluster::start(18, &Options::default());
    let mut flow = Flow::start(&cluster, SETUP, "").await;
    assert_eq!(records(&mut flow, &[&insert(1, "(1,'x')")]).await.len(), 1);
    let sessions = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name LIKE 'slotd/%' AND backend_type = 'client backend'";
    cluster.await_value("postgres", sessions, "0").await;
    // And made again, for one that was broken off as well.
    assert_eq!(records(&mut flow, &[&insert(2, "(1,'x')")]).await, [record(2, &json!({ "a": 1, "b": "x" }))]);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name LIKE 'slotd/%' AND backend_type = 'client backend'";
    cluster.execute("postgres", end).await;
    assert_eq!(records(&mut flow, &[&insert(3, "(1,'x')")]).await, [record(3, &json!({ "a": 1, "b": "x" }))]);
}
