//! What the server has, as far as one database's declaration is concerned.

use tokio_postgres::Client;

use super::difference::{self, Differences};
use super::made::MadePublication;
use crate::config::{Database, Scope};
use crate::ident::{PublicationName, TableName};
use crate::postgres::catalog::{self, ServerFacts, SlotFacts};
use crate::postgres::identity::{self, Unpublishable};
use crate::postgres::preflight::{self, Allowed};
use crate::postgres::publication::{self, PublicationFacts};
use crate::postgres::standby::{self, StandbyFacts};
use crate::postgres::trouble::{self, Diagnosis, Step};
use crate::postgres::younger::{is_younger, may_be_younger};
use crate::postgres::{SqlError, SqlSession};

/// What the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub server: ServerFacts,
    /// Its primary, if the server is a standby and the file has one.
    pub primary: Option<ServerFacts>,
    /// What a slot on the server depends on, if it is a standby.
    pub standby: Option<StandbyFacts>,
    pub publication: Option<PublicationFacts>,
    /// What slotd knows of it, if slotd made or altered it.
    pub made: Option<MadePublication>,
    pub slot: Option<SlotFacts>,
    /// Whether the slot, which nobody reads, stands before a change that the publication is too young for; where there is a
    /// former one, whether it may.
    pub younger: bool,
    /// Through which other publication the slot was streamed last, if that is still there.
    pub former: Option<PublicationName>,
    /// Tables that are published, or would be, and whose UPDATE and DELETE fail then.
    pub unpublishable: Vec<Unpublishable>,
    /// Those that would become such if the publication were altered into what is declared, as far as that is known before.
    pub unpublishable_then: Vec<Unpublishable>,
    /// What the server allows; asked while something is to be made.
    pub allowed: Option<Allowed>,
    /// What the file names and the server does not have, in words: `no such table: public.orders`. Asked while the publication is
    /// not as declared.
    pub missing: Vec<String>,
}

impl Observed {
    /// Whether slotd made the publication.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.made.as_ref().is_some_and(|made| made.ours)
    }

    /// The former publication, if the slot has to be streamed through it for now.
    #[must_use]
    pub fn needed_former(&self) -> Option<&PublicationName> {
        self.former.as_ref().filter(|_| self.slot.is_some() && (self.publication.is_none() || self.younger))
    }
}

/// Why it could not be read.
#[derive(Debug)]
pub struct Unobserved {
    error: SqlError,
    /// It was the primary that was asked.
    of_primary: bool,
}

impl From<SqlError> for Unobserved {
    fn from(error: SqlError) -> Self {
        Self { error, of_primary: false }
    }
}

impl Unobserved {
    /// What it means, of the server that was asked.
    #[must_use]
    pub fn diagnosis(&self, database: &Database) -> Diagnosis {
        trouble::of_sql(Step::Observe, &self.error, database.publisher(self.of_primary))
    }
}

/// Reads it all. `primary` is a session there, if the server is a standby; `made` is what slotd has noted of the publication, `former` through which other one the slot was
/// streamed last.
///
/// # Errors
/// The server refuses, or the session breaks off.
pub async fn observe(
    sql: &SqlSession,
    primary: Option<&SqlSession>,
    database: &Database,
    made: Option<MadePublication>,
    former: Option<&PublicationName>,
) -> Result<Observed, Unobserved> {
    let server = catalog::server(sql).await?;
    let standby = if server.in_recovery { Some(standby::standby(sql).await?) } else { None };
    let client = primary.unwrap_or(sql);
    let of_primary = primary.is_some();
    let there = |error| Unobserved { error, of_primary };
    let primary = if primary.is_some() { Some(catalog::server(client).await.map_err(there)?) } else { None };
    // The slot first: another agent that is just making both makes it second, so a slot that is seen here never lacks a
    // publication that is only younger than our look.
    let slot = catalog::slots(sql, &[&database.slot]).await?.pop();
    let publication = publication::publication(client, &database.publication).await.map_err(there)?;
    let made = made.filter(|made| publication.as_ref().is_some_and(|found| is_it(database, found, made)));
    let differs = publication.as_ref().filter(|found| !Differences::new(database, found, made.as_ref()).is_empty());
    let missing = if publication.is_none() || differs.is_some() {
        missing(client, database).await.map_err(there)?
    } else {
        Vec::new()
    };
    let tolerated = |found: &Unpublishable| database.allow_no_identity.contains(&found.table);
    let mut unpublishable = if publication.is_some() {
        identity::of_existing(client, &database.publication).await.map_err(there)?
    } else {
        identity::of_declared(client, &difference::declared(database, None)).await.map_err(there)?
    };
    unpublishable.retain(|found| !tolerated(found));
    let mut unpublishable_then = match differs {
        Some(found) if database.scope.is_some() => {
            identity::of_declared(client, &difference::declared(database, Some(found))).await.map_err(there)?
        }
        _ => Vec::new(),
    };
    unpublishable_then.retain(|found| !tolerated(found) && !unpublishable.contains(found));
    let allowed = if publication.is_none() || slot.is_none() {
        let allowed = preflight::allowed(client, &declared_tables(database)).await.map_err(there)?;
        // The slot is made here.
        let here = if primary.is_some() { preflight::allowed(sql, &[]).await? } else { allowed.clone() };
        Some(Allowed { slots: here.slots, walsenders: here.walsenders, ..allowed })
    } else {
        None
    };
    let former = match former {
        Some(former) if publication::exists(client, former).await.map_err(there)? => Some(former.clone()),
        _ => None,
    };
    let younger = match (&slot, &publication) {
        (Some(slot), Some(publication)) if former.is_some() => may_be_younger(slot, publication),
        (Some(slot), Some(publication)) if slot.active_pid.is_none() && slot.confirmed_flush_lsn.is_some() => {
            is_younger(sql, slot, publication, &database.publication).await?
        }
        _ => false,
    };
    Ok(Observed {
        server,
        primary,
        standby,
        publication,
        made,
        slot,
        younger,
        former,
        unpublishable,
        unpublishable_then,
        allowed,
        missing,
    })
}

/// Whether the publication `found` is the one that `made` is about. An intent that was not completed has no oid, and what is then
/// there as declared was made by it.
fn is_it(database: &Database, found: &PublicationFacts, made: &MadePublication) -> bool {
    match made.oid {
        Some(oid) => oid == found.oid,
        None => Differences::new(database, found, None).is_empty(),
    }
}

fn declared_tables(database: &Database) -> Vec<TableName> {
    match &database.scope {
        Some(Scope::Tables(tables)) => tables.iter().map(|table| table.name.clone()).collect(),
        None | Some(Scope::AllTables | Scope::Schemas(_)) => Vec::new(),
    }
}

async fn missing(client: &Client, database: &Database) -> Result<Vec<String>, SqlError> {
    let (tables, none) = (declared_tables(database), Vec::new());
    let schemas = match &database.scope {
        Some(Scope::Schemas(schemas)) => schemas,
        None | Some(Scope::AllTables | Scope::Tables(_)) => &none,
    };
    if tables.is_empty() && schemas.is_empty() {
        return Ok(Vec::new());
    }
    let (tables, schemas) = publication::missing(client, &tables, schemas).await?;
    let mut missing = Vec::new();
    if !tables.is_empty() {
        let tables: Vec<_> = tables.iter().map(ToString::to_string).collect();
        missing.push(format!("no such table: {}", tables.join(", ")));
    }
    if !schemas.is_empty() {
        missing.push(format!("no such schema: {}", schemas.join(", ")));
    }
    Ok(missing)
}
