//! TLS as libpq names its modes, verified in full unless told otherwise.
//!
//! [`TlsClients`] keeps a [`TlsClient`] for each set of keys, with what their files hold. `verify` judges the server's
//! certificate, `refusal` says why one was refused, `alert` what a server says that ends TLS, and `binding` computes what
//! SCRAM binds to. Each failure is a [`TlsError`] with its sentence and its hint; docs/TLS.md shows all of them.
//!
//! Source: <https://www.postgresql.org/docs/current/libpq-ssl.html>,
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

mod alert;
mod binding;
mod certificate;
mod clients;
mod error;
mod files;
mod refusal;
mod session;
mod verify;
mod when;

use self::alert::{Alert, OwnCertificate};
use self::certificate::Certificate;
use self::refusal::Refusal;
use self::verify::{Judge, Witness};
use super::Socket;
use crate::config::{SslNegotiation, Tls};
pub use clients::TlsClients;
pub use error::TlsError;
pub use files::FileError;
pub use session::TlsSession;

/// The name of Postgres' protocol (ALPN).
const ALPN: &[u8] = b"postgresql";

/// How a server is spoken to. [`TlsClients`] keeps those that are made.
#[derive(Debug, Clone)]
pub struct TlsClient {
    /// Complete but for its verifier, of which each handshake gets its own.
    config: Arc<ClientConfig>,
    judge: Judge,
    negotiation: SslNegotiation,
    ours: Option<Arc<OwnCertificate>>,
}

impl TlsClient {
    /// Reads the files that `tls` names, and the system's roots where it names none.
    ///
    /// # Errors
    /// A file can't be used, or there are no roots.
    pub fn new(tls: &Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let judge = Judge::new(&tls.mode, &provider)?;
        let certified = tls.client_cert.as_ref().map(|files| files::client_cert(files, &provider)).transpose()?;
        let ours = tls.client_cert.as_ref().zip(certified.as_ref()).map(|(files, certified)| {
            let shown = certified.cert.first().and_then(|der| Certificate::read(der));
            Arc::new(OwnCertificate { files: files.clone(), shown })
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Handshake)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Witness::new(judge.clone())));
        let mut config = match certified {
            Some(certified) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Postgres resumes no session.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), judge, negotiation: tls.negotiation, ours })
    }

    /// Looks at the files that `tls` names, without the system's roots, and gives what is wrong with each.
    #[must_use]
    pub fn mistakes(tls: &Tls) -> Vec<FileError> {
        let trust = tls.mode.trust();
        let mut mistakes = Vec::new();
        mistakes.extend(trust.and_then(|trust| files::roots(trust.root_cert.as_deref()?).err()));
        mistakes.extend(trust.and_then(|trust| files::lists(trust.crl.as_deref()?).err()));
        let client_cert = |files| files::client_cert(files, &ring::default_provider()).err();
        mistakes.extend(tls.client_cert.as_ref().and_then(client_cert));
        if mistakes.is_empty()
            && let Err(TlsError::File(mistake)) = Self::new(tls)
        {
            mistakes.push(mistake);
        }
        mistakes
    }

    /// Asks the server for TLS, or begins it at once, and shakes hands; `name` is whom the certificate must be for. A
    /// name is told to the server (SNI), an address is not.
    ///
    /// # Errors
    /// The server has no TLS, its certificate does not verify, or it refuses ours.
    pub async fn connect(&self, mut tcp: TcpStream, name: &str) -> Result<TlsSession, TlsError> {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        if self.negotiation == SslNegotiation::Postgres {
            ask(&mut tcp).await?;
        }
        let witness = Arc::new(Witness::new(self.judge.clone()));
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::<Witness>::clone(&witness));
        let connector = TlsConnector::from(Arc::new(config));
        let shaken = connector.connect(server, Socket::new(tcp)).await;
        let stream = shaken.map_err(|error| self.failed(error, &witness, name))?;
        if self.negotiation == SslNegotiation::Direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(TlsError::NoAlpn);
        }
        Ok(TlsSession::new(stream, self.ours.clone()))
    }

    /// Why a handshake failed: what TLS itself has to say is carried inside, all else is the connection's.
    fn failed(&self, error: io::Error, witness: &Witness, name: &str) -> TlsError {
        let error = match error.downcast::<rustls::Error>() {
            Ok(error) => error,
            Err(closed) if self.negotiation == SslNegotiation::Direct => return TlsError::ClosedDirect(closed),
            Err(broken) => return TlsError::Io(broken),
        };
        if let (Some(chain), Some(trusted)) = (witness.refused(), self.judge.trusted()) {
            return TlsError::Certificate(Box::new(Refusal::new(&error, chain, trusted, name)));
        }
        match error {
            rustls::Error::AlertReceived(said) => TlsError::Alert(Alert { said, ours: self.ours.clone() }),
            rustls::Error::InvalidMessage(_) => TlsError::NotTls(error),
            error => TlsError::Handshake(error),
        }
    }
}

/// Asks whether the server speaks TLS.
async fn ask(tcp: &mut TcpStream) -> Result<(), TlsError> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(TlsError::Io)?;
    // One byte is awaited. What comes with it was sent before TLS began, by whomever.
    let mut answer = [0; 2];
    match (tcp.read(&mut answer).await.map_err(TlsError::Io)?, answer[0]) {
        (0, _) => Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into())),
        (1, b'S') => Ok(()),
        (_, b'S') => Err(TlsError::PlainText),
        (_, b'N') => Err(TlsError::NotOffered),
        (_, b'E') => Err(TlsError::Unable),
        (_, other) => Err(TlsError::Answer(other)),
    }
}
