//! A table as the stream describes it.

use std::sync::Arc;

use super::Type;
use crate::ident::TableName;
use crate::pgoutput::ReplicaIdentity;

/// A published table at one moment of its history: the server sends it anew after each change of its shape.
#[derive(Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// Its schema and name.
    pub name: TableName,
    /// What the server sends of old rows.
    pub identity: ReplicaIdentity,
    /// Its published columns, in the order of every tuple.
    pub columns: Vec<Column>,
}

/// A column of a [`Relation`].
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether it is part of the replica identity.
    pub key: bool,
    /// Its type, domains resolved to what they rest on.
    pub r#type: Arc<Type>,
    /// What its type was before, where a composite type was altered and a value may be of either form.
    pub before: Option<Arc<Type>>,
}
