//! Databases that are not UTF-8: the server converts where it can, and where it can't nothing is dropped.

use serde_json::{Value, json};

use crate::support::{Cluster, Slotd, VERSIONS};

/// A database of that encoding on the shared server, whose table `t` is there.
async fn database(cluster: &Cluster, encoding: &str) -> String {
    let dbname = format!("it_{}", encoding.to_lowercase());
    let create = format!("CREATE DATABASE {dbname} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
    cluster.execute("postgres", &create).await;
    cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY, s text, a text[], j json)").await;
    dbname
}

fn records(slotd: &Slotd, dbname: &str) -> Vec<Value> {
    slotd.lines(dbname).into_iter().map(|mut line| line["record"].take()).collect()
}

#[tokio::test]
async fn what_the_server_can_convert_arrives_as_utf8() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = database(cluster, "LATIN1").await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        let sql = "CREATE TABLE \"Größe\" (\"é\" text PRIMARY KEY); INSERT INTO \"Größe\" VALUES ('ÿ');
                   INSERT INTO t VALUES (1, 'é', '{é}', '\"é\"')";
        cluster.execute(&dbname, sql).await;
        slotd.await_acknowledged(cluster, &dbname).await;
        assert_eq!(
            records(&slotd, &dbname),
            [json!({"é": "ÿ"}), json!({"id": 1, "s": "é", "a": ["é"], "j": "é"})],
            "PostgreSQL {major}"
        );
        assert_eq!(slotd.lines(&dbname)[0]["metadata"]["table_name"], "Größe");
    }
}

#[tokio::test]
async fn bytes_without_an_encoding_are_escaped_and_stop_nothing() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = database(cluster, "SQL_ASCII").await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        // UTF-8, then Latin-1, then both in one value, and a text that looks like an escape.
        let sql = r"INSERT INTO t VALUES (1, E'\xc3\xa9', array[E'\xc3\xa9'], E'\x22\xc3\xa9\x22'),
                                         (2, E'\xe9', array[E'\xe9'], E'\x22\xe9\x22'),
                                         (3, E'\xc3\xa9\xe9!', array[E'\xc3\xa9\xe9!'], null), (4, E'\\xe9', null, null);
                     SELECT pg_logical_emit_message(true, E'\xe9', 'in Latin-1')";
        cluster.execute(&dbname, sql).await;
        slotd.await_acknowledged(cluster, &dbname).await;
        assert_eq!(
            records(&slotd, &dbname),
            [
                json!({"id": 1, "s": "é", "a": ["é"], "j": "é"}),
                json!({"id": 2, "s": r"\xe9", "a": [r"\xe9"], "j": r"\xe9"}),
                json!({"id": 3, "s": r"é\xe9!", "a": [r"é\xe9!"], "j": null}),
                json!({"id": 4, "s": r"\xe9", "a": null, "j": null}),
                json!({"prefix": r"\xe9", "content": "in Latin-1"}),
            ],
            "PostgreSQL {major}"
        );
    }
}
