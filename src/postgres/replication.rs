//! Replication sessions: the walsender's commands, then the stream.
//!
//! A session runs commands one at a time. `START_REPLICATION` turns it into two halves, so that feedback goes out on
//! its own clock whatever the reader is doing.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-replication.html>.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::escape::escape_identifier;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::history::{History, HistoryError};
use super::hosts::Session;
use super::{ConnectError, Connector};
use crate::config::{Connection, Server};
use crate::ident::{PublicationName, SlotName};
use crate::lsn::Lsn;
use crate::net::{Lull, Stream};
use crate::wire::ServerError;
use crate::wire::frame::{self, Backend, FrameError};

/// How long START and DROP may take. The one begins to decode, the other removes what the server has spilled for the slot:
/// a disk that is busy makes both slow, and a server that does nothing for so long hangs.
const SLOW_COMMAND: Duration = Duration::from_secs(60);

/// A command of a replication session failed, or the session under it.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server's bytes are not Postgres': {0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    History(#[from] HistoryError),
    #[error("the connection broke off: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Server(ServerError),
    #[error("{command} was not answered within {patience:?}")]
    Silent { command: String, patience: Duration },
    #[error("the server's answer to {0} has another form than the manual gives it")]
    Unexpected(&'static str),
}

/// What `IDENTIFY_SYSTEM` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemIdentity {
    pub system_identifier: u64,
    pub timeline: u32,
    /// The end of WAL that is flushed; on a standby, replayed.
    pub wal_end: Lsn,
}

/// A replication session that awaits a command.
pub struct ReplicationSession {
    stream: Stream,
    buf: BytesMut,
    /// How long an answer may take.
    patience: Duration,
    /// As the server reported it at the login.
    in_hot_standby: bool,
}

impl std::fmt::Debug for ReplicationSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicationSession").finish_non_exhaustive()
    }
}

/// A row of a command's answer.
type Row = Vec<Option<Bytes>>;

impl Connector {
    /// Opens a replication session with the settings that fix the text form of every value.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn replication(&self, to: &Connection) -> Result<ReplicationSession, ConnectError> {
        self.replication_beside(to, &[]).await.map(|(session, _)| session)
    }

    /// The same, at none of `passed_over`. Gives the connection that leads to the very server too.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn replication_beside(
        &self,
        to: &Connection,
        passed_over: &[Server],
    ) -> Result<(ReplicationSession, Connection), ConnectError> {
        Box::pin(self.at_primary(to, passed_over)).await
    }

    async fn replication_at(&self, to: &Connection) -> Result<ReplicationSession, ConnectError> {
        let wal_sender_timeout = format!("{}ms", self.wal_sender_timeout().as_millis());
        let parameters = [
            ("replication", "database"),
            ("database", &*to.database),
            ("application_name", self.application_name()),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("extra_float_digits", "3"),
            ("bytea_output", "hex"),
            // `regclass` prints by the search path and the other, `money` by its locale.
            ("search_path", ""),
            ("quote_all_identifiers", "off"),
            ("lc_monetary", "C"),
            // The right to replicate is our own role's.
            ("role", "none"),
            // A role may have other settings, which would cut the stream or hide its warnings.
            ("client_min_messages", "warning"),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "off"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_session_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("wal_sender_timeout", &wal_sender_timeout),
        ];
        let session = self.login(to, &parameters).await?;
        // Reported by servers of 14 and later.
        let in_hot_standby = session.settings.get("in_hot_standby").is_some_and(|on| on == "on");
        let patience = self.connect_timeout();
        Ok(ReplicationSession { stream: session.stream, buf: session.buf, patience, in_hot_standby })
    }
}

impl Session for ReplicationSession {
    async fn open(connector: &Connector, to: &Connection) -> Result<Self, ConnectError> {
        connector.replication_at(to).await
    }

    fn is_of_standby(&self) -> bool {
        self.in_hot_standby
    }
}

impl ReplicationSession {
    /// Whether the server was a standby when it let us in.
    #[must_use]
    pub const fn in_hot_standby(&self) -> bool {
        self.in_hot_standby
    }

    /// `IDENTIFY_SYSTEM`.
    ///
    /// # Errors
    /// The server refuses, or the session breaks off.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, ReplicationError> {
        let unexpected = || ReplicationError::Unexpected("IDENTIFY_SYSTEM");
        let rows = self.command("IDENTIFY_SYSTEM").await?;
        let [row] = &rows[..] else { return Err(unexpected()) };
        let field = |at: usize| text(row, at).ok_or_else(unexpected);
        Ok(SystemIdentity {
            system_identifier: field(0)?.parse().map_err(|_| unexpected())?,
            timeline: field(1)?.parse().map_err(|_| unexpected())?,
            wal_end: field(2)?.parse().map_err(|_| unexpected())?,
        })
    }

    /// `TIMELINE_HISTORY`; timeline 1 has none and is not asked for.
    ///
    /// # Errors
    /// The server refuses, or the session breaks off.
    pub async fn history(&mut self, timeline: u32) -> Result<History, ReplicationError> {
        if timeline == 1 {
            return Ok(History::begin(1));
        }
        let rows = self.command(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let content = rows.first().and_then(|row| text(row, 1));
        Ok(History::parse(timeline, content.ok_or(ReplicationError::Unexpected("TIMELINE_HISTORY"))?)?)
    }

    /// Makes the slot. Waits for every transaction that is open; if we die meanwhile, the server takes it back.
    ///
    /// # Errors
    /// The server refuses (42710: it exists), or the session breaks off.
    pub async fn create_slot(&mut self, slot: &SlotName) -> Result<(), ReplicationError> {
        // In the old spelling, which 15 to 18 all take; an exported snapshot would hold back vacuum.
        self.patiently(&format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput NOEXPORT_SNAPSHOT")).await?;
        Ok(())
    }

    /// The same, of one that standbys may keep a copy of; 17 and later.
    ///
    /// # Errors
    /// The server refuses (42710: it exists), or the session breaks off.
    pub async fn create_failover_slot(&mut self, slot: &SlotName) -> Result<(), ReplicationError> {
        self.patiently(&format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER)"))
            .await?;
        Ok(())
    }

    /// Lets standbys keep a copy of the slot; 17 and later. Waits for a session that holds it.
    ///
    /// # Errors
    /// The server refuses, or the session breaks off.
    pub async fn let_fail_over(&mut self, slot: &SlotName) -> Result<(), ReplicationError> {
        self.within(SLOW_COMMAND, &format!("ALTER_REPLICATION_SLOT {slot} (FAILOVER)")).await?;
        Ok(())
    }

    /// Drops the slot; fails at once if a session holds it.
    ///
    /// # Errors
    /// The server refuses, or the session breaks off.
    pub async fn drop_slot(&mut self, slot: &SlotName) -> Result<(), ReplicationError> {
        self.within(SLOW_COMMAND, &format!("DROP_REPLICATION_SLOT {slot}")).await?;
        Ok(())
    }

    /// `START_REPLICATION` at `start`, and the two halves of the stream. The server moves a start below the slot's
    /// `confirmed_flush_lsn` up to it, in silence.
    ///
    /// # Errors
    /// The server refuses, or the session breaks off.
    pub async fn start(
        mut self,
        slot: &SlotName,
        publication: &PublicationName,
        start: Lsn,
    ) -> Result<(CopyReader, CopyWriter), ReplicationError> {
        // A list of identifiers inside a string; the walsender's grammar knows no other escape than a doubled quote.
        let publications = escape_identifier(publication.as_str()).replace('\'', "''");
        let command = format!(
            "START_REPLICATION SLOT {slot} LOGICAL {start} (proto_version '1', publication_names '{publications}', \
             messages 'true')"
        );
        let begun = timeout(SLOW_COMMAND, self.begin_copy(&command)).await;
        begun.unwrap_or_else(|_| Err(silent(&command, SLOW_COMMAND)))?;
        let lull = self.stream.gather();
        let (read, write) = tokio::io::split(self.stream);
        Ok((CopyReader { read, buf: self.buf, lull }, CopyWriter { write, out: BytesMut::new() }))
    }

    async fn begin_copy(&mut self, command: &str) -> Result<(), ReplicationError> {
        self.send_query(command).await?;
        loop {
            match self.next().await? {
                Backend::CopyBoth => return Ok(()),
                Backend::Other(Message::ErrorResponse(body)) => {
                    return Err(ReplicationError::Server(ServerError::from_fields(body.fields())));
                }
                Backend::Other(Message::NoticeResponse(_)) => {}
                _ => return Err(ReplicationError::Unexpected("START_REPLICATION")),
            }
        }
    }

    /// Runs one command that waits for nothing, and gathers its rows.
    async fn command(&mut self, command: &str) -> Result<Vec<Row>, ReplicationError> {
        self.within(self.patience, command).await
    }

    /// Runs one command that may take so long, and gathers its rows.
    async fn within(&mut self, patience: Duration, command: &str) -> Result<Vec<Row>, ReplicationError> {
        timeout(patience, self.patiently(command)).await.unwrap_or_else(|_| Err(silent(command, patience)))
    }

    /// The same, however long the server takes.
    async fn patiently(&mut self, command: &str) -> Result<Vec<Row>, ReplicationError> {
        self.send_query(command).await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let Backend::Other(message) = self.next().await? else {
                return Err(ReplicationError::Unexpected("a command"));
            };
            match message {
                Message::DataRow(body) => {
                    let values = body.ranges().map(|range| Ok(range.map(|range| body.buffer_bytes().slice(range))));
                    rows.push(values.collect()?);
                }
                Message::ErrorResponse(body) => refused = Some(ServerError::from_fields(body.fields())),
                Message::ReadyForQuery(_) => {
                    return refused.map_or(Ok(rows), |error| Err(ReplicationError::Server(error)));
                }
                _ => {}
            }
        }
    }

    async fn send_query(&mut self, query: &str) -> Result<(), ReplicationError> {
        let mut out = BytesMut::new();
        frontend::query(query, &mut out)?;
        self.stream.write_all(&out).await?;
        Ok(self.stream.flush().await?)
    }

    async fn next(&mut self) -> Result<Backend, ReplicationError> {
        loop {
            if let Some(message) = frame::next(&mut self.buf)? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.buf).await? == 0 {
                return Err(ReplicationError::Closed);
            }
        }
    }
}

fn silent(command: &str, patience: Duration) -> ReplicationError {
    ReplicationError::Silent { command: command.split(' ').next().unwrap_or_default().to_owned(), patience }
}

fn text(row: &Row, at: usize) -> Option<&str> {
    std::str::from_utf8(row.get(at)?.as_ref()?).ok()
}

/// The half of a stream that bytes come from.
#[derive(Debug)]
pub struct CopyReader {
    read: ReadHalf<Stream>,
    /// What came already, not yet parsed.
    pub buf: BytesMut,
    /// To be told of whether what comes is urgent.
    pub lull: Lull,
}

impl CopyReader {
    /// Reads once, at most what `buf` has room for; cancel-safe.
    ///
    /// # Errors
    /// The connection broke off, or the server closed it.
    pub async fn read(&mut self) -> Result<usize, ReplicationError> {
        match self.read.read_buf(&mut self.buf).await? {
            0 => Err(ReplicationError::Closed),
            n => Ok(n),
        }
    }
}

impl CopyReader {
    /// Reads what is left of the stream, unseen, until the server awaits a command again.
    ///
    /// # Errors
    /// The connection broke off, or the server refuses.
    pub async fn drain(&mut self) -> Result<(), ReplicationError> {
        loop {
            match frame::next(&mut self.buf)? {
                Some(Backend::Other(Message::ReadyForQuery(_))) => return Ok(()),
                Some(Backend::Other(Message::ErrorResponse(body))) => {
                    return Err(ReplicationError::Server(ServerError::from_fields(body.fields())));
                }
                Some(_) => {}
                None => {
                    self.read().await?;
                }
            }
        }
    }
}

/// The half of a stream that feedback goes into.
#[derive(Debug)]
pub struct CopyWriter {
    write: WriteHalf<Stream>,
    out: BytesMut,
}

impl CopyWriter {
    /// Sends what `encode` appends.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn send(&mut self, encode: impl FnOnce(&mut BytesMut)) -> io::Result<()> {
        encode(&mut self.out);
        self.write.write_all(&self.out.split()).await?;
        self.write.flush().await
    }

    /// Says that we end the copy.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn copy_done(&mut self) -> io::Result<()> {
        self.send(frontend::copy_done).await
    }

    /// Says goodbye and closes our side.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn terminate(&mut self) -> io::Result<()> {
        self.send(frontend::terminate).await?;
        self.write.shutdown().await
    }
}
