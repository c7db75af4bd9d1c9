//! One stream from its judgement to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::feedback::{Feedback, FeedbackError, Patience};
use super::positions::Positions;
use super::progress::Progress;
use super::reader::{ReadError, Reader};
use super::relations::{Relations, TypeSource};
use super::resume::{self, Judgement, Server};
use super::sinks::{NamedSink, Sinks};
use crate::change::{Gap, Record, StreamIdentity};
use crate::config::Database;
use crate::faults::{self, Break};
use crate::lsn::{EndLsn, Lsn};
use crate::postgres::catalog::{self, SlotFacts};
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::types::Horizon;
use crate::postgres::{
    Connector, CopyReader, CopyWriter, History, ReplicationError, ReplicationSession, SystemIdentity,
};
use crate::sink::SinkError;
use crate::status::{self, Condition, Finding, Reason, Reporter, Trouble};
use crate::wire::ServerError;

/// How long the end of a copy may take on the server's side.
const FAREWELL: Duration = Duration::from_secs(3);

/// What one slot's streams need, one after the other.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub database: Arc<Database>,
    pub connector: Connector,
    pub sinks: Vec<NamedSink>,
    pub positions: Arc<Positions>,
    pub reporter: Arc<Reporter>,
    pub sink_stall_timeout: Duration,
}

/// Why there is no stream (any more).
#[derive(Debug)]
pub enum End {
    /// The slot no longer leads on from where a sink stands.
    Lost(Trouble),
    /// It was asked to stop.
    Stopped,
    /// Anything else.
    Trouble(Diagnosis),
}

/// The server and the sinks, before anything is judged.
#[derive(Debug)]
pub struct Opened {
    sinks: Sinks,
    identity: Arc<StreamIdentity>,
    system: SystemIdentity,
    history: History,
}

/// How the operator wants holes to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// Begin anew behind a gap record that gives this reason: said in so many words, once.
    Accept(Reason),
    /// Stop: `lost`.
    Refuse,
}

/// A hole that the operator has accepted.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// What the gap record says.
    pub reason: Reason,
    /// The slot was made or advanced for it. Then there is a hole whatever the positions say: on a timeline that left
    /// ours, a new slot can stand below a position that we have from before.
    pub anew: bool,
}

/// A stream that runs.
#[derive(Debug)]
pub struct Started {
    reader: CopyReader,
    writer: CopyWriter,
    opened: Opened,
    horizon: Horizon,
}

impl Pipeline {
    /// Opens the sinks for what `session` is connected to.
    ///
    /// # Errors
    /// The server or a sink refuses.
    pub async fn open(&self, session: &mut ReplicationSession) -> Result<Opened, End> {
        let to = &self.database.connection;
        let refused = |error| End::Trouble(trouble::of_replication(Step::Observe, &error, to));
        let system = session.identify_system().await.map_err(refused)?;
        let history = session.history(system.timeline).await.map_err(refused)?;
        let identity = Arc::new(StreamIdentity {
            system_identifier: system.system_identifier,
            timeline: system.timeline,
            slot: self.database.slot.clone(),
            database: self.database.name.clone(),
            dbname: to.database.clone(),
            hostname: trouble::hostname(to),
        });
        let sinks = Sinks::open(
            &self.sinks,
            &self.database.name,
            &identity,
            Arc::clone(&self.positions),
            self.sink_stall_timeout,
        );
        let sinks = sinks.await.map_err(sink_trouble)?;
        let opened = Opened { sinks, identity, system, history };
        self.report_standing(&opened);
        Ok(opened)
    }

    /// Tells where the sinks stand before anything flows: whoever asks what a lost slot costs wants to know.
    fn report_standing(&self, opened: &Opened) {
        let (slot, system) = (&opened.identity.slot, opened.identity.system_identifier);
        let ours = |record: &&Record| record.slot == *slot && record.system_identifier == system;
        let records = opened.sinks.iter().map(|open| open.standing.record.as_ref().filter(ours));
        if let Some(records) = records.collect::<Option<Vec<_>>>() {
            let durable = records.into_iter().map(resume::position).min();
            self.reporter.positions(|positions| positions.durable = positions.durable.max(durable));
        }
    }

    /// Judges every sink against the slot and starts the stream at the lowest start.
    ///
    /// # Errors
    /// The slot does not lead on, or the server or a sink refuses.
    pub async fn start(
        &self,
        mut opened: Opened,
        session: ReplicationSession,
        slot: &SlotFacts,
        in_recovery: bool,
        accepted: Option<Accepted>,
    ) -> Result<Started, End> {
        let to = &self.database.connection;
        let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
        let mut start = None;
        for at in 0..opened.sinks.len() {
            let sink_start = self.begin(&mut opened, at, confirmed, in_recovery, accepted).await?;
            start = Some(start.map_or(sink_start, |start: Lsn| start.min(sink_start)));
        }
        let start = start.unwrap_or(confirmed);
        let refused = |error| End::Trouble(trouble::of_replication(Step::Start, &error, to));
        let (reader, writer) =
            session.start(&self.database.slot, &self.database.publication, start).await.map_err(refused)?;

        // The server moves a low start up without a word; nobody can move the slot while we hold it.
        let sql = self.connector.sql(to).await.map_err(|error| End::Trouble(trouble::of_connect(&error, to)))?;
        let now = catalog::slots(&sql, &[&self.database.slot]).await;
        let now = now.map_err(|error| End::Trouble(trouble::of_sql(Step::Observe, &error, to)))?;
        if now.first().and_then(|slot| slot.confirmed_flush_lsn) != slot.confirmed_flush_lsn {
            return Err(End::Trouble(Diagnosis {
                class: Class::Retry,
                trouble: Trouble::new(
                    Reason::SlotHeld,
                    format!("the slot {} was moved while the stream was being started", self.database.slot),
                    "nothing to do: it is judged anew",
                ),
            }));
        }
        info!(database = %self.database.name, slot = %self.database.slot, lsn = %start, "streaming from {start}");
        let horizon = Horizon::now(&sql).await;
        let horizon = horizon.map_err(|error| End::Trouble(trouble::of_sql(Step::Observe, &error.into(), to)))?;
        Ok(Started { reader, writer, opened, horizon })
    }

    /// Judges every sink against the slot and touches nothing: why the slot no longer leads on, if it does not.
    #[must_use]
    pub fn inspect(&self, opened: &Opened, slot: &SlotFacts, in_recovery: bool) -> Option<Trouble> {
        let server = self.server(opened, slot.confirmed_flush_lsn.unwrap_or_default(), in_recovery);
        opened.sinks.iter().find_map(|open| match resume::judge(&server, &open.standing) {
            Judgement::Lost { reason, sentence } => Some(self.lost(reason, sentence)),
            _ => None,
        })
    }

    /// Whether the server is another cluster: judged before its slot is looked for, which it may well not have.
    #[must_use]
    pub fn other_cluster(&self, opened: &Opened) -> Option<Trouble> {
        let system = opened.system.system_identifier;
        let mut sinks = opened.sinks.iter();
        let sentence = sinks.find_map(|open| resume::other_cluster(system, &self.database.slot, &open.standing))?;
        Some(self.lost(Reason::OtherCluster, sentence))
    }

    fn server<'a>(&'a self, opened: &'a Opened, confirmed_flush_lsn: Lsn, in_recovery: bool) -> Server<'a> {
        Server {
            system_identifier: opened.system.system_identifier,
            history: &opened.history,
            wal_end: opened.system.wal_end,
            in_recovery,
            confirmed_flush_lsn,
            slot: &self.database.slot,
        }
    }

    /// Judges sink `at`, and begins it anew where that is right. Returns where it wants the stream to start.
    async fn begin(
        &self,
        opened: &mut Opened,
        at: usize,
        confirmed: Lsn,
        in_recovery: bool,
        accepted: Option<Accepted>,
    ) -> Result<Lsn, End> {
        let server = self.server(opened, confirmed, in_recovery);
        let Some(standing) = opened.sinks.iter().nth(at).map(|open| &open.standing) else { return Ok(confirmed) };
        let judgement = if faults::broken(Break::SkipComparison) {
            Judgement::Resume { start: confirmed, held: None }
        } else {
            resume::judge(&server, standing)
        };
        let ours = || Some(standing.record.as_ref().map_or(Lsn::ZERO, resume::position));
        let (from, reason) = match judgement {
            Judgement::Resume { .. } if let Some(Accepted { reason, anew: true }) = accepted => {
                (ours(), reason.as_str())
            }
            Judgement::Resume { start, held } => {
                opened.sinks.resume(at, held);
                return Ok(start);
            }
            Judgement::Wait { sentence } => {
                return Err(End::Trouble(Diagnosis {
                    class: Class::Retry,
                    trouble: Trouble::new(Reason::Server, sentence, "wait for the standby to replay"),
                }));
            }
            Judgement::Adopt { behind, .. } => (behind, "another slot was streamed here before"),
            Judgement::Lost { reason, sentence } => match accepted {
                Some(accepted) => (ours(), accepted.reason.as_str()),
                None => return Err(End::Lost(self.lost(reason, sentence))),
            },
        };
        info!(
            database = %self.database.name, slot = %self.database.slot, lsn = %confirmed,
            "the slot is taken up at {confirmed}: changes flow from there on, rows that exist already are not copied"
        );
        let record = Record {
            system_identifier: opened.identity.system_identifier,
            timeline: opened.identity.timeline,
            slot: self.database.slot.clone(),
            acknowledged: Some(EndLsn::of_confirmed_flush(confirmed)),
            cursor: None,
        };
        let gap = from.map(|from| Gap { from, to: Some(confirmed), reason: reason.to_owned() });
        opened.sinks.adopt(at, record, gap).await.map_err(sink_trouble)?;
        // What was told before may be of another history, and higher.
        self.reporter.positions(|positions| {
            *positions = status::Positions {
                durable: Some(confirmed),
                confirmed_flush_lsn: Some(confirmed),
                ..status::Positions::default()
            };
        });
        Ok(confirmed)
    }

    /// The trouble of a `lost` slot, with the way out.
    #[must_use]
    pub fn lost(&self, reason: Reason, sentence: String) -> Trouble {
        let name = &self.database.name;
        Trouble::new(
            reason,
            sentence,
            format!(
                "`slotd resume {name} --accept-gap` goes on behind a gap record; what lies in the gap is not delivered"
            ),
        )
    }

    /// Streams until `stop`, or until something breaks.
    pub async fn run(&self, started: Started, stop: &CancellationToken) -> End {
        let Started { reader, writer, opened, horizon } = started;
        let Opened { sinks, identity, history, .. } = opened;
        let progress = Arc::new(Progress::new(sinks.len()));
        let ledger = Arc::new(sinks.ledger(&identity));
        let patience = Patience {
            wal_sender_timeout: self.connector.wal_sender_timeout(),
            sink_stall_timeout: self.sink_stall_timeout,
        };
        let types = TypeSource {
            connector: self.connector.clone(),
            connection: self.database.connection.clone(),
            slot: self.database.slot.clone(),
            horizon,
        };
        let (batches, to_deliver) = mpsc::channel(1);
        let (notices, mut noticed) = mpsc::channel(16);
        let (stop_reading, stop_feedback) = (stop.child_token(), CancellationToken::new());

        let reader = Reader::new(
            reader,
            batches,
            Arc::clone(&progress),
            Relations::new(types),
            history,
            notices,
            &self.database.publication,
        );
        let mut reading = spawn(reader.run(stop_reading));
        let mut delivering = spawn(sinks.deliver(to_deliver, Arc::clone(&progress), Arc::clone(&ledger)));
        let feedback = Feedback::new(writer, progress, ledger, Arc::clone(&self.reporter), patience);
        let mut acknowledging = spawn(feedback.run(stop_feedback.clone()));
        // After trouble with a sink it is feedback that tells when it is over.
        if self.reporter.status().condition.trouble().is_none_or(|trouble| trouble.reason != Reason::Sink) {
            self.reporter.condition(Condition::Streaming);
        }

        let mut delivered_all = false;
        let reader = loop {
            tokio::select! {
                biased;
                delivered = &mut delivering, if !delivered_all => match joined(delivered) {
                    // The reader has let go of the batches' channel, and its end is being told at this moment.
                    Ok(()) => delivered_all = true,
                    Err(error) => return sink_trouble(error),
                },
                fed = &mut acknowledging => return joined(fed).map_or_else(|error| self.feedback_end(error), |_| End::Stopped),
                read = &mut reading => match joined(read) {
                    Ok(reader) => break reader,
                    Err(error) if error.is_hole() && !delivered_all => {
                        // As long as they need: feedback ends them if they take too long.
                        let delivered = tokio::select! {
                            biased;
                            delivered = &mut delivering => joined(delivered),
                            fed = &mut acknowledging => {
                                return joined(fed).map_or_else(|error| self.feedback_end(error), |_| End::Stopped);
                            }
                        };
                        return delivered.map_or_else(sink_trouble, |()| self.read_end(error));
                    }
                    Err(error) => return self.read_end(error),
                },
                Some(notice) = noticed.recv() => self.notice(&notice),
            }
        };
        if !delivered_all && let Err(error) = joined(delivering.await) {
            return sink_trouble(error);
        }
        stop_feedback.cancel();
        if let Ok(feedback) = joined(acknowledging.await) {
            farewell(reader, feedback).await;
        }
        End::Stopped
    }

    fn notice(&self, notice: &ServerError) {
        warn!(database = %self.database.name, slot = %self.database.slot, "the server warns on the stream: {notice}");
        self.reporter.findings(vec![Finding {
            code: "stream_warning",
            sentence: format!("the server warns on the stream: {notice}"),
            hint: notice.hint.clone().unwrap_or_else(|| "see the server's log".to_owned()),
        }]);
    }

    fn read_end(&self, error: ReadError) -> End {
        let to = &self.database.connection;
        match &error {
            ReadError::Replication(error) => match trouble::of_replication(Step::Stream, error, to) {
                Diagnosis { trouble: Trouble { reason: reason @ Reason::PublicationGap, sentence, .. }, .. } => {
                    End::Lost(self.lost(reason, sentence))
                }
                diagnosis => End::Trouble(diagnosis),
            },
            ReadError::Types(error) => End::Trouble(trouble::of_sql(Step::Observe, error, to)),
            ReadError::ServerDone | ReadError::SinksGone => self.connection_end(&error),
            ReadError::SkippedPublication => End::Lost(self.lost(Reason::PublicationGap, error.to_string())),
            ReadError::Decode(_) | ReadError::Kind(_) | ReadError::Undescribed(_) | ReadError::StreamMessage(_) => {
                let trouble = Trouble::new(
                    Reason::Server,
                    format!("{}: {error}", trouble::address(to)),
                    "report this with the server's version; the slot is kept and nothing is lost",
                );
                End::Trouble(Diagnosis { class: Class::Operator, trouble })
            }
        }
    }

    fn feedback_end(&self, error: FeedbackError) -> End {
        match error {
            FeedbackError::Io(_) | FeedbackError::Silent(_) => self.connection_end(&error),
            FeedbackError::Position(error) => sink_trouble(error),
            FeedbackError::Stalled(_) => End::Trouble(Diagnosis {
                class: Class::Retry,
                trouble: Trouble::new(
                    Reason::Sink,
                    format!("{error}; the copy was ended so that the server need not wait for it"),
                    "see what the sink waits for; `sink_stall_timeout` is the bound",
                ),
            }),
        }
    }

    fn connection_end(&self, error: &dyn std::fmt::Display) -> End {
        let sentence = format!("{}: {error}", trouble::address(&self.database.connection));
        End::Trouble(Diagnosis {
            class: Class::Retry,
            trouble: Trouble::new(Reason::Connection, sentence, "nothing to do if the server is being restarted"),
        })
    }
}

impl Opened {
    /// Whether the slot is known from before: a sink, or the record of one, has changes or a position of it.
    #[must_use]
    pub fn knows_slot(&self) -> bool {
        let known = |record: &Record| record.slot == self.identity.slot;
        self.sinks.iter().any(|open| open.standing.record.as_ref().is_some_and(known))
    }
}

/// What a sink's refusal means.
fn sink_trouble(error: SinkError) -> End {
    let trouble = Trouble::new(Reason::Sink, error.to_string(), error.hint);
    End::Trouble(Diagnosis { class: Class::Retry, trouble })
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// What a task returned; its panic goes on in ours.
fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    outcome.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => std::panic::panic_any(error.to_string()),
    })
}

/// Ends the copy in order, so that the slot is free at once.
async fn farewell(mut reader: CopyReader, feedback: Feedback) {
    let goodbye = async {
        let mut writer = feedback.finish().await.map_err(ReplicationError::from)?;
        reader.drain().await?;
        writer.terminate().await.map_err(ReplicationError::from)
    };
    if !matches!(timeout(FAREWELL, goodbye).await, Ok(Ok(()))) {
        warn!("the server did not answer the end of the copy");
    }
}
