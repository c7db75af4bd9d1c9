//! What a database's publication is declared to publish.
//!
//! Source: <https://www.postgresql.org/docs/current/sql-createpublication.html>.

use super::names;
use super::read::At;
use super::table::Table;
use super::wrong::Wrong;
use super::{keys, row_filter};
use crate::ident::TableName;

/// What a publication publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    AllTables,
    Schemas(Vec<String>),
    Tables(Vec<DeclaredTable>),
}

/// A publication as it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub scope: Scope,
    pub publish: Publish,
    pub via_partition_root: bool,
    /// `None`: as the server does by itself.
    pub generated_columns: Option<GeneratedColumns>,
}

/// A table of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredTable {
    pub name: TableName,
    /// `None`: all of them, those that are added later too.
    pub columns: Option<Vec<String>>,
    /// A condition in SQL that a row has to meet.
    pub row_filter: Option<String>,
}

impl From<TableName> for DeclaredTable {
    /// All of it.
    fn from(name: TableName) -> Self {
        Self { name, columns: None, row_filter: None }
    }
}

/// Which operations a publication publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
}

impl Publish {
    /// What a publication publishes if nothing is said.
    pub const ALL: Self = Self { insert: true, update: true, delete: true, truncate: true };

    /// As `CREATE PUBLICATION` takes it: `insert, update`.
    #[must_use]
    pub fn operations(&self) -> String {
        let all =
            [(self.insert, "insert"), (self.update, "update"), (self.delete, "delete"), (self.truncate, "truncate")];
        all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// Which generated columns are published without a column list; 18 and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneratedColumns {
    None,
    Stored,
}

impl GeneratedColumns {
    /// As `CREATE PUBLICATION` takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stored => "stored",
        }
    }
}

/// Which tables are published; `None` where the file is silent.
pub(super) fn scope(at: &Table<'_>) -> Option<Scope> {
    let tables = at.texts_or_tables(
        "tables",
        &[keys::PUBLISHED],
        |text| Ok(DeclaredTable::from(names::table(text)?)),
        declared_table,
        |one, other| one.name == other.name,
    );
    let schemas = at.list("schemas", false, names::schema);
    if let (Some(tables), Some(schemas)) = (at.key("tables"), at.key("schemas")) {
        let wrong = Wrong::new("`schemas` stands beside `tables`, and one of the two is meant");
        at.reader().error_with(
            &schemas,
            wrong.hint("list the tables, or the schemas"),
            &tables,
            "tables are listed here",
        );
    }
    for (key, span) in [
        ("tables", tables.as_ref().filter(|at| at.value.is_empty()).map(|at| &at.span)),
        ("schemas", schemas.as_ref().filter(|at| at.value.is_empty()).map(|at| &at.span)),
    ] {
        if let Some(span) = span {
            let wrong = Wrong::new(format!("`{key}` is empty, and nothing would be published"));
            at.reader().error(span, wrong.hint(format!("leave `{key}` out to publish all tables")));
        }
    }
    tables.map(values).map(Scope::Tables).or_else(|| schemas.map(values).map(Scope::Schemas))
}

/// `{ name = "items", columns = ["id"], where = "qty > 0" }`.
fn declared_table(table: &Table<'_>) -> Option<DeclaredTable> {
    let name = table.parsed("name", names::table);
    if table.key("name").is_none() {
        let wrong = Wrong::new("`name` is missing from an entry of `tables`");
        table.reader().absent(table.span(), wrong.hint("write { name = \"items\", … }"));
    }
    let columns = table.list("columns", false, names::column);
    if let Some(columns) = columns.as_ref().filter(|columns| columns.value.is_empty()) {
        let wrong = Wrong::new("`columns` is empty, and nothing of a row would be published");
        table.reader().error(&columns.span, wrong.hint("leave `columns` out to publish all of them"));
    }
    let row_filter = table.parsed("where", row_filter::read);
    Some(DeclaredTable {
        name: name?.value,
        columns: columns.map(values),
        row_filter: row_filter.map(|filter| filter.value),
    })
}

fn values<T>(list: At<Vec<At<T>>>) -> Vec<T> {
    list.value.into_iter().map(|at| at.value).collect()
}

/// Reads `insert, update`, as `CREATE PUBLICATION` takes it.
pub(super) fn publish(text: &str) -> Result<Publish, Wrong> {
    let mut publish = Publish { insert: false, update: false, delete: false, truncate: false };
    for word in text.split(',').map(str::trim) {
        let flag = match word {
            "insert" => &mut publish.insert,
            "update" => &mut publish.update,
            "delete" => &mut publish.delete,
            "truncate" => &mut publish.truncate,
            _ => {
                return Err(Wrong::new("the operations are insert, update, delete, truncate")
                    .hint("write \"insert, update, delete, truncate\", or leave some out"));
            }
        };
        if *flag {
            return Err(Wrong::new("an operation is named twice"));
        }
        *flag = true;
    }
    Ok(publish)
}
