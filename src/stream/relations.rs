//! The tables that a stream has described, with the types of their columns.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::{Column, Relation, Type, builtin};
use crate::config::Connection;
use crate::ident::TableName;
use crate::pgoutput::{RelationColumn, ReplicaIdentity};
use crate::postgres::{Connector, SqlError, types};

/// The tables of one stream.
#[derive(Debug)]
pub(super) struct Relations {
    by_oid: HashMap<u32, Arc<Relation>>,
    types: TypeSource,
}

/// Where the meaning of a type's OID comes from.
#[derive(Debug)]
pub(super) struct TypeSource {
    pub(super) connector: Connector,
    pub(super) connection: Connection,
}

/// A Relation message, taken out of the buffer.
#[derive(Debug)]
pub(super) struct Described {
    oid: u32,
    name: TableName,
    identity: ReplicaIdentity,
    columns: Vec<(String, bool, u32)>,
}

impl Described {
    pub(super) fn new(
        oid: u32,
        schema: &str,
        name: &str,
        identity: ReplicaIdentity,
        columns: &[RelationColumn<'_>],
    ) -> Self {
        let name = TableName { schema: schema.to_owned(), table: name.to_owned() };
        let columns = columns.iter().map(|column| (column.name.to_owned(), column.key, column.type_oid)).collect();
        Self { oid, name, identity, columns }
    }
}

impl Relations {
    pub(super) fn new(types: TypeSource) -> Self {
        Self { by_oid: HashMap::new(), types }
    }

    /// The table as it was last described.
    pub(super) fn get(&self, oid: u32) -> Option<&Arc<Relation>> {
        self.by_oid.get(&oid)
    }

    /// Takes a description. Types without a fixed OID are looked up in the catalog each time the server describes a
    /// table anew, since they may have changed with it.
    pub(super) async fn describe(&mut self, described: Described) -> Result<(), SqlError> {
        let unknown: Vec<u32> =
            described.columns.iter().map(|(_, _, oid)| *oid).filter(|oid| builtin(*oid).is_none()).collect();
        let found = if unknown.is_empty() {
            HashMap::new()
        } else {
            let session = self.types.connector.sql(&self.types.connection).await?;
            types::await_visible(&session, &unknown).await?;
            types::resolve(&session, &unknown).await?
        };
        let r#type = |oid| builtin(oid).or_else(|| found.get(&oid).cloned()).unwrap_or_else(|| Arc::new(Type::Text));
        let columns = described.columns.into_iter().map(|(name, key, oid)| Column { name, key, r#type: r#type(oid) });
        let relation = Relation {
            oid: described.oid,
            name: described.name,
            identity: described.identity,
            columns: columns.collect(),
        };
        self.by_oid.insert(relation.oid, Arc::new(relation));
        Ok(())
    }
}
