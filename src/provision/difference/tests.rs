use super::*;
use crate::ident::{PublicationName, TableName};
use crate::provision::made::MadeFilter;
use crate::provision::testing::database;

fn name(name: &str) -> TableName {
    TableName { schema: "public".to_owned(), table: name.to_owned() }
}

fn published(table: &str, columns: Option<&[&str]>, row_filter: Option<&str>) -> PublishedTable {
    let columns = columns.map(|columns| columns.iter().map(|&column| column.to_owned()).collect());
    let table = DeclaredTable { name: name(table), columns, row_filter: row_filter.map(str::to_owned) };
    PublishedTable { table, inherited: false, overruled: false }
}

fn publication(tables: Vec<PublishedTable>) -> PublicationFacts {
    PublicationFacts {
        oid: 1,
        xmin: 700,
        all_tables: false,
        schemas: Vec::new(),
        tables,
        publish: Publish::ALL,
        via_partition_root: true,
        generated_columns: Some(GeneratedColumns::None),
    }
}

/// What is said, and the statements.
fn of(keys: &str, found: &PublicationFacts) -> (String, Vec<String>) {
    let database = database(keys);
    let differences = Differences::new(&database, found, None);
    (
        differences.to_string(),
        if differences.is_empty() { Vec::new() } else { differences.statements(&database, found) },
    )
}

#[test]
fn each_difference_has_its_words_and_its_statement() {
    let orders = || published("orders", None, None);
    let set = |what: &str| vec![format!("ALTER PUBLICATION slotd_shop SET {what}")];
    for (keys, found, said, statements) in [
        ("", publication(vec![orders()]), "", vec![]),
        ("tables = [\"orders\"]", publication(vec![orders()]), "", vec![]),
        (
            "tables = [\"orders\", \"items\"]",
            publication(vec![orders()]),
            "TABLE public.items is missing",
            set("TABLE public.orders, public.items"),
        ),
        (
            "tables = [\"orders\"]",
            publication(vec![orders(), published("items", None, None)]),
            "TABLE public.items is not declared",
            set("TABLE public.orders"),
        ),
        (
            "tables = [{ name = \"orders\", columns = [\"id\", \"Qty\"] }]".replace("\"Qty\"", "'\"Qty\"'").as_str(),
            publication(vec![published("orders", Some(&["id"]), None)]),
            "TABLE public.orders (id) where TABLE public.orders (id, \"Qty\") is declared",
            set("TABLE public.orders (id, \"Qty\")"),
        ),
        (
            "tables = [{ name = \"orders\", columns = [\"b\", \"a\"] }]",
            publication(vec![published("orders", Some(&["a", "b"]), None)]),
            "",
            vec![],
        ),
        (
            "tables = [{ name = \"orders\", where = \"qty > 0\" }]",
            publication(vec![orders()]),
            "TABLE public.orders where TABLE public.orders WHERE (qty > 0) is declared",
            set("TABLE public.orders WHERE (qty > 0)"),
        ),
        (
            "tables = [{ name = \"orders\", where = \"(qty  >  0)\" }]",
            publication(vec![published("orders", None, Some("(qty > 0)"))]),
            "",
            vec![],
        ),
        (
            "tables = [{ name = \"orders\", where = \"(a) or (b)\" }]",
            publication(vec![published("orders", None, Some("((a) or (b))"))]),
            "",
            vec![],
        ),
        // Parentheses and spaces in quotes are none of SQL's.
        (
            "tables = [{ name = \"orders\", where = \"(x = '(') or (y = ')')\" }]",
            publication(vec![published("orders", None, Some("((a = '('::text) OR (b = ')'::text))"))]),
            "TABLE public.orders WHERE ((a = '('::text) OR (b = ')'::text)) where \
             TABLE public.orders WHERE ((x = '(') or (y = ')')) is declared",
            set("TABLE public.orders WHERE ((x = '(') or (y = ')'))"),
        ),
        (
            "tables = [{ name = \"orders\", where = \"(x = '(') or (y = ')')\" }]",
            publication(vec![published("orders", None, Some("((x = '(') or (y = ')'))"))]),
            "",
            vec![],
        ),
        (
            "tables = [{ name = \"orders\", where = \"note = 'a  b'\" }]",
            publication(vec![published("orders", None, Some("(note = 'a b')"))]),
            "TABLE public.orders WHERE (note = 'a b') where TABLE public.orders WHERE (note = 'a  b') is declared",
            set("TABLE public.orders WHERE (note = 'a  b')"),
        ),
        (
            "schemas = [\"sales\"]",
            PublicationFacts { schemas: vec!["old".to_owned()], ..publication(vec![orders()]) },
            "TABLES IN SCHEMA sales is missing; TABLES IN SCHEMA old is not declared; TABLE public.orders is not declared",
            set("TABLES IN SCHEMA sales"),
        ),
        (
            "publish = \"insert\"\npublish_via_partition_root = false\npublish_generated_columns = \"stored\"",
            publication(vec![orders()]),
            "publish = 'insert, update, delete, truncate' where publish = 'insert' is declared; \
             publish_via_partition_root = true where publish_via_partition_root = false is declared; \
             publish_generated_columns = none where publish_generated_columns = stored is declared",
            set("(publish = 'insert', publish_via_partition_root = false, publish_generated_columns = stored)"),
        ),
    ] {
        assert_eq!(of(keys, &found), (said.to_owned(), statements), "{keys}");
    }
}

#[test]
fn options_come_before_the_tables_that_need_them_and_after_those_that_must_not_have_them() {
    let filtered = |via_root: bool, row_filter: &str| {
        format!("tables = [{{ name = \"parts\"{row_filter} }}]\npublish_via_partition_root = {via_root}")
    };
    let statements = |keys: &str, found: &PublicationFacts| of(keys, found).1.join("; ");
    let narrow = statements(
        &filtered(true, ", where = \"id > 0\""),
        &PublicationFacts { via_partition_root: false, ..publication(vec![published("parts", None, None)]) },
    );
    assert!(narrow.find("SET (").unwrap() < narrow.find("SET TABLE").unwrap(), "{narrow}");
    let widen = statements(&filtered(false, ""), &publication(vec![published("parts", None, Some("(id > 0)"))]));
    assert!(widen.find("SET TABLE").unwrap() < widen.find("SET (").unwrap(), "{widen}");
}

#[test]
fn for_all_tables_is_never_altered_and_what_the_file_does_not_say_stays() {
    let insert_only = Publish { update: false, delete: false, truncate: false, ..Publish::ALL };
    let all = PublicationFacts { all_tables: true, publish: insert_only, ..publication(Vec::new()) };
    let some = PublicationFacts { publish: insert_only, ..publication(vec![published("orders", None, None)]) };
    for (keys, found, clause) in
        [("tables = [\"a\"]", &all, "TABLE public.a"), ("schemas = [\"s\"]", &all, "TABLES IN SCHEMA s")]
    {
        let statements = of(keys, found).1;
        assert_eq!(statements[0], "DROP PUBLICATION slotd_shop");
        let made = format!("CREATE PUBLICATION slotd_shop FOR {clause} WITH (publish = 'insert', publish_via");
        assert!(statements[1].starts_with(&made), "{statements:?}");
    }
    assert_eq!(of("", &some).1, Vec::<String>::new());
}

#[test]
fn a_filter_that_slotd_made_is_known_in_the_servers_words() {
    let database = database("tables = [{ name = \"orders\", where = \"state in ('a', 'b')\" }]");
    let stored = "(state = ANY (ARRAY['a'::text, 'b'::text]))";
    let found = publication(vec![published("orders", None, Some(stored))]);
    let made = |declared: &str, stored: &str| MadePublication {
        system_identifier: 1,
        database: "shop".to_owned(),
        publication: PublicationName::new("slotd_shop").unwrap(),
        ours: true,
        oid: Some(1),
        filters: vec![MadeFilter {
            schema: "public".to_owned(),
            table: "orders".to_owned(),
            declared: declared.to_owned(),
            stored: stored.to_owned(),
        }],
    };
    let same = |made: Option<&MadePublication>| Differences::new(&database, &found, made).is_empty();
    assert!(same(Some(&made("state in ('a', 'b')", stored))));
    assert!(!same(None), "made by somebody else, it can't be compared");
    assert!(!same(Some(&made("state in ('a')", stored))), "the file says something else now");
    assert!(!same(Some(&made("state in ('a', 'b')", "(true)"))), "the server has something else now");
}
