//! Names by Postgres' own rules, and how they are quoted.
//!
//! The server cuts names of 64 bytes and more, some with a notice and some in silence, so that an agent would look
//! for a slot that never exists. Such a name cannot be made here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes, that Postgres keeps whole (`NAMEDATALEN - 1`).
pub const MAX_NAME_BYTES: usize = 63;

/// A name that breaks the rule of its kind; the sentence says which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a {0} can't be empty")]
    Empty(&'static str),
    /// The name is longer than Postgres keeps.
    #[error("a {kind} has at most {MAX_NAME_BYTES} bytes and this one has {bytes}")]
    TooLong { kind: &'static str, bytes: usize },
    /// A character that the rule does not allow.
    #[error("a {kind} is made of {allowed}, and {found:?} is not one of them")]
    Character { kind: &'static str, allowed: &'static str, found: char },
}

fn check(
    kind: &'static str,
    name: &str,
    allowed: &'static str,
    fits: impl Fn(usize, char) -> bool,
) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty(kind));
    }
    if let Some((_, found)) = name.char_indices().find(|&(at, c)| !fits(at, c)) {
        return Err(NameError::Character { kind, allowed, found });
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { kind, bytes: name.len() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $allowed:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes `name` if it keeps the rule.
            ///
            /// # Errors
            /// Which part of the rule it breaks.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check($kind, &name, $allowed, $fits)?;
                Ok(Self(name))
            }

            /// The bare name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, Self::Error> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// The name of one entry of `postgres_databases`.
    DatabaseName, "database name", "letters, digits, `_`, `.` and `-`, the first a letter or digit",
    |at, c| c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '_' | '.' | '-'))
}

name! {
    /// The name of a replication slot.
    ///
    /// Source: <https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION>.
    SlotName, "slot name", "lower-case letters, digits and `_`",
    |_, c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

name! {
    /// The name of a publication: any text of at most 63 bytes, always quoted when it goes into SQL.
    PublicationName, "publication name", "any characters but NUL",
    |_, c| c != '\0'
}

name! {
    /// The name of one entry of `sinks`.
    SinkName, "sink name", "letters, digits, `_`, `.` and `-`, the first a letter or digit",
    |at, c| c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '_' | '.' | '-'))
}

/// A table by schema and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TableName {
    /// The schema, unquoted.
    pub schema: String,
    /// The table, unquoted.
    pub table: String,
}

impl fmt::Display for TableName {
    /// As it goes into SQL: `"public"."orders"` prints `public.orders` where no quotes are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote_ident(&self.schema), quote_ident(&self.table))
    }
}

/// `name` as an identifier in SQL; quoted unless it is plainly safe.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { postgres_protocol::escape::escape_identifier(name) }
}

/// `text` as a string literal in SQL.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text)
}

/// The reserved words of SQL that Postgres does not take as a bare column or table name.
///
/// Source: <https://www.postgresql.org/docs/current/sql-keywords-appendix.html>, "reserved".
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_name_keeps_postgres_rule() {
        assert!(SlotName::new("slotd_shop_1").is_ok());
        assert!(SlotName::new("a".repeat(63)).is_ok());
        for bad in ["", "Shop", "a-b", "a.b", "é", "a b"] {
            assert!(SlotName::new(bad).is_err(), "{bad:?}");
        }
        assert!(SlotName::new("a".repeat(64)).unwrap_err().to_string().contains("64"));
    }

    #[test]
    fn a_publication_name_is_measured_in_bytes() {
        assert!(PublicationName::new("é".repeat(31)).is_ok());
        assert!(PublicationName::new("é".repeat(32)).is_err());
    }

    #[test]
    fn quoting_is_left_out_only_where_it_is_safe() {
        assert_eq!(quote_ident("orders"), "orders");
        assert_eq!(quote_ident("order"), "\"order\"");
        assert_eq!(quote_ident("Orders"), "\"Orders\"");
        assert_eq!(quote_ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_ident("1a"), "\"1a\"");
        assert_eq!(quote_literal("o'clock"), "'o''clock'");
    }
}
