//! Which tables can't be updated once they are published: slotd's answer against the server's own.
//!
//! Every publication is really made, every table really updated and deleted from; what the server refuses has to be what
//! slotd names, neither more nor less.

use std::collections::BTreeSet;

use slotd::config::{DeclaredTable, Publication, Publish, Scope};
use slotd::ident::{PublicationName, TableName};
use slotd::postgres::identity::{self, Unpublishable};
use tokio_postgres::Client;

use crate::support::{Cluster, VERSIONS};

/// Every way to have a replica identity or none, in two schemas; each table has a column `a` that no identity needs.
const TABLES: &str = r#"
    CREATE SCHEMA app; CREATE SCHEMA "Odd "" one";
    CREATE TABLE app.bare (a int);
    CREATE TABLE app.keyed (id int PRIMARY KEY, a int);
    CREATE TABLE app."unique" (id int NOT NULL UNIQUE, a int);
    CREATE TABLE app.deferrable (id int PRIMARY KEY DEFERRABLE, a int);
    CREATE TABLE app.by_index (id int NOT NULL, k int, a int);
    CREATE UNIQUE INDEX by_index_id ON app.by_index (id);
    ALTER TABLE app.by_index REPLICA IDENTITY USING INDEX by_index_id;
    CREATE TABLE app.index_gone (id int NOT NULL, a int);
    CREATE UNIQUE INDEX index_gone_id ON app.index_gone (id);
    ALTER TABLE app.index_gone REPLICA IDENTITY USING INDEX index_gone_id;
    DROP INDEX app.index_gone_id;
    CREATE TABLE app.key_unused (id int PRIMARY KEY, other int NOT NULL, a int);
    CREATE UNIQUE INDEX key_unused_other ON app.key_unused (other);
    ALTER TABLE app.key_unused REPLICA IDENTITY USING INDEX key_unused_other;
    CREATE TABLE app.nothing (id int PRIMARY KEY, a int);
    ALTER TABLE app.nothing REPLICA IDENTITY NOTHING;
    CREATE TABLE app."full" (k int, a int);
    ALTER TABLE app."full" REPLICA IDENTITY FULL;
    CREATE TABLE app.full_keyed (id int PRIMARY KEY, a int);
    ALTER TABLE app.full_keyed REPLICA IDENTITY FULL;
    CREATE TABLE app.including (id int, a int, PRIMARY KEY (id) INCLUDE (a));
    CREATE TABLE app.two (k int, dropped int, id int, a int, PRIMARY KEY (id, k));
    ALTER TABLE app.two DROP COLUMN dropped;
    CREATE UNLOGGED TABLE app.unlogged (a int);
    CREATE TEMPORARY TABLE temporary (a int);
    CREATE TABLE app.parts (id int, k int, a int) PARTITION BY LIST (k);
    CREATE TABLE app.part_bare PARTITION OF app.parts FOR VALUES IN (1);
    CREATE TABLE app.part_full PARTITION OF app.parts FOR VALUES IN (2);
    ALTER TABLE app.part_full REPLICA IDENTITY FULL;
    CREATE TABLE app.part_keyed PARTITION OF app.parts (PRIMARY KEY (id)) FOR VALUES IN (3);
    CREATE TABLE "Odd "" one".part_of_part PARTITION OF app.parts FOR VALUES IN (4, 5) PARTITION BY LIST (k);
    CREATE TABLE "Odd "" one"."Leaf" PARTITION OF "Odd "" one".part_of_part FOR VALUES IN (4);
    CREATE TABLE app.leaf PARTITION OF "Odd "" one".part_of_part FOR VALUES IN (5);
    CREATE TABLE app.keyed_parts (id int, k int, a int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
    CREATE TABLE app.keyed_part PARTITION OF app.keyed_parts FOR VALUES IN (1);
    CREATE TABLE "Odd "" one".attached (a int, dropped int, k int NOT NULL, id int NOT NULL);
    ALTER TABLE "Odd "" one".attached DROP COLUMN dropped;
    ALTER TABLE app.keyed_parts ATTACH PARTITION "Odd "" one".attached FOR VALUES IN (2);
    CREATE TABLE app.parent (id int PRIMARY KEY, a int);
    CREATE TABLE app.child () INHERITS (app.parent);
    CREATE TABLE "Odd "" one".child () INHERITS (app.parent);
    CREATE TABLE app.generated (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (id * 2) STORED);
    CREATE TABLE app.generated_full (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (id * 2) STORED);
    ALTER TABLE app.generated_full REPLICA IDENTITY FULL;
    CREATE TABLE app.generated_key (id int, a int, g int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY);
    CREATE TABLE app.generated_bare (id int, a int, g int GENERATED ALWAYS AS (id * 2) STORED);

    CREATE FUNCTION public.refused() RETURNS SETOF text LANGUAGE plpgsql AS $$
    DECLARE
        name text;
        statement text;
    BEGIN
        FOR name IN SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE c.relkind = 'r' AND c.oid >= 16384 LOOP
            FOREACH statement IN ARRAY array['UPDATE ONLY %s SET a = a', 'DELETE FROM ONLY %s'] LOOP
                BEGIN
                    EXECUTE format(statement, name);
                EXCEPTION WHEN object_not_in_prerequisite_state OR invalid_column_reference THEN
                    RETURN NEXT name;
                END;
            END LOOP;
        END LOOP;
    END $$;"#;

/// Only 18 has them.
const VIRTUAL: &str = "
    CREATE TABLE app.virtual (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (id * 2) VIRTUAL);
    CREATE TABLE app.virtual_full (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (id * 2) VIRTUAL);
    ALTER TABLE app.virtual_full REPLICA IDENTITY FULL;";

async fn session(major: u32) -> Client {
    let cluster = Cluster::shared(major);
    let client = cluster.connect(&cluster.create_database().await).await;
    client.batch_execute(TABLES).await.unwrap();
    if major >= 18 {
        client.batch_execute(VIRTUAL).await.unwrap();
    }
    client
}

/// What the server refuses to update or to delete from.
async fn refused(client: &Client) -> BTreeSet<String> {
    let rows = client.query("SELECT public.refused()", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The names as the server writes them.
async fn names(client: &Client, found: &[Unpublishable]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for Unpublishable { table: TableName { schema, table }, .. } in found {
        names.insert(
            client.query_one("SELECT format('%I.%I', $1::text, $2::text)", &[schema, table]).await.unwrap().get(0),
        );
    }
    names
}

/// Makes the publication `p` by `clause`, compares, tries what slotd says of REPLICA IDENTITY FULL, and takes it away
/// again. Gives how many tables were refused.
async fn judge(client: &Client, major: u32, clause: &str) -> usize {
    client.batch_execute(&format!("CREATE PUBLICATION p {clause}")).await.unwrap_or_else(|error| {
        panic!("PostgreSQL {major}, {clause}: {:?}", error.as_db_error());
    });
    let found = identity::of_existing(client, &PublicationName::new("p").unwrap()).await.unwrap();
    let named = names(client, &found).await;
    assert_eq!(named, refused(client).await, "PostgreSQL {major}: {clause}: {found:#?}");
    for table in &found {
        client.batch_execute(&format!("BEGIN; ALTER TABLE {} REPLICA IDENTITY FULL", table.table)).await.unwrap();
        let mended = refused(client).await.is_disjoint(&names(client, std::slice::from_ref(table)).await);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(
            mended, table.full_mends,
            "PostgreSQL {major}: {clause}: {} with REPLICA IDENTITY FULL",
            table.table
        );
    }
    client.batch_execute("DROP PUBLICATION p").await.unwrap();
    found.len()
}

#[tokio::test]
async fn what_a_publication_makes_fail_is_what_the_server_refuses() {
    for major in VERSIONS {
        let client = session(major).await;
        let mut clauses: Vec<String> = Vec::new();
        for publish in ["insert, truncate", "update", "delete", "insert, update, delete, truncate"] {
            for via_root in [true, false] {
                let with = format!("WITH (publish = '{publish}', publish_via_partition_root = {via_root})");
                for scope in [
                    "ALL TABLES",
                    "TABLES IN SCHEMA app",
                    "TABLES IN SCHEMA \"Odd \"\" one\"",
                    "TABLE app.bare, app.keyed, app.parts, app.keyed_parts",
                    "TABLE app.parent",
                    "TABLE ONLY app.parent",
                    "TABLE \"Odd \"\" one\".part_of_part, TABLES IN SCHEMA \"Odd \"\" one\"",
                ] {
                    clauses.push(format!("FOR {scope} {with}"));
                }
            }
        }
        if major >= 18 {
            clauses.push("FOR ALL TABLES WITH (publish_generated_columns = stored)".to_owned());
        }
        let mut found = 0;
        for clause in &clauses {
            found += judge(&client, major, clause).await;
        }
        assert!(found > clauses.len(), "PostgreSQL {major}: the server refused next to nothing");
    }
}

#[tokio::test]
async fn column_lists_and_row_filters_are_judged_as_the_server_does() {
    for major in VERSIONS {
        let client = session(major).await;
        // A table, its columns, and whether it is published by its root.
        let mut tables = vec![
            ("app.two", vec!["id", "k", "a"]),
            ("app.by_index", vec!["id", "k", "a"]),
            ("app.key_unused", vec!["id", "other", "a"]),
            ("app.including", vec!["id", "a"]),
            ("app.\"full\"", vec!["k", "a"]),
            ("app.full_keyed", vec!["id", "a"]),
            ("app.nothing", vec!["id", "a"]),
            ("app.deferrable", vec!["id", "a"]),
            ("app.bare", vec!["a"]),
            ("app.keyed_parts", vec!["id", "k", "a"]),
            ("app.part_keyed", vec!["id", "a"]),
        ];
        if major >= 18 {
            tables.push(("app.generated_key", vec!["id", "a", "g"]));
            tables.push(("app.generated_full", vec!["id", "a", "g"]));
        }
        let (mut found, mut judged) = (0, 0);
        for (table, columns) in &tables {
            for list in 0..1 << columns.len() {
                let listed: Vec<_> =
                    columns.iter().enumerate().filter(|(at, _)| list >> at & 1 == 1).map(|(_, name)| *name).collect();
                let listed = if listed.is_empty() { String::new() } else { format!("({})", listed.join(", ")) };
                for filter in std::iter::once(None).chain(columns.iter().filter(|name| **name != "g").map(Some)) {
                    let filter = filter.map(|name| format!("WHERE ({name} > 0)")).unwrap_or_default();
                    let clause =
                        format!("FOR TABLE {table} {listed} {filter} WITH (publish_via_partition_root = true)");
                    found += judge(&client, major, &clause).await;
                    judged += 1;
                }
            }
        }
        // A leaf that is named beside its root.
        for via_root in [true, false] {
            let root = if via_root { "(id, k)" } else { "" };
            let clause = format!(
                "FOR TABLE app.keyed_parts {root}, \"Odd \"\" one\".attached (id, a) WITH (publish_via_partition_root = {via_root})"
            );
            found += judge(&client, major, &clause).await;
        }
        assert!(found > 10 && found < judged, "PostgreSQL {major}: {found} refusals of {judged} publications");
    }
}

/// A database with one such table is looked through as one with hundreds is.
#[tokio::test]
async fn a_table_that_is_alone_in_its_database_is_found() {
    let keyed = "id int PRIMARY KEY, a int";
    let generated = "id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (id * 2) STORED";
    let generated_key = "id int, a int, g int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY";
    let virtual_column = "id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (id * 2) VIRTUAL";
    for (columns, identity, clause, since, found) in [
        ("a int", "DEFAULT", "ALL TABLES", 15, 1),
        ("id int PRIMARY KEY DEFERRABLE, a int", "DEFAULT", "TABLES IN SCHEMA app", 15, 1),
        (keyed, "DEFAULT", "ALL TABLES", 15, 0),
        (keyed, "NOTHING", "ALL TABLES", 15, 1),
        (keyed, "DEFAULT", "TABLE app.t (a)", 15, 1),
        (keyed, "DEFAULT", "TABLE app.t WHERE (a > 0)", 15, 1),
        (keyed, "FULL", "TABLE app.t (a)", 15, 1),
        (generated, "FULL", "ALL TABLES", 18, 1),
        (generated_key, "DEFAULT", "ALL TABLES", 18, 1),
        (virtual_column, "FULL", "ALL TABLES", 18, 1),
    ] {
        for major in VERSIONS.into_iter().filter(|major| *major >= since) {
            let cluster = Cluster::shared(major);
            let client = cluster.connect(&cluster.create_database().await).await;
            let function = &TABLES[TABLES.find("CREATE FUNCTION").unwrap()..];
            let table = format!("CREATE TABLE app.t ({columns}); ALTER TABLE app.t REPLICA IDENTITY {identity}");
            client.batch_execute(&format!("CREATE SCHEMA app; {function} {table}")).await.unwrap();
            if clause == "ALL TABLES" {
                let declared = identity::of_declared(&client, &declared(Scope::AllTables, Publish::ALL)).await.unwrap();
                assert_eq!(declared.len(), found, "PostgreSQL {major}: {columns}, {identity}");
            }
            assert_eq!(
                judge(&client, major, &format!("FOR {clause}")).await,
                found,
                "PostgreSQL {major}: {columns}, {identity}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_declared_is_judged_before_it_is_made() {
    for major in VERSIONS {
        let client = session(major).await;
        let table = |name: &str| DeclaredTable::from(TableName { schema: "app".to_owned(), table: name.to_owned() });
        let scopes = [
            (Scope::AllTables, "ALL TABLES"),
            (Scope::Schemas(vec!["app".to_owned()]), "TABLES IN SCHEMA app"),
            (Scope::Schemas(vec!["Odd \" one".to_owned()]), "TABLES IN SCHEMA \"Odd \"\" one\""),
            (Scope::Tables(vec![table("parts"), table("keyed")]), "TABLE app.parts, app.keyed"),
            (Scope::Tables(vec![table("parent")]), "TABLE app.parent"),
            (Scope::Tables(vec![table("full"), table("generated_full")]), "TABLE app.\"full\", app.generated_full"),
            (Scope::Tables(vec![table("generated_key"), table("child")]), "TABLE app.generated_key, app.child"),
        ];
        for (scope, clause) in &scopes {
            for (publish, words) in [
                (Publish::ALL, "insert, update, delete, truncate"),
                (Publish { update: false, ..Publish::ALL }, "insert, delete, truncate"),
                (Publish { update: false, delete: false, ..Publish::ALL }, "insert, truncate"),
            ] {
                let found = identity::of_declared(&client, &declared(scope.clone(), publish)).await.unwrap();
                let make = format!(
                    "CREATE PUBLICATION p FOR {clause} WITH (publish = '{words}', publish_via_partition_root = true)"
                );
                client.batch_execute(&make).await.unwrap();
                assert_eq!(
                    names(&client, &found).await,
                    refused(&client).await,
                    "PostgreSQL {major}: {clause}, {words}"
                );
                client.batch_execute("DROP PUBLICATION p").await.unwrap();
            }
        }
    }
}

fn declared(scope: Scope, publish: Publish) -> Publication {
    Publication { scope, publish, via_partition_root: true, generated_columns: None }
}
