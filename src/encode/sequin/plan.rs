//! What is the same for each row of a table.

use std::sync::Arc;

use super::super::value::Codec;
use super::super::{Out, json};
use crate::change::{Column, Relation};
use crate::pgoutput::{OldTuple, Value};

/// A relation's columns and name as bytes of JSON.
pub(super) struct Plan {
    /// Held so that no other relation can ever stand at the same address.
    relation: Arc<Relation>,
    pub(super) columns: Vec<ColumnPlan>,
    /// `"table_schema":"public","table_name":"orders",`
    pub(super) table: Vec<u8>,
}

impl Plan {
    pub(super) fn new(relation: &Arc<Relation>) -> Self {
        let mut table = Vec::new();
        table.put(br#""table_schema":"#);
        json::string(relation.name.schema.as_bytes(), &mut table);
        table.put(br#","table_name":"#);
        json::string(relation.name.table.as_bytes(), &mut table);
        table.put(b",");
        Self { relation: Arc::clone(relation), columns: relation.columns.iter().map(ColumnPlan::new).collect(), table }
    }

    /// Whether it was made for this very relation.
    pub(super) fn is_of(&self, relation: &Arc<Relation>) -> bool {
        Arc::ptr_eq(&self.relation, relation)
    }
}

/// A column's name as bytes of JSON, and how its values are written.
pub(super) struct ColumnPlan {
    /// `,"name":`
    key: Vec<u8>,
    codec: Codec,
    /// Whether it is part of the replica identity.
    identity: bool,
}

impl ColumnPlan {
    fn new(column: &Column) -> Self {
        let mut key = Vec::new();
        key.put(b",");
        json::string(column.name.as_bytes(), &mut key);
        key.put(b":");
        Self { key, codec: Codec::of(&column.r#type, column.before.as_ref()), identity: column.key }
    }

    /// Whether `value` of the old tuple `old` is the row's, and not a blank in the place of a column that is not part
    /// of the replica identity.
    pub(super) fn was_sent(&self, old: OldTuple<'_>, value: Value<'_>) -> bool {
        match (old, value) {
            (_, Value::Unchanged) => false,
            (OldTuple::Full(_), _) => true,
            // A partition may have another identity than the root whose columns these are: what is there was sent.
            (OldTuple::Key(_), value) => self.identity || value != Value::Null,
        }
    }

    /// Puts the column as a member of an object.
    pub(super) fn put(&self, first: &mut bool, value: Value<'_>, out: &mut impl Out) {
        out.put(if std::mem::take(first) { &self.key[1..] } else { &self.key });
        match value {
            Value::Text(text) => self.codec.put(text, out),
            Value::Null | Value::Unchanged => out.put(b"null"),
            // Never asked of the server.
            Value::Binary(bytes) => json::string(bytes, out),
        }
    }

    /// Puts the column's name as an element of an array.
    pub(super) fn put_name(&self, first: &mut bool, out: &mut impl Out) {
        let start = usize::from(std::mem::take(first));
        out.put(&self.key[start..self.key.len() - 1]);
    }
}
