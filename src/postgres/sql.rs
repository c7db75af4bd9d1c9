//! SQL sessions: `tokio-postgres` on a stream that we dialled.

use std::error::Error as _;
use std::future::{self, Ready, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{self, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{AsyncMessage, Client, Config, Connection as Driver};

use super::connector::{reveal, without_transaction_timeout};
use super::hosts::Session;
use super::{ConnectError, Connector};
use crate::config::Connection;
use crate::net::Stream;
use crate::wire::ServerError;
use crate::wire::frame::{self, Backend};
use crate::wire::login::Channel;

/// A statement failed, or the session under it.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Server(ServerError),
    #[error("the SQL session broke off: {0}")]
    Session(#[source] tokio_postgres::Error),
    #[error("the question about {about} was not answered within {PATIENCE:?}")]
    Silent { about: &'static str },
    #[error("a row of {view} has another form than slotd knows: {source}")]
    Unexpected {
        view: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(server) => Self::Server(ServerError::from_sql(server)),
            None => Self::Session(error),
        }
    }
}

/// A SQL session; it ends when this is dropped.
#[derive(Debug)]
pub struct SqlSession {
    client: Client,
    connection: JoinHandle<()>,
    warning: Arc<Mutex<Option<ServerError>>>,
    /// As the server reported it at the login.
    in_hot_standby: bool,
}

/// How long the answer to one statement may take: a little longer than the server lets it run.
const PATIENCE: Duration = Duration::from_secs(35);

/// What the server answers to one statement; `about` names what is asked. A backend that hangs while its kernel goes on
/// acknowledging would be waited for for ever.
pub(super) async fn answer<T>(
    about: &'static str,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, SqlError> {
    Ok(timeout(PATIENCE, asked).await.map_err(|_| SqlError::Silent { about })??)
}

/// Settings of every SQL session, whatever its role has: short statements that wait for nobody, names never resolved by
/// a search path, the rights of our own role, and text in one form.
const OPTIONS: &str = "-c search_path= -c role=none -c statement_timeout=30s -c lock_timeout=10s \
                       -c client_min_messages=warning -c idle_session_timeout=0 \
                       -c idle_in_transaction_session_timeout=0 -c default_transaction_isolation=read\\ committed \
                       -c default_transaction_read_only=off -c default_transaction_deferrable=off -c DateStyle=ISO \
                       -c TimeZone=UTC -c quote_all_identifiers=off";

impl Connector {
    /// Opens a SQL session.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn sql(&self, to: &Connection) -> Result<SqlSession, ConnectError> {
        Box::pin(self.at_primary(to, &[])).await.map(|(session, _)| session)
    }

    /// Opens one at the very server, whatever that is.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn sql_at(&self, to: &Connection) -> Result<SqlSession, ConnectError> {
        let deadline = self.deadline();
        let password = self.step("reading the password", deadline, reveal(&to.password)).await?;
        let (stream, channel) = self.dial(to, deadline).await?;
        let login = self.log_in(to, password, stream, channel);
        self.step("the login", deadline, login).await.inspect_err(|error| self.doubt(to, error))
    }

    async fn log_in(
        &self,
        to: &Connection,
        password: Option<SecretString>,
        stream: Stream,
        channel: Channel,
    ) -> Result<SqlSession, ConnectError> {
        let mut config = Config::new();
        config.user(&to.username).dbname(&to.database).application_name(self.application_name()).options(OPTIONS);
        if let Some(password) = &password {
            config.password(password.expose_secret());
        }
        // The stream is encrypted already, if it is to be: "direct" keeps tokio-postgres from asking again.
        if to.tls.is_some() && !matches!(stream, Stream::Unix(_)) {
            config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        } else {
            config.ssl_mode(SslMode::Disable);
        }
        if matches!(channel, Channel::Bound { .. }) {
            config.channel_binding(config::ChannelBinding::Require);
        }
        let end_point = channel.end_point().cloned();
        let stream = DialledStream { stream, end_point, request: Some(Request { channel, came: BytesMut::new() }) };
        let (client, connection) = config.connect_raw(stream, Encrypted).await.map_err(refused)?;
        let late = without_transaction_timeout(connection.parameter("server_version").unwrap_or_default());
        let in_hot_standby = connection.parameter("in_hot_standby") == Some("on");
        // What ends the connection is told to whoever awaits a statement.
        let warning = Arc::default();
        let connection = tokio::spawn(run(connection, Arc::clone(&warning)));
        let session = SqlSession { client, connection, warning, in_hot_standby };
        if let Some(statement) = late {
            session.batch_execute(statement).await.map_err(ConnectError::Sql)?;
        }
        Ok(session)
    }
}

/// Runs a session to its end, and keeps the latest warning.
async fn run(mut connection: Driver<DialledStream, DialledStream>, latest: Arc<Mutex<Option<ServerError>>>) {
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notice(warning) = message {
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(ServerError::from_sql(&warning));
        }
    }
}

/// A refusal of our own stream is told as that, and not as what tokio-postgres makes of it.
fn refused(error: tokio_postgres::Error) -> ConnectError {
    let of_stream = |error: &(dyn std::error::Error + 'static)| error.is::<io::Error>();
    if !error.source().is_some_and(of_stream) {
        return ConnectError::Sql(error);
    }
    let broken = error.into_source().and_then(|source| source.downcast::<io::Error>().ok());
    let broken = broken.map_or_else(|| io::ErrorKind::Other.into(), |broken| *broken);
    broken.downcast().map_or_else(ConnectError::broken_off, ConnectError::Login)
}

impl Session for SqlSession {
    async fn open(connector: &Connector, to: &Connection) -> Result<Self, ConnectError> {
        connector.sql_at(to).await
    }

    fn is_of_standby(&self) -> bool {
        self.in_hot_standby
    }
}

impl SqlSession {
    /// The latest warning of the server that was not taken before.
    #[must_use]
    pub fn take_warning(&self) -> Option<ServerError> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs `statement`, which makes `what`.
    ///
    /// # Errors
    /// The server refuses or does not answer, or the session breaks off.
    pub async fn run(&self, what: &'static str, statement: &str) -> Result<(), SqlError> {
        answer(what, self.client.batch_execute(statement)).await
    }

    /// Runs one `statement`, which makes `what`; the server refuses a second one in it.
    ///
    /// # Errors
    /// The server refuses or does not answer, or the session breaks off.
    pub async fn statement(&self, what: &'static str, statement: &str) -> Result<(), SqlError> {
        answer(what, self.client.execute(statement, &[])).await.map(drop)
    }
}

impl Deref for SqlSession {
    type Target = Client;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl Drop for SqlSession {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Tells tokio-postgres that the stream is encrypted already, by us.
struct Encrypted;

/// A stream that we dialled.
struct DialledStream {
    stream: Stream,
    /// The hash that SCRAM binds to.
    end_point: Option<Vec<u8>>,
    /// Until it is whole: what the server says first.
    request: Option<Request>,
}

/// The server's first message, which says how it wants to be convinced.
struct Request {
    channel: Channel,
    came: BytesMut,
}

impl Request {
    /// Takes what came; an error if what the server asks for must not go over the channel, `true` once that is known.
    fn take(&mut self, came: &[u8]) -> io::Result<bool> {
        self.came.extend_from_slice(came);
        match frame::next(&mut self.came).map_err(io::Error::other)? {
            None => Ok(false),
            Some(Backend::Other(message)) => self.channel.permits(&message).map(|()| true).map_err(io::Error::other),
            Some(Backend::CopyBoth | Backend::CopyData(_)) => Ok(true),
        }
    }
}

impl TlsConnect<DialledStream> for Encrypted {
    type Stream = DialledStream;
    type Error = io::Error;
    type Future = Ready<io::Result<DialledStream>>;

    fn connect(self, stream: DialledStream) -> Self::Future {
        future::ready(Ok(stream))
    }
}

impl TlsStream for DialledStream {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point.clone().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for DialledStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, request, .. } = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        if let Some(first) = request
            && first.take(&buf.filled()[before..])?
        {
            *request = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for DialledStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_go_over_a_channel_is_found_out_at_any_cut() {
        let message = |code: u8, body: &[u8]| {
            let length = u8::try_from(8 + body.len()).unwrap();
            [&[b'R', 0, 0, 0, length, 0, 0, 0, code], body].concat()
        };
        let (scram, plus) = (&b"SCRAM-SHA-256\0\0"[..], &b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"[..]);
        let trusted = Channel::Trusted { end_point: None };
        let untrusted = Channel::Untrusted { end_point: None };
        let bound = Channel::Bound { end_point: vec![1; 32] };
        for (code, body, refusing) in [
            (0, &b""[..], &[&bound][..]),
            (3, b"", &[&untrusted, &bound]),
            (5, b"salt", &[&untrusted, &bound]),
            (10, scram, &[&bound]),
            (10, plus, &[]),
        ] {
            for channel in [&trusted, &untrusted, &bound] {
                let message = message(code, body);
                for cut in 0..message.len() {
                    let mut request = Request { channel: channel.clone(), came: BytesMut::new() };
                    let outcome = request.take(&message[..cut]).and_then(|_| request.take(&message[cut..]));
                    assert_eq!(outcome.is_err(), refusing.contains(&channel), "{channel:?}, code {code}, cut at {cut}");
                    assert!(outcome.unwrap_or(true), "{channel:?}, code {code}, cut at {cut}");
                }
            }
        }
    }
}
