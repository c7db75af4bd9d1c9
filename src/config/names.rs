//! Tables and schemas as SQL writes them: `orders`, `public.orders`, `"My Schema"."Orders"`.
//!
//! SQL folds an unquoted `Orders` to `orders`, most other tools take it as it stands. Either reading would surprise
//! somebody, so capitals without quotes are refused and both spellings are offered.

use super::wrong::Wrong;
use crate::ident::{MAX_NAME_BYTES, TableName};

/// The schema of a table that names none.
const DEFAULT_SCHEMA: &str = "public";

/// A table, with or without its schema.
pub(super) fn table(text: &str) -> Result<TableName, Wrong> {
    let parts = identifiers(text)?;
    match <[String; 2]>::try_from(parts) {
        Ok([schema, table]) => Ok(TableName { schema, table }),
        Err(parts) => match <[String; 1]>::try_from(parts) {
            Ok([table]) => Ok(TableName { schema: DEFAULT_SCHEMA.to_owned(), table }),
            Err(_) => Err(Wrong::new("a table is named by its schema and its name")
                .hint("put double quotes around a name that has a dot in it")),
        },
    }
}

/// A schema.
pub(super) fn schema(text: &str) -> Result<String, Wrong> {
    match <[String; 1]>::try_from(identifiers(text)?) {
        Ok([schema]) => Ok(schema),
        Err(_) => Err(Wrong::new("a schema is one name").hint("put double quotes around a name that has a dot in it")),
    }
}

/// A column.
pub(super) fn column(text: &str) -> Result<String, Wrong> {
    match <[String; 1]>::try_from(identifiers(text)?) {
        Ok([column]) => Ok(column),
        Err(_) => Err(Wrong::new("a column is one name").hint("put double quotes around a name that has a dot in it")),
    }
}

/// The names in `text`, which a dot parts.
fn identifiers(text: &str) -> Result<Vec<String>, Wrong> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) =
            if let Some(quoted) = rest.strip_prefix('"') { quoted_name(quoted)? } else { bare_name(rest)? };
        if name.is_empty() {
            return Err(Wrong::new("a name can't be empty"));
        }
        if name.len() > MAX_NAME_BYTES {
            let bytes = name.len();
            let rule = format!("a name has at most {MAX_NAME_BYTES} bytes and this one has {bytes}");
            return Err(Wrong::new(format!("{rule}; Postgres would cut it")));
        }
        names.push(name);
        if after.is_empty() {
            return Ok(names);
        }
        rest = after.strip_prefix('.').ok_or_else(|| Wrong::new("something stands behind the closing quote"))?;
    }
}

fn quoted_name(quoted: &str) -> Result<(String, &str), Wrong> {
    let mut name = String::new();
    let mut rest = quoted;
    while let Some((part, after)) = rest.split_once('"') {
        name.push_str(part);
        let Some(more) = after.strip_prefix('"') else {
            return Ok((name, after));
        };
        name.push('"');
        rest = more;
    }
    Err(Wrong::new("a double quote is not closed"))
}

fn bare_name(text: &str) -> Result<(String, &str), Wrong> {
    let (name, after) = text.split_at(text.find('.').unwrap_or(text.len()));
    let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_' || !c.is_ascii());
    let goes_on = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii());
    if name.is_empty() {
        return Err(Wrong::new("a name can't be empty"));
    }
    if !starts || !goes_on {
        return Err(Wrong::new("a name that is not made of lower-case letters, digits and `_` needs double quotes")
            .hint("write it as '\"my-table\"'"));
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Wrong::new("SQL reads capitals without double quotes as small letters")
            .hint("write it in small letters or, if the capitals are meant, as '\"Orders\"'"));
    }
    Ok((name.to_owned(), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(schema: &str, table: &str) -> TableName {
        TableName { schema: schema.to_owned(), table: table.to_owned() }
    }

    #[test]
    fn names_are_read_as_sql_writes_them() {
        assert_eq!(table("orders").unwrap(), named("public", "orders"));
        assert_eq!(table("sales.orders").unwrap(), named("sales", "orders"));
        assert_eq!(table(r#""My.Schema"."Ord""ers""#).unwrap(), named("My.Schema", "Ord\"ers"));
        assert_eq!(table(r#"sales."Orders""#).unwrap(), named("sales", "Orders"));
        assert_eq!(table("straße.a$b").unwrap(), named("straße", "a$b"));
        assert_eq!(schema("sales").unwrap(), "sales");
        assert_eq!(schema("\"a.b\"").unwrap(), "a.b");
    }

    #[test]
    fn what_sql_would_read_differently_is_refused() {
        let long = format!("\"{}\"", "a".repeat(64));
        for bad in
            ["", ".", "a.", ".a", "a.b.c", "Orders", "my-table", "1a", "\"a", "\"\"", "\"a\"b", "a b", "a\"b", &long]
        {
            assert!(table(bad).is_err(), "{bad:?}");
        }
        assert!(schema("a.b").is_err());
    }

    proptest! {
        #[test]
        fn what_goes_into_sql_is_read_back(first in "[^\0]{1,15}", second in "[^\0]{1,15}") {
            let name = named(&first, &second);
            prop_assert_eq!(table(&name.to_string()), Ok(name));
        }

        #[test]
        fn nothing_panics(text in "[a.\"A]{0,10}|.*") {
            let _ = (table(&text), schema(&text));
        }
    }
}
