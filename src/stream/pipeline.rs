//! One stream from its judgement to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::feedback::{Feedback, FeedbackError, Patience, Told};
use super::hush::Hush;
use super::positions::{Key, Positions};
use super::progress::Progress;
use super::reader::{ReadError, Reader};
use super::relations::{Relations, TypeSource};
use super::resume::{self, Judgement, Server};
use super::sinks::{NamedSink, OpenSink, Sinks};
use crate::change::{Gap, OpenGap, Record, StreamIdentity, Unit};
use crate::config::Database;
use crate::faults::{self, Break};
use crate::ident::{PublicationName, SinkName};
use crate::lsn::{EndLsn, Lsn};
use crate::postgres::catalog::SlotFacts;
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::types::Horizon;
use crate::postgres::{
    Connector, CopyReader, CopyWriter, History, ReplicationError, ReplicationSession, StreamFacts, SystemIdentity,
    Visit, slot_trouble, sync_standby,
};
use crate::sink::SinkError;
use crate::status::{self, Condition, Reason, Reporter, Trouble};
use crate::task::joined;
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
    /// Told several times a second while what the server has sent is not acknowledged for longer than it should take.
    pub unacknowledged: Arc<Notify>,
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

/// The server that a session leads to.
#[derive(Debug, Clone)]
pub struct Identified {
    pub(super) identity: Arc<StreamIdentity>,
    system: SystemIdentity,
    history: History,
}

impl Identified {
    /// The same, read through `publication`.
    #[must_use]
    pub fn through(self, publication: &PublicationName) -> Self {
        let identity = StreamIdentity { publication: publication.clone(), ..(*self.identity).clone() };
        Self { identity: Arc::new(identity), ..self }
    }
}

/// The server and the sinks, before anything is judged.
#[derive(Debug)]
pub struct Opened {
    pub(super) sinks: Sinks,
    pub(super) server: Identified,
    /// What the server has to send once more, if it has our history.
    proofs: BTreeSet<Unit>,
}

/// A publication through which a slot was read before.
#[derive(Debug, Clone)]
pub struct Former {
    pub publication: PublicationName,
    /// A transaction is half in a sink, by the numbers that it gives to its changes.
    pub is_half: bool,
}

/// How the operator wants holes to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holes {
    /// Begin anew behind a gap record, if this is still the reason: said in so many words, once.
    Accept(Reason),
    /// Stop: `lost`.
    Refuse,
}

/// The slot was made or advanced in this round: there is a hole before it, whatever the positions say. On a timeline
/// that left ours, a new slot can stand below a position that we have from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anew {
    /// Where the slot before it stood, if there was one.
    pub before: Option<Lsn>,
}

/// A slot that is as declared.
#[derive(Debug, Clone)]
pub struct Ready {
    pub slot: SlotFacts,
    pub in_recovery: bool,
    pub anew: Option<Anew>,
}

/// What a sink wants of the stream.
struct Begun {
    /// Where it is to start.
    start: Lsn,
    /// The sink's name, if it takes the slot up instead of going on.
    anew: Option<SinkName>,
}

/// A stream that runs.
#[derive(Debug)]
pub struct Started {
    reader: CopyReader,
    writer: CopyWriter,
    opened: Opened,
    /// What the slot has acknowledged.
    confirmed: EndLsn,
    horizon: Horizon,
    progress: Arc<Progress>,
}

type Delivering = AbortOnDropHandle<Result<(), SinkError>>;
type Acknowledging = AbortOnDropHandle<Result<Feedback, FeedbackError>>;

impl Pipeline {
    /// Whether a sink keeps the changes in files of its own.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.sinks.iter().any(|sink| matches!(sink.key, Key::File(_)))
    }

    /// Asks what `session` is connected to.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn identify(&self, session: &mut ReplicationSession) -> Result<Identified, End> {
        let to = &self.database.connection;
        let refused = |error| End::Trouble(trouble::of_replication(Step::Observe, &error, to));
        let system = session.identify_system().await.map_err(refused)?;
        let history = session.history(system.timeline).await.map_err(refused)?;
        let identity = Arc::new(StreamIdentity {
            system_identifier: system.system_identifier,
            timeline: history.current(),
            standby: session.in_hot_standby(),
            slot: self.database.slot.clone(),
            publication: self.database.publication.clone(),
            database: self.database.name.clone(),
            dbname: to.database.clone(),
            hostname: trouble::hostname(to),
        });
        Ok(Identified { identity, system, history })
    }

    /// Opens the sinks for the stream from `server`.
    ///
    /// # Errors
    /// A sink refuses.
    pub async fn open(&self, server: Identified) -> Result<Opened, (Identified, End)> {
        let sinks = Sinks::open(
            &self.sinks,
            &server.identity,
            Arc::clone(&self.positions),
            self.sink_stall_timeout,
            Arc::clone(&self.reporter),
        );
        match sinks.await {
            Ok(sinks) => {
                let opened = Opened { sinks, server, proofs: BTreeSet::new() };
                self.report_standing(&opened);
                Ok(opened)
            }
            Err(error) => Err((server, sink_trouble(error))),
        }
    }

    /// Tells where the sinks stand before anything flows: whoever asks what a lost slot costs wants to know.
    fn report_standing(&self, opened: &Opened) {
        let StreamIdentity { slot, system_identifier, .. } = &*opened.server.identity;
        let ours = |record: &Record| record.slot == *slot && record.system_identifier == *system_identifier;
        let each = opened.sinks.iter().map(|open| {
            open.standing.record.as_ref().filter(|record| ours(record))?;
            resume::end_of_sink(&open.standing)
        });
        if let Some(ends) = each.collect::<Option<Vec<_>>>() {
            self.reporter.positions(|positions| positions.durable = positions.durable.max(ends.into_iter().min()));
        }
    }

    /// Judges every sink against the slot and starts the stream at the lowest start. `visit` is the one in which the slot
    /// was seen; a sink that takes its time ends it, so that other databases get its turn.
    ///
    /// # Errors
    /// The slot does not lead on, or the server or a sink refuses.
    pub async fn start(
        &self,
        mut opened: Opened,
        session: ReplicationSession,
        ready: &Ready,
        holes: Holes,
        visit: Visit,
    ) -> Result<Started, End> {
        let to = &self.database.connection;
        let slot = &ready.slot;
        let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
        let (start, visit) = visit.during(self.begin_all(&mut opened, ready, holes)).await;
        let start = start?;
        // Before the walsender begins to count how long we are silent.
        let sql = match visit {
            Some(visit) => visit,
            None => self.connector.visit(to).await.map_err(|error| End::Trouble(trouble::of_connect(&error, to)))?,
        };
        let (reader, writer) = match session.start(&self.database.slot, &self.database.publication, start).await {
            Ok(halves) => halves,
            Err(error) => {
                let refused = trouble::of_replication(Step::Start, &error, to);
                let slot = &self.database.slot;
                return Err(End::Trouble(slot_trouble::with_holder(refused, slot, &sql, &self.connector).await));
            }
        };

        // The server moves a low start up without a word; nobody can move the slot while we hold it.
        let facts = StreamFacts::look(&sql, &self.database.slot).await;
        let facts = facts.map_err(|error| End::Trouble(trouble::of_sql(Step::Observe, &error, to)))?;
        if facts.confirmed_flush_lsn != slot.confirmed_flush_lsn {
            return Err(End::Trouble(Diagnosis {
                class: Class::Retry,
                trouble: Trouble::new(
                    Reason::SlotHeld,
                    format!("the slot {} was moved while the stream was being started", self.database.slot),
                    "nothing to do: it is judged anew",
                ),
            }));
        }
        // From now on a COMMIT may wait for us, and the setting may be younger than the look before the start.
        let (names, own) = (&facts.synchronous_standby_names, self.connector.application_name());
        if !ready.in_recovery
            && let Some(refusal) = sync_standby::refusal(&self.database, names, own)
        {
            return Err(End::Trouble(refusal));
        }
        let confirmed = EndLsn::of_confirmed_flush(confirmed);
        let progress = Arc::new(Progress::new(opened.sinks.len()));
        Ok(Started { reader, writer, opened, confirmed, horizon: facts.horizon, progress })
    }

    /// Judges every sink, begins those anew where that is right, and asks whether all would take something. Gives where
    /// the stream is to start.
    async fn begin_all(&self, opened: &mut Opened, ready: &Ready, holes: Holes) -> Result<Lsn, End> {
        let confirmed = ready.slot.confirmed_flush_lsn.unwrap_or_default();
        let (mut start, mut anew) = (None, Vec::new());
        for at in 0..opened.sinks.len() {
            let begun = self.begin(opened, at, ready, holes).await?;
            start = Some(start.map_or(begun.start, |start: Lsn| start.min(begun.start)));
            anew.extend(begun.anew);
        }
        self.tell_taken_up(&anew, opened.sinks.len(), confirmed);
        opened.ready().await?;
        Ok(start.unwrap_or(confirmed))
    }

    /// Judges every sink against the slot: why the slot no longer leads on, if it does not.
    pub async fn inspect(&self, opened: &Opened, slot: &SlotFacts, in_recovery: bool) -> Option<Trouble> {
        let server = self.server(&opened.server, slot.confirmed_flush_lsn.unwrap_or_default(), in_recovery);
        for open in opened.sinks.iter() {
            self.mark_diverged(open, &server).await;
            if let Judgement::Lost { reason, sentence } = resume::judge(&server, &open.standing) {
                return Some(self.lost(reason, sentence));
            }
        }
        None
    }

    /// Why the slot is lost, as far as that can be said of a sink that can't be opened; `slot` is what there is of it.
    #[must_use]
    pub fn inspect_closed(&self, server: &Identified, slot: Option<&SlotFacts>) -> Option<Trouble> {
        let name = &self.database.slot;
        let records = self.sinks.iter().filter_map(|sink| self.positions.get(&sink.key));
        let record = records.into_iter().find(|record| record.slot == *name)?;
        if let Some(sentence) = resume::other_cluster(server.system.system_identifier, &record) {
            return Some(self.lost(Reason::OtherCluster, sentence));
        }
        if let Some((reason, sentence)) = slot_trouble::lost(name, slot) {
            return Some(self.lost(reason, sentence));
        }
        // What this process has acknowledged is the most that was, and the store may know less.
        let acknowledged = self.reporter.status().positions.acknowledged?;
        let confirmed = slot?.confirmed_flush_lsn.filter(|confirmed| *confirmed > acknowledged)?;
        let sentence = format!("the slot {name} is at {confirmed} and we have acknowledged {acknowledged} at the most");
        Some(self.lost(Reason::SlotAdvanced, sentence))
    }

    /// Whether the server is another cluster: judged before its slot is looked for, which it may well not have.
    #[must_use]
    pub fn other_cluster(&self, opened: &Opened) -> Option<Trouble> {
        let system = opened.server.system.system_identifier;
        let records = opened.sinks.iter().filter_map(|open| open.standing.record.as_ref());
        let mut ours = records.filter(|record| record.slot == self.database.slot);
        Some(self.lost(Reason::OtherCluster, ours.find_map(|record| resume::other_cluster(system, record))?))
    }

    /// Whether the server's history lacks the timeline that a sink stands on: it was left behind by a failover, or is none
    /// of ours.
    #[must_use]
    pub fn is_off_history(&self, opened: &Opened) -> bool {
        let records = opened.sinks.iter().filter_map(|open| open.standing.record.as_ref());
        let mut ours = records.filter(|record| record.slot == self.database.slot);
        ours.any(|record| opened.server.history.end_of(record.timeline).is_err())
    }

    pub(super) fn server<'a>(
        &'a self,
        server: &'a Identified,
        confirmed_flush_lsn: Lsn,
        in_recovery: bool,
    ) -> Server<'a> {
        Server {
            system_identifier: server.system.system_identifier,
            history: &server.history,
            wal_end: server.system.wal_end,
            in_recovery,
            confirmed_flush_lsn,
            slot: &self.database.slot,
            publication: &self.database.publication,
        }
    }

    /// Writes down that the server was restored, before its WAL hides it.
    async fn mark_diverged(&self, open: &OpenSink, server: &Server<'_>) {
        if let Some(record) = open.standing.record.as_ref().filter(|record| record.diverged.is_none())
            && let Some(sentence) = resume::diverged(server, record)
        {
            self.record_diverged(open.key.clone(), record, sentence).await;
        }
    }

    /// Writes down that the server has another history than `record` is of.
    async fn record_diverged(&self, key: Key, record: &Record, sentence: String) {
        let record = Record { diverged: Some(sentence), ..record.clone() };
        let recorded = timeout(self.sink_stall_timeout, self.positions.record_now(key, record)).await;
        let error = match recorded {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the state directory has answered nothing for {:?}", self.sink_stall_timeout),
        };
        self.reporter.warn(
            &format!("that the server was restored can't be recorded: {error}"),
            "nothing to do: it is tried again; `state_dir` needs room and a disk that answers",
        );
    }

    /// One line, however many of the `all` sinks take the slot up.
    fn tell_taken_up(&self, anew: &[SinkName], all: usize, confirmed: Lsn) {
        if anew.is_empty() {
            return;
        }
        let names: Vec<_> = anew.iter().map(SinkName::as_str).collect();
        let by = if anew.len() == all { String::new() } else { format!(" by the sink {}", names.join(" and ")) };
        let sentence = format!(
            "the slot is taken up{by} at {confirmed}: changes flow from there on, rows that exist already are not copied"
        );
        self.reporter.info(Some(confirmed), &sentence);
    }

    /// Judges sink `at`, and begins it anew where that is right.
    async fn begin(&self, opened: &mut Opened, at: usize, ready: &Ready, holes: Holes) -> Result<Begun, End> {
        let confirmed = ready.slot.confirmed_flush_lsn.unwrap_or_default();
        let server = self.server(&opened.server, confirmed, ready.in_recovery);
        let Some(open) = opened.sinks.iter().nth(at) else { return Ok(Begun { start: confirmed, anew: None }) };
        let name = open.name.clone();
        self.mark_diverged(open, &server).await;
        let standing = &open.standing;
        let judgement = if faults::broken(Break::SkipComparison) && standing.record.is_some() {
            Judgement::Resume { start: confirmed, held: None }
        } else {
            resume::judge(&server, standing)
        };
        let end_of_sink = resume::end_of_sink(standing);
        let gap = |from: Option<Lsn>, reason: &str| {
            from.map(|from| Gap { from, to: Some(confirmed), reason: reason.to_owned() })
        };
        let gap = match (judgement, ready.anew, holes) {
            (_, Some(Anew { before }), Holes::Accept(reason)) => {
                let elsewhere = || opened.records_of_slot().iter().map(Record::position).max();
                gap(end_of_sink.or(before).or_else(elsewhere), reason.as_str())
            }
            (Judgement::Resume { start, held }, ..) => {
                if let Some(mut record) = standing.record.clone() {
                    // Nothing was discarded in it.
                    let open_gap = if standing.bare { None } else { record.open_gap.take() };
                    let closed = open_gap.map(|OpenGap { from, reason, .. }| Gap { from, to: Some(from), reason });
                    // Its files were taken away before they held anything: nothing is missing.
                    if standing.bare || closed.is_some() {
                        opened.sinks.adopt(at, record, closed).await.map_err(sink_trouble)?;
                    }
                }
                let proof = held.map(|held| held.unit()).filter(|unit| unit.is_sent_from(start));
                if proof.is_some() {
                    self.reporter.info(
                        Some(start),
                        "the slot is behind what the sink holds: the server sends the last transaction once more, and it \
                         is not written again",
                    );
                }
                opened.sinks.resume(at, held);
                opened.proofs.extend(proof);
                return Ok(Begun { start, anew: None });
            }
            (Judgement::Wait { sentence }, ..) => {
                return Err(End::Trouble(Diagnosis {
                    class: Class::Retry,
                    trouble: Trouble::new(Reason::Server, sentence, "wait for the standby to replay"),
                }));
            }
            (Judgement::HalfOf { publication }, ..) => {
                return Err(End::Trouble(Diagnosis {
                    class: Class::Operator,
                    trouble: Trouble::new(
                        Reason::Publication,
                        format!(
                            "a transaction is half in the sink as the publication {publication} has it, and {} may number \
                             its changes otherwise",
                            self.database.publication
                        ),
                        format!(
                            "set publication_name = \"{publication}\" and reload; once the transaction is through, set \
                             the other one"
                        ),
                    ),
                }));
            }
            (Judgement::Close { from, reason }, ..) => gap(Some(from), &reason),
            // What lies between a slot and another one that was ahead of it is delivered by both.
            (Judgement::Adopt { behind, .. }, ..) => {
                gap(behind.filter(|behind| *behind < confirmed), "another slot was streamed here before")
            }
            (Judgement::Lost { reason, .. }, _, holes) if holes == Holes::Accept(reason) => {
                gap(end_of_sink, reason.as_str())
            }
            (Judgement::Lost { reason, sentence }, ..) => return Err(End::Lost(self.lost(reason, sentence))),
        };
        let record = Record::begin(&opened.server.identity, Some(EndLsn::of_confirmed_flush(confirmed)));
        opened.sinks.adopt(at, record, gap).await.map_err(sink_trouble)?;
        // What was told before may be of another history, and higher.
        self.reporter.positions(|positions| {
            *positions = status::Positions {
                durable: Some(confirmed),
                confirmed_flush_lsn: Some(confirmed),
                ..status::Positions::default()
            };
        });
        Ok(Begun { start: confirmed, anew: Some(name) })
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

    /// Streams until `stop`, or where its [`Progress`] is told to end, or until something breaks.
    pub async fn run(&self, started: Started, stop: &CancellationToken) -> End {
        let Started { reader, writer, opened, confirmed, horizon, progress } = started;
        let Opened { sinks, server, proofs } = opened;
        let lull = reader.lull.clone();
        let Identified { identity, history, .. } = server;
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

        let reader = Reader::new(reader, batches, Arc::clone(&progress), Relations::new(types), history, notices)
            .proving(proofs);
        let mut reading = spawn(reader.run(stop_reading));
        let mut delivering = spawn(sinks.deliver(to_deliver, Arc::clone(&progress), Arc::clone(&ledger)));
        let told = Told { reporter: Arc::clone(&self.reporter), unacknowledged: Arc::clone(&self.unacknowledged) };
        let hush = Hush::new(lull, self.database.allow_sync_standby);
        let feedback = Feedback::new(writer, progress, ledger, told, confirmed, patience, hush);
        let mut acknowledging = spawn(self.reporter.clock().during(feedback.run(stop_feedback.clone())));
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
                fed = &mut acknowledging => return self.fed(fed),
                read = &mut reading => match joined(read) {
                    Ok(reader) => break reader,
                    Err(error) => {
                        // What stands before a hole can be had now and never again.
                        if error.is_hole()
                            && !delivered_all
                            && let Some(end) = self.drain(&mut delivering, &mut acknowledging).await
                        {
                            return end;
                        }
                        return self.read_end(error).await;
                    }
                },
                Some(notice) = noticed.recv() => self.notice(&notice),
            }
        };
        if !delivered_all && let Some(end) = self.drain(&mut delivering, &mut acknowledging).await {
            return end;
        }
        stop_feedback.cancel();
        if let Ok(feedback) = joined(acknowledging.await) {
            farewell(&self.reporter, reader, feedback).await;
        }
        End::Stopped
    }

    /// Waits until the sinks hold all that was read, as long as they need: feedback ends them if they take too long.
    /// Returns why they do not, if so.
    async fn drain(&self, delivering: &mut Delivering, acknowledging: &mut Acknowledging) -> Option<End> {
        tokio::select! {
            biased;
            delivered = delivering => joined(delivered).err().map(sink_trouble),
            fed = acknowledging => Some(self.fed(fed)),
        }
    }

    /// Feedback has ended while there was a stream.
    fn fed(&self, fed: Result<Result<Feedback, FeedbackError>, JoinError>) -> End {
        joined(fed).map_or_else(|error| self.feedback_end(error), |_| End::Stopped)
    }

    fn notice(&self, notice: &ServerError) {
        self.reporter.stream_warning(
            format!("the server warns on the stream: {notice}"),
            notice.hint.clone().unwrap_or_else(|| "see the server's log".to_owned()),
        );
    }

    async fn read_end(&self, error: ReadError) -> End {
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
            ReadError::OtherHistory { .. } => {
                for sink in &self.sinks {
                    if let Some(record) = self.positions.get(&sink.key) {
                        self.record_diverged(sink.key.clone(), &record, error.to_string()).await;
                    }
                }
                End::Lost(self.lost(Reason::Diverged, error.to_string()))
            }
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
            FeedbackError::Stalled(_) | FeedbackError::Unrecorded(_) => End::Trouble(Diagnosis {
                class: Class::Retry,
                trouble: Trouble::new(
                    Reason::Sink,
                    format!("{error}; the copy was ended so that the server need not wait for it"),
                    "see what its disk or its reader waits for; `sink_stall_timeout` is the bound",
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

impl Identified {
    /// Which cluster it is.
    #[must_use]
    pub const fn system_identifier(&self) -> u64 {
        self.system.system_identifier
    }
}

impl Started {
    /// From which cluster it is.
    #[must_use]
    pub const fn system_identifier(&self) -> u64 {
        self.opened.system_identifier()
    }

    /// What is in flight, from now on.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// The last transaction that is half in a sink, by its commit LSN.
    #[must_use]
    pub fn half(&self) -> Option<Lsn> {
        self.opened.sinks.half()
    }

    /// Whether the server was a standby when it began.
    #[must_use]
    pub fn is_of_standby(&self) -> bool {
        self.opened.server.identity.standby
    }
}

impl Opened {
    /// Which cluster the server is.
    #[must_use]
    pub const fn system_identifier(&self) -> u64 {
        self.server.system_identifier()
    }

    /// Whether every sink would take something now.
    ///
    /// # Errors
    /// A sink refuses.
    pub async fn ready(&mut self) -> Result<(), End> {
        self.sinks.ready().await.map_err(sink_trouble)
    }

    /// Whether the slot is known from before: a sink, or the record of one that it went to before, has changes or a
    /// position of it.
    #[must_use]
    pub fn knows_slot(&self) -> bool {
        let records = self.records_of_slot();
        Record::last(&records).is_some_and(|last| !last.is_dropped())
    }

    /// Lets go of the sinks.
    #[must_use]
    pub fn close(self) -> Identified {
        self.server
    }

    /// The other publication through which the slot was read last, if it was another one.
    #[must_use]
    pub fn former(&self) -> Option<Former> {
        let records = self.records_of_slot();
        let is_half = |record: &Record| record.cursor.is_some_and(|cursor| cursor.is_half());
        let last = records.iter().max_by_key(|record| (is_half(record), record.position()))?;
        (last.publication != self.server.identity.publication)
            .then(|| Former { publication: last.publication.clone(), is_half: is_half(last) })
    }

    /// All that is known of the slot on this cluster, in its sinks and in others that it went to before.
    fn records_of_slot(&self) -> Vec<Record> {
        let StreamIdentity { slot, system_identifier, .. } = &*self.server.identity;
        let mut records = self.sinks.records_of(slot);
        records.retain(|record| record.system_identifier == *system_identifier);
        records
    }
}

/// What a sink's refusal means.
pub(super) fn sink_trouble(error: SinkError) -> End {
    let trouble = Trouble::new(Reason::Sink, error.to_string(), error.hint);
    End::Trouble(Diagnosis { class: Class::Retry, trouble })
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Ends the copy in order, so that the slot is free at once.
async fn farewell(reporter: &Reporter, mut reader: CopyReader, feedback: Feedback) {
    let goodbye = async {
        let mut writer = feedback.finish().await.map_err(ReplicationError::from)?;
        reader.drain().await?;
        writer.terminate().await.map_err(ReplicationError::from)
    };
    if !matches!(timeout(FAREWELL, goodbye).await, Ok(Ok(()))) {
        reporter.warn(
            "the server did not answer the end of the copy",
            "nothing to do: it ends the session by itself, and the next stream goes on from what is acknowledged",
        );
    }
}
