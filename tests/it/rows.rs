//! What becomes of rows: identities, partitions, tables that change in mid-stream, transactions in all their forms.

use serde_json::{Value, json};

use crate::support::{Cluster, Flow, Options, ordinals};

/// Where behaviour may differ.
const ENDS: [u32; 2] = [15, 18];

#[tokio::test]
async fn each_replica_identity_sends_what_it_has() {
    for major in ENDS {
        let setup = "
            CREATE TABLE def (id int PRIMARY KEY, n int, t text);
            CREATE TABLE idx (a int NOT NULL, b text NOT NULL, n int);
            CREATE UNIQUE INDEX idx_key ON idx (b, a);
            ALTER TABLE idx REPLICA IDENTITY USING INDEX idx_key;
            CREATE TABLE whole (n int, t text); ALTER TABLE whole REPLICA IDENTITY FULL;
            CREATE TABLE bare (n int, t text); ALTER TABLE bare REPLICA IDENTITY NOTHING;";
        let keys = "allow_no_identity = [\"public.bare\"]";
        let mut flow = Flow::start(Cluster::shared(major), setup, keys).await;
        let brief = flow.brief(&[
            "INSERT INTO def VALUES (1, 1, 'a')",
            "UPDATE def SET n = 2",
            "UPDATE def SET id = 5, t = NULL",
            "DELETE FROM def",
            "INSERT INTO idx VALUES (1, 'k', 1)",
            "UPDATE idx SET n = NULL",
            "UPDATE idx SET b = 'l'",
            "DELETE FROM idx",
            "INSERT INTO whole VALUES (1, NULL), (1, NULL)",
            "UPDATE whole SET t = 'x', n = n",
            "DELETE FROM whole",
            "INSERT INTO bare VALUES (1, '')",
            "TRUNCATE bare",
        ]);
        let expected = json!([
            ["insert", "def", { "id": 1, "n": 1, "t": "a" }, null],
            ["update", "def", { "id": 1, "n": 2, "t": "a" }, {}],
            ["update", "def", { "id": 5, "n": 2, "t": null }, { "id": 1 }],
            ["delete", "def", { "id": 5 }, null],
            ["insert", "idx", { "a": 1, "b": "k", "n": 1 }, null],
            ["update", "idx", { "a": 1, "b": "k", "n": null }, {}],
            ["update", "idx", { "a": 1, "b": "l", "n": null }, { "b": "k" }],
            ["delete", "idx", { "a": 1, "b": "l" }, null],
            ["insert", "whole", { "n": 1, "t": null }, null],
            ["insert", "whole", { "n": 1, "t": null }, null],
            ["update", "whole", { "n": 1, "t": "x" }, { "t": null }],
            ["update", "whole", { "n": 1, "t": "x" }, { "t": null }],
            ["delete", "whole", { "n": 1, "t": "x" }, null],
            ["delete", "whole", { "n": 1, "t": "x" }, null],
            ["insert", "bare", { "n": 1, "t": "" }, null],
            ["truncate", "bare", null, null],
        ]);
        assert_eq!(brief.await, expected, "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn unchanged_toast_is_named_or_filled_and_never_null() {
    for major in ENDS {
        let setup = "
            CREATE TABLE def (id int PRIMARY KEY, n int, big text, other text);
            CREATE TABLE whole (id int, n int, big text, other text); ALTER TABLE whole REPLICA IDENTITY FULL;
            ALTER TABLE def ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
            ALTER TABLE whole ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
            INSERT INTO def VALUES (1, 1, repeat('x', 100000), NULL);
            INSERT INTO whole VALUES (1, 1, repeat('x', 100000), NULL);";
        let mut flow = Flow::start(Cluster::shared(major), setup, "").await;
        let (big, new) = ("x".repeat(100_000), "y".repeat(100_000));
        flow.run(&[
            "UPDATE def SET n = 2",
            "UPDATE def SET id = 2",
            "UPDATE def SET big = repeat('y', 100000)",
            "UPDATE def SET big = NULL, other = 'z'",
            "UPDATE whole SET n = 2",
            "UPDATE whole SET big = repeat('y', 100000)",
            "UPDATE whole SET n = 3, big = NULL",
        ])
        .await;
        let lines = flow.take().await;
        let brief: Vec<_> = lines
            .iter()
            .map(|line| json!([line["record"], line["changes"], line["metadata"].get("unchanged")]))
            .collect();
        let expected = json!([
            [{ "id": 1, "n": 2, "other": null }, {}, ["big"]],
            [{ "id": 2, "n": 2, "other": null }, { "id": 1 }, ["big"]],
            [{ "id": 2, "n": 2, "big": new, "other": null }, {}, null],
            [{ "id": 2, "n": 2, "big": null, "other": "z" }, {}, null],
            [{ "id": 1, "n": 2, "big": big, "other": null }, { "n": 1 }, null],
            [{ "id": 1, "n": 2, "big": new, "other": null }, { "big": big }, null],
            [{ "id": 1, "n": 3, "big": null, "other": null }, { "n": 2, "big": new }, null],
        ]);
        assert!(json!(brief) == expected, "PostgreSQL {major}: {:.4000}", json!(brief));
    }
}

const FAMILIES: &str = "
    CREATE TABLE part (id int PRIMARY KEY, t text) PARTITION BY RANGE (id);
    CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);
    CREATE TABLE part_high (t text, id int NOT NULL PRIMARY KEY);
    ALTER TABLE part ATTACH PARTITION part_high FOR VALUES FROM (10) TO (20);
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (extra text, PRIMARY KEY (id)) INHERITS (parent);";

const FAMILY_LIFE: [&str; 7] = [
    "INSERT INTO part VALUES (1, 'low'), (11, 'high')",
    "UPDATE part SET t = 'lower' WHERE id = 1",
    "UPDATE part SET id = 12 WHERE id = 1",
    "DELETE FROM part WHERE id = 11",
    "TRUNCATE part",
    "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'x')",
    "UPDATE parent SET id = id + 10",
];

#[tokio::test]
async fn a_partition_is_its_root_or_itself_as_the_publication_has_it() {
    for major in ENDS {
        let inherited = [
            json!(["insert", "parent", { "id": 1 }, null]),
            json!(["insert", "child", { "id": 2, "extra": "x" }, null]),
            json!(["update", "parent", { "id": 11 }, { "id": 1 }]),
            json!(["update", "child", { "id": 12, "extra": "x" }, { "id": 2 }]),
        ];
        let with = |partitioned: Value| {
            let mut all = partitioned.as_array().unwrap().clone();
            all.extend_from_slice(&inherited);
            Value::from(all)
        };
        let mut flow = Flow::start(Cluster::shared(major), FAMILIES, "").await;
        let through_root = with(json!([
            ["insert", "part", { "id": 1, "t": "low" }, null],
            ["insert", "part", { "id": 11, "t": "high" }, null],
            ["update", "part", { "id": 1, "t": "lower" }, {}],
            ["delete", "part", { "id": 1 }, null],
            ["insert", "part", { "id": 12, "t": "lower" }, null],
            ["delete", "part", { "id": 11 }, null],
            ["truncate", "part", null, null],
        ]));
        assert_eq!(flow.brief(&FAMILY_LIFE).await, through_root, "PostgreSQL {major}");

        let mut flow = Flow::start(Cluster::shared(major), FAMILIES, "publish_via_partition_root = false").await;
        let themselves = with(json!([
            ["insert", "part_low", { "id": 1, "t": "low" }, null],
            ["insert", "part_high", { "id": 11, "t": "high" }, null],
            ["update", "part_low", { "id": 1, "t": "lower" }, {}],
            ["delete", "part_low", { "id": 1 }, null],
            ["insert", "part_high", { "id": 12, "t": "lower" }, null],
            ["delete", "part_high", { "id": 11 }, null],
            ["truncate", "part_low", null, null],
            ["truncate", "part_high", null, null],
        ]));
        assert_eq!(flow.brief(&FAMILY_LIFE).await, themselves, "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn generated_columns_are_left_out_unless_the_publication_has_them() {
    let table = "CREATE TABLE g (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);";
    for major in ENDS {
        let mut flow = Flow::start(Cluster::shared(major), table, "").await;
        let expected = json!([["insert", "g", { "id": 1, "n": 3 }, null]]);
        assert_eq!(flow.brief(&["INSERT INTO g VALUES (1, 3)"]).await, expected, "PostgreSQL {major}");
    }
    let publication = "CREATE PUBLICATION theirs FOR ALL TABLES WITH (publish_generated_columns = stored);";
    let setup = format!("{table}{publication}");
    let mut flow = Flow::start(Cluster::shared(18), &setup, "publication_name = \"theirs\"").await;
    let expected = json!([["insert", "g", { "id": 1, "n": 3, "twice": 6 }, null]]);
    assert_eq!(flow.brief(&["INSERT INTO g VALUES (1, 3)"]).await, expected);
}

#[tokio::test]
async fn a_table_that_changes_in_mid_stream_is_read_as_it_was_at_each_row() {
    for major in ENDS {
        let setup = "
            CREATE TYPE mood AS ENUM ('ok'); CREATE TYPE pair AS (a int, b text);
            CREATE TABLE t (id int PRIMARY KEY, n int, gone text, m mood, p pair);";
        let mut flow = Flow::start(Cluster::shared(major), setup, "").await;
        let brief = flow.brief(&[
            "INSERT INTO t VALUES (1, 1, 'a', 'ok', (1, 'x'))",
            "ALTER TABLE t ADD added jsonb DEFAULT '{\"d\": 1}'",
            "UPDATE t SET n = 2",
            "ALTER TABLE t DROP gone",
            "UPDATE t SET n = 3",
            "ALTER TABLE t RENAME n TO number",
            "BEGIN; UPDATE t SET number = 4; ALTER TABLE t ALTER number TYPE text USING 'n' || number; \
             UPDATE t SET number = 'five'; COMMIT",
            "ALTER TYPE mood ADD VALUE 'bad'",
            "UPDATE t SET m = 'bad'",
            "ALTER TYPE mood RENAME VALUE 'bad' TO 'worse'",
            "UPDATE t SET added = NULL",
            "DROP TABLE t",
            "CREATE TABLE t (key text PRIMARY KEY, other boolean)",
            "INSERT INTO t VALUES ('k', true)",
            "ALTER TABLE t RENAME TO u",
            "DELETE FROM u",
            "ALTER TABLE u SET SCHEMA pg_catalog",
        ]);
        let row = |n: Value, m: &str, added: Value| json!({ "id": 1, "n": n, "m": m, "p": { "a": 1, "b": "x" }, "added": added });
        let renamed = |number: Value, m: &str, added: Value| json!({ "id": 1, "number": number, "m": m, "p": { "a": 1, "b": "x" }, "added": added });
        let mut with_gone = row(json!(2), "ok", json!({ "d": 1 }));
        with_gone["gone"] = json!("a");
        let first = json!({ "id": 1, "n": 1, "gone": "a", "m": "ok", "p": { "a": 1, "b": "x" } });
        let d = || json!({ "d": 1 });
        let expected = json!([
            ["insert", "t", first, null],
            ["update", "t", with_gone, {}],
            ["update", "t", row(json!(3), "ok", d()), {}],
            ["update", "t", renamed(json!(4), "ok", d()), {}],
            ["update", "t", renamed(json!("five"), "ok", d()), {}],
            ["update", "t", renamed(json!("five"), "bad", d()), {}],
            ["update", "t", renamed(json!("five"), "worse", Value::Null), {}],
            ["insert", "t", { "key": "k", "other": true }, null],
            ["delete", "u", { "key": "k" }, null],
        ]);
        assert_eq!(brief.await, expected, "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn a_truncate_of_several_tables_has_a_line_and_a_place_for_each() {
    for major in ENDS {
        let setup = "
            CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (id serial PRIMARY KEY);
            CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a);";
        let mut flow = Flow::start(Cluster::shared(major), setup, "").await;
        flow.run(&["INSERT INTO a VALUES (1)", "TRUNCATE a, b RESTART IDENTITY CASCADE", "TRUNCATE b"]).await;
        let lines = flow.take().await;
        let options = |line: &Value| {
            let metadata = &line["metadata"];
            json!([line["action"], metadata["table_name"], metadata["cascade"], metadata["restart_identity"]])
        };
        let brief: Vec<_> = lines[1..].iter().map(options).collect();
        assert_eq!(
            json!(brief),
            json!([
                ["truncate", "a", true, true],
                ["truncate", "b", true, true],
                ["truncate", "c", true, true],
                ["truncate", "b", false, false],
            ])
        );
        assert_eq!(ordinals(&lines), [vec![0], vec![0, 1, 2], vec![0]]);
    }
}

#[tokio::test]
async fn what_is_rolled_back_leaves_no_trace_and_no_hole() {
    for major in ENDS {
        let options = Options::default().set("max_prepared_transactions", "4");
        let cluster = Cluster::start(major, &options);
        let mut flow = Flow::start(&cluster, "CREATE TABLE t (id int PRIMARY KEY)", "").await;
        let brief = flow
            .brief(&[
                "BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a; INSERT INTO t VALUES (2); SAVEPOINT b; \
                 INSERT INTO t VALUES (3); ROLLBACK TO a; INSERT INTO t VALUES (4); RELEASE a; COMMIT",
                "BEGIN; INSERT INTO t VALUES (5); ROLLBACK",
                "DO $$ BEGIN INSERT INTO t VALUES (6); BEGIN INSERT INTO t VALUES (7), (1); \
                 EXCEPTION WHEN unique_violation THEN INSERT INTO t VALUES (8); END; END $$",
                "BEGIN; INSERT INTO t VALUES (9), (10); PREPARE TRANSACTION 'kept'",
                "BEGIN; INSERT INTO t VALUES (11); PREPARE TRANSACTION 'dropped'",
                "INSERT INTO t VALUES (12)",
                "COMMIT PREPARED 'kept'",
                "ROLLBACK PREPARED 'dropped'",
            ])
            .await;
        let ids = [1, 4, 6, 8, 12, 9, 10];
        let expected: Value = ids.iter().map(|id| json!(["insert", "t", { "id": id }, null])).collect();
        assert_eq!(brief, expected, "PostgreSQL {major}");
        let lines = flow.slotd.lines(&flow.dbname);
        assert_eq!(ordinals(&lines), [vec![0, 1], vec![0, 1], vec![0], vec![0, 1]]);
    }
}

#[tokio::test]
async fn messages_stand_where_they_belong() {
    for major in ENDS {
        let mut flow = Flow::start(Cluster::shared(major), "CREATE TABLE t (id int PRIMARY KEY)", "").await;
        flow.run(&[
            "BEGIN; INSERT INTO t VALUES (1); SELECT pg_logical_emit_message(true, 'p', 'in'); \
             SELECT pg_logical_emit_message(false, 'p', 'now'); \
             INSERT INTO t VALUES (2); COMMIT",
            "BEGIN; SELECT pg_logical_emit_message(true, 'p', 'never'); \
             SELECT pg_logical_emit_message(false, 'p', 'stays'); ROLLBACK",
            "SELECT pg_logical_emit_message(true, '', ''), pg_logical_emit_message(true, 'b', '\\xff00'::bytea)",
        ])
        .await;
        let lines = flow.take().await;
        let brief: Vec<_> =
            lines.iter().map(|line| json!([line["record"], line["metadata"]["transactional"]])).collect();
        assert_eq!(
            json!(brief),
            json!([
                [{ "prefix": "p", "content": "now" }, false],
                [{ "id": 1 }, null],
                [{ "prefix": "p", "content": "in" }, true],
                [{ "id": 2 }, null],
                [{ "prefix": "p", "content": "stays" }, false],
                [{ "prefix": "", "content": "" }, true],
                [{ "prefix": "b", "content_base64": "/wA=" }, true],
            ]),
            "PostgreSQL {major}"
        );
        assert_eq!(json!(ordinals(&lines)), json!([[null], [0, 1, 2], [null], [0, 1]]));
    }
}

#[tokio::test]
async fn odd_names_wide_rows_and_no_columns_arrive_as_they_are() {
    for major in ENDS {
        let long = "ü".repeat(31);
        let columns: Vec<_> = (1..1600).map(|n| format!("c{n} boolean")).collect();
        let setup = format!(
            "CREATE SCHEMA \"S \"\"q\"\".\\;\";
             CREATE TABLE \"S \"\"q\"\".\\;\".\"T'$1 \t\n{{}}\" (\"a\"\"b\\n\" int PRIMARY KEY, \"\u{1f418}\" text, \"{long}\" text);
             CREATE TABLE wide (id int PRIMARY KEY, {});
             CREATE TABLE empty ();
             CREATE TABLE nulls (a int, b text, c jsonb, d int[]); ALTER TABLE nulls REPLICA IDENTITY FULL;",
            columns.join(", ")
        );
        let keys = "allow_no_identity = [\"public.empty\"]";
        let mut flow = Flow::start(Cluster::shared(major), &setup, keys).await;
        let odd = "\"S \"\"q\"\".\\;\".\"T'$1 \t\n{}\"";
        flow.run(&[
            &format!("INSERT INTO {odd} VALUES (1, '', ' ')"),
            "INSERT INTO empty DEFAULT VALUES",
            "INSERT INTO wide (id, c1, c1599) VALUES (1, true, false)",
            "INSERT INTO nulls VALUES (NULL, NULL, NULL, NULL), (0, '', 'null', '{}')",
            "DELETE FROM nulls WHERE a IS NULL",
            "TRUNCATE empty",
        ])
        .await;
        let lines = flow.take().await;
        let (schema, table) = ("S \"q\".\\;", "T'$1 \t\n{}");
        assert_eq!(lines[0]["metadata"]["table_schema"], schema, "PostgreSQL {major}");
        assert_eq!(lines[0]["metadata"]["table_name"], table);
        assert_eq!(lines[0]["record"], json!({ "a\"b\\n": 1, "\u{1f418}": "", &*long: " " }));
        assert_eq!(lines[1]["record"], json!({}));
        let wide = lines[2]["record"].as_object().unwrap();
        assert_eq!(wide.len(), 1600);
        assert_eq!(wide.values().filter(|value| value.is_null()).count(), 1597);
        assert_eq!([&wide["c1"], &wide["c1599"]], [&json!(true), &json!(false)]);
        assert_eq!(lines[3]["record"], json!({ "a": null, "b": null, "c": null, "d": null }));
        assert_eq!(lines[4]["record"], json!({ "a": 0, "b": "", "c": null, "d": [] }));
        // A null of an old row can't be told from a column that was not sent, unless the identity is FULL.
        assert_eq!(lines[5]["record"], json!({ "a": null, "b": null, "c": null, "d": null }));
        assert_eq!([&lines[5]["action"], &lines[6]["action"]], ["delete", "truncate"]);
    }
}

#[tokio::test]
async fn what_is_replayed_from_elsewhere_arrives_too() {
    for major in ENDS {
        let mut flow = Flow::start(Cluster::shared(major), "CREATE TABLE t (id int PRIMARY KEY)", "").await;
        let origin = format!("elsewhere of {}", flow.dbname);
        let begin =
            format!("SELECT pg_replication_origin_create('{origin}'), pg_replication_origin_session_setup('{origin}')");
        let statements = [
            &*begin,
            "BEGIN; SELECT pg_replication_origin_xact_setup('0/123', now()); INSERT INTO t VALUES (1); COMMIT",
            "SELECT pg_replication_origin_session_reset()",
            "INSERT INTO t VALUES (2)",
        ];
        let expected = json!([["insert", "t", { "id": 1 }, null], ["insert", "t", { "id": 2 }, null]]);
        assert_eq!(flow.brief(&statements).await, expected, "PostgreSQL {major}");
        flow.run(&[&format!("SELECT pg_replication_origin_drop('{origin}')")]).await;
    }
}

#[tokio::test]
async fn a_partition_may_come_and_go_in_mid_stream() {
    for major in ENDS {
        for root in [true, false] {
            let setup = "
                CREATE TABLE part (id int PRIMARY KEY, t text) PARTITION BY RANGE (id);
                CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (10);";
            let keys = format!("publish_via_partition_root = {root}");
            let mut flow = Flow::start(Cluster::shared(major), setup, &keys).await;
            let brief = flow.brief(&[
                "INSERT INTO part VALUES (1, 'a')",
                "CREATE TABLE high (gone int, t text, id int NOT NULL PRIMARY KEY)",
                "ALTER TABLE high DROP gone",
                "INSERT INTO high VALUES ('alone', 11)",
                "ALTER TABLE part ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
                "UPDATE part SET id = 12 WHERE id = 1",
                "ALTER TABLE part ADD n int DEFAULT 7",
                "UPDATE part SET t = 'b' WHERE id = 12",
                "ALTER TABLE part DETACH PARTITION high",
                "DELETE FROM high WHERE id = 11",
            ]);
            let (low, high) = if root { ("part", "part") } else { ("low", "high") };
            let expected = json!([
                ["insert", low, { "id": 1, "t": "a" }, null],
                ["insert", "high", { "t": "alone", "id": 11 }, null],
                ["delete", low, { "id": 1 }, null],
                ["insert", high, { "id": 12, "t": "a" }, null],
                ["update", high, { "id": 12, "t": "b", "n": 7 }, {}],
                ["delete", "high", { "id": 11 }, null],
            ]);
            assert_eq!(brief.await, expected, "PostgreSQL {major}, root {root}");
        }
    }
}

#[tokio::test]
async fn a_replica_identity_may_change_in_mid_stream() {
    for major in ENDS {
        let setup = "
            CREATE TABLE t (id int PRIMARY KEY, k text NOT NULL UNIQUE, n int, big text);
            ALTER TABLE t ALTER big SET STORAGE EXTERNAL;";
        let keys = "allow_no_identity = [\"public.t\"]";
        let mut flow = Flow::start(Cluster::shared(major), setup, keys).await;
        flow.run(&[
            "INSERT INTO t VALUES (1, 'k', 1, repeat('x', 10000))",
            "UPDATE t SET n = 2",
            "ALTER TABLE t REPLICA IDENTITY USING INDEX t_k_key",
            "UPDATE t SET n = 3",
            "UPDATE t SET k = 'l'",
            "ALTER TABLE t REPLICA IDENTITY FULL",
            "UPDATE t SET n = 4",
            "ALTER TABLE t REPLICA IDENTITY DEFAULT",
            "UPDATE t SET id = 2",
            "ALTER TABLE t REPLICA IDENTITY NOTHING",
            "INSERT INTO t VALUES (3, 'm', 1, NULL)",
        ])
        .await;
        let lines = flow.take().await;
        let brief = |line: &Value| json!([line["record"], line["changes"], line["metadata"].get("unchanged")]);
        let brief: Vec<_> = lines[1..].iter().map(brief).collect();
        let big = "x".repeat(10_000);
        let expected = json!([
            [{ "id": 1, "k": "k", "n": 2 }, {}, ["big"]],
            [{ "id": 1, "k": "k", "n": 3 }, {}, ["big"]],
            [{ "id": 1, "k": "l", "n": 3 }, { "k": "k" }, ["big"]],
            [{ "id": 1, "k": "l", "n": 4, "big": big }, { "n": 3 }, null],
            [{ "id": 2, "k": "l", "n": 4 }, { "id": 1 }, ["big"]],
            [{ "id": 3, "k": "m", "n": 1, "big": null }, null, null],
        ]);
        assert_eq!(json!(brief), expected, "PostgreSQL {major}");
    }
}

/// What would break a line, or a parser, if it were handed on as it is.
#[tokio::test]
async fn a_line_stays_a_line_whatever_is_in_a_value() {
    for major in ENDS {
        let table = "CREATE TABLE t (id int PRIMARY KEY, t text, j json)";
        let mut flow = Flow::start(Cluster::shared(major), table, "").await;
        // Every character that text can hold and JSON cannot, and what some take for a line break.
        let odd: String =
            (1..0x20).map(char::from).chain("\u{7f}\u{85}\u{2028}\u{2029}\u{feff}\u{fffe}".chars()).collect();
        let json = "{\r\n\t\"a\" :\n\"\\u0000\\n\u{2028}\u{85}\" }";
        flow.client.execute("INSERT INTO t VALUES (1, $1, $2::text::json)", &[&odd, &json]).await.unwrap();
        flow.slotd.await_acknowledged(flow.cluster, &flow.dbname).await;
        let [file] = &flow.slotd.files(&flow.dbname)[..] else { panic!("several files") };
        let text = std::fs::read(file).unwrap();
        let control = text.iter().filter(|byte| **byte < 0x20).count();
        assert_eq!((control, text.ends_with(b"\n")), (2, true), "a tab of the json between tokens, and the line's end");
        let line: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(line["record"]["t"], *odd, "PostgreSQL {major}");
        assert_eq!(line["record"]["j"], json!({ "a": "\0\n\u{2028}\u{85}" }), "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn a_transaction_that_changes_nothing_published_leaves_no_line_and_is_acknowledged() {
    for major in ENDS {
        let setup = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)";
        let mut flow = Flow::start(Cluster::shared(major), setup, "tables = [\"public.t\"]").await;
        let brief = flow.brief(&[
            "INSERT INTO other VALUES (1)",
            "CREATE TABLE third ()",
            "BEGIN; INSERT INTO other VALUES (2); INSERT INTO t VALUES (1); TRUNCATE other; COMMIT",
            "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (2); ROLLBACK TO a; INSERT INTO other VALUES (3); COMMIT",
            "DELETE FROM t WHERE false",
        ]);
        assert_eq!(brief.await, json!([["insert", "t", { "id": 1 }, null]]), "PostgreSQL {major}");
    }
}
