//! In which points a publication is not as declared, and the SQL that ends it.
//!
//! Where the file is silent anything is as declared. Source:
//! <https://www.postgresql.org/docs/current/sql-alterpublication.html>.

use std::fmt;

use super::made::MadePublication;
use crate::config::{Database, DeclaredTable, GeneratedColumns, Publication, Publish, Scope};
use crate::ident::quote_ident;
use crate::postgres::publication::{PublicationFacts, PublishedTable};

/// One point; both sides in the words of SQL.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What is there and not declared.
    pub found: Option<String>,
    /// What is declared and not there.
    pub declared: Option<String>,
}

/// All points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Those of the scope first.
    pub points: Vec<Difference>,
    /// The server can't alter one into the other: one of the two is for all tables.
    pub anew: bool,
    scope: bool,
    options: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.found, &self.declared) {
            (Some(found), Some(declared)) => write!(f, "{found} where {declared} is declared"),
            (Some(found), None) => write!(f, "{found} is not declared"),
            (None, Some(declared)) => write!(f, "{declared} is missing"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, point) in self.points.iter().enumerate() {
            write!(f, "{}{point}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl Differences {
    /// Compares `found` with what `database` declares. `made` is what slotd knows of it, if slotd made it.
    #[must_use]
    pub fn new(database: &Database, found: &PublicationFacts, made: Option<&MadePublication>) -> Self {
        let mut all = Self::default();
        match &database.scope {
            None => {}
            Some(Scope::AllTables) if found.all_tables => {}
            Some(declared) if found.all_tables || *declared == Scope::AllTables => {
                all.anew = true;
                all.points.push(Difference { found: Some(found_scope(found)), declared: Some(scope(declared)) });
            }
            Some(Scope::AllTables) => {}
            Some(Scope::Schemas(schemas)) => all.compare_schemas(schemas, found),
            Some(Scope::Tables(tables)) => all.compare_tables(tables, found, made),
        }
        all.scope = !all.points.is_empty();
        let has = &found.publish;
        if let Some(publish) = database.publish.filter(|publish| publish != has) {
            all.option(option_publish(has), option_publish(&publish));
        }
        let has = found.via_partition_root;
        if let Some(via_root) = database.publish_via_partition_root.filter(|via_root| *via_root != has) {
            all.option(option_via_root(has), option_via_root(via_root));
        }
        let has = found.generated_columns.unwrap_or(GeneratedColumns::None);
        if let Some(generated) = database.publish_generated_columns.filter(|generated| *generated != has) {
            all.option(option_generated(has), option_generated(generated));
        }
        all
    }

    /// Whether all is as declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    fn option(&mut self, found: String, declared: String) {
        self.options.push(declared.clone());
        self.points.push(Difference { found: Some(found), declared: Some(declared) });
    }

    fn compare_schemas(&mut self, declared: &[String], found: &PublicationFacts) {
        let missing = declared.iter().filter(|schema| !found.schemas.contains(schema));
        self.points.extend(missing.map(|schema| Difference { found: None, declared: Some(in_schema(schema)) }));
        let more = found.schemas.iter().filter(|schema| !declared.contains(schema));
        self.points.extend(more.map(|schema| Difference { found: Some(in_schema(schema)), declared: None }));
        // A table beside its own schema adds nothing.
        let more = found.tables.iter().filter(|found| !declared.contains(&found.table.name.schema));
        self.points.extend(more.map(|more| Difference { found: Some(published(more)), declared: None }));
    }

    fn compare_tables(&mut self, declared: &[DeclaredTable], found: &PublicationFacts, made: Option<&MadePublication>) {
        let more = found.schemas.iter();
        self.points.extend(more.map(|schema| Difference { found: Some(in_schema(schema)), declared: None }));
        for wanted in declared {
            let has = found.tables.iter().find(|found| found.table.name == wanted.name);
            if !has.is_some_and(|has| same(wanted, &has.table, made)) {
                let found = has.map(published);
                self.points.push(Difference { found, declared: Some(table(wanted)) });
            }
        }
        let is_more = |found: &&PublishedTable| {
            !found.inherited && !declared.iter().any(|wanted| wanted.name == found.table.name)
        };
        let more = found.tables.iter().filter(is_more);
        self.points.extend(more.map(|more| Difference { found: Some(published(more)), declared: None }));
    }

    /// The statements that make the publication as declared, to be run in one transaction.
    #[must_use]
    pub fn statements(&self, database: &Database, found: &PublicationFacts) -> Vec<String> {
        let name = quote_ident(database.publication.as_str());
        if self.anew {
            let publication = declared(database, Some(found));
            return vec![format!("DROP PUBLICATION {name}"), create(database, &publication)];
        }
        let options =
            (!self.options.is_empty()).then(|| format!("ALTER PUBLICATION {name} SET ({})", self.options.join(", ")));
        let scope = database.scope.as_ref().filter(|_| self.scope);
        let scope = scope.map(|declared| format!("ALTER PUBLICATION {name} SET {}", scope_clause(declared)));
        // A filter or a list of a partitioned table stands or falls with publish_via_partition_root.
        match database.publish_via_partition_root {
            Some(false) => scope.into_iter().chain(options).collect(),
            _ => options.into_iter().chain(scope).collect(),
        }
    }
}

/// The publication as declared; where the file is silent it stays as `found`, and without that it has our defaults.
#[must_use]
pub fn declared(database: &Database, found: Option<&PublicationFacts>) -> Publication {
    Publication {
        scope: database.scope.clone().unwrap_or(Scope::AllTables),
        publish: database.publish.or(found.map(|found| found.publish)).unwrap_or(Publish::ALL),
        via_partition_root: (database.publish_via_partition_root)
            .or(found.map(|found| found.via_partition_root))
            .unwrap_or(true),
        generated_columns: database.publish_generated_columns.or(found.and_then(|found| found.generated_columns)),
    }
}

/// The statement that makes `publication`.
#[must_use]
pub fn create(database: &Database, publication: &Publication) -> String {
    let mut options = vec![option_publish(&publication.publish), option_via_root(publication.via_partition_root)];
    // Older servers know no such option, and do as `none` says.
    options.extend(publication.generated_columns.filter(|it| *it != GeneratedColumns::None).map(option_generated));
    format!(
        "CREATE PUBLICATION {} FOR {} WITH ({})",
        quote_ident(database.publication.as_str()),
        scope_clause(&publication.scope),
        options.join(", ")
    )
}

/// A row filter without the parentheses that the server puts around it, and with single spaces outside of quotes.
fn bare(filter: &str) -> String {
    let mut filter = filter.trim();
    while let Some(inner) = filter.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))
        && is_closed(inner)
    {
        filter = inner.trim();
    }
    let (mut bare, mut quote) = (String::with_capacity(filter.len()), None);
    for c in filter.chars() {
        quote = quote_after(quote, c);
        match c {
            c if quote.is_some() || !c.is_whitespace() => bare.push(c),
            _ if bare.ends_with(' ') => {}
            _ => bare.push(' '),
        }
    }
    bare
}

/// Whether no parenthesis in `text` closes one outside of it.
fn is_closed(text: &str) -> bool {
    let (mut open, mut quote) = (0_i64, None);
    let closes_its_own = text.chars().all(|c| {
        quote = quote_after(quote, c);
        if quote.is_none() {
            open += i64::from(c == '(') - i64::from(c == ')');
        }
        open >= 0
    });
    closes_its_own && quote.is_none()
}

/// In which quotes the text is behind `c`. A doubled quote ends one text and begins the next.
const fn quote_after(quote: Option<char>, c: char) -> Option<char> {
    match quote {
        None if matches!(c, '\'' | '"') => Some(c),
        Some(open) if open == c => None,
        quote => quote,
    }
}

fn same(wanted: &DeclaredTable, has: &DeclaredTable, made: Option<&MadePublication>) -> bool {
    let set = |columns: &Option<Vec<String>>| {
        columns.as_ref().map(|columns| columns.iter().cloned().collect::<std::collections::BTreeSet<_>>())
    };
    let same_filter = match (&wanted.row_filter, &has.row_filter) {
        (None, None) => true,
        (Some(wanted_filter), Some(has)) => {
            // The server writes an expression in its own way.
            let known = made.and_then(|made| made.filter(&wanted.name));
            bare(wanted_filter) == bare(has)
                || known.is_some_and(|known| known.declared == *wanted_filter && known.stored == *has)
        }
        _ => false,
    };
    same_filter && set(&wanted.columns) == set(&has.columns)
}

fn scope_clause(scope: &Scope) -> String {
    match scope {
        Scope::AllTables => "ALL TABLES".to_owned(),
        Scope::Schemas(schemas) => {
            format!(
                "TABLES IN SCHEMA {}",
                schemas.iter().map(|schema| quote_ident(schema)).collect::<Vec<_>>().join(", ")
            )
        }
        Scope::Tables(tables) => {
            format!("TABLE {}", tables.iter().map(table_clause).collect::<Vec<_>>().join(", "))
        }
    }
}

fn scope(declared: &Scope) -> String {
    format!("FOR {}", scope_clause(declared))
}

fn found_scope(found: &PublicationFacts) -> String {
    if found.all_tables {
        return scope(&Scope::AllTables);
    }
    let tables = found.tables.iter().map(published);
    let all: Vec<_> = found.schemas.iter().map(|schema| in_schema(schema)).chain(tables).collect();
    if all.is_empty() { "FOR no table".to_owned() } else { format!("FOR {}", all.join(", ")) }
}

fn in_schema(schema: &str) -> String {
    format!("TABLES IN SCHEMA {}", quote_ident(schema))
}

fn table(table: &DeclaredTable) -> String {
    format!("TABLE {}", table_clause(table))
}

fn table_clause(table: &DeclaredTable) -> String {
    let mut clause = table.name.to_string();
    if let Some(columns) = &table.columns {
        let columns: Vec<_> = columns.iter().map(|column| quote_ident(column)).collect();
        clause.push_str(&format!(" ({})", columns.join(", ")));
    }
    if let Some(filter) = &table.row_filter {
        clause.push_str(&format!(" WHERE ({filter})"));
    }
    clause
}

/// The same of one that the server has: it puts parentheses of its own around a filter.
fn published(found: &PublishedTable) -> String {
    let inner = |filter: &String| {
        let inner = filter.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).filter(|inner| is_closed(inner));
        inner.unwrap_or(filter).to_owned()
    };
    let row_filter = found.table.row_filter.as_ref().map(inner);
    table(&DeclaredTable { row_filter, ..found.table.clone() })
}

fn option_publish(publish: &Publish) -> String {
    format!("publish = '{}'", publish.operations())
}

fn option_via_root(via_root: bool) -> String {
    format!("publish_via_partition_root = {via_root}")
}

fn option_generated(generated: GeneratedColumns) -> String {
    format!("publish_generated_columns = {}", generated.as_str())
}

#[cfg(test)]
mod tests;
