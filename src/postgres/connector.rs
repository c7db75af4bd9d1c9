//! One way to a server, for both kinds of session.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{Connection, Host, PasswordError, TlsMode};
use crate::net::dial::{self, DialError};
use crate::net::resolve::{self, Families, ResolveError, Resolver};
use crate::net::tls::{self, TlsClient, TlsError, Verify};
use crate::net::{Socket, Stream};
use crate::wire::frame::{self, Backend, FrameError};
use crate::wire::login::{Channel, Login, LoginError, Progress};

/// A server could not be connected to; the variant is the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no address answers: {0}")]
    Dial(#[source] DialError),
    #[error("the server's bytes are not Postgres': {0}")]
    Frame(#[source] FrameError),
    #[error("the connection broke off during the login: {0}")]
    Io(#[source] io::Error),
    #[error("{0}")]
    Login(#[source] LoginError),
    #[error("{0}")]
    Password(#[source] PasswordError),
    #[error("{0}")]
    Resolve(#[source] ResolveError),
    #[error("the socket {path} can't be connected to: {source}")]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the server refused the session: {0}")]
    Sql(#[source] tokio_postgres::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Tls(#[source] TlsError),
}

/// Connects to servers.
#[derive(Debug, Clone)]
pub struct Connector {
    resolver: Resolver,
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
    pub const fn new(
        resolver: Resolver,
        connect_timeout: Duration,
        wal_sender_timeout: Duration,
        application_name: String,
    ) -> Self {
        Self { resolver, connect_timeout, wal_sender_timeout, application_name }
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

    /// `future`, bounded by `connect_timeout`.
    pub(super) async fn bounded<T, E: From<ConnectError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        timeout(self.connect_timeout, future)
            .await
            .unwrap_or_else(|_| Err(ConnectError::Timeout(self.connect_timeout).into()))
    }

    /// A stream on which the server awaits a startup message, and what is below it.
    pub(super) async fn dial(&self, to: &Connection) -> Result<(Stream, Channel), ConnectError> {
        let families = if to.ipv6 { Families::Ipv6 } else { Families::Both };
        let (addresses, name) = match &to.host {
            Host::Socket(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", to.port));
                let stream = UnixStream::connect(&path).await;
                let stream = stream.map_err(|source| ConnectError::Socket { path, source })?;
                return Ok((Stream::Unix(Socket::new(stream)), Channel::Trusted { end_point: None }));
            }
            Host::Address { ip, zone } => {
                let address = resolve::literal(*ip, zone.as_deref(), to.port, families);
                (vec![address.map_err(ConnectError::Resolve)?], ip.to_string())
            }
            Host::Name(name) => {
                let found = self.resolver.lookup(name, to.port, families).await;
                (found.map_err(ConnectError::Resolve)?, name.clone())
            }
        };
        let tcp = dial::race(addresses).await.map_err(ConnectError::Dial)?;
        let Some(wish) = &to.tls else {
            let channel = if is_loopback(&tcp) {
                Channel::Trusted { end_point: None }
            } else {
                Channel::Untrusted { end_point: None }
            };
            return Ok((Stream::Plain(Socket::new(tcp)), channel));
        };
        let verify = match wish.mode {
            TlsMode::Require => Verify::Nothing,
            TlsMode::VerifyCa => Verify::Chain,
            TlsMode::VerifyFull => Verify::Full,
        };
        let client = TlsClient::new(verify, wish.root_cert.as_deref()).map_err(ConnectError::Tls)?;
        let stream = client.connect(tcp, &name).await.map_err(ConnectError::Tls)?;
        let end_point = tls::end_point(&stream);
        let channel = match verify {
            Verify::Full => Channel::Trusted { end_point },
            Verify::Chain | Verify::Nothing => Channel::Untrusted { end_point },
        };
        Ok((Stream::Tls(Box::new(stream)), channel))
    }

    /// Logs in with our own startup message.
    pub(super) async fn login(&self, to: &Connection, parameters: &[(&str, &str)]) -> Result<LoggedIn, ConnectError> {
        let password = to.password.reveal().map_err(ConnectError::Password)?;
        let (mut stream, channel) = self.dial(to).await?;
        let mut out = BytesMut::new();
        let mut login =
            Login::start(&to.username, password, channel, parameters, &mut out).map_err(ConnectError::Login)?;
        let mut buf = BytesMut::with_capacity(8 * 1024);
        loop {
            stream.write_all(&out.split()).await.map_err(ConnectError::Io)?;
            stream.flush().await.map_err(ConnectError::Io)?;
            let message = loop {
                if let Some(message) = frame::next(&mut buf).map_err(ConnectError::Frame)? {
                    break message;
                }
                if stream.read_buf(&mut buf).await.map_err(ConnectError::Io)? == 0 {
                    return Err(ConnectError::Io(io::ErrorKind::UnexpectedEof.into()));
                }
            };
            let Backend::Other(message) = message else {
                return Err(ConnectError::Login(LoginError::Protocol(None)));
            };
            if let Progress::Ready(settings) = login.step(message, &mut out).map_err(ConnectError::Login)? {
                return Ok(LoggedIn { stream, buf, settings });
            }
        }
    }
}

fn is_loopback(tcp: &TcpStream) -> bool {
    tcp.peer_addr().is_ok_and(|peer| match peer.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(ip.is_loopback(), |ip| ip.is_loopback()),
    })
}
