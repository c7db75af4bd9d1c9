//! Changes from a server to a file, in order.

use serde_json::json;

use crate::support::{Cluster, Slotd, VERSIONS};

#[tokio::test]
async fn every_kind_of_change_arrives_from_every_version() {
    for major in VERSIONS {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY, name text)").await;
        let mut slotd = Slotd::run(&cluster.entry(&dbname));
        slotd.await_state(&dbname, "streaming").await;
        let client = cluster.connect(&dbname).await;
        for statement in [
            "INSERT INTO items VALUES (1, 'one'), (2, 'two')",
            "UPDATE items SET name = 'eins' WHERE id = 1",
            "DELETE FROM items WHERE id = 2",
            "TRUNCATE items",
            "SELECT pg_logical_emit_message(true, 'greeting', 'hello')",
            "SELECT pg_logical_emit_message(false, 'greeting', 'good bye')",
        ] {
            client.batch_execute(statement).await.unwrap();
        }
        slotd.await_acknowledged(cluster, &dbname).await;
        let lines = slotd.lines(&dbname);
        let brief: Vec<_> = lines.iter().map(|line| json!([line["action"], line["record"]])).collect();
        assert_eq!(
            json!(brief),
            json!([
                ["insert", { "id": 1, "name": "one" }],
                ["insert", { "id": 2, "name": "two" }],
                ["update", { "id": 1, "name": "eins" }],
                ["delete", { "id": 2 }],
                ["truncate", null],
                ["message", { "prefix": "greeting", "content": "hello" }],
                ["message", { "prefix": "greeting", "content": "good bye" }],
            ]),
            "PostgreSQL {major}"
        );
        assert!(slotd.sigterm().await.success(), "{}", slotd.log());
    }
}
