//! What the server has, as far as one database's declaration is concerned.

use tokio_postgres::Client;

use crate::config::{Database, Publish, Scope};
use crate::ident::TableName;
use crate::postgres::SqlError;
use crate::postgres::catalog::{self, PublicationFacts, ServerFacts, SlotFacts};
use crate::postgres::identity::{self, Unpublishable};

/// What the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub server: ServerFacts,
    pub publication: Option<PublicationFacts>,
    pub slot: Option<SlotFacts>,
    /// Tables that are published, or would be, and whose UPDATE and DELETE fail then.
    pub unpublishable: Vec<Unpublishable>,
    /// Tables that the file names and the server does not have; asked while the publication is to be made.
    pub missing_tables: Vec<TableName>,
}

/// Reads it all, in one session.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn observe(client: &Client, database: &Database) -> Result<Observed, SqlError> {
    let server = catalog::server(client).await?;
    // The slot first: another agent that is just making both makes it second, so a slot that is seen here never lacks a
    // publication that is only younger than our look.
    let slot = catalog::slots(client, &[&database.slot]).await?.pop();
    let publication = catalog::publication(client, &database.publication).await?;
    let missing_tables = match &database.scope {
        Some(Scope::Tables(tables)) if publication.is_none() => catalog::missing_tables(client, tables).await?,
        _ => Vec::new(),
    };
    let mut unpublishable = if publication.is_some() {
        identity::of_existing(client, &database.publication).await?
    } else {
        let scope = database.scope.as_ref().unwrap_or(&Scope::AllTables);
        identity::of_declared(client, scope, database.publish.unwrap_or(Publish::ALL)).await?
    };
    unpublishable.retain(|found| !database.allow_no_identity.contains(&found.table));
    Ok(Observed { server, publication, slot, unpublishable, missing_tables })
}
