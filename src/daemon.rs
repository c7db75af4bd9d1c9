//! The agent as a whole: what is built, in which order, and how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::http;
use crate::ident::MAX_NAME_BYTES;
use crate::net::resolve::Resolver;
use crate::postgres::Connector;
use crate::sink::stdout;
use crate::status::{Bounds, Command, LogSwitch, Registry, databases};
use crate::storage::{self, Disk, SharedStorage};
use crate::stream::positions::{Positions, PositionsError};
use crate::supervisor::{Shared, Supervisor};
use crate::systemd::Service;

/// The agent can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("another slotd works with the state directory {0}")]
    Locked(PathBuf),
    #[error(transparent)]
    Listen(#[from] http::ServeError),
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

/// Runs the agent on `config`, which stands in `file`, until a signal ends it. `socket` is where commands are taken,
/// `log` what changes the level of the log.
///
/// # Errors
/// It can't begin.
pub async fn run(file: PathBuf, config: Config, socket: PathBuf, log: LogSwitch) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    raise_descriptor_limit();
    let storage: SharedStorage = Arc::new(Disk);
    let state_dir = config.agent.state_dir.clone();
    let unusable = |source| StartError::State { path: state_dir.clone(), source };
    storage.create_dir_all(&state_dir).map_err(unusable)?;
    let _lock = lock(&storage, &state_dir)?;
    let id = agent_id(&storage, &state_dir).map_err(unusable)?;
    let positions = Positions::open(Arc::clone(&storage), &state_dir)?;
    if !positions.knows_stdout() {
        stdout::first_of_all();
    }

    let registry = Registry::new(file.clone(), Bounds::from(&config.agent));
    let (commands, to_carry_out) = mpsc::channel(16);
    let mut service = Service::new(&|name| std::env::var(name).ok(), registry.clone());
    let to_carry_out = service.telling_reloads(to_carry_out);
    let stop = CancellationToken::new();
    let listeners = http::bind(&config.http, &socket).await?;
    // Health is told until the last stream has ended.
    let close = CancellationToken::new();
    let serving = tokio::spawn(http::serve(listeners, registry.clone(), commands.clone(), close.clone()));

    let resolver = Resolver::new(config.agent.resolver);
    let connector =
        Connector::new(resolver, config.agent.connect_timeout, config.agent.wal_sender_timeout, format!("slotd/{id}"));
    let (version, count) = (env!("CARGO_PKG_VERSION"), databases(config.databases.len()));
    info!(
        version,
        "slotd {version} begins with {count} of {}; its state is in {}",
        file.display(),
        state_dir.display()
    );
    let stop_timeout = config.agent.stop_timeout;
    let shared = Shared::new(connector, storage, Arc::new(positions), registry);
    let supervisor = Supervisor::start(file, config, shared, log);
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
                    serving.abort();
                    break Ok(());
                }
                Wish::End => {
                    info!("stopping: the running batches are made durable and acknowledged");
                    stopping = true;
                    stop.cancel();
                    service.stopping(stop_timeout).await;
                }
                Wish::Reload => {
                    let (reply, _) = oneshot::channel();
                    // Not lost behind a queue that is full, and no signal waits for it.
                    let commands = commands.clone();
                    tokio::spawn(async move { drop(commands.send(Command::Reload { reply }).await) });
                }
            },
        }
    };
    close.cancel();
    // It bounds the answers that are under way itself; a panic in it has been reported by then.
    drop(serving.await);
    if let Err(broken) = ran
        && let Ok(panic) = broken.try_into_panic()
    {
        // Not a clean end: whatever started slotd is to start it again.
        std::panic::resume_unwind(panic);
    }
    info!("slotd has ended");
    Ok(())
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

/// Holds the state directory for this process alone.
fn lock(storage: &SharedStorage, state_dir: &Path) -> Result<storage::Lock, StartError> {
    let path = state_dir.join("lock");
    storage.lock(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => StartError::Locked(state_dir.to_owned()),
        _ => StartError::State { path, source },
    })
}

/// What this state directory's agent calls itself, the same at every start.
fn agent_id(storage: &SharedStorage, state_dir: &Path) -> std::io::Result<String> {
    let path = state_dir.join("agent-id");
    match storage::read(&**storage, &path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            let fits =
                !text.is_empty() && text.len() < MAX_NAME_BYTES / 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
            fits.then_some(text).ok_or_else(|| {
                std::io::Error::other(format!("{} holds no agent id; remove the file to get a new one", path.display()))
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = format!("{:016x}", fastrand::u64(..));
            storage::replace(&**storage, &path, format!("{id}\n").as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(error),
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
