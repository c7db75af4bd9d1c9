//! Looking at the servers for a plan, without touching anything there or in the state directory.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};

use super::view::{By, Planned};
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Connection, Database};
use crate::daemon;
use crate::ident::DatabaseName;
use crate::lsn::Lsn;
use crate::postgres::preflight::{self, Allowed};
use crate::postgres::trouble::{self, Step};
use crate::postgres::{ConnectError, Connector, SystemIdentity, catalogue};
use crate::provision::made::Made;
use crate::provision::primary::{self, Primary};
use crate::provision::{self, Preflight, failover, observe, plan};
use crate::status::{Reason, Trouble};
use crate::storage::{Disk, SharedStorage};
use crate::stream::Holes;
use crate::stream::positions::{self, Recorded};
use crate::supervisor::overrides::Overrides;
use crate::wire::login::LoginError;

/// How many databases are looked at at once.
const AT_ONCE: usize = 8;

/// Why there is no replication session.
struct Unidentified {
    trouble: Trouble,
    /// All walsenders run: those of this command may be among them.
    is_full: bool,
}

/// What is known from before, and how to connect.
struct Known {
    connector: Connector,
    made: Made,
    recorded: Recorded,
}

/// One database, and whether its server was reached.
pub(in crate::cli) struct Looked {
    pub(in crate::cli) planned: Planned,
    pub(in crate::cli) reached: bool,
    /// Its share of the server, once that is known.
    pub(in crate::cli) share: Option<Share>,
}

/// What a database will take of its cluster, and what there is.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Share {
    pub(in crate::cli) system_identifier: u64,
    pub(in crate::cli) takes_slot: bool,
    pub(in crate::cli) takes_walsender: bool,
    pub(in crate::cli) allowed: Allowed,
}

/// The databases of `config` that `names` names; all, if it names none.
pub(in crate::cli) fn chosen(config: &Config, names: &[DatabaseName]) -> Result<Vec<Arc<Database>>, Failure> {
    if names.is_empty() {
        return Ok(config.databases.clone());
    }
    let find = |name: &DatabaseName| {
        config.databases.iter().find(|database| database.name == *name).cloned().ok_or_else(|| {
            let all: Vec<_> = config.databases.iter().map(|database| database.name.as_str()).collect();
            Failure::new(Exit::Failed, format!("the file has no database called {name}"))
                .hint(format!("it has: {}", all.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// Looks at `databases`, several at once; in their order.
pub(in crate::cli) async fn look(config: &Config, databases: &[Arc<Database>]) -> Result<Vec<Looked>, Failure> {
    let dir = &config.agent.state_dir;
    let unreadable = |error: &dyn std::error::Error| {
        Failure::because(Exit::Failed, error).hint(
            "what slotd made and delivered stands in the state directory: run this as the agent's user or as root",
        )
    };
    let storage: SharedStorage = Arc::new(Disk);
    let made = Made::open(Arc::clone(&storage), dir).map_err(|error| unreadable(&error))?;
    let recorded = positions::read(storage, dir).map_err(|error| unreadable(&error))?;
    let agent = daemon::known_agent(dir).map_err(|error| unreadable(&error))?;
    let connector = daemon::connector(config, agent.unwrap_or_else(|| "slotd/plan".to_owned()));
    let known = Known { connector, made, recorded };
    let overrides = Overrides::open(Arc::new(Disk), dir).map_err(|error| unreadable(&error))?;
    let wished: Vec<_> = databases.iter().map(|database| overrides.effective(database)).collect();
    let mut all: Vec<_> = stream::iter(&wished).map(|database| one(database, &known)).buffered(AT_ONCE).collect().await;
    note_shared_slots(&mut all);
    Ok(all)
}

async fn one(database: &Database, known: &Known) -> Looked {
    match observed(database, known).await {
        Ok((planned, share)) => Looked { planned, reached: true, share: Some(share) },
        Err(trouble) => {
            let reached = !matches!(trouble.reason, Reason::Connection);
            Looked { planned: Planned::unseen(database, &trouble), reached, share: None }
        }
    }
}

/// What can be seen of a database. Where no replication session is to be had, all but that is.
async fn observed(database: &Database, known: &Known) -> Result<(Planned, Share), Trouble> {
    let Known { connector, made, recorded } = known;
    let (identified, connection) = identify(connector, &database.connection).await;
    // Of several servers, the primary alone from here on.
    let database = &Database { connection, ..database.clone() };
    let to = &database.connection;
    let refused = |error| trouble::of_sql(Step::Observe, &error, to).trouble;
    let sql = match (connector.sql(to).await, &identified) {
        (Ok(sql), _) => sql,
        (Err(_), Err(why)) => return Err(why.trouble.clone()),
        (Err(error), Ok(_)) => return Err(trouble::of_connect(&error, to).trouble),
    };
    let system_identifier = match &identified {
        Ok(system) => system.system_identifier,
        Err(_) => preflight::system_identifier(&sql).await.map_err(refused)?,
    };
    let made = made.publication(system_identifier, &to.database, &database.publication);
    let former = recorded.former(&database.slot, system_identifier, &database.publication);
    let primary = primary::of_standby(connector, database, &sql, system_identifier).await;
    let primary = match primary.map_err(|diagnosis| diagnosis.trouble)? {
        Some(Primary::Away(why)) => return Err(why.trouble),
        primary => primary,
    };
    let observed = observe(&sql, primary.as_ref().and_then(Primary::session), database, made, former.as_ref()).await;
    let observed = observed.map_err(|error| error.diagnosis(database).trouble)?;
    let allowed = match &observed.allowed {
        Some(allowed) => allowed.clone(),
        None => preflight::allowed(&sql, &[]).await.map_err(refused)?,
    };
    let delivered: Option<Lsn> = recorded.of(&database.slot, system_identifier);
    let plan = plan(database, &observed, delivered.is_some(), Holes::Refuse, connector.application_name());
    let preflight = provision::preflight(database, &observed, &plan, &allowed);
    let Preflight { takes_slot, takes_walsender, .. } = preflight;
    let unbounded = observed.server.max_slot_wal_keep_size.is_none();
    let mut planned = Planned::of(database, &observed, plan, delivered);
    // Whether a walsender is left to one who takes one is counted, in the preflight.
    if let Err(Unidentified { trouble, is_full: false }) = identified {
        planned.obstruct_first(&trouble);
        // Nothing can be made then.
        planned.steps.retain(|step| step.by == By::RecreateSlot);
    }
    planned = planned.with(preflight);
    let standbys = failover::ask(connector, database).await;
    planned.findings.extend(failover::findings(database, &observed.server, &standbys));
    planned.slot_of = Some((system_identifier, database.slot.clone()));
    planned.unbounded = unbounded;
    Ok((planned, Share { system_identifier, takes_slot, takes_walsender, allowed }))
}

/// Whether we may replicate is found out by doing it: not every server has that right in `rolreplication`. Gives the
/// connection to the very server too, as far as that is found.
async fn identify(connector: &Connector, to: &Connection) -> (Result<SystemIdentity, Unidentified>, Connection) {
    let (mut replication, at) = match connector.replication_beside(to, &[]).await {
        Ok(connected) => connected,
        Err(error) => {
            let is_full = matches!(&error, ConnectError::Login(LoginError::Refused(server))
                if catalogue::row(Step::ConnectReplication, server, to).case == "walsenders");
            return (Err(Unidentified { is_full, trouble: trouble::of_connect(&error, to).trouble }), to.clone());
        }
    };
    let identified = replication.identify_system().await.map_err(|error| Unidentified {
        is_full: false,
        trouble: trouble::of_replication(Step::Observe, &error, &at).trouble,
    });
    (identified, at)
}

/// Two entries that name one slot of one cluster, by two names of its server.
fn note_shared_slots(all: &mut [Looked]) {
    let of: Vec<_> = all.iter().map(|looked| (looked.planned.name.clone(), looked.planned.slot_of.clone())).collect();
    for looked in all {
        let Some(slot) = &looked.planned.slot_of else { continue };
        let other = of.iter().find(|(name, other)| *name != looked.planned.name && other.as_ref() == Some(slot));
        if let Some((other, _)) = other {
            let (ours, slot) = (&looked.planned.name, &slot.1);
            let trouble = Trouble::new(
                Reason::SlotUnusable,
                format!("{ours} and {other} name one slot of one cluster, {slot}, by two names of its server"),
                "give one of them another `slot_name`, or take it out of the file",
            );
            looked.planned.obstruct(&trouble);
        }
    }
}
