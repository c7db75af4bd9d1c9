//! TLS as libpq names its modes, verified in full unless told otherwise.
//!
//! Source: <https://www.postgresql.org/docs/current/libpq-ssl.html>; channel binding: RFC 5929, section 4.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_1_WITH_RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION,
    SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};

mod clients;

use super::Socket;
pub use clients::TlsClients;

/// What of the server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verify {
    /// The chain and the name.
    Full,
    /// The chain.
    Chain,
    Nothing,
}

/// TLS failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("TLS with the server failed: {0}")]
    Handshake(#[source] std::io::Error),
    #[error("the connection broke off while TLS was being set up: {0}")]
    Io(#[source] std::io::Error),
    #[error("the server does not offer TLS")]
    NotOffered,
    /// It answers the request for TLS with an error: it could not even make a process for the connection.
    #[error("the server could not begin a session")]
    Unable,
    #[error("the server answered the request for TLS with the byte {0:#04x}, which is neither yes nor no")]
    Answer(u8),
    #[error("ssl_root_cert {path} can't be read: {source}")]
    RootFile {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("no root certificate was found: {0}")]
    NoRoots(String),
    #[error("{0:?} can't be the name of a certificate")]
    Name(String),
}

/// How a server is spoken to. [`TlsClients`] keeps those that are made.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Reads the roots from `root_cert`, or the system's.
    ///
    /// # Errors
    /// There are none, or they can't be read.
    pub fn new(verify: Verify, root_cert: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match verify {
            Verify::Nothing => Arc::new(Unverified(Arc::clone(&provider))),
            Verify::Chain | Verify::Full => {
                let roots = Arc::new(roots(root_cert)?);
                let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|error| TlsError::NoRoots(error.to_string()))?;
                if verify == Verify::Full { chain } else { Arc::new(AnyName(chain)) }
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::NoRoots(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    /// Asks the server for TLS and shakes hands; `name` is what the certificate must be for.
    ///
    /// # Errors
    /// The server has no TLS, or its certificate does not verify.
    pub async fn connect(&self, mut tcp: TcpStream, name: &str) -> Result<TlsStream<Socket<TcpStream>>, TlsError> {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        tcp.write_all(&request).await.map_err(TlsError::Io)?;
        match tcp.read_u8().await.map_err(TlsError::Io)? {
            b'S' => {}
            b'N' => return Err(TlsError::NotOffered),
            b'E' => return Err(TlsError::Unable),
            other => return Err(TlsError::Answer(other)),
        }
        let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(server, Socket::new(tcp)).await.map_err(|error| {
            // What TLS itself has to say is carried inside; all else is the connection's.
            let of_tls = error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
            if of_tls { TlsError::Handshake(error) } else { TlsError::Io(error) }
        })
    }
}

/// The hash that SCRAM binds to: of the server's certificate, by its own signature's hash, SHA-256 at the least.
/// `None` where the signature names no hash (Ed25519).
#[must_use]
pub fn end_point(stream: &TlsStream<Socket<TcpStream>>) -> Option<Vec<u8>> {
    let der = stream.get_ref().1.peer_certificates()?.first()?;
    let certificate = Certificate::from_der(der).ok()?;
    match certificate.signature_algorithm().oid {
        SHA_1_WITH_RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_256 => {
            Some(Sha256::digest(der).to_vec())
        }
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => Some(Sha384::digest(der).to_vec()),
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => Some(Sha512::digest(der).to_vec()),
        _ => None,
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = file {
        let unreadable = |source| TlsError::RootFile { path: path.to_owned(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            let certificate = certificate.map_err(unreadable)?;
            store.add(certificate).map_err(|error| TlsError::NoRoots(format!("{}: {error}", path.display())))?;
        }
        if store.is_empty() {
            return Err(TlsError::NoRoots(format!("{} holds none", path.display())));
        }
        return Ok(store);
    }
    let found = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(|| "the system has none".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(why));
    }
    Ok(store)
}

/// `verify-ca`: the chain must hold, the name need not.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is judged after the chain, so that this error means a chain that holds.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// `require`: whoever answers is taken.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
