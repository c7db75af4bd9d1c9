//! `slotd apply`: publications and slots as they are declared.
//!
//! An agent that holds the state directory does it; without one it is done here, under the lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::Method;

use super::failure::{Exit, Failure};
use super::plan::{By, Looked, Planned, chosen, look, render};
use super::{client, command, context, out};
use crate::config::{Config, Database};
use crate::daemon::{self, Applied, StartError};
use crate::ident::DatabaseName;
use crate::provision::Consent;

/// What the operator allows besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) recreate_publication: bool,
    pub(super) recreate_slot: bool,
    pub(super) yes: bool,
}

pub(super) async fn apply(
    given: Option<PathBuf>,
    socket: Option<PathBuf>,
    names: &[DatabaseName],
    allowed: Allowed,
) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    let databases = chosen(&config, names)?;
    let looked = look(&config, &databases).await?;
    let unreached = looked.iter().any(|looked| !looked.reached);
    let planned: Vec<Planned> = looked.into_iter().map(|Looked { planned, .. }| planned).collect();
    out::say(&render(&planned));
    let destroys = planned.iter().flat_map(|planned| &planned.steps).any(|step| allowed.allows(step.by));
    if destroys && !allowed.yes {
        return Err(Failure::new(
            Exit::Usage,
            "nothing was done: what this destroys is said above, and it takes --yes",
        )
        .hint("the same command with --yes"));
    }
    let to_do: Vec<_> = databases
        .into_iter()
        .zip(&planned)
        .filter(|(_, planned)| planned.steps.iter().any(|step| allowed.takes(step.by)))
        .collect();
    let done = if to_do.is_empty() {
        Vec::new()
    } else {
        match here(&config, &to_do, allowed).await {
            Ok(done) => done,
            Err(error) => by_agent(&command::agent_instead(&error, socket).await?, &to_do, allowed).await?,
        }
    };
    let mut exit = if unreached { Exit::NotReached } else { Exit::Done };
    for (name, outcome) in done {
        match outcome {
            Ok(done) => out::say(&format!("{name}: {done}")),
            Err(failure) => {
                out::complain(&Failure { sentence: format!("{name}: {}", failure.sentence), ..failure });
                exit = Exit::Failed;
            }
        }
    }
    let left = planned
        .iter()
        .any(|planned| !planned.obstacles.is_empty() || planned.steps.iter().any(|step| !allowed.takes(step.by)));
    Ok(if left && exit == Exit::Done { Exit::Failed } else { exit })
}

impl Allowed {
    /// Whether a step that destroys is one of those that are asked for.
    const fn allows(self, by: By) -> bool {
        match by {
            By::Agent | By::Apply => false,
            By::RecreatePublication => self.recreate_publication,
            By::RecreateSlot => self.recreate_slot,
        }
    }

    const fn takes(self, by: By) -> bool {
        matches!(by, By::Agent | By::Apply) || self.allows(by)
    }
}

type Done = Vec<(DatabaseName, Result<String, Failure>)>;

/// Without an agent.
async fn here(config: &Config, to_do: &[(Arc<Database>, &Planned)], allowed: Allowed) -> Result<Done, StartError> {
    let databases: Vec<_> = to_do.iter().map(|(database, _)| Arc::clone(database)).collect();
    let consent = Consent::of_operator(allowed.recreate_publication);
    let done = |Applied { name, outcome }: Applied| {
        let outcome = outcome.map_err(|trouble| Failure::new(Exit::Failed, trouble.sentence).hint(trouble.hint));
        (name, outcome)
    };
    Ok(daemon::apply(config, &databases, consent).await?.into_iter().map(done).collect())
}

async fn by_agent(socket: &Path, to_do: &[(Arc<Database>, &Planned)], allowed: Allowed) -> Result<Done, Failure> {
    let mut all = Vec::new();
    for (database, planned) in to_do {
        let name = &database.name;
        let lost = planned.steps.iter().any(|step| step.by == By::RecreateSlot);
        let (path, body) = if lost && allowed.recreate_slot {
            (format!("/control/databases/{name}/resume"), r#"{"accept_gap": true}"#.to_owned())
        } else {
            let recreate = allowed.recreate_publication;
            (format!("/control/databases/{name}/apply"), format!(r#"{{"recreate_publication": {recreate}}}"#))
        };
        let answer = client::ask(socket, Method::POST, &path, body).await?;
        all.push((name.clone(), answer.done()));
    }
    Ok(all)
}
