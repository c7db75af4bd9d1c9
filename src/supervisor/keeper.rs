//! The handle of one database's task.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Shared;
use super::database::{Keep, Resume};
use crate::config::{Config, Database, FileSinkConfig, SinkConfig};
use crate::guard::{Seen, Watched};
use crate::sink::{FileSink, Sink, StdoutSink};
use crate::status::{DatabaseStatus, Refusal, Reply, Reporter};
use crate::stream::positions::Key;
use crate::stream::{NamedSink, Pipeline};

/// Looks after one database, in a task of its own.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) database: Arc<Database>,
    reporter: Arc<Reporter>,
    seen: watch::Sender<Option<Seen>>,
    resume: mpsc::Sender<Resume>,
    poke: Arc<Notify>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Keeper {
    pub(super) fn start(database: Arc<Database>, config: &Config, shared: &Shared) -> Self {
        let initial = DatabaseStatus::new(
            database.name.clone(),
            database.slot.clone(),
            database.publication.clone(),
            database.status,
            jiff::Timestamp::now(),
        );
        let reporter = Arc::new(shared.registry.add(initial));
        let pipeline = Pipeline {
            database: Arc::clone(&database),
            connector: shared.connector.clone(),
            sinks: sinks(&database, config, shared),
            positions: Arc::clone(&shared.positions),
            reporter: Arc::clone(&reporter),
            sink_stall_timeout: config.agent.sink_stall_timeout,
        };
        let (seen, seen_by_task) = watch::channel(None);
        let (resume, resumes) = mpsc::channel(1);
        let (poke, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let (holders, turns) = (shared.holders.clone(), Arc::clone(&shared.provisioning));
        let keep = Keep::new(pipeline, holders, turns, seen_by_task, resumes, Arc::clone(&poke));
        let span = tracing::info_span!("database", name = %database.name);
        let task = AbortOnDropHandle::new(tokio::spawn(keep.run(stop.clone()).instrument(span)));
        Self { database, reporter, seen, resume, poke, stop, task }
    }

    /// What the guard needs to watch its slot.
    pub(super) fn watched(&self) -> Watched {
        Watched { database: Arc::clone(&self.database), reporter: Arc::clone(&self.reporter), seen: self.seen.clone() }
    }

    /// Goes on behind a gap record, if it is lost; answers `reply` once that is known.
    pub(super) fn resume(&self, reply: oneshot::Sender<Reply>) {
        if let Err(refused) = self.resume.try_send(Resume { reply }) {
            let busy = Refusal::Conflict("the database is being resumed already".to_owned());
            drop(refused.into_inner().reply.send(Err(busy)));
        }
    }

    /// Asks for its next round now.
    pub(super) fn poke(&self) {
        self.poke.notify_one();
    }

    /// Asks it to end.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end.
    pub(super) async fn ended(self) {
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::error!(database = %self.database.name, "the task of this database died of a bug");
        }
    }
}

fn sinks(database: &Database, config: &Config, shared: &Shared) -> Vec<NamedSink> {
    let make = |name: &crate::ident::SinkName| {
        let (key, sink) = match &**config.sinks.get(name)? {
            SinkConfig::File(file) => {
                let file = FileSinkConfig { path: file.path_for(&database.name), ..file.clone() };
                (Key::File(file.path.clone()), Sink::File(FileSink::new(file, Arc::clone(&shared.storage))))
            }
            SinkConfig::Stdout => (Key::Stdout(database.name.clone(), name.clone()), Sink::Stdout(StdoutSink::new())),
        };
        Some(NamedSink { name: name.clone(), key, sink: Arc::new(Mutex::new(sink)) })
    };
    database.sinks.iter().filter_map(make).collect()
}
