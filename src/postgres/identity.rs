//! Tables whose UPDATE and DELETE the server refuses once they are published.
//!
//! The server asks this of each statement and offers no function for it, so its rules stand here once more. A test
//! compares them with what real servers say of real statements (`tests/it/identity.rs`).
//!
//! Source: <https://www.postgresql.org/docs/current/logical-replication-publication.html>, and the sections on row
//! filters, column lists and generated columns beside it.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::SqlError;
use super::catalog::OID_OF_NAME;
use super::sql::answer;
use crate::config::{GeneratedColumns, Publication, Scope};
use crate::ident::{PublicationName, TableName};

/// A table whose UPDATE or DELETE fails while it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublishable {
    pub table: TableName,
    pub why: Why,
    /// Whether `REPLICA IDENTITY FULL` mends it.
    pub full_mends: bool,
}

/// Why the server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// There is no replica identity.
    NoIdentity,
    /// The publication's column list leaves columns of it out.
    ColumnList,
    /// The publication's row filter names columns that are not of it.
    RowFilter,
    /// It has generated columns, which the publication leaves out. 18 and later.
    Generated,
}

/// Of a publication that exists: itself, the tables that it names, the schemas.
const EXISTING: &str = "
    publication(all_tables, changes, via_root, generated) as (
        select p.puballtables, p.pubupdate or p.pubdelete, p.pubviaroot, coalesce(to_jsonb(p)->>'pubgencols', 'n') = 's'
          from pg_publication p where p.pubname = $1),
    named(oid, listed, filtered) as (
        -- A column stands in pg_depend once for the list and once for the filter.
        select r.prrelid, r.prattrs::int2[],
               array(select d.refobjsubid::int2 from pg_depend d
                      where d.classid = 'pg_publication_rel'::regclass and d.objid = r.oid and d.refobjid = r.prrelid
                        and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0
                      group by d.refobjsubid
                     having count(*) > (case when d.refobjsubid = any (r.prattrs::int2[]) then 1 else 0 end))
          from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where p.pubname = $1),
    schemas(oid) as (
        select m.pnnspid from pg_publication_namespace m join pg_publication p on p.oid = m.pnpubid where p.pubname = $1)";

/// Of one that is declared. Children that inherit are published with their parents. Which columns a row filter names is
/// known once the server has parsed it, so filters are judged in the transaction that makes the publication.
const DECLARED: &str = "
    publication(all_tables, changes, via_root, generated) as (select $1::bool, $2::bool, $3::bool, $4::bool),
    descendants(oid, columns) as (
        select $oid_of_name, t->'columns'
          from (select t->>'name', t from jsonb_array_elements($5::text::jsonb) t) declared(name, t)
        union
        select i.inhrelid, d.columns from pg_inherits i join descendants d on d.oid = i.inhparent),
    named(oid, listed, filtered) as (
        select d.oid,
               case when jsonb_typeof(d.columns) = 'array' then
                   array(select a.attnum from pg_attribute a where a.attrelid = d.oid and d.columns ? a.attname) end,
               '{}'::int2[]
          from descendants d),
    schemas(oid) as (select oid from pg_namespace where nspname = any ($6::text[]))";

/// Holds for 15 to 18.
const UNPUBLISHABLE: &str = "
    with recursive $publication,
    -- A table, and above it the partitioned tables that it is a part of.
    chain(oid, above, height) as (
        select oid, oid, 1 from pg_class where relkind = 'r'
        union all
        select c.oid, a.relid, a.height from pg_class c, pg_partition_ancestors(c.oid) with ordinality a(relid, height)
         where c.relkind = 'r' and c.relispartition and a.relid <> c.oid),
    member(oid, above, height) as (
        select chain.* from chain join pg_class c on c.oid = chain.above
         where c.oid in (select oid from named) or c.relnamespace in (select oid from schemas)),
    published(oid, as_oid) as (
        select c.oid,
               case when p.via_root and c.relispartition
                    then coalesce((select m.above from member m where m.oid = c.oid order by m.height desc limit 1), c.oid)
                    else c.oid end
          from pg_class c, publication p
         where p.changes and c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384
           and (p.all_tables or c.oid in (select oid from member))),
    facts as (
        select c.oid, n.nspname, c.relname, c.relreplident = 'f' as is_full, x.indexrelid is not null as has_index,
               -- Of a table and of the one that it is published as, columns are the same by name.
               array(select a.attname from pg_attribute a
                      where a.attrelid = c.oid and a.attnum = any ((x.indkey::int2[])[0:x.indnkeyatts - 1])) as key,
               array(select a.attname from pg_attribute a
                      where a.attrelid = published.as_oid and a.attnum = any (named.filtered)) as filtered,
               array(select a.attname from pg_attribute a
                      where a.attrelid = published.as_oid and a.attnum = any (named.listed)) as listed,
               named.listed is not null as has_list,
               array(select a.attname from pg_attribute a
                      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                        and current_setting('server_version_num')::int >= 180000
                        and (a.attgenerated = 'v' or a.attgenerated = 's' and not p.generated)) as left_out
          from published cross join publication p
          join pg_class c on c.oid = published.oid
          join pg_namespace n on n.oid = c.relnamespace
          left join named on named.oid = published.as_oid
          left join pg_index x on x.indrelid = c.oid and x.indisvalid and x.indimmediate
                and case c.relreplident when 'd' then x.indisprimary when 'i' then x.indisreplident else false end)
    select nspname::text, relname::text,
           case when not is_full and not has_index then 'identity'
                when has_list and (is_full or not key <@ listed) then 'list'
                when not is_full and not filtered <@ key then 'filter'
                when not has_list and (is_full and left_out <> '{}' or key && left_out) then 'generated' end as why,
           not has_list and left_out = '{}' as full_mends
      from facts
     where not is_full and not has_index
        or has_list and (is_full or not key <@ listed)
        or not is_full and not filtered <@ key
        or not has_list and (is_full and left_out <> '{}' or key && left_out)
     order by 1, 2";

/// Whether there is any table in the database that could be one of them. Most have none, and this is a tenth of the work.
const ANY: &str = "
    select exists (
               select from pg_class c
                where c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384 and c.relreplident <> 'f'
                  and not exists (
                      select from pg_index x
                       where x.indrelid = c.oid and x.indisvalid and x.indimmediate
                         and case c.relreplident when 'd' then x.indisprimary when 'i' then x.indisreplident
                                                 else false end))
        or current_setting('server_version_num')::int >= 180000
           and exists (select from pg_attribute a where a.attrelid >= 16384 and a.attgenerated <> '')
        or $narrowed";

/// The publication leaves columns or rows out.
const NARROWED: &str = "
           exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
                    where p.pubname = $1 and (r.prattrs is not null or r.prqual is not null))";

/// A value of a query, and its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Of the publication `name`, which exists.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn of_existing(client: &Client, name: &PublicationName) -> Result<Vec<Unpublishable>, SqlError> {
    let name = name.as_str();
    let name: [Parameter<'_>; 1] = [(&name, Type::NAME)];
    if !any(client, NARROWED, &name).await? {
        return Ok(Vec::new());
    }
    unpublishable(client, EXISTING, &name).await
}

/// Of the publication `declared`, but for its row filters.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn of_declared(client: &Client, declared: &Publication) -> Result<Vec<Unpublishable>, SqlError> {
    let (mut named, mut schemas) = (Vec::new(), &Vec::new());
    match &declared.scope {
        Scope::AllTables => {}
        Scope::Schemas(declared) => schemas = declared,
        Scope::Tables(tables) => named.extend(
            tables.iter().map(|table| serde_json::json!({ "name": table.name.to_string(), "columns": table.columns })),
        ),
    }
    let narrowed = named.iter().any(|table| !table["columns"].is_null());
    if !any(client, if narrowed { "true" } else { "false" }, &[]).await? {
        return Ok(Vec::new());
    }
    let Publication { publish, via_partition_root, .. } = declared;
    let (all, changes) = (declared.scope == Scope::AllTables, publish.update || publish.delete);
    let generated = declared.generated_columns == Some(GeneratedColumns::Stored);
    let named = serde_json::Value::from(named).to_string();
    let parameters: [Parameter<'_>; 6] = [
        (&all, Type::BOOL),
        (&changes, Type::BOOL),
        (via_partition_root, Type::BOOL),
        (&generated, Type::BOOL),
        (&named, Type::TEXT),
        (schemas, Type::TEXT_ARRAY),
    ];
    unpublishable(client, DECLARED, &parameters).await
}

async fn any(client: &Client, narrowed: &str, parameters: &[Parameter<'_>]) -> Result<bool, SqlError> {
    let query = ANY.replace("$narrowed", narrowed);
    Ok(answer("replica identities", client.query_typed_one(&query, parameters)).await?.try_get(0)?)
}

async fn unpublishable(
    client: &Client,
    publication: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Unpublishable>, SqlError> {
    let query = UNPUBLISHABLE.replace("$publication", publication).replace("$oid_of_name", OID_OF_NAME);
    answer("replica identities", client.query_typed(&query, parameters)).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Unpublishable, SqlError> {
    let why = match row.try_get(2)? {
        "list" => Why::ColumnList,
        "filter" => Why::RowFilter,
        "generated" => Why::Generated,
        _ => Why::NoIdentity,
    };
    let table = TableName { schema: row.try_get(0)?, table: row.try_get(1)? };
    Ok(Unpublishable { table, why, full_mends: row.try_get(3)? })
}
