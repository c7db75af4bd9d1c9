//! The handle of one database's task.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::future::FutureExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use super::ask::{Ask, Wish, not_lost};
use super::database::Keep;
use super::overrides::Wished;
use crate::config::{Config, Database, FileSinkConfig, Password, SinkConfig};
use crate::guard::{Seen, Watched};
use crate::provision::Consent;
use crate::sink::{FileSink, Sink, StdoutSink};
use crate::status::{Condition, DatabaseStatus, Reason, Refusal, Reply, Reporter, State, Trouble};
use crate::stream::positions::Key;
use crate::stream::{NamedSink, Pipeline};

/// Looks after one database, in a task of its own.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) wished: Wished,
    reporter: Arc<Reporter>,
    seen: watch::Sender<Option<Seen>>,
    asks: mpsc::Sender<Ask>,
    poke: Arc<Notify>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Keeper {
    pub(super) fn start(wished: Wished, config: &Config, shared: &Shared) -> Self {
        let database = Arc::clone(&wished.database);
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
            unacknowledged: Arc::default(),
            sink_stall_timeout: config.agent.sink_stall_timeout,
        };
        let (seen, seen_by_task) = watch::channel(None);
        let (asks, asked) = mpsc::channel(1);
        let (poke, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let keep = Keep::new(pipeline, wished.over, shared, seen_by_task, asked, Arc::clone(&poke));
        let (running, teller) = (keep.run(stop.clone()), Arc::clone(&reporter));
        let password = database.connection.password.clone();
        let run = async move {
            // Off the threads that carry the streams: the file may be on a disk that hangs.
            if matches!(password, Password::File(_))
                && let Ok(Some(open)) = spawn_blocking(move || password.open_to_all()).await
            {
                teller.warn(&open.to_string(), &open.hint());
            }
            // All that it held is dropped by then: its connections are closed, and its sinks are opened anew.
            if AssertUnwindSafe(running).catch_unwind().await.is_err() {
                died(&teller);
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(run));
        Self { wished, reporter, seen, asks, poke, stop, task }
    }

    /// Whether it ended without being asked to.
    pub(super) fn has_died(&self) -> bool {
        self.task.is_finished()
    }

    /// What the guard needs to watch its slot.
    pub(super) fn watched(&self) -> Watched {
        Watched {
            database: Arc::clone(&self.wished.database),
            reporter: Arc::clone(&self.reporter),
            seen: self.seen.clone(),
        }
    }

    /// Goes on behind a gap record, if it is lost; answers `reply` once that is known.
    pub(super) fn resume(&self, reply: oneshot::Sender<Reply>) {
        let reason = match &self.reporter.status().condition {
            Condition::Other(State::Lost | State::Failed, lost) if lost.reason.is_lost() => lost.reason,
            // A disabled one says better why not.
            Condition::Other(State::Disabled, trouble) => trouble.reason,
            _ => return drop(reply.send(Err(not_lost()))),
        };
        self.ask(Ask { wish: Wish::Resume(reason), reply });
    }

    /// Makes publication and slot as declared, as far as `consent` goes; answers `reply` once that is done.
    pub(super) fn apply(&self, consent: Consent, reply: oneshot::Sender<Reply>) {
        self.ask(Ask { wish: Wish::Apply(consent), reply });
    }

    pub(super) fn ask(&self, ask: Ask) {
        if let Err(refused) = self.asks.try_send(ask) {
            let why = match &refused {
                TrySendError::Full(_) => "the database is busy with another command",
                TrySendError::Closed(_) => "the work on this database broke off; run slotd reload first",
            };
            refused.into_inner().answer(Err(Refusal::Conflict(why.to_owned())));
        }
    }

    /// Whether there is something that a round might find mended.
    pub(super) fn is_troubled(&self) -> bool {
        let status = self.reporter.status();
        status.condition.state() != State::Streaming || !status.findings.is_empty()
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
        // Whether it broke off was told by then.
        drop(self.task.await);
    }
}

/// Tells that the task panicked. It is not begun again by itself: what broke it is most likely still there, and the
/// database would show itself as streaming each time until it broke again.
fn died(reporter: &Reporter) {
    let trouble = Trouble::new(
        Reason::Defect,
        "the work on this database broke off by a defect of slotd",
        "report it with the lines before it in the log; nothing is lost, and slotd reload begins this database again",
    );
    reporter.failed(State::Failed, trouble);
    reporter.tries(reporter.status().failures, None);
    reporter.round_done();
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
