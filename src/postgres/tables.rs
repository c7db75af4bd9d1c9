//! The tables of a database that can be published.

use tokio_postgres::Client;

use super::SqlError;
use super::sql::answer;
use crate::ident::TableName;

/// A table that is no partition of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: TableName,
    /// With its indexes, partitions and TOAST.
    pub bytes: u64,
    /// Whether our role owns it.
    pub owned: bool,
}

/// Holds for 15 to 18.
const TABLES: &str = "\
    select n.nspname::text, c.relname::text,
           (select coalesce(sum(pg_total_relation_size(t.relid)), 0)::bigint from pg_partition_tree(c.oid) t)
           + case when c.relkind = 'r' then pg_total_relation_size(c.oid) else 0 end,
           pg_has_role(c.relowner, 'USAGE')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p' and c.oid >= 16384
       and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
     order by 1, 2";

/// All of them, by name.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn tables(client: &Client) -> Result<Vec<Table>, SqlError> {
    let rows = answer("the tables", client.query_typed(TABLES, &[])).await?;
    let mut tables = Vec::new();
    for row in &rows {
        let bytes: i64 = row.try_get(2)?;
        tables.push(Table {
            name: TableName { schema: row.try_get(0)?, table: row.try_get(1)? },
            bytes: bytes.unsigned_abs(),
            owned: row.try_get(3)?,
        });
    }
    Ok(tables)
}
