//! Who judges a server's certificate.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::TlsError;
use super::files::{self, FileError, FileFault};
use crate::config::{SslMode, Trust};

/// What is verified, and by what.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    verify: Verify,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug, Clone)]
enum Verify {
    /// `require`: whoever answers is taken.
    Nothing,
    /// `verify-ca`: the chain must hold, the name need not.
    Chain(Arc<Trusted>),
    /// `verify-full`.
    Full(Arc<Trusted>),
}

/// What a chain is held against.
#[derive(Debug)]
pub(super) struct Trusted {
    verifier: Arc<WebPkiServerVerifier>,
    pub(super) trust: Trust,
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
}

impl Judge {
    /// Reads the files that `mode` names.
    pub(super) fn new(mode: &SslMode, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let verify = match mode {
            SslMode::Require => Verify::Nothing,
            SslMode::VerifyCa(trust) => Verify::Chain(Arc::new(Trusted::read(trust, provider)?)),
            SslMode::VerifyFull(trust) => Verify::Full(Arc::new(Trusted::read(trust, provider)?)),
        };
        Ok(Self { verify, algorithms: provider.signature_verification_algorithms })
    }

    /// What a chain is held against, where it is.
    pub(super) fn trusted(&self) -> Option<&Trusted> {
        match &self.verify {
            Verify::Nothing => None,
            Verify::Chain(trusted) | Verify::Full(trusted) => Some(trusted),
        }
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(trusted) = self.trusted() else { return Ok(()) };
        let judged = trusted.verifier.verify_server_cert(end_entity, intermediates, server_name, &[], now);
        match (judged, &self.verify) {
            // The name is judged after the chain, so that this error means a chain that holds.
            (
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )),
                Verify::Chain(_),
            ) => Ok(()),
            (judged, _) => judged.map(drop),
        }
    }
}

impl Trusted {
    fn read(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let roots = match &trust.root_cert {
            Some(path) => files::roots(path)?,
            None => system_roots()?,
        };
        let lists = trust.crl.as_deref().map(files::lists).transpose()?.unwrap_or_default();
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        // A list that is too old says nothing of what was revoked since.
        let builder = builder.with_crls(lists.iter().cloned()).enforce_revocation_expiration();
        let verifier = builder.build().map_err(|error| match &trust.crl {
            Some(path) => {
                let fault = FileFault::Unusable(error.to_string());
                TlsError::File(FileError { key: "ssl_crl", path: path.clone(), fault })
            }
            None => TlsError::NoRoots(error.to_string()),
        })?;
        Ok(Self { verifier, trust: trust.clone(), lists })
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(|| "the system has none".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(why));
    }
    Ok(store)
}

/// Sees one handshake, and keeps the chain that the judge has refused: rustls does not.
#[derive(Debug)]
pub(super) struct Witness {
    judge: Judge,
    refused: OnceLock<Vec<CertificateDer<'static>>>,
}

impl Witness {
    pub(super) const fn new(judge: Judge) -> Self {
        Self { judge, refused: OnceLock::new() }
    }

    /// The chain that was refused, the server's own certificate first.
    pub(super) fn refused(&self) -> Option<&[CertificateDer<'static>]> {
        self.refused.get().map(Vec::as_slice)
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge.judge(end_entity, intermediates, server_name, now);
        if judged.is_err() {
            let chain = [end_entity].into_iter().chain(intermediates).map(|der| der.clone().into_owned());
            self.refused.get_or_init(|| chain.collect());
        }
        judged.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.judge.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.judge.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.algorithms.supported_schemes()
    }
}
