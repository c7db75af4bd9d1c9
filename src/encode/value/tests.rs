use std::sync::Arc;

use super::*;
use crate::change::{Field, builtin};

fn encode(r#type: &Arc<Type>, text: &[u8]) -> String {
    let mut out = Vec::new();
    Codec::of(r#type, None).put(text, &mut out);
    String::from_utf8(out).unwrap()
}

/// The types that docs/FORMAT.md gives examples of.
fn documented(name: &str) -> Arc<Type> {
    let oid = match name {
        "boolean" => 16,
        "smallint" => 21,
        "integer" => 23,
        "bigint" => 20,
        "real" => 700,
        "double precision" => 701,
        "numeric" => 1700,
        "money" => 790,
        "json" => 114,
        "jsonb" => 3802,
        "date" => 1082,
        "timestamp" => 1114,
        "timestamptz" => 1184,
        "time" => 1083,
        "timetz" => 1266,
        "interval" => 1186,
        "bytea" => 17,
        "oid" => 26,
        "uuid" => 2950,
        "inet" => 869,
        "bit" => 1560,
        "point" => 600,
        "int4range" => 3904,
        "int4multirange" => 4451,
        "tsvector" => 3614,
        "xml" => 142,
        "int2vector" => 22,
        "integer[]" => 1007,
        "text[]" => 1009,
        "numeric[]" => 1231,
        "jsonb[]" => 3807,
        "box[]" => 1020,
        "item" => {
            let field = |name: &str, oid| Field { name: name.to_owned(), r#type: builtin(oid).unwrap() };
            return Arc::new(Type::Composite(vec![field("sku", 25), field("qty", 23), field("tags", 1009)]));
        }
        "item[]" => return Arc::new(Type::Array { element: documented("item"), delimiter: b',' }),
        "text" | "an enum" => 25,
        "a domain over integer" => 23,
        other => panic!("docs/FORMAT.md has an example of {other}, which this table does not know"),
    };
    builtin(oid).unwrap()
}

/// The rows of the table in docs/FORMAT.md are a table test: type, text from the server, JSON.
#[test]
fn the_examples_of_the_format_document_hold() {
    let rows = include_str!("../../../docs/FORMAT.md").lines().filter_map(|line| {
        let [r#type, text, json] =
            line.strip_prefix("| `")?.strip_suffix("` |")?.split("` | `").collect::<Vec<_>>()[..]
        else {
            return None;
        };
        Some((r#type, text, json))
    });
    let mut count = 0;
    for (r#type, text, json) in rows {
        assert_eq!(encode(&documented(r#type), text.as_bytes()), json, "{type} {text}");
        count += 1;
    }
    assert!(count > 50, "the table is no longer where it was looked for: {count} rows");
}

#[test]
fn timestamps_change_where_iso_8601_has_it_and_nowhere_else() {
    let table = [
        ("2026-01-01 00:00:00+00", r#""2026-01-01T00:00:00Z""#),
        ("2026-01-01 00:00:00.000001+00", r#""2026-01-01T00:00:00.000001Z""#),
        ("2026-01-01 00:00:00.1", r#""2026-01-01T00:00:00.1""#),
        ("0044-03-15 12:00:00+00 BC", r#""0044-03-15T12:00:00Z BC""#),
        ("0044-03-15 12:00:00 BC", r#""0044-03-15T12:00:00 BC""#),
        ("294276-12-31 23:59:59.999999+00", r#""294276-12-31T23:59:59.999999Z""#),
        ("infinity", r#""infinity""#),
        ("-infinity", r#""-infinity""#),
        // Not in UTC: kept, never relabelled.
        ("2026-01-01 05:30:00+05:30", r#""2026-01-01T05:30:00+05:30""#),
        // Not a timestamp at all: a field of a composite type that was altered.
        ("two words", r#""two words""#),
    ];
    for (text, json) in table {
        assert_eq!(encode(&Arc::new(Type::TimestampTz), text.as_bytes()), json);
        assert_eq!(encode(&Arc::new(Type::Timestamp), text.as_bytes()), json);
    }
}

#[test]
fn what_is_not_of_its_type_is_a_string_and_the_line_stays_json() {
    for r#type in [Type::Bool, Type::Int, Type::Int8, Type::Float, Type::Timestamp, Type::TimestampTz] {
        assert_eq!(encode(&Arc::new(r#type), b"what \"is\" this"), r#""what \"is\" this""#);
    }
}
