//! The types of values, as far as a format needs to tell them apart.
//!
//! Values arrive as text. [`builtin`] knows the types that have a fixed OID; all others (domains, enums, composites,
//! ranges of a user, and arrays of them) are read from `pg_type` by `postgres::types`, which resolves a domain to its
//! base type.

use std::sync::{Arc, LazyLock};

/// What a value's text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// An array: its element, and the character between elements (`;` for `box`, else `,`).
    Array { element: Arc<Self>, delimiter: u8 },
    /// `boolean`: `t` or `f`.
    Bool,
    /// A row: `(1,"two words",)`.
    Composite(Vec<Field>),
    /// `date`, as `DateStyle` ISO prints it.
    Date,
    /// `real` and `double precision`, `NaN` and the infinities included.
    Float,
    /// `smallint`, `integer`.
    Int,
    /// `bigint`: beyond what a double holds exactly.
    Int8,
    /// `json` and `jsonb`.
    Json,
    /// `numeric`, `NaN` and the infinities included.
    Numeric,
    /// `timestamp without time zone`.
    Timestamp,
    /// `timestamp with time zone`, in UTC.
    TimestampTz,
    /// Everything whose text is its value: strings, enums, ranges, `bytea` as `\x` hex, `interval`, `money`, `oid`…
    Text,
    /// `int2vector` and `oidvector`: numbers with blanks between them.
    Vector(Arc<Self>),
}

/// A field of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: Arc<Type>,
}

/// The type with the OID `oid`, where Postgres gives it the same OID everywhere (`pg_type.dat`).
#[must_use]
pub fn builtin(oid: u32) -> Option<Arc<Type>> {
    static TYPES: LazyLock<std::collections::HashMap<u32, Arc<Type>>> = LazyLock::new(|| todo!("{}", 0));
    TYPES.get(&oid).cloned()
}
