//! The agent as a whole: what is built, in which order, and how it ends.

mod apply;
mod behind;
mod once;
mod state;

use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use apply::{Applied, apply};
pub use once::once;
pub use state::known_agent;

use crate::config::Config;
use crate::http::{self, ControlSocket, HealthPort, Listeners};
use crate::net::resolve::Resolver;
use crate::postgres::Connector;
use crate::sink::stdout;
use crate::status::{Bounds, Command, Holder, LogSwitch, Registry, databases};
use crate::storage::json::JsonFileError;
use crate::stream::positions::PositionsError;
use crate::supervisor::{Shared, Supervisor};
use crate::systemd::Service;
use behind::{Surrounding, Taken};
use state::StateDir;

/// The agent can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("another slotd{} works with the state directory {}", named(by.as_ref()), path.display())]
    Locked { path: PathBuf, by: Option<Holder> },
    #[error("the state directory {path} belongs to the user {uid}", path = path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error(transparent)]
    Listen(#[from] http::ServeError),
    #[error(transparent)]
    StateFile(#[from] JsonFileError),
    #[error(transparent)]
    Positions(#[from] PositionsError),
    #[error("signals can't be received: {0}")]
    Signals(#[source] std::io::Error),
    #[error("the state directory {path} can't be used: {source}")]
    State {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

fn named(by: Option<&Holder>) -> String {
    by.map_or_else(String::new, |by| format!(" (process {})", by.pid))
}

/// Runs the agent on `config`, which stands in `file`, until a signal ends it. `socket` is where commands are taken,
/// `log` what changes the level of the log. While another agent holds the state directory it waits behind that.
///
/// # Errors
/// It can't begin.
pub async fn run(file: PathBuf, config: Config, socket: PathBuf, log: LogSwitch) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    raise_descriptor_limit();
    let registry = Registry::new(file.clone(), Bounds::from(&config.agent));
    let (commands, to_carry_out) = mpsc::channel(16);
    let mut service = Service::new(&|name| std::env::var(name).ok(), registry.clone());
    let mut to_carry_out = service.telling_reloads(to_carry_out);
    // Health is told until the last stream has ended.
    let close = CancellationToken::new();
    let mut serving = JoinSet::new();
    let serve = |listeners| http::serve(listeners, registry.clone(), commands.clone(), close.clone());
    serving.spawn(serve(Listeners { port: HealthPort::of(&config.http).await?, socket: None }));
    let around = Surrounding {
        file: &file,
        registry: &registry,
        signals: &mut signals,
        service: &mut service,
        commands: &commands,
        to_carry_out: &mut to_carry_out,
    };
    let Some(Taken { config, state, shown }) = behind::take(config, around).await? else {
        info!("slotd has ended: it waited for the state directory");
        return Ok(());
    };
    let StateDir { storage, agent, positions, made, overrides, _lock } = state;
    let state_dir = config.agent.state_dir.clone();
    // Whoever holds the state directory takes the commands.
    serving.spawn(serve(Listeners { port: None, socket: Some(ControlSocket::bind(socket)?) }));
    if !positions.knows_stdout() {
        stdout::first_of_all();
    }

    let stop = CancellationToken::new();
    let connector = connector(&config, agent);
    let (version, count) = (env!("CARGO_PKG_VERSION"), databases(config.databases.len()));
    info!(
        version,
        "slotd {version} begins with {count} of {}; its state is in {}",
        file.display(),
        state_dir.display()
    );
    let stop_timeout = config.agent.stop_timeout;
    let shared =
        Shared::new(connector, storage, Arc::new(positions), made, overrides, registry.clone(), &config.databases);
    let supervisor = Supervisor::start(file.clone(), config, shared, log);
    drop(shown);
    let mut running = tokio::spawn(supervisor.run(to_carry_out, stop.clone()));
    service.ready().await;
    let mut stopping = false;
    let ran = loop {
        tokio::select! {
            biased;
            ran = &mut running => break ran,
            wish = signals.next() => match wish {
                Wish::End if stopping => {
                    warn!("a second signal: ending at once");
                    serving.abort_all();
                    break Ok(());
                }
                Wish::End => {
                    info!("stopping: the running batches are made durable and acknowledged");
                    stopping = true;
                    stop.cancel();
                    service.stopping(stop_timeout).await;
                }
                Wish::Reload => reload_on(&commands),
            },
        }
    };
    close.cancel();
    // They bound the answers that are under way themselves; a panic in one has been reported by then.
    while serving.join_next().await.is_some() {}
    if let Err(broken) = ran
        && let Ok(panic) = broken.try_into_panic()
    {
        // Not a clean end: whatever started slotd is to start it again.
        std::panic::resume_unwind(panic);
    }
    info!("slotd has ended");
    Ok(())
}

/// Asks for a reload; not lost behind a queue that is full, and no signal waits for it.
fn reload_on(commands: &mpsc::Sender<Command>) {
    let ((reply, _), commands) = (oneshot::channel(), commands.clone());
    tokio::spawn(async move { drop(commands.send(Command::Reload { reply }).await) });
}

/// What connects as `config` says; its sessions call themselves `application_name`.
#[must_use]
pub fn connector(config: &Config, application_name: String) -> Connector {
    let agent = &config.agent;
    let resolver = Resolver::new(agent.resolver);
    Connector::new(resolver, agent.connect_timeout, agent.wal_sender_timeout, application_name)
}

/// A database takes about four descriptors. The usual soft limit is low for the sake of programs that use `select`, which
/// this one does not.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        warn!("the limit of open files stays as it is: {error} (raise it with LimitNOFILE or ulimit -n)");
    }
}

/// The signals that an agent listens to.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::End,
            _ = self.terminate.recv() => Wish::End,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// What a signal asks for.
enum Wish {
    End,
    Reload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_descriptors_that_may_be_had_are_had() {
        let before = getrlimit(Resource::Nofile);
        let lower = before.maximum.map(|most| most - 1);
        setrlimit(Resource::Nofile, Rlimit { current: lower, ..before }).unwrap();
        raise_descriptor_limit();
        let after = getrlimit(Resource::Nofile);
        assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
    }
}
