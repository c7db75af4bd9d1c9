//! The tables that a stream has described, with the types of their columns.
//!
//! A Relation message comes anew when a table changes, but not when a composite type does that a column is of. So the
//! types of such a table are looked at again before a batch with rows of it is handed on. If nothing changed between two
//! looks, what was found holds for every row in between. If something did, a row in between may be of either form, and
//! says so; and so may one that was committed before the first look, unless what was found is old enough
//! ([`Found::since`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::change::{BatchBuilder, Column, Relation, Type, builtin};
use crate::config::Connection;
use crate::ident::{SlotName, TableName};
use crate::lsn::Lsn;
use crate::pgoutput::{RelationColumn, ReplicaIdentity};
use crate::postgres::types::{self, Found, Horizon, Resolved};
use crate::postgres::{Connector, SqlError, SqlSession};

/// How long a session is kept that nothing is asked of.
const SESSION_IDLE: Duration = Duration::from_secs(5);

/// The tables of one stream.
#[derive(Debug)]
pub(super) struct Relations {
    /// Grows by about 2 kB for each table of 20 columns, and shrinks with the stream's end alone: the server describes a
    /// table once a session and never tells that one was dropped, so an entry that was given up might be wanted, and
    /// could not be had again. The walsender keeps an entry of its own for each, for as long.
    by_oid: HashMap<u32, Table>,
    types: TypeSource,
    /// With the moment until which it is kept.
    session: Option<(SqlSession, Instant)>,
}

/// Where the meaning of a type's OID comes from.
#[derive(Debug)]
pub(super) struct TypeSource {
    pub(super) connector: Connector,
    pub(super) connection: Connection,
    /// Whose stream it is.
    pub(super) slot: SlotName,
    /// From the stream's start.
    pub(super) horizon: Horizon,
}

/// A table as it was last described.
#[derive(Debug)]
struct Table {
    relation: Arc<Relation>,
    /// If a column's type has a composite type in it.
    looked: Option<Looked>,
}

/// The last look at the types of a table.
#[derive(Debug)]
struct Looked {
    /// The type of each column.
    oids: Vec<u32>,
    /// What was found, of each column.
    found: Vec<Found>,
    /// What was found holds for rows committed behind this.
    since: Lsn,
    /// For rows that were committed before.
    earlier: Arc<Relation>,
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
        Self { by_oid: HashMap::new(), types, session: None }
    }

    /// The table as it was last described, for a row that was committed at `commit_lsn`.
    pub(super) fn get(&self, oid: u32, commit_lsn: Lsn) -> Option<&Arc<Relation>> {
        let table = self.by_oid.get(&oid)?;
        match &table.looked {
            Some(looked) if commit_lsn <= looked.since => Some(&looked.earlier),
            _ => Some(&table.relation),
        }
    }

    /// Takes a description. Types without a fixed OID are looked up in the catalog each time the server describes a
    /// table anew, since they may have changed with it.
    ///
    /// What `builder` holds of the table as it was is confirmed before.
    pub(super) async fn describe(&mut self, described: Described, builder: &mut BatchBuilder) -> Result<(), SqlError> {
        self.confirm(builder).await?;
        let oids: Vec<u32> = described.columns.iter().map(|(_, _, oid)| *oid).collect();
        let unknown: Vec<u32> = oids.iter().copied().filter(|oid| builtin(*oid).is_none()).collect();
        let resolved = if unknown.is_empty() {
            Resolved { types: HashMap::new(), position: Lsn::ZERO }
        } else {
            let session = session(&mut self.session, &self.types).await?;
            types::await_visible(session, &unknown).await?;
            types::resolve(session, &self.types.slot, &self.types.horizon, &unknown).await?
        };
        let found: Vec<_> = oids.iter().map(|oid| resolved.of(*oid)).collect();
        let columns = described.columns.into_iter().zip(&found);
        let columns = columns.map(|((name, key, _), found)| Column {
            name,
            key,
            r#type: Arc::clone(&found.r#type),
            before: None,
        });
        let relation = Arc::new(Relation {
            oid: described.oid,
            name: described.name,
            identity: described.identity,
            columns: columns.collect(),
        });
        let looked = found.iter().any(|found| !found.marks.is_empty()).then(|| {
            let since = oids.iter().zip(&found).map(|(oid, found)| self.since(*oid, found));
            let since = since.max().unwrap_or_default();
            // What an earlier row may have been is not known at all.
            let text = |found: &Found| {
                (if found.since == Lsn::ZERO { Arc::clone(&found.r#type) } else { Arc::new(Type::Text) }, None)
            };
            let earlier = with_types(&relation, found.iter().map(text));
            Looked { oids, found, since, earlier }
        });
        self.by_oid.insert(relation.oid, Table { relation, looked });
        Ok(())
    }

    /// Since when the type `oid` has been as it was found now, as far as this and earlier looks tell.
    fn since(&self, oid: u32, now: &Found) -> Lsn {
        let looks = self.by_oid.values().filter_map(|table| table.looked.as_ref());
        let same = |looked: &&Looked| {
            looked.oids.iter().zip(&looked.found).any(|(known, found)| *known == oid && found.marks == now.marks)
        };
        looks.filter(same).map(|looked| looked.since).fold(now.since, Lsn::min)
    }

    /// Looks again at the composite types of the tables that `builder` holds rows of.
    pub(super) async fn confirm(&mut self, builder: &mut BatchBuilder) -> Result<(), SqlError> {
        let tables = self.by_oid.values_mut().filter(|table| table.looked.is_some() && builder.holds(&table.relation));
        let mut tables: Vec<_> =
            tables.filter_map(|table| Some((&mut table.relation, table.looked.as_mut()?))).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let oids: Vec<u32> = tables.iter().flat_map(|(_, looked)| looked.oids.iter().copied()).collect();
        let session = session(&mut self.session, &self.types).await?;
        let now = types::resolve(session, &self.types.slot, &self.types.horizon, &oids).await?;
        for (relation, looked) in &mut tables {
            let found: Vec<_> = looked.oids.iter().map(|oid| now.of(*oid)).collect();
            if found.iter().zip(&looked.found).all(|(now, before)| now.marks == before.marks) {
                continue;
            }
            let either = looked.found.iter().zip(&found).map(|(before, now)| {
                if before.marks == now.marks {
                    (Arc::clone(&now.r#type), None)
                } else if before.r#type == now.r#type {
                    // It was altered and looks the same: there and back, and what was in between is not known.
                    (Arc::new(Type::Text), None)
                } else {
                    (Arc::clone(&now.r#type), Some(Arc::clone(&before.r#type)))
                }
            });
            let either = with_types(relation, either);
            builder.reread(relation, &either);
            **relation = with_types(relation, found.iter().map(|found| (Arc::clone(&found.r#type), None)));
            (looked.found, looked.since, looked.earlier) = (found, now.position, either);
        }
        Ok(())
    }

    /// Waits until the session has been idle for long, and ends it; forever if there is none.
    pub(super) async fn idle(&mut self) {
        match &self.session {
            Some((_, until)) => sleep_until(*until).await,
            None => std::future::pending().await,
        }
        self.session = None;
    }
}

/// `relation` with other types.
fn with_types(relation: &Relation, types: impl Iterator<Item = (Arc<Type>, Option<Arc<Type>>)>) -> Arc<Relation> {
    let columns = relation.columns.iter().zip(types).map(|(column, (r#type, before))| Column {
        name: column.name.clone(),
        key: column.key,
        r#type,
        before,
    });
    Arc::new(Relation {
        oid: relation.oid,
        name: relation.name.clone(),
        identity: relation.identity,
        columns: columns.collect(),
    })
}

/// The session that is kept, or a new one.
async fn session<'s>(
    kept: &'s mut Option<(SqlSession, Instant)>,
    types: &TypeSource,
) -> Result<&'s SqlSession, SqlError> {
    let session = match kept.take() {
        Some((session, _)) if !session.is_closed() => session,
        _ => types.connector.sql(&types.connection).await?,
    };
    Ok(&kept.insert((session, Instant::now() + SESSION_IDLE)).0)
}
