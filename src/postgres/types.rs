//! Types that are not built in, read from the catalog.
//!
//! A Relation message names a column's type by its OID alone. What the text of a domain, an enum, a composite type or
//! an array of them means stands in `pg_type` and `pg_attribute`. The catalog is read as it is now, while the walsender
//! makes the text as the catalog was when the row's transaction was committed. Of all this only a composite type can
//! change under a value, and no message of the stream tells of it. So what is found comes with what shows whether it
//! held before and still holds: see [`Found`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::types::Type as Parameter;
use tokio_postgres::{Client, Error, Row};

use super::SqlError;
use super::sql::answer;
use crate::change::{Field, Type, builtin};
use crate::ident::SlotName;
use crate::lsn::Lsn;

/// What the types `$1` are made of, in any depth, in one round trip.
///
/// `typsubscript` tells true arrays from types that merely have a `typelem`, such as `point`.
///
/// A composite type is `settled` if none of its attributes was touched by a transaction that the slot `$2` may still
/// have to decode, or if none was ever touched since the type was made: its dependency is written once, then.
/// A transaction that is before the slot's `catalog_xmin` ended before all that the slot still sends. The type is `old`
/// if no transaction touched it that is not before `$3`. The age of what was frozen long ago may have passed the middle
/// of the circle and be negative.
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
    ) as field_types,
    coalesce((
        select pg_catalog.string_agg(a.xmin::pg_catalog.text, ',' order by a.attnum)
        from pg_catalog.pg_attribute as a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0
    ), '') as marks,
    (
        select
            pg_catalog.count(*) = 0
            or coalesce(pg_catalog.bool_and(
                pg_catalog.age(a.xmin) < 0 or pg_catalog.age(a.xmin) > pg_catalog.age(s.catalog_xmin)
            ), false)
            or coalesce(pg_catalog.bool_and(
                a.xmin::pg_catalog.text = d.xmin::pg_catalog.text and not a.attisdropped
            ), false)
        from pg_catalog.pg_attribute as a
        left join pg_catalog.pg_replication_slots as s on s.slot_name::pg_catalog.text = $2
        left join pg_catalog.pg_depend as d on d.deptype = 'i' and d.objsubid = 0 and (
            (d.classid, d.objid, d.refclassid, d.refobjid) = ('pg_catalog.pg_class'::pg_catalog.regclass, t.typrelid,
                'pg_catalog.pg_type'::pg_catalog.regclass, t.oid)
            or (d.classid, d.objid, d.refclassid, d.refobjid) = ('pg_catalog.pg_type'::pg_catalog.regclass, t.oid,
                'pg_catalog.pg_class'::pg_catalog.regclass, t.typrelid)
        )
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0
    ) as settled,
    coalesce((
        select pg_catalog.bool_and(
            pg_catalog.age(a.xmin) < 0
            or pg_catalog.age(a.xmin) > pg_catalog.age($3::pg_catalog.text::pg_catalog.xid8::pg_catalog.xid)
        )
        from pg_catalog.pg_attribute as a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0
    ), true) as old,
    pg_catalog.pg_wal_lsn_diff(
        case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
            else pg_catalog.pg_current_wal_insert_lsn() end,
        '0/0'
    )::pg_catalog.int8 as position
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
pub async fn await_visible(client: &Client, oids: &[u32]) -> Result<(), SqlError> {
    let missing = "select exists (select from pg_catalog.unnest($1) as wanted(oid)
                                   where not exists (select from pg_catalog.pg_type as t where t.oid = wanted.oid))";
    for _ in 0..LOOKS {
        let rows = answer("pg_type", client.query_typed(missing, &[(&oids, Parameter::OID_ARRAY)])).await?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// What the types are compared with: each transaction before `xmin` had ended when the WAL ended at `position`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizon {
    xmin: String,
    position: Lsn,
}

impl Horizon {
    /// As a row with `xmin` and `position` has it.
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self { xmin: row.try_get("xmin")?, position: position(row)? })
    }
}

/// What the catalog says of types at one moment.
#[derive(Debug)]
pub struct Resolved {
    /// By OID.
    pub types: HashMap<u32, Found>,
    /// The end of the WAL at that moment.
    pub position: Lsn,
}

/// What a type is, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What its values are.
    pub r#type: Arc<Type>,
    /// Of the composite types in it, which transaction touched each attribute last: two looks that find the same saw
    /// no change between them. Empty if there is none in it: such a type never changes.
    pub marks: String,
    /// It was so for every row that the slot can still send and that was committed behind this; zero for all of them.
    pub since: Lsn,
}

impl Resolved {
    /// What the type `oid` is; text if it was not there.
    #[must_use]
    pub fn of(&self, oid: u32) -> Found {
        let constant = || Found::constant(builtin(oid).unwrap_or_else(|| Arc::new(Type::Text)));
        self.types.get(&oid).cloned().unwrap_or_else(constant)
    }
}

impl Found {
    fn constant(r#type: Arc<Type>) -> Self {
        Self { r#type, marks: String::new(), since: Lsn::ZERO }
    }
}

/// What the types `oids` are: arrays with their element, domains as what they rest on, composites with their fields.
/// Enums, ranges and base types are text; so is a type that is no longer there.
///
/// # Errors
/// The session failed, or may not read the catalog.
pub async fn resolve(client: &Client, slot: &SlotName, horizon: &Horizon, oids: &[u32]) -> Result<Resolved, SqlError> {
    let asked: Vec<u32> = oids.iter().copied().filter(|&oid| builtin(oid).is_none()).collect();
    let (mut rows, mut end) = (HashMap::new(), Lsn::ZERO);
    if !asked.is_empty() {
        let slot = slot.as_str();
        let parameters =
            [(&asked as _, Parameter::OID_ARRAY), (&slot as _, Parameter::TEXT), (&horizon.xmin as _, Parameter::TEXT)];
        for row in answer("pg_type", client.query_typed(TYPES, &parameters)).await? {
            let (oid, described) = describe(&row, horizon)?;
            rows.insert(oid, described);
            end = position(&row)?;
        }
    }
    let mut catalog = Catalog { rows, known: HashMap::new() };
    Ok(Resolved { types: oids.iter().map(|&oid| (oid, catalog.resolve(oid))).collect(), position: end })
}

/// A row of `pg_type`, as far as it matters.
#[derive(Debug)]
enum Described {
    Array { element: u32, delimiter: u8 },
    Composite { fields: Vec<(String, u32)>, marks: String, since: Lsn },
    Domain { base: u32 },
    Other,
}

fn describe(row: &Row, horizon: &Horizon) -> Result<(u32, Described), Error> {
    let described = if let Some(base) = row.try_get("base")? {
        Described::Domain { base }
    } else if let Some(element) = row.try_get("element")? {
        let delimiter: Option<i8> = row.try_get("delimiter")?;
        Described::Array { element, delimiter: delimiter.map_or(b',', i8::cast_unsigned) }
    } else if row.try_get("composite")? {
        let names: Vec<String> = row.try_get("field_names")?;
        let types: Vec<u32> = row.try_get("field_types")?;
        let fields = names.into_iter().zip(types).collect();
        let since = match (row.try_get("settled")?, row.try_get("old")?) {
            (true, _) => Lsn::ZERO,
            (false, true) => horizon.position,
            (false, false) => position(row)?,
        };
        Described::Composite { fields, marks: row.try_get("marks")?, since }
    } else {
        Described::Other
    };
    Ok((row.try_get("oid")?, described))
}

/// A position that a row has; a standby that has replayed nothing has none.
fn position(row: &Row) -> Result<Lsn, Error> {
    let position: Option<i64> = row.try_get("position")?;
    Ok(position.map_or(Lsn(u64::MAX), |position| Lsn(position.cast_unsigned())))
}

struct Catalog {
    /// A row leaves when its type is begun, so that a type that held itself would end as text, and not never.
    rows: HashMap<u32, Described>,
    known: HashMap<u32, Found>,
}

impl Catalog {
    fn resolve(&mut self, oid: u32) -> Found {
        if let Some(builtin) = builtin(oid) {
            return Found::constant(builtin);
        }
        if let Some(known) = self.known.get(&oid) {
            return known.clone();
        }
        let found = match self.rows.remove(&oid) {
            Some(Described::Array { element, delimiter }) => {
                let element = self.resolve(element);
                Found { r#type: Arc::new(Type::Array { element: element.r#type, delimiter }), ..element }
            }
            Some(Described::Composite { fields, marks, since }) => {
                let mut row = Found { r#type: Arc::new(Type::Text), marks: format!("{oid}:{marks};"), since };
                let mut field = |(name, oid)| {
                    let field = self.resolve(oid);
                    row.marks.push_str(&field.marks);
                    row.since = row.since.max(field.since);
                    Field { name, r#type: field.r#type }
                };
                let fields = fields.into_iter().map(&mut field).collect();
                Found { r#type: Arc::new(Type::Composite(fields)), ..row }
            }
            Some(Described::Domain { base }) => self.resolve(base),
            Some(Described::Other) | None => Found::constant(Arc::new(Type::Text)),
        };
        self.known.insert(oid, found.clone());
        found
    }
}
