//! What is said of tables whose UPDATE and DELETE fail once they are published.

use std::fmt::Write as _;

use crate::config::Database;
use crate::ident::quote_ident;
use crate::postgres::identity::{Unpublishable, Why};

/// The tables, after the reason that they share.
pub(super) fn refused(found: &[Unpublishable]) -> String {
    let of = |why, because: &str| {
        let tables: Vec<_> =
            found.iter().filter(|found| found.why == why).map(|found| found.table.to_string()).collect();
        (!tables.is_empty()).then(|| format!("{because}: {}", tables.join(", ")))
    };
    let all = [
        of(Why::NoIdentity, "without a replica identity"),
        of(Why::ColumnList, "with a column list that leaves out columns of the replica identity"),
        of(Why::RowFilter, "with a row filter over columns that are not of the replica identity"),
        of(Why::Generated, "with generated columns in the replica identity, which are not published"),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The SQL that mends it, for each table.
pub(super) fn mend(database: &Database, found: &[Unpublishable]) -> String {
    let publication = quote_ident(database.publication.as_str());
    let mut ways = Vec::new();
    let (full, not_full): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.full_mends);
    if !full.is_empty() {
        let mut sql = "give each a primary key, or run:".to_owned();
        for Unpublishable { table, .. } in full {
            // Writing into a String can't fail.
            let _ = write!(sql, " ALTER TABLE {table} REPLICA IDENTITY FULL;");
        }
        ways.push(sql);
    }
    for Unpublishable { table, why, .. } in not_full {
        ways.push(match why {
            Why::NoIdentity => format!("give {table} a primary key (REPLICA IDENTITY FULL would not do)"),
            Why::ColumnList => format!(
                "publish {table} with the columns of its replica identity, which must not be FULL: ALTER PUBLICATION \
                 {publication} SET TABLE …"
            ),
            Why::RowFilter => {
                format!(
                    "give {table} a row filter over its replica identity: ALTER PUBLICATION {publication} SET TABLE …"
                )
            }
            Why::Generated => format!(
                "give {table} a primary key without generated columns as its replica identity, or make the publication \
                 yourself, with publish_generated_columns = stored"
            ),
        });
    }
    format!("{}, or list them in `allow_no_identity`", ways.join("; "))
}
