//! From the bytes of a stream to batches.
//!
//! One buffer takes what arrives. Whole frames in it are noted in a [`BatchBuilder`]; when a sink has room, or the
//! batch is full, the noted part is split off as the batch's wire, without a copy. While the sinks are busy the batch
//! grows, so that one fsync serves many transactions; in a backlog it grows a little even if they are not. A frame that
//! is larger than a batch travels alone: it is read only once nothing else is held, so that memory stays within three
//! times the largest row.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Buf;
use futures_util::future::OptionFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::calm::Calm;
use super::gather::Gather;
use super::progress::Progress;
use super::relations::{Described, Relations};
use crate::change::{Batch, BatchBuilder, Cursor, Transaction, Unit};
use crate::faults::{self, Point};
use crate::lsn::Lsn;
use crate::pgoutput::{self, DecodeError, Message};
use crate::postgres::{CopyReader, History, ReplicationError, SqlError, standby};
use crate::wire::frame::{COPY_DATA, COPY_DONE, FrameError, Header};
use crate::wire::replication::{StreamMessage, StreamMessageError, XLOG_DATA_HEADER};
use crate::wire::{ServerError, Severity};

/// A batch is handed on once it holds this many bytes, even if no sink is idle.
const BATCH_BYTES: usize = 256 * 1024;
/// Room that is kept for a read.
const READ_BYTES: usize = 64 * 1024;

/// Why reading ended, unless it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("a message of the stream can't be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("the stream has a message of kind {0}, which was not asked for")]
    Kind(&'static str),
    #[error("the stream has a change of a table (OID {0}) that it has not described")]
    Undescribed(u32),
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error("the server ended the stream")]
    ServerDone,
    #[error("the sinks are gone")]
    SinksGone,
    /// It was restored, from before the position that the sink has.
    #[error(
        "the sink holds a change at {held}, and the server has none there: it was restored, and goes \
         on at {found}"
    )]
    OtherHistory { held: Lsn, found: Lsn },
    /// 18 only warns, and leaves the rows out.
    #[error("the publication is younger than the slot's position, and the server skips what it would have published")]
    SkippedPublication,
    #[error("{0}")]
    StreamMessage(#[from] StreamMessageError),
    #[error("the types of a table could not be looked up: {0}")]
    Types(#[from] SqlError),
}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        Self::Replication(error.into())
    }
}

impl ReadError {
    /// Whether what follows can't be had, now or later.
    pub(super) fn is_hole(&self) -> bool {
        match self {
            Self::SkippedPublication | Self::OtherHistory { .. } => true,
            Self::Replication(ReplicationError::Server(error)) => error.sqlstate == "42704",
            _ => false,
        }
    }
}

/// What one frame asks for that can't be done while its bytes are borrowed.
enum Next {
    Describe(Described),
    Go,
}

/// Reads one stream.
pub(super) struct Reader {
    copy: CopyReader,
    batches: mpsc::Sender<Arc<Batch>>,
    progress: Arc<Progress>,
    relations: Relations,
    history: History,
    /// What the server still has to send once more.
    proofs: BTreeSet<Unit>,
    builder: BatchBuilder,
    /// How much of the buffer is parsed.
    parsed: usize,
    /// The transaction that is open, and how many changes it has had.
    open: Option<(Transaction, u64)>,
    /// Units that are whole.
    units: u64,
    notices: mpsc::Sender<ServerError>,
    calm: Calm,
    gather: Gather,
    /// The last keepalive, if nothing has come after it: its WAL end, and whether one of those in a row asks for a reply.
    keepalive: Option<(Lsn, bool)>,
}

impl Reader {
    pub(super) fn new(
        copy: CopyReader,
        batches: mpsc::Sender<Arc<Batch>>,
        progress: Arc<Progress>,
        relations: Relations,
        history: History,
        notices: mpsc::Sender<ServerError>,
    ) -> Self {
        let calm = Calm::new(copy.lull.clone());
        Self {
            copy,
            batches,
            progress,
            relations,
            history,
            proofs: BTreeSet::new(),
            builder: BatchBuilder::default(),
            parsed: 0,
            open: None,
            units: 0,
            notices,
            calm,
            gather: Gather::default(),
            keepalive: None,
        }
    }

    /// The server has to send the units at `proofs` once more, or it has another history.
    pub(super) fn proving(self, proofs: BTreeSet<Unit>) -> Self {
        Self { proofs, ..self }
    }

    /// Reads until `stop`, or where the stream is to end, then hands on what it has. Returns the half that is read from, for the end of the copy.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<CopyReader, ReadError> {
        // When the last read was, until it is judged what it brought.
        let mut heard = None;
        loop {
            if let Err(error) = self.parse().await {
                if error.is_hole() {
                    // What stands before the hole can be had now and never again.
                    self.hand_on().await?;
                }
                return Err(error);
            }
            if self.is_at_end() {
                break;
            }
            let waiting = !self.builder.is_empty();
            if !waiting {
                self.discard_parsed();
            }
            if let Some(at) = heard.take() {
                let only = !waiting && self.open.is_none() && self.copy.buf.is_empty();
                self.calm.note(only, at);
            }
            let full = self.parsed >= BATCH_BYTES;
            // One batch is with the sinks, one grows here: a third in between would only cost memory.
            let free = self.progress.has_delivered_all();
            let room = !full && self.make_room(waiting, free)?;
            let may_grow = waiting && free && room;
            let grows = may_grow.then(|| self.gather.until(Instant::now(), Timestamp::now())).flatten();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.progress.ends() => {}
                permit = self.batches.reserve(), if waiting && free && grows.is_none() => {
                    let permit = permit.map_err(|_| ReadError::SinksGone)?;
                    self.relations.confirm(&mut self.builder).await?;
                    self.gather.cut();
                    permit.send(cut(&mut self.copy, &mut self.builder, &mut self.parsed, self.open, &self.progress));
                    faults::point(Point::BatchSent);
                }
                read = self.copy.read(), if room => {
                    read?;
                    heard = Some(self.progress.hear());
                }
                () = self.progress.delivered(), if !free => {}
                Some(()) = OptionFuture::from(grows.map(sleep_until)) => {}
                () = self.relations.idle() => {}
            }
        }
        self.hand_on().await?;
        self.discard_parsed();
        Ok(self.copy)
    }

    /// Hands on what is parsed, however long the sinks take.
    async fn hand_on(&mut self) -> Result<(), ReadError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        self.relations.confirm(&mut self.builder).await?;
        let batch = cut(&mut self.copy, &mut self.builder, &mut self.parsed, self.open, &self.progress);
        self.batches.send(batch).await.map_err(|_| ReadError::SinksGone)
    }

    /// Parses every whole frame, up to a full batch.
    async fn parse(&mut self) -> Result<(), ReadError> {
        while self.parsed < BATCH_BYTES && !self.is_at_end() {
            let rest = &self.copy.buf[self.parsed..];
            let Some(header) = Header::peek(rest)? else { break };
            if rest.len() < header.len {
                break;
            }
            let next = match header.tag {
                COPY_DATA => self.copy_data(self.parsed + Header::LEN, header.len - Header::LEN)?,
                COPY_DONE => return Err(ReadError::ServerDone),
                _ => self.other(header)?,
            };
            if let Next::Describe(described) = next {
                self.relations.describe(described, &mut self.builder).await?;
            }
            self.parsed += header.len;
        }
        self.pass_keepalive();
        Ok(())
    }

    /// Whether the stream is to end, and no transaction is open.
    fn is_at_end(&self) -> bool {
        self.open.is_none() && self.progress.is_ending()
    }

    /// Tells of the keepalives that came in a row, as of one: the last has the highest WAL end.
    fn pass_keepalive(&mut self) {
        if let Some((wal_end, reply_requested)) = self.keepalive.take() {
            self.progress.keepalive(wal_end, reply_requested);
        }
    }

    /// One CopyData, whose content is `len` bytes at `start` of the buffer.
    fn copy_data(&mut self, start: usize, len: usize) -> Result<Next, ReadError> {
        match StreamMessage::parse(&self.copy.buf[start..start + len])? {
            StreamMessage::Keepalive { wal_end, reply_requested } => {
                // All that is committed before it has been sent.
                let held = self.proofs.first().map(|held| held.lsn());
                if let Some(held) = held.filter(|held| *held < wal_end && self.open.is_none()) {
                    return Err(ReadError::OtherHistory { held, found: wal_end });
                }
                let asked = self.keepalive.is_some_and(|(_, asked)| asked);
                self.keepalive = Some((wal_end, reply_requested || asked));
                Ok(Next::Go)
            }
            StreamMessage::XLogData { start: message_start, payload, .. } => {
                let payload = payload.len() as u64;
                // It counts with what was in flight when it came.
                self.pass_keepalive();
                self.progress.break_with(Lsn(message_start.0 + payload));
                self.change(start + XLOG_DATA_HEADER, len - XLOG_DATA_HEADER)
            }
        }
    }

    /// One message of the plugin, `len` bytes at `start` of the buffer.
    fn change(&mut self, start: usize, len: usize) -> Result<Next, ReadError> {
        let Self { copy, relations, builder, open, proofs, .. } = self;
        let commit_lsn = open.map_or(Lsn::ZERO, |(transaction, _)| transaction.commit_lsn);
        let relation = |oid| relations.get(oid, commit_lsn).ok_or(ReadError::Undescribed(oid));
        match pgoutput::decode(&copy.buf[start..start + len])? {
            Message::Begin { commit_lsn, commit_timestamp, xid } => {
                prove(proofs, Unit::Transaction(commit_lsn))?;
                self.progress.begin_transaction(commit_timestamp);
                let transaction = Transaction {
                    timeline: self.history.timeline_of(commit_lsn),
                    commit_lsn,
                    commit_timestamp: Some(commit_timestamp),
                    xid: Some(xid),
                };
                builder.begin(transaction);
                *open = Some((transaction, 0));
                self.gather.begin(commit_timestamp);
            }
            Message::Commit { end_lsn, .. } => {
                let (transaction, changes) = open.take().ok_or(ReadError::Kind("COMMIT without BEGIN"))?;
                self.units += 1;
                let cursor = Cursor {
                    timeline: transaction.timeline,
                    commit_lsn: transaction.commit_lsn,
                    ordinal: Some(changes.saturating_sub(1)),
                    end_lsn: Some(end_lsn),
                };
                builder.commit(cursor, self.units);
            }
            Message::Insert { relation: oid, .. }
            | Message::Update { relation: oid, .. }
            | Message::Delete { relation: oid, .. } => {
                builder.push(start, len, Some(relation(oid)?), next_ordinal(open)?);
            }
            Message::Truncate { relations: oids, .. } => {
                for oid in oids.iter() {
                    builder.push(start, len, Some(relation(oid)?), next_ordinal(open)?);
                }
            }
            Message::Message { transactional: true, .. } => {
                builder.push(start, len, None, next_ordinal(open)?);
            }
            // One of ours, which only made the primary write.
            Message::Message { transactional: false, prefix, content, .. } if standby::is_ours(prefix, content.0) => {}
            Message::Message { transactional: false, lsn, .. } => {
                prove(proofs, Unit::Message(lsn))?;
                self.progress.begin_unit();
                self.units += 1;
                let transaction = Transaction {
                    timeline: self.history.timeline_of(lsn),
                    commit_lsn: lsn,
                    commit_timestamp: None,
                    xid: None,
                };
                let cursor = Cursor { timeline: transaction.timeline, commit_lsn: lsn, ordinal: None, end_lsn: None };
                builder.begin(transaction);
                builder.push(start, len, None, cursor);
                builder.complete(cursor, self.units);
            }
            Message::Relation { oid, schema, name, identity, columns, .. } => {
                return Ok(Next::Describe(Described::new(oid, schema, name, identity, &columns)));
            }
            Message::Origin { .. } | Message::Type { .. } => {}
            Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit { .. }
            | Message::StreamAbort { .. } => return Err(ReadError::Kind("streamed transaction")),
            Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared { .. }
            | Message::StreamPrepare(_) => return Err(ReadError::Kind("prepared transaction")),
        }
        Ok(Next::Go)
    }

    /// A message that is not CopyData.
    fn other(&self, header: Header) -> Result<Next, ReadError> {
        use postgres_protocol::message::backend::Message as Backend;

        let mut frame = self.copy.buf[self.parsed..self.parsed + header.len].into();
        match Backend::parse(&mut frame).map_err(FrameError::Malformed)? {
            Some(Backend::ErrorResponse(body)) => {
                Err(ReplicationError::Server(ServerError::from_fields(body.fields())).into())
            }
            Some(Backend::NoticeResponse(body)) => {
                let notice = ServerError::from_fields(body.fields());
                if notice.skips_publication() {
                    return Err(ReadError::SkippedPublication);
                }
                // A failover slot waits for the physical slots of synchronized_standby_slots; its codes are those of others.
                if notice.routine.as_deref() == Some("StandbySlotsHaveCaughtup") {
                    self.progress.hold_back(notice);
                } else if notice.severity >= Severity::Warning {
                    // A full queue means that the same is being said over and over.
                    drop(self.notices.try_send(notice));
                }
                Ok(Next::Go)
            }
            Some(Backend::ParameterStatus(_)) => Ok(Next::Go),
            Some(Backend::CommandComplete(_)) => Err(ReadError::ServerDone),
            _ => Err(ReadError::Kind("another command")),
        }
    }

    /// Parsed bytes that nothing refers to go.
    fn discard_parsed(&mut self) {
        self.copy.buf.advance(self.parsed);
        self.parsed = 0;
    }

    /// Sees to it that a read finds room, and says whether it does: the rest of a frame that is larger than a batch is
    /// read only once nothing else is held.
    fn make_room(&mut self, waiting: bool, free: bool) -> Result<bool, ReadError> {
        let rest = self.copy.buf.len() - self.parsed;
        let frame = Header::peek(&self.copy.buf[self.parsed..])?.map_or(0, |header| header.len);
        if frame > BATCH_BYTES {
            if waiting || !free {
                return Ok(false);
            }
            self.copy.buf.reserve(frame - rest);
        } else if self.copy.buf.capacity() - self.copy.buf.len() < READ_BYTES / 2 {
            self.copy.buf.reserve(READ_BYTES);
        }
        Ok(true)
    }
}

/// The next unit is at `found`: whether the server has sent all up to there that it must send once more. Units come in the
/// order of their LSNs.
fn prove(proofs: &mut BTreeSet<Unit>, found: Unit) -> Result<(), ReadError> {
    if let Some(held) = proofs.first().filter(|held| **held < found) {
        return Err(ReadError::OtherHistory { held: held.lsn(), found: found.lsn() });
    }
    proofs.remove(&found);
    Ok(())
}

/// The cursor of the open transaction's next change.
fn next_ordinal(open: &mut Option<(Transaction, u64)>) -> Result<Cursor, ReadError> {
    let (transaction, changes) = open.as_mut().ok_or(ReadError::Kind("change outside a transaction"))?;
    let ordinal = Some(*changes);
    *changes += 1;
    Ok(Cursor { timeline: transaction.timeline, commit_lsn: transaction.commit_lsn, ordinal, end_lsn: None })
}

fn cut(
    copy: &mut CopyReader,
    builder: &mut BatchBuilder,
    parsed: &mut usize,
    open: Option<(Transaction, u64)>,
    progress: &Progress,
) -> Arc<Batch> {
    let wire = copy.buf.split_to(std::mem::take(parsed)).freeze();
    faults::point(Point::BatchCut);
    let batch = builder.finish(wire, open.map(|(transaction, _)| transaction));
    progress.send_batch(batch.cursor.map_or(Lsn::ZERO, |cursor| cursor.start_lsn()));
    Arc::new(batch)
}
