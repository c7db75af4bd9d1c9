//! One task tree per database; what changes in the file, or is commanded, touches no other database.
//!
//! ```text
//!  Supervisor ─┬─ Keeper "shop":  round ─► stream ─► round …      (database.rs)
//!              ├─ Keeper "stock": …
//!              └─ a guard's watch for each server                  (guard)
//! ```

mod database;
mod holders;
mod keeper;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::config::{self, Config, Connection, Database, Host, Style};
use crate::guard::{self, Watched};
use crate::ident::DatabaseName;
use crate::postgres::Connector;
use crate::status::{Command, Refusal, Registry};
use crate::storage::SharedStorage;
use crate::stream::positions::Positions;
use holders::Holders;
use keeper::Keeper;

/// How often this loop says that it turns.
const BEAT: Duration = Duration::from_secs(2);
/// How many databases are provisioned at once.
const PROVISIONING: usize = 16;

/// What all databases share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub connector: Connector,
    pub storage: SharedStorage,
    pub positions: Arc<Positions>,
    pub registry: Registry,
    holders: Holders,
    provisioning: Arc<Semaphore>,
}

impl Shared {
    /// Gathers it.
    #[must_use]
    pub fn new(connector: Connector, storage: SharedStorage, positions: Arc<Positions>, registry: Registry) -> Self {
        let provisioning = Arc::new(Semaphore::new(PROVISIONING));
        Self { connector, storage, positions, registry, holders: Holders::default(), provisioning }
    }
}

/// Looks after all databases of a file.
#[derive(Debug)]
pub struct Supervisor {
    file: PathBuf,
    config: Config,
    shared: Shared,
    keepers: HashMap<DatabaseName, Keeper>,
    watches: Option<(CancellationToken, TaskTracker)>,
}

impl Supervisor {
    /// Begins with every database of `config`, which stands in `file`.
    #[must_use]
    pub fn start(file: PathBuf, config: Config, shared: Shared) -> Self {
        let mut supervisor = Self { file, config, shared, keepers: HashMap::new(), watches: None };
        supervisor.declare();
        for database in supervisor.config.databases.clone() {
            supervisor.keep(&database);
        }
        supervisor.watch();
        supervisor
    }

    /// Carries out commands until `stop`, then ends every stream in order.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut beat = interval(BEAT);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = beat.tick() => self.shared.registry.beat(),
                command = commands.recv() => match command {
                    Some(Command::Reload { reply }) => {
                        let outcome = self.reload().await;
                        // Nobody may be waiting: a signal asks for no answer.
                        drop(reply.send(outcome));
                    }
                    Some(Command::Resume { database, reply }) => match self.keepers.get(&database) {
                        Some(keeper) => keeper.resume(reply),
                        None => drop(reply.send(Err(Refusal::Unknown(database)))),
                    },
                    None => break,
                },
            }
        }
        self.end_watches().await;
        for keeper in self.keepers.values() {
            keeper.stop();
        }
        let ends = self.keepers.into_values().map(Keeper::ended);
        if timeout(self.config.agent.stop_timeout, futures_util::future::join_all(ends)).await.is_err() {
            warn!("some streams did not end within stop_timeout; they go on where they were at the next start");
        }
    }

    /// Reads the file again and applies the difference.
    async fn reload(&mut self) -> Result<String, Refusal> {
        let new = match config::load(&self.file) {
            Ok(new) => new,
            Err(mistakes) => {
                let text = mistakes.render(Style::Plain);
                error!("the changed file is wrong and changes nothing:\n{text}");
                self.shared.registry.config_rejected(Some(text.clone()));
                return Err(Refusal::File(text));
            }
        };
        self.shared.registry.config_rejected(None);
        if new.agent != self.config.agent || new.http != self.config.http {
            warn!("[agent] and [http] count from the next start on");
        }
        let old = std::mem::replace(&mut self.config, new);
        let wanted: HashMap<_, _> =
            self.config.databases.iter().map(|new| (new.name.clone(), Arc::clone(new))).collect();
        let changed = |name: &DatabaseName, keeper: &Keeper| {
            wanted.get(name).is_none_or(|new| **new != *keeper.database || sinks_differ(&old, &self.config, new))
        };
        let gone: Vec<_> =
            self.keepers.iter().filter(|(name, keeper)| changed(name, keeper)).map(|(name, _)| name.clone()).collect();
        self.end_watches().await;
        let mut ending = Vec::new();
        for name in &gone {
            if let Some(keeper) = self.keepers.remove(name) {
                keeper.stop();
                ending.push(keeper.ended());
            }
        }
        // What is still stuck then is ended without its goodbye; its sink stays locked until it lets go.
        if timeout(old.agent.stop_timeout, futures_util::future::join_all(ending)).await.is_err() {
            warn!("some streams did not end within stop_timeout");
        }
        self.declare();
        // An operator who has mended something on a server need not wait for its round.
        self.keepers.values().for_each(Keeper::poke);
        let mut begun = 0;
        for database in self.config.databases.clone() {
            if !self.keepers.contains_key(&database.name) {
                self.keep(&database);
                begun += 1;
            }
        }
        self.watch();
        let ended = gone.iter().filter(|name| !self.keepers.contains_key(*name)).count();
        let summary = format!("{begun} databases begun or changed, {ended} ended");
        info!("the file was read again: {summary}");
        Ok(summary)
    }

    fn declare(&self) {
        self.shared.registry.declare(self.config.databases.iter().map(|database| database.name.clone()));
    }

    fn keep(&mut self, database: &Arc<Database>) {
        let keeper = Keeper::start(Arc::clone(database), &self.config, &self.shared);
        self.keepers.insert(database.name.clone(), keeper);
    }

    /// One watch for each server.
    fn watch(&mut self) {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut servers: HashMap<Server<'_>, Vec<Watched>> = HashMap::new();
        for keeper in self.keepers.values() {
            let watched = keeper.watched();
            servers.entry(Server::of(&keeper.database.connection)).or_default().push(watched);
        }
        for (_, slots) in servers {
            tasks.spawn(guard::watch(self.shared.connector.clone(), slots, stop.clone()));
        }
        self.watches = Some((stop, tasks));
    }

    async fn end_watches(&mut self) {
        if let Some((stop, tasks)) = self.watches.take() {
            stop.cancel();
            tasks.close();
            tasks.wait().await;
        }
    }
}

/// What makes two connections lead to one server.
#[derive(PartialEq, Eq, Hash)]
struct Server<'a> {
    host: &'a Host,
    port: u16,
}

impl<'a> Server<'a> {
    const fn of(connection: &'a Connection) -> Self {
        Self { host: &connection.host, port: connection.port }
    }
}

fn sinks_differ(old: &Config, new: &Config, database: &Database) -> bool {
    database.sinks.iter().any(|name| old.sinks.get(name) != new.sinks.get(name))
}
