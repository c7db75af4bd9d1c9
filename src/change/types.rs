//! The types of values, as far as a format needs to tell them apart.
//!
//! Values arrive as text. [`builtin`] knows the types that have a fixed OID; all others (domains, enums, composites,
//! ranges of a user, and arrays of them) are read from `pg_type` by `postgres::types`, which resolves a domain to its
//! base type.

use std::collections::HashMap;
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

/// The type with the OID `oid`, where Postgres gives it the same OID everywhere.
///
/// Source: `pg_type.dat` and `pg_type_d.h` of Postgres; OIDs below 10000 are never reused for another type.
#[must_use]
pub fn builtin(oid: u32) -> Option<Arc<Type>> {
    static TYPES: LazyLock<HashMap<u32, Arc<Type>>> = LazyLock::new(builtins);
    TYPES.get(&oid).cloned()
}

/// The OID of `box`, whose arrays have `;` between elements.
const BOX: u32 = 603;

/// The types that are not plain text, each with its array.
const TYPED: &[(u32, u32, Type)] = &[
    (16, 1000, Type::Bool),
    (20, 1016, Type::Int8),
    (21, 1005, Type::Int),
    (23, 1007, Type::Int),
    (114, 199, Type::Json),
    (700, 1021, Type::Float),
    (701, 1022, Type::Float),
    (1082, 1182, Type::Date),
    (1114, 1115, Type::Timestamp),
    (1184, 1185, Type::TimestampTz),
    (1700, 1231, Type::Numeric),
    (3802, 3807, Type::Json),
];

/// The types whose text is their value, each with its array.
#[rustfmt::skip]
const TEXT: &[(u32, u32)] = &[
    // bytea, "char", name, regproc, text, oid, tid, xid, cid
    (17, 1001), (18, 1002), (19, 1003), (24, 1008), (25, 1009), (26, 1028), (27, 1010), (28, 1011), (29, 1012),
    // xml, point, lseg, path, box, polygon, line, cidr, circle
    (142, 143), (600, 1017), (601, 1018), (602, 1019), (BOX, 1020), (604, 1027), (628, 629), (650, 651), (718, 719),
    // macaddr8, money, macaddr, inet, aclitem, bpchar, varchar, time, interval, timetz, bit, varbit
    (774, 775), (790, 791), (829, 1040), (869, 1041), (1033, 1034), (1042, 1014), (1043, 1015), (1083, 1183),
    (1186, 1187), (1266, 1270), (1560, 1561), (1562, 1563),
    // refcursor, regprocedure, regoper, regoperator, regclass, regtype, uuid, txid_snapshot, pg_lsn
    (1790, 2201), (2202, 2207), (2203, 2208), (2204, 2209), (2205, 2210), (2206, 2211), (2950, 2951), (2970, 2949),
    (3220, 3221),
    // tsvector, tsquery, gtsvector, regconfig, regdictionary, jsonpath, regnamespace, regrole, regcollation
    (3614, 3643), (3615, 3645), (3642, 3644), (3734, 3735), (3769, 3770), (4072, 4073), (4089, 4090), (4096, 4097),
    (4191, 4192),
    // int4range, numrange, tsrange, tstzrange, daterange, int8range, and their multiranges
    (3904, 3905), (3906, 3907), (3908, 3909), (3910, 3911), (3912, 3913), (3926, 3927),
    (4451, 6150), (4532, 6151), (4533, 6152), (4534, 6153), (4535, 6155), (4536, 6157),
    // pg_snapshot, xid8
    (5038, 5039), (5069, 271),
];

fn builtins() -> HashMap<u32, Arc<Type>> {
    let text = Arc::new(Type::Text);
    let vector = |element: &Arc<Type>| Arc::new(Type::Vector(Arc::clone(element)));
    let scalars = TYPED.iter().map(|(oid, array, r#type)| (*oid, *array, Arc::new(r#type.clone())));
    let texts = TEXT.iter().map(|&(oid, array)| (oid, array, Arc::clone(&text)));
    // int2vector, oidvector
    let vectors = [(22, 1006, vector(&Arc::new(Type::Int))), (30, 1013, vector(&text))];
    let mut types = HashMap::new();
    for (oid, array, element) in scalars.chain(texts).chain(vectors) {
        let delimiter = if oid == BOX { b';' } else { b',' };
        types.insert(array, Arc::new(Type::Array { element: Arc::clone(&element), delimiter }));
        types.insert(oid, element);
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_oid_is_listed_twice() {
        let listed = 2 * (TYPED.len() + TEXT.len() + 2);
        assert_eq!(builtins().len(), listed);
    }

    #[test]
    fn arrays_know_their_element_and_what_stands_between() {
        let array = |element, delimiter| Some(Arc::new(Type::Array { element: Arc::new(element), delimiter }));
        assert_eq!(builtin(1007), array(Type::Int, b','));
        assert_eq!(builtin(1020), array(Type::Text, b';'));
        assert_eq!(builtin(1006), array(Type::Vector(Arc::new(Type::Int)), b','));
        assert_eq!(builtin(16384), None);
    }
}
