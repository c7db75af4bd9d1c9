//! What `slotd apply` does where no agent holds the state directory: one round of each database, without a stream.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::state::StateDir;
use super::{StartError, connector};
use crate::config::{Config, Database, Status};
use crate::ident::DatabaseName;
use crate::postgres::Connector;
use crate::postgres::trouble::{self, Step};
use crate::provision::made::Made;
use crate::provision::{Consent, Refusal, Round};
use crate::status::{Bounds, DatabaseStatus, Registry, Trouble};
use crate::stream::Holes;
use crate::stream::positions::Positions;

/// How many databases are worked on at once.
const AT_ONCE: usize = 8;

/// What came of one database: what was done, or why not.
#[derive(Debug)]
pub struct Applied {
    pub name: DatabaseName,
    pub outcome: Result<String, Trouble>,
}

/// Makes publications and slots of `databases` as they are declared, as far as `consent` goes, and holds the state directory
/// of `config` meanwhile. A database that is disabled, by the file or by a command, gets no slot.
///
/// # Errors
/// An agent holds the state directory, or it can't be used.
pub async fn apply(config: &Config, databases: &[Arc<Database>], consent: Consent) -> Result<Vec<Applied>, StartError> {
    let dir = &config.agent.state_dir;
    is_ours(dir)?;
    let StateDir { agent, positions, made, overrides, _lock, .. } = StateDir::take(dir)?;
    let connector = connector(config, agent);
    let registry = Registry::new(dir, Bounds::from(&config.agent));
    let each = databases.iter().map(|database| {
        let (connector, made, positions, registry) = (&connector, &made, &positions, &registry);
        let database = overrides.effective(database);
        async move {
            let outcome = round(&database, connector, made, positions, registry, consent).await;
            Applied { name: database.name.clone(), outcome }
        }
    });
    Ok(stream::iter(each).buffered(AT_ONCE).collect().await)
}

async fn round(
    database: &Database,
    connector: &Connector,
    made: &Made,
    positions: &Positions,
    registry: &Registry,
    consent: Consent,
) -> Result<String, Trouble> {
    let to = &database.connection;
    let status = DatabaseStatus::new(
        database.name.clone(),
        database.slot.clone(),
        database.publication.clone(),
        database.status,
        Timestamp::now(),
    );
    let reporter = registry.add(status);
    let mut replication = connector.replication(to).await.map_err(|error| trouble::of_connect(&error, to).trouble)?;
    let system = replication.identify_system().await;
    let system = system.map_err(|error| trouble::of_replication(Step::Observe, &error, to).trouble)?;
    let system_identifier = system.system_identifier;
    let former = positions.former(&database.slot, system_identifier, &database.publication);
    let round = Round { database, connector, reporter: &reporter, made, system_identifier, former };
    let publication = round.apply_publication(consent, false).await.map_err(|refused| refused.trouble)?;
    if database.status == Status::Disabled {
        return Ok(format!("{publication}; the database is disabled, so no slot is made"));
    }
    let known = positions.delivered(&database.slot, system_identifier).is_some();
    match round.ensure(&mut replication, known, Holes::Refuse, consent).await {
        Ok(_) => Ok(format!("{publication}; the slot {} is as declared", database.slot)),
        Err(Refusal::Trouble(diagnosis)) => Err(diagnosis.trouble),
        Err(Refusal::Lost { reason, sentence }) => Err(Trouble::new(
            reason,
            format!("lost: {sentence}"),
            format!("start the agent, then: slotd resume {} --accept-gap", database.name),
        )),
    }
}

/// Refuses a state directory of another user: what root writes there the agent could not write any more.
pub(super) fn is_ours(dir: &Path) -> Result<(), StartError> {
    match std::fs::metadata(dir) {
        Ok(metadata) if metadata.uid() != rustix::process::geteuid().as_raw() => {
            Err(StartError::Foreign { path: dir.to_owned(), uid: metadata.uid() })
        }
        _ => Ok(()),
    }
}
