//! A publication as the catalog has it.
//!
//! Source: <https://www.postgresql.org/docs/current/catalog-pg-publication.html>,
//! <https://www.postgresql.org/docs/current/catalog-pg-publication-rel.html>.

use serde::Deserialize;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::SqlError;
use super::catalog::OID_OF_NAME;
use super::sql::answer;
use crate::config::{DeclaredTable, GeneratedColumns, Publish};
use crate::ident::{PublicationName, TableName};

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationFacts {
    /// Another one of the same name has another.
    pub oid: u32,
    /// The transaction that made it or altered it last.
    pub xmin: u32,
    pub all_tables: bool,
    /// All tables of these are published.
    pub schemas: Vec<String>,
    /// Besides, by name.
    pub tables: Vec<PublishedTable>,
    pub publish: Publish,
    pub via_partition_root: bool,
    /// `None` before 18, where none is published.
    pub generated_columns: Option<GeneratedColumns>,
}

/// A table that a publication names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTable {
    /// The filter as the server writes it, `(qty > 0)`.
    pub table: DeclaredTable,
    /// A table above it is named too: the server adds the children when it adds their parent.
    pub inherited: bool,
    /// What counts is another entry: that of its schema, or of a partitioned table above it.
    pub overruled: bool,
}

#[derive(Deserialize)]
struct Row {
    schema: String,
    name: String,
    columns: Option<Vec<String>>,
    row_filter: Option<String>,
    inherited: bool,
    overruled: bool,
}

/// Holds for 15 to 18.
const PUBLICATION: &str = "\
    select p.oid, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
           to_jsonb(p)->>'pubgencols', p.xmin::text
      from pg_publication p
     where p.pubname = $1";

/// What it names, where it is not for all tables: for most it is, and this is four times the work. Holds for 15 to 18. What
/// `pg_publication_tables` shows is what counts; it looks at every table, so it is asked of entries with a list or a filter
/// alone.
const NAMED: &str = "\
    with recursive named as (
        select c.oid, n.nspname::text as schema, c.relname::text as name, r.prattrs::int2[] as listed,
               pg_get_expr(r.prqual, r.prrelid) as row_filter
          from pg_publication_rel r join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
         where r.prpubid = $1),
    below(oid) as (
        select i.inhrelid from pg_inherits i join named on named.oid = i.inhparent
        union
        select i.inhrelid from pg_inherits i join below on below.oid = i.inhparent)
    select array(select n.nspname::text from pg_publication_namespace m
                   join pg_namespace n on n.oid = m.pnnspid where m.pnpubid = $1 order by 1),
           coalesce((
               select jsonb_agg(jsonb_build_object(
                          'schema', schema, 'name', name, 'row_filter', row_filter,
                          'columns', case when listed is not null then
                                         array(select a.attname::text from pg_attribute a
                                                where a.attrelid = named.oid and a.attnum = any (listed)
                                                order by a.attnum) end,
                          'inherited', oid in (select oid from below),
                          'overruled',
                          case when row_filter is null and listed is null then false else not exists (
                              select from pg_publication_tables t
                               where t.pubname = $2 and t.schemaname = named.schema and t.tablename = named.name
                                 and (row_filter is null or t.rowfilter is not null)) end)
                                order by schema, name)
                 from named), '[]')::text";

/// The publication `name`, if it exists.
///
/// # Errors
/// The server refuses, shows it in a form that is not known, or the session breaks off.
pub async fn publication(client: &Client, name: &PublicationName) -> Result<Option<PublicationFacts>, SqlError> {
    let name = name.as_str();
    let row = answer("pg_publication", client.query_typed_opt(PUBLICATION, &[(&name, Type::NAME)])).await?;
    let Some(row) = row else { return Ok(None) };
    let (oid, all_tables): (u32, bool) = (row.try_get(0)?, row.try_get(1)?);
    let (schemas, tables) = if all_tables { (Vec::new(), Vec::new()) } else { named(client, name, oid).await? };
    let generated_columns: Option<&str> = row.try_get(7)?;
    Ok(Some(PublicationFacts {
        oid,
        xmin: row.try_get::<_, &str>(8)?.parse().unwrap_or_default(),
        all_tables,
        schemas,
        tables,
        publish: Publish {
            insert: row.try_get(2)?,
            update: row.try_get(3)?,
            delete: row.try_get(4)?,
            truncate: row.try_get(5)?,
        },
        via_partition_root: row.try_get(6)?,
        generated_columns: generated_columns.map(|columns| match columns {
            "s" => GeneratedColumns::Stored,
            _ => GeneratedColumns::None,
        }),
    }))
}

/// Whether there is a publication called `name`.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn exists(client: &Client, name: &PublicationName) -> Result<bool, SqlError> {
    let sql = "select exists (select from pg_publication where pubname = $1)";
    let row = answer("pg_publication", client.query_typed_one(sql, &[(&name.as_str(), Type::NAME)])).await?;
    Ok(row.try_get(0)?)
}

/// The schemas and the tables that the publication `name` names, by its `oid`.
async fn named(client: &Client, name: &str, oid: u32) -> Result<(Vec<String>, Vec<PublishedTable>), SqlError> {
    let parameters: [super::identity::Parameter<'_>; 2] = [(&oid, Type::OID), (&name, Type::NAME)];
    let row = answer("pg_publication_rel", client.query_typed_one(NAMED, &parameters)).await?;
    let unexpected = |source| SqlError::Unexpected { view: "pg_publication_rel", source };
    let rows: Vec<Row> = serde_json::from_str(row.try_get(1)?).map_err(unexpected)?;
    let table = |row: Row| PublishedTable {
        table: DeclaredTable {
            name: TableName { schema: row.schema, table: row.name },
            columns: row.columns,
            row_filter: row.row_filter,
        },
        inherited: row.inherited,
        overruled: row.overruled,
    };
    Ok((row.try_get(0)?, rows.into_iter().map(table).collect()))
}

/// Holds for 15 to 18.
const MISSING: &str = "\
    select array(select at from unnest($1::text[]) with ordinality declared(name, at)
                  where $oid_of_name is null order by at),
           array(select at from unnest($2::text[]) with ordinality declared(name, at)
                  where to_regnamespace(name) is null order by at)";

/// Which of `tables` and of `schemas` do not exist.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn missing(
    client: &Client,
    tables: &[TableName],
    schemas: &[String],
) -> Result<(Vec<TableName>, Vec<String>), SqlError> {
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let quoted: Vec<_> = schemas.iter().map(|schema| crate::ident::quote_ident(schema)).collect();
    let parameters: [super::identity::Parameter<'_>; 2] = [(&names, Type::TEXT_ARRAY), (&quoted, Type::TEXT_ARRAY)];
    let query = MISSING.replace("$oid_of_name", OID_OF_NAME);
    let row = answer("the declared tables", client.query_typed_one(&query, &parameters)).await?;
    Ok((picked(tables, row.try_get(0)?), picked(schemas, row.try_get(1)?)))
}

/// Those of `all` that stand `at` these places, from 1.
fn picked<T: Clone>(all: &[T], at: Vec<i64>) -> Vec<T> {
    at.into_iter().filter_map(|at| all.get(usize::try_from(at - 1).ok()?).cloned()).collect()
}
