//! One command, carried out here where no agent holds the state directory: all that an agent has but a listener.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::apply::is_ours;
use super::state::StateDir;
use super::{StartError, connector};
use crate::config::{Config, SinkConfig};
use crate::ident::DatabaseName;
use crate::status::{Bounds, Command, LogSwitch, Refusal, Registry, Reply};
use crate::supervisor::{Shared, Supervisor};

/// Carries out what `command` makes for the database `name` of `config`, which stands in `file`. Its stream may begin
/// meanwhile, and ends in order.
///
/// # Errors
/// An agent holds the state directory, or it can't be used.
pub async fn once(
    file: &Path,
    config: Config,
    name: &DatabaseName,
    command: impl FnOnce(oneshot::Sender<Reply>) -> Command,
) -> Result<Reply, StartError> {
    let dir = config.agent.state_dir.clone();
    is_ours(&dir)?;
    let declared = config.databases.clone();
    let mut config = config;
    config.databases.retain(|database| database.name == *name);
    let to_stdout = |database: &Arc<crate::config::Database>| {
        let is_stdout = |sink| config.sinks.get(sink).is_some_and(|sink| matches!(**sink, SinkConfig::Stdout));
        database.sinks.iter().any(is_stdout)
    };
    if config.databases.iter().any(to_stdout) {
        let why = "its changes go to standard output, which only a running agent has";
        return Ok(Err(Refusal::Conflict(why.to_owned())));
    }
    let StateDir { storage, agent, positions, made, overrides, _lock } = StateDir::take(&dir)?;
    let registry = Registry::new(file, Bounds::from(&config.agent));
    let connector = connector(&config, agent);
    let shared = Shared::new(connector, storage, Arc::new(positions), made, overrides, registry, &declared);
    let log = LogSwitch::new(config.agent.log, |_| {});
    let (commands, to_carry_out) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let supervisor = Supervisor::start(file.to_owned(), config, shared, log);
    let running = tokio::spawn(supervisor.run(to_carry_out, stop.clone()));
    let (reply, answer) = oneshot::channel();
    let ended = || Refusal::Failed("the work on it broke off".to_owned());
    let answer = match commands.send(command(reply)).await {
        Ok(()) => answer.await.unwrap_or_else(|_| Err(ended())),
        Err(_) => Err(ended()),
    };
    stop.cancel();
    // A panic in it has been reported by then.
    drop(running.await);
    Ok(answer)
}
