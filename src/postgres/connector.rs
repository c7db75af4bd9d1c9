//! One way to a server, for both kinds of session.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::hosts::{NotPrimary, Primaries};
use super::sync_standby::Looks;
use super::turns::{Turn, Turns};
use crate::config::{ChannelBinding, Connection, Host, Password, PasswordError, Server, SslMode};
use crate::net::dial::{self, ReachError};
use crate::net::resolve::{self, Families, Resolver};
use crate::net::tls::{TlsClients, TlsError};
use crate::net::{Socket, Stream};
use crate::task::joined;
use crate::wire::ServerError;
use crate::wire::frame::{self, Backend, FrameError};
use crate::wire::login::{Channel, Login, LoginError, Progress};

/// A server could not be connected to; the variant is the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the server's bytes are not Postgres': {0}")]
    Frame(#[source] FrameError),
    #[error("the connection broke off during the login: {0}")]
    Io(#[source] io::Error),
    #[error("{0}")]
    Login(#[source] LoginError),
    /// Of `hosts`, what each of them is instead.
    #[error("none of `hosts` is the primary: {}", NotPrimary::list(tried))]
    NoPrimary { tried: Vec<(Server, NotPrimary)> },
    #[error("{0}")]
    Password(#[source] PasswordError),
    #[error("{0}")]
    Reach(#[source] ReachError),
    #[error("the socket {path} can't be connected to: {source}")]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the server refused the session: {0}")]
    Sql(#[source] tokio_postgres::Error),
    #[error("{step} was not done within {patience:?}")]
    Timeout { step: &'static str, patience: Duration },
    #[error("{0}")]
    Tls(#[source] TlsError),
}

impl ConnectError {
    /// What broke a login off: a server that ends TLS says why in it.
    pub(super) fn broken_off(error: io::Error) -> Self {
        error.downcast().map_or_else(Self::Io, Self::Tls)
    }
}

/// Connects to servers.
#[derive(Debug, Clone)]
pub struct Connector {
    resolver: Resolver,
    tls: TlsClients,
    turns: Turns,
    pub(super) looks: Looks,
    pub(super) primaries: Primaries,
    connect_timeout: Duration,
    wal_sender_timeout: Duration,
    application_name: String,
}

/// A session that is logged in: its stream, bytes that came already, and the server's settings.
pub(super) struct LoggedIn {
    pub(super) stream: Stream,
    pub(super) buf: BytesMut,
    pub(super) settings: BTreeMap<String, String>,
}

impl Connector {
    /// A connector whose sessions call themselves `application_name`.
    #[must_use]
    pub fn new(
        resolver: Resolver,
        connect_timeout: Duration,
        wal_sender_timeout: Duration,
        application_name: String,
    ) -> Self {
        let (tls, turns, looks) = (TlsClients::default(), Turns::default(), Looks::default());
        let primaries = Primaries::default();
        Self { resolver, tls, turns, looks, primaries, connect_timeout, wal_sender_timeout, application_name }
    }

    /// How our sessions call themselves.
    #[must_use]
    pub fn application_name(&self) -> &str {
        &self.application_name
    }

    /// The patience of the server with our replication connections.
    #[must_use]
    pub const fn wal_sender_timeout(&self) -> Duration {
        self.wal_sender_timeout
    }

    /// How long a server may take to let us in, or to answer a command that waits for nothing.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Waits for a turn at the server that `to` leads to.
    pub(super) async fn turn(&self, to: &Connection) -> Turn {
        self.turns.next(to.servers()).await
    }

    /// Until when a connection that is begun now has to stand.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.connect_timeout
    }

    /// One step of connecting, until `deadline`.
    pub(super) async fn step<T>(
        &self,
        step: &'static str,
        deadline: Instant,
        taken: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let late = |_| Err(ConnectError::Timeout { step, patience: self.connect_timeout });
        timeout_at(deadline, taken).await.unwrap_or_else(late)
    }

    /// A stream on which the server awaits a startup message, and what is below it.
    pub(super) async fn dial(&self, to: &Connection, deadline: Instant) -> Result<(Stream, Channel), ConnectError> {
        let families = if to.ipv6 { Families::Ipv6 } else { Families::Both };
        let (answers, name) = match &to.host {
            Host::Socket(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", to.port));
                let connect = async {
                    UnixStream::connect(&path)
                        .await
                        .map_err(|source| ConnectError::Socket { path: path.clone(), source })
                };
                let stream = self.step("connecting to the socket", deadline, connect).await?;
                return Ok((Stream::Unix(Socket::new(stream)), Channel::Trusted { end_point: None }));
            }
            Host::Address { ip, zone } => (resolve::literal(*ip, zone.as_deref(), to.port, families), ip.to_string()),
            Host::Name(name) => (self.resolver.lookup(name, to.port, families, deadline), name.clone()),
        };
        let tcp = dial::race(answers, families, deadline).await.map_err(ConnectError::Reach)?;
        let Some(wish) = &to.tls else {
            let channel = if is_loopback(&tcp) {
                Channel::Trusted { end_point: None }
            } else {
                Channel::Untrusted { end_point: None }
            };
            return Ok((Stream::Plain(Socket::new(tcp)), channel));
        };
        let files = async { self.tls.get(wish).await.map_err(ConnectError::Tls) };
        let client = self.step("reading the certificates", deadline, files).await?;
        let handshake = async { client.connect(tcp, &name).await.map_err(ConnectError::Tls) };
        let session = self.step("TLS", deadline, handshake).await.inspect_err(|error| self.doubt(to, error))?;
        let channel = match (to.channel_binding, &wish.mode) {
            (ChannelBinding::Require, _) => {
                Channel::Bound { end_point: session.end_point().map_err(ConnectError::Tls)? }
            }
            (ChannelBinding::Prefer, SslMode::VerifyFull(_)) => {
                Channel::Trusted { end_point: session.end_point().ok() }
            }
            (ChannelBinding::Prefer, SslMode::VerifyCa(_) | SslMode::Require) => {
                Channel::Untrusted { end_point: session.end_point().ok() }
            }
        };
        Ok((Stream::Tls(Box::new(session)), channel))
    }

    /// TLS has failed: what was read for it may be out of date.
    pub(super) fn doubt(&self, to: &Connection, error: &ConnectError) {
        if let (Some(wish), ConnectError::Tls(error)) = (&to.tls, error) {
            self.tls.doubt(wish, error);
        }
    }

    /// Logs in with our own startup message.
    pub(super) async fn login(&self, to: &Connection, parameters: &[(&str, &str)]) -> Result<LoggedIn, ConnectError> {
        let deadline = self.deadline();
        let password = self.step("reading the password", deadline, reveal(&to.password)).await?;
        let (stream, channel) = self.dial(to, deadline).await?;
        let login = login(to, password, stream, channel, parameters);
        self.step("the login", deadline, login).await.inspect_err(|error| self.doubt(to, error))
    }
}

async fn login(
    to: &Connection,
    password: Option<SecretString>,
    mut stream: Stream,
    channel: Channel,
    parameters: &[(&str, &str)],
) -> Result<LoggedIn, ConnectError> {
    let mut out = BytesMut::new();
    let mut login = Login::start(&to.username, password, channel, parameters, &mut out).map_err(ConnectError::Login)?;
    let mut buf = BytesMut::with_capacity(8 * 1024);
    loop {
        stream.write_all(&out.split()).await.map_err(ConnectError::broken_off)?;
        stream.flush().await.map_err(ConnectError::broken_off)?;
        let Backend::Other(message) = next(&mut stream, &mut buf).await? else {
            return Err(ConnectError::Login(LoginError::Protocol(None)));
        };
        if let Progress::Ready(settings) = login.step(message, &mut out).map_err(ConnectError::Login)? {
            let mut session = LoggedIn { stream, buf, settings };
            session.set().await?;
            return Ok(session);
        }
    }
}

impl LoggedIn {
    /// Sets what a startup message can't, since it depends on what the server is.
    async fn set(&mut self) -> Result<(), ConnectError> {
        let mut statements = Vec::new();
        let setting = |name: &str| self.settings.get(name).map(String::as_str).unwrap_or_default();
        statements.extend(without_transaction_timeout(setting("server_version")));
        // There the server knows no encoding and would end the stream at the first byte that is not UTF-8.
        if setting("server_encoding") == "SQL_ASCII" {
            statements.push("SET client_encoding = 'SQL_ASCII'");
        }
        if statements.is_empty() {
            return Ok(());
        }
        let mut out = BytesMut::new();
        frontend::query(&statements.join("; "), &mut out).map_err(ConnectError::broken_off)?;
        self.stream.write_all(&out).await.map_err(ConnectError::broken_off)?;
        self.stream.flush().await.map_err(ConnectError::broken_off)?;
        loop {
            match next(&mut self.stream, &mut self.buf).await? {
                Backend::Other(Message::ReadyForQuery(_)) => return Ok(()),
                Backend::Other(Message::ErrorResponse(body)) => {
                    let refused = LoginError::Refused(ServerError::from_fields(body.fields()));
                    return Err(ConnectError::Login(refused));
                }
                _ => {}
            }
        }
    }
}

/// The password as it stands now; a file is read off the threads that carry the streams.
pub(super) async fn reveal(password: &Password) -> Result<Option<SecretString>, ConnectError> {
    let password = password.clone();
    joined(spawn_blocking(move || password.reveal()).await).map_err(ConnectError::Password)
}

/// What lifts `transaction_timeout` where the server has it, from 17 on; it would end a stream inside a transaction.
/// `server_version` is as the server reports it.
pub(super) fn without_transaction_timeout(server_version: &str) -> Option<&'static str> {
    let digits = server_version.split(|c: char| !c.is_ascii_digit()).next();
    let major: u32 = digits.unwrap_or_default().parse().ok()?;
    (major >= 17).then_some("SET transaction_timeout = 0")
}

/// The next message that is whole.
async fn next(stream: &mut Stream, buf: &mut BytesMut) -> Result<Backend, ConnectError> {
    loop {
        if let Some(message) = frame::next(buf).map_err(ConnectError::Frame)? {
            return Ok(message);
        }
        if stream.read_buf(buf).await.map_err(ConnectError::broken_off)? == 0 {
            return Err(ConnectError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn is_loopback(tcp: &TcpStream) -> bool {
    tcp.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
}
