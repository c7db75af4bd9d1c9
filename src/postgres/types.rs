//! Types that are not built in, read from the catalog.
//!
//! A Relation message names a column's type by its OID alone. What the text of a domain, an enum, a composite type or
//! an array of them means stands in `pg_type` and `pg_attribute`. The catalog is read as it is now, while the text was
//! made as the catalog was when the row was written: what a later change of a type broke is told from the text itself,
//! when it is encoded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::types::Type as Parameter;
use tokio_postgres::{Client, Error, Row};

use crate::change::{Field, Type, builtin};

/// What the types `$1` are made of, in any depth, in one round trip.
///
/// `typsubscript` tells true arrays from types that merely have a `typelem`, such as `point`.
const TYPES: &str = "
with recursive wanted(oid) as (
    select pg_catalog.unnest($1)
    union
    select part.oid
    from wanted
    join pg_catalog.pg_type as t on t.oid = wanted.oid
    cross join lateral (
        select t.typelem
        where t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc and t.typlen = -1
        union all
        select t.typbasetype
        where t.typtype = 'd'
        union all
        select a.atttypid
        from pg_catalog.pg_attribute as a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) as part(oid)
    where part.oid <> 0
)
select
    t.oid,
    case when t.typtype = 'd' then t.typbasetype end as base,
    case when t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc and t.typlen = -1
        then t.typelem end as element,
    (select e.typdelim from pg_catalog.pg_type as e where e.oid = t.typelem) as delimiter,
    t.typtype = 'c' as composite,
    array(
        select a.attname::pg_catalog.text
        from pg_catalog.pg_attribute as a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        order by a.attnum
    ) as field_names,
    array(
        select a.atttypid
        from pg_catalog.pg_attribute as a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        order by a.attnum
    ) as field_types
from wanted
join pg_catalog.pg_type as t on t.oid = wanted.oid";

/// How often, and how far apart, a type that is not there is looked for again.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the catalog shows every type of `oids`, a second at the most: the walsender sends a transaction as soon as
/// its commit is in the WAL, a moment before other sessions see what it made. A type that was dropped since never shows.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn await_visible(client: &Client, oids: &[u32]) -> Result<(), Error> {
    let missing = "select exists (select from pg_catalog.unnest($1) as wanted(oid)
                                   where not exists (select from pg_catalog.pg_type as t where t.oid = wanted.oid))";
    for _ in 0..LOOKS {
        let rows = client.query_typed(missing, &[(&oids, Parameter::OID_ARRAY)]).await?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// What the types `oids` are: arrays with their element, domains as what they rest on, composites with their fields.
/// Enums, ranges and base types are text; so is a type that is no longer there.
///
/// # Errors
/// The session failed, or may not read the catalog.
pub async fn resolve(client: &Client, oids: &[u32]) -> Result<HashMap<u32, Arc<Type>>, Error> {
    let asked: Vec<u32> = oids.iter().copied().filter(|&oid| builtin(oid).is_none()).collect();
    let mut rows = HashMap::new();
    if !asked.is_empty() {
        for row in client.query_typed(TYPES, &[(&asked, Parameter::OID_ARRAY)]).await? {
            let (oid, described) = describe(&row)?;
            rows.insert(oid, described);
        }
    }
    let mut catalog = Catalog { rows, known: HashMap::new() };
    Ok(oids.iter().map(|&oid| (oid, catalog.resolve(oid))).collect())
}

/// A row of `pg_type`, as far as it matters.
#[derive(Debug)]
enum Described {
    Array { element: u32, delimiter: u8 },
    Composite(Vec<(String, u32)>),
    Domain { base: u32 },
    Other,
}

fn describe(row: &Row) -> Result<(u32, Described), Error> {
    let described = if let Some(base) = row.try_get("base")? {
        Described::Domain { base }
    } else if let Some(element) = row.try_get("element")? {
        let delimiter: Option<i8> = row.try_get("delimiter")?;
        Described::Array { element, delimiter: delimiter.map_or(b',', i8::cast_unsigned) }
    } else if row.try_get("composite")? {
        let names: Vec<String> = row.try_get("field_names")?;
        let types: Vec<u32> = row.try_get("field_types")?;
        Described::Composite(names.into_iter().zip(types).collect())
    } else {
        Described::Other
    };
    Ok((row.try_get("oid")?, described))
}

struct Catalog {
    /// A row leaves when its type is begun, so that a type that held itself would end as text, and not never.
    rows: HashMap<u32, Described>,
    known: HashMap<u32, Arc<Type>>,
}

impl Catalog {
    fn resolve(&mut self, oid: u32) -> Arc<Type> {
        if let Some(known) = builtin(oid).or_else(|| self.known.get(&oid).cloned()) {
            return known;
        }
        let resolved = match self.rows.remove(&oid) {
            Some(Described::Array { element, delimiter }) => {
                Arc::new(Type::Array { element: self.resolve(element), delimiter })
            }
            Some(Described::Composite(fields)) => {
                let field = |(name, oid)| Field { name, r#type: self.resolve(oid) };
                Arc::new(Type::Composite(fields.into_iter().map(field).collect()))
            }
            Some(Described::Domain { base }) => self.resolve(base),
            Some(Described::Other) | None => Arc::new(Type::Text),
        };
        self.known.insert(oid, Arc::clone(&resolved));
        resolved
    }
}
