//! One task tree per database; what changes in the file, or is commanded, touches no other database.
//!
//! ```text
//!  Supervisor ─┬─ Keeper "shop":  round ─► stream ─► round …      (database.rs)
//!              ├─ Keeper "stock": …
//!              └─ a guard's watch for each server                  (guard)
//! ```

mod ask;
mod claims;
mod database;
mod disabled;
mod former;
mod holders;
mod keeper;
pub mod overrides;
mod readers;
mod relief;
mod streaming;
mod watch;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{self, Config, Database, Reloaded, Server, Status, Style};
use crate::guard::Watched;
use crate::ident::DatabaseName;
use crate::postgres::Connector;
use crate::provision::Consent;
use crate::provision::made::Made;
use crate::status::{Command, LogSwitch, Refusal, Registry, Reply, databases};
use crate::storage::SharedStorage;
use crate::stream::positions::Positions;
use ask::{Ask, Wish};
use claims::Claims;
use holders::Holders;
use keeper::Keeper;
use overrides::{Override, Overrides, Wished};
use readers::Declared;
use watch::Watch;

/// How often this loop says that it turns.
const BEAT: Duration = Duration::from_secs(2);

/// What all databases share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub connector: Connector,
    pub storage: SharedStorage,
    pub positions: Arc<Positions>,
    /// What slotd has made on servers.
    pub made: Made,
    /// What commands have put in place of the file.
    pub overrides: Overrides,
    pub registry: Registry,
    declared: Declared,
    holders: Holders,
    claims: Claims,
}

impl Shared {
    /// Gathers it. `declared` is all that the file declares.
    #[must_use]
    pub fn new(
        connector: Connector,
        storage: SharedStorage,
        positions: Arc<Positions>,
        made: Made,
        overrides: Overrides,
        registry: Registry,
        declared: &[Arc<Database>],
    ) -> Self {
        let shared = Self {
            connector,
            storage,
            positions,
            made,
            overrides,
            registry,
            declared: Declared::default(),
            holders: Holders::default(),
            claims: Claims::default(),
        };
        shared.declared.set(declared);
        shared
    }
}

/// Looks after all databases of a file.
#[derive(Debug)]
pub struct Supervisor {
    file: PathBuf,
    config: Config,
    shared: Shared,
    keepers: HashMap<DatabaseName, Keeper>,
    leaving: Leaving,
    /// Reloads whose answer waits for databases that leave.
    reloads: Vec<Reload>,
    /// What is asked of a database as soon as it has begun anew.
    asks: HashMap<DatabaseName, Ask>,
    /// One for each server.
    watches: HashMap<Vec<Server>, Watch>,
    log: LogSwitch,
}

/// Databases that a reload ends. What the file now says of one begins once it has left; nothing else waits for it.
#[derive(Debug, Default)]
struct Leaving {
    names: HashSet<DatabaseName>,
    ends: FuturesUnordered<BoxFuture<'static, DatabaseName>>,
}

/// What a command wishes of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Active,
    Disabled,
    /// Disabled, and its slot gone.
    Dropped,
}

/// A reload that goes on.
#[derive(Debug)]
struct Reload {
    reply: oneshot::Sender<Reply>,
    awaited: HashSet<DatabaseName>,
    summary: String,
}

impl Supervisor {
    /// Begins with every database of `config`, which stands in `file`.
    #[must_use]
    pub fn start(file: PathBuf, config: Config, shared: Shared, log: LogSwitch) -> Self {
        let mut supervisor = Self {
            file,
            config,
            shared,
            keepers: HashMap::new(),
            leaving: Leaving::default(),
            reloads: Vec::new(),
            asks: HashMap::new(),
            watches: HashMap::new(),
            log,
        };
        supervisor.warn();
        supervisor.declare();
        supervisor.keep_declared();
        supervisor.begin_watches(supervisor.to_watch());
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
                Some(name) = self.leaving.ends.next() => self.left(name).await,
                command = commands.recv() => match command {
                    Some(Command::Reload { reply }) => self.reload(reply).await,
                    Some(Command::LogLevel { level, reply }) => {
                        let said = self.log.set(level, "it lasts until slotd is started again, or the file gets another one");
                        drop(reply.send(Ok(said)));
                    }
                    Some(Command::Apply { database, recreate_publication, reply }) => {
                        let consent = Consent::of_operator(recreate_publication);
                        self.ask(database, reply, |keeper, reply| keeper.apply(consent, reply));
                    }
                    Some(Command::Disable { database, reply }) => self.set_status(database, Wanted::Disabled, reply).await,
                    Some(Command::Drop { database, reply }) => self.set_status(database, Wanted::Dropped, reply).await,
                    Some(Command::Enable { database, reply }) => self.set_status(database, Wanted::Active, reply).await,
                    Some(Command::Resume { database, reply }) => self.ask(database, reply, Keeper::resume),
                    None => break,
                },
            }
        }
        for watch in self.watches.into_values() {
            watch.end().await;
        }
        for keeper in self.keepers.values() {
            keeper.stop();
        }
        let stopping = join_all(self.keepers.into_values().map(Keeper::ended));
        let ends = join(stopping, self.leaving.ends.collect::<Vec<_>>());
        if timeout(self.config.agent.stop_timeout, ends).await.is_err() {
            warn!("some streams did not end within stop_timeout; they go on where they were at the next start");
        }
    }

    fn ask(
        &self,
        database: DatabaseName,
        reply: oneshot::Sender<Reply>,
        ask: impl FnOnce(&Keeper, oneshot::Sender<Reply>),
    ) {
        match self.keepers.get(&database) {
            Some(keeper) => ask(keeper, reply),
            None if self.leaving.names.contains(&database) => {
                let ending = "the database is being ended by a reload; try again once that is done";
                drop(reply.send(Err(Refusal::Conflict(ending.to_owned()))));
            }
            None => drop(reply.send(Err(Refusal::Unknown(database)))),
        }
    }

    /// Puts a wish in place of the file's, durably, and begins the database anew with it.
    async fn set_status(&mut self, name: DatabaseName, wanted: Wanted, reply: oneshot::Sender<Reply>) {
        let Some(database) = self.config.databases.iter().find(|database| database.name == name) else {
            return drop(reply.send(Err(Refusal::Unknown(name))));
        };
        let instead_of = database.status;
        let over = match wanted {
            Wanted::Active => (instead_of != Status::Active).then_some(Status::Active),
            Wanted::Disabled => (instead_of != Status::Disabled).then_some(Status::Disabled),
            Wanted::Dropped => Some(Status::Disabled),
        };
        let over = over.map(|status| Override { status, instead_of, dropped: wanted == Wanted::Dropped });
        let before = self.wished(&name);
        if let Err(error) = self.shared.overrides.set(&name, over).await {
            return drop(reply.send(Err(Refusal::Failed(error.to_string()))));
        }
        let after = self.wished(&name);
        if before != after
            && let Some((name, keeper)) = self.keepers.remove_entry(&name)
        {
            keeper.stop();
            self.let_leave(name, keeper, self.config.agent.stop_timeout);
        }
        match wanted {
            Wanted::Dropped => {
                let ask = Ask { wish: Wish::Drop, reply };
                match self.keepers.get(&name) {
                    Some(keeper) => keeper.ask(ask),
                    None => {
                        if let Some(before) = self.asks.insert(name, ask) {
                            let why = "the same was asked once more, and that is answered";
                            before.answer(Err(Refusal::Conflict(why.to_owned())));
                        }
                    }
                }
            }
            Wanted::Active | Wanted::Disabled => {
                let word = if wanted == Wanted::Active { "active" } else { "disabled" };
                let by = if over.is_some() {
                    ", whatever the file says, until it says something else"
                } else {
                    ", as in the file"
                };
                drop(reply.send(Ok(format!("{name} is {word}{by}"))));
            }
        }
        self.settle().await;
    }

    /// The database `name` as it is wished.
    fn wished(&self, name: &DatabaseName) -> Option<Wished> {
        self.shared.overrides.wished(&self.config).into_iter().find(|wished| wished.database.name == *name)
    }

    fn let_leave(&mut self, name: DatabaseName, keeper: Keeper, patience: Duration) {
        self.leaving.names.insert(name.clone());
        self.leaving.ends.push(leave(name, keeper, patience).boxed());
    }

    /// Reads the file again and applies the difference; answers `reply` once all of it has begun.
    async fn reload(&mut self, reply: oneshot::Sender<Reply>) {
        let Reloaded { config, waits } = match config::reload(&self.file, &self.config) {
            Ok(reloaded) => reloaded,
            Err(mistakes) => {
                self.shared.registry.config_rejected(Some(mistakes.to_string()));
                // Nobody may be waiting: a signal asks for no answer.
                drop(reply.send(Err(Refusal::File(mistakes.render(Style::Plain)))));
                return;
            }
        };
        self.shared.registry.config_rejected(None);
        if waits {
            warn!("changes under [agent], but for `log`, and under [http] count from the next start on");
        }
        let old = std::mem::replace(&mut self.config, config);
        if self.config.agent.log != old.agent.log {
            self.log.set(self.config.agent.log, "the changed file says so");
        }
        self.shared.declared.set(&self.config.databases);
        self.warn();
        if let Err(error) = self.shared.overrides.prune(&self.config).await {
            warn!("{error}");
        }
        let wished = self.shared.overrides.wished(&self.config);
        let wanted: HashMap<_, _> = wished.iter().map(|new| (&new.database.name, new)).collect();
        let changed = |keeper: &Keeper| {
            let wanted = wanted.get(&keeper.wished.database.name);
            wanted.is_none_or(|new| **new != keeper.wished || sinks_differ(&old, &self.config, &new.database))
        };
        let gone: Vec<_> = self
            .keepers
            .extract_if(|_, keeper| keeper.has_died() || changed(keeper))
            .inspect(|(_, keeper)| keeper.stop())
            .collect();
        let ended = gone.iter().filter(|(name, _)| !wanted.contains_key(name)).count();
        let begun = wanted.keys().filter(|name| !self.keepers.contains_key(**name)).count();
        for (name, keeper) in gone {
            self.let_leave(name, keeper, old.agent.stop_timeout);
        }
        let summary = format!("{} begun or changed, {ended} ended", databases(begun));
        self.reloads.push(Reload { reply, awaited: self.leaving.names.clone(), summary });
        self.declare();
        // An operator who has mended something on a server need not wait for its round. Beside what changed in the file, what
        // is well is left alone.
        let unchanged = begun == 0 && ended == 0;
        self.keepers.values().filter(|keeper| unchanged || keeper.is_troubled()).for_each(Keeper::poke);
        self.settle().await;
    }

    /// A database has left.
    async fn left(&mut self, name: DatabaseName) {
        self.forget(name);
        // Those that left in the meantime, so that the servers are looked at anew once for all of them.
        while let Some(Some(name)) = self.leaving.ends.next().now_or_never() {
            self.forget(name);
        }
        self.settle().await;
    }

    fn forget(&mut self, name: DatabaseName) {
        self.leaving.names.remove(&name);
        for reload in &mut self.reloads {
            reload.awaited.remove(&name);
        }
    }

    /// Begins what can begin, and answers the reloads of which nothing is awaited any more.
    async fn settle(&mut self) {
        self.keep_declared();
        self.watch().await;
        for done in self.reloads.extract_if(.., |reload| reload.awaited.is_empty()) {
            info!("the file was read again: {}", done.summary);
            drop(done.reply.send(Ok(done.summary)));
        }
    }

    /// Logs what works in the file and should be known.
    fn warn(&self) {
        for warning in &self.config.warnings {
            warn!("{warning}");
        }
    }

    fn declare(&self) {
        self.shared.registry.declare(self.config.databases.iter().map(|database| database.name.clone()));
    }

    /// Looks after every declared database that nobody looks after, or did until just now.
    fn keep_declared(&mut self) {
        for wished in self.shared.overrides.wished(&self.config) {
            let name = wished.database.name.clone();
            if !self.keepers.contains_key(&name) && !self.leaving.names.contains(&name) {
                let keeper = Keeper::start(wished, &self.config, &self.shared);
                if let Some(ask) = self.asks.remove(&name) {
                    keeper.ask(ask);
                }
                self.keepers.insert(name, keeper);
            }
        }
        // What is asked of one that the file has no more.
        for (name, ask) in self.asks.extract_if(|name, _| !self.leaving.names.contains(name)) {
            ask.answer(Err(Refusal::Unknown(name)));
        }
    }

    /// Has each server watched for the databases that are on it now; a watch of the same ones goes on.
    async fn watch(&mut self) {
        let mut wanted = self.to_watch();
        let is_stale =
            |servers: &Vec<Server>, watch: &mut Watch| wanted.get(servers).is_none_or(|slots| !watch.is_of(slots));
        let stale: Vec<_> = self.watches.extract_if(is_stale).collect();
        join_all(stale.into_iter().map(|(_, watch)| watch.end())).await;
        wanted.retain(|servers, _| !self.watches.contains_key(servers));
        self.begin_watches(wanted);
    }

    /// What there is to watch, by server.
    fn to_watch(&self) -> HashMap<Vec<Server>, Vec<Watched>> {
        let mut servers: HashMap<_, Vec<_>> = HashMap::new();
        for keeper in self.keepers.values() {
            servers.entry(keeper.wished.database.connection.servers()).or_default().push(keeper.watched());
        }
        servers
    }

    fn begin_watches(&mut self, wanted: HashMap<Vec<Server>, Vec<Watched>>) {
        for (servers, slots) in wanted {
            self.watches.insert(servers, Watch::begin(self.shared.connector.clone(), slots));
        }
    }
}

/// Waits for the end of what looks after `name`, as long as `patience`. What is still stuck then is ended without its
/// goodbye; its sink stays locked until it lets go.
async fn leave(name: DatabaseName, keeper: Keeper, patience: Duration) -> DatabaseName {
    if timeout(patience, keeper.ended()).await.is_err() {
        warn!(database = %name, "{name}: the stream did not end within stop_timeout; it goes on where it was");
    }
    name
}

fn sinks_differ(old: &Config, new: &Config, database: &Database) -> bool {
    database.sinks.iter().any(|name| old.sinks.get(name) != new.sinks.get(name))
}
