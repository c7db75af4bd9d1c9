//! SQL sessions: `tokio-postgres` on a stream that we dialled.

use std::future::{Ready, ready};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config};

use super::{ConnectError, Connector};
use crate::config::Connection;
use crate::net::Stream;
use crate::wire::ServerError;
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
}

/// Settings of every SQL session: short statements that wait for nobody, names never resolved by a search path.
const OPTIONS: &str = "-c search_path= -c statement_timeout=30s -c lock_timeout=10s -c client_min_messages=warning \
                       -c idle_session_timeout=0 -c default_transaction_read_only=off";

impl Connector {
    /// Opens a SQL session.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn sql(&self, to: &Connection) -> Result<SqlSession, ConnectError> {
        self.bounded(self.open_sql(to)).await
    }

    async fn open_sql(&self, to: &Connection) -> Result<SqlSession, ConnectError> {
        let password = to.password.reveal().map_err(ConnectError::Password)?;
        let (stream, channel) = self.dial(to).await?;
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
        let (Channel::Trusted { end_point } | Channel::Untrusted { end_point }) = channel;
        let (client, connection) =
            config.connect_raw(stream, Dialled { end_point }).await.map_err(ConnectError::Sql)?;
        // What ends the connection is told to whoever awaits a statement.
        let connection = tokio::spawn(async move { drop(connection.await) });
        Ok(SqlSession { client, connection })
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

/// Hands tokio-postgres the stream that we encrypted ourselves, with the hash that SCRAM binds to.
struct Dialled {
    end_point: Option<Vec<u8>>,
}

/// The encrypted stream.
struct DialledStream {
    stream: Stream,
    end_point: Option<Vec<u8>>,
}

impl TlsConnect<Stream> for Dialled {
    type Stream = DialledStream;
    type Error = io::Error;
    type Future = Ready<io::Result<DialledStream>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(DialledStream { stream, end_point: self.end_point }))
    }
}

impl TlsStream for DialledStream {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point.clone().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for DialledStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
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
