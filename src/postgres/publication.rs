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
    oid: u32,
    all_tables: bool,
    schemas: Vec<String>,
    tables: Vec<TableRow>,
    insert: bool,
    update: bool,
    delete: bool,
    truncate: bool,
    via_partition_root: bool,
    generated_columns: Option<String>,
}

#[derive(Deserialize)]
struct TableRow {
    schema: String,
    name: String,
    columns: Option<Vec<String>>,
    row_filter: Option<String>,
    inherited: bool,
    overruled: bool,
}

/// Holds for 15 to 18. What `pg_publication_tables` shows is what counts; it looks at every table, so it is asked of
/// entries with a list or a filter alone.
const PUBLICATION: &str = "\
    with recursive named as (
        select c.oid, n.nspname::text as schema, c.relname::text as name, r.prattrs::int2[] as listed,
               pg_get_expr(r.prqual, r.prrelid) as row_filter
          from pg_publication p join pg_publication_rel r on r.prpubid = p.oid join pg_class c on c.oid = r.prrelid
          join pg_namespace n on n.oid = c.relnamespace
         where p.pubname = $1),
    below(oid) as (
        select i.inhrelid from pg_inherits i join named on named.oid = i.inhparent
        union
        select i.inhrelid from pg_inherits i join below on below.oid = i.inhparent)
    select jsonb_build_object(
               'oid', p.oid::int8, 'all_tables', p.puballtables, 'insert', p.pubinsert, 'update', p.pubupdate,
               'delete', p.pubdelete, 'truncate', p.pubtruncate, 'via_partition_root', p.pubviaroot,
               'generated_columns', to_jsonb(p)->'pubgencols',
               'schemas', array(select n.nspname::text from pg_publication_namespace m
                                  join pg_namespace n on n.oid = m.pnnspid where m.pnpubid = p.oid order by 1),
               'tables', array(
                   select jsonb_build_object(
                              'schema', schema, 'name', name, 'row_filter', row_filter,
                              'columns', case when listed is not null then
                                             array(select a.attname::text from pg_attribute a
                                                    where a.attrelid = named.oid and a.attnum = any (listed)
                                                    order by a.attnum) end,
                              'inherited', oid in (select oid from below),
                              'overruled',
                              case when row_filter is null and listed is null then false else not exists (
                                  select from pg_publication_tables t
                                   where t.pubname = $1 and t.schemaname = named.schema and t.tablename = named.name
                                     and (row_filter is null or t.rowfilter is not null)) end)
                     from named order by schema, name))::text
      from pg_publication p
     where p.pubname = $1";

/// The publication `name`, if it exists.
///
/// # Errors
/// The server refuses, shows it in a form that is not known, or the session breaks off.
pub async fn publication(client: &Client, name: &PublicationName) -> Result<Option<PublicationFacts>, SqlError> {
    let row = answer("pg_publication", client.query_typed_opt(PUBLICATION, &[(&name.as_str(), Type::NAME)])).await?;
    let Some(row) = row else { return Ok(None) };
    let unexpected = |source| SqlError::Unexpected { view: "pg_publication", source };
    let row: Row = serde_json::from_str(row.try_get(0)?).map_err(unexpected)?;
    let table = |row: TableRow| PublishedTable {
        table: DeclaredTable {
            name: TableName { schema: row.schema, table: row.name },
            columns: row.columns,
            row_filter: row.row_filter,
        },
        inherited: row.inherited,
        overruled: row.overruled,
    };
    Ok(Some(PublicationFacts {
        oid: row.oid,
        all_tables: row.all_tables,
        schemas: row.schemas,
        tables: row.tables.into_iter().map(table).collect(),
        publish: Publish { insert: row.insert, update: row.update, delete: row.delete, truncate: row.truncate },
        via_partition_root: row.via_partition_root,
        generated_columns: row.generated_columns.map(|columns| match columns.as_str() {
            "s" => GeneratedColumns::Stored,
            _ => GeneratedColumns::None,
        }),
    }))
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
