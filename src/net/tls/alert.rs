//! What a server says when it ends TLS, in words.
//!
//! Source: RFC 8446, section 6.2.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::AlertDescription;

use super::certificate::Certificate;
use super::when::When;
use crate::config::ClientCert;

/// Our own certificate, as sentences tell of it.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    pub(super) files: ClientCert,
    pub(super) shown: Option<Certificate>,
}

/// The server ended TLS, and said why.
#[derive(Debug)]
pub struct Alert {
    pub(super) said: AlertDescription,
    pub(super) ours: Option<Arc<OwnCertificate>>,
}

/// What it means.
enum Meaning<'a> {
    /// Something is wrong with our certificate.
    Refused(&'a OwnCertificate, &'static str),
    Expired(&'a OwnCertificate),
    UnknownIssuer(&'a OwnCertificate),
    NoCertificate,
    Version,
    NothingInCommon,
    NoSuchProtocol,
    NoSuchName,
    Other,
}

impl Alert {
    fn meaning(&self) -> Meaning<'_> {
        use AlertDescription as Said;
        match (self.said, self.ours.as_deref()) {
            (Said::CertificateExpired, Some(ours)) => Meaning::Expired(ours),
            (Said::UnknownCA, Some(ours)) => Meaning::UnknownIssuer(ours),
            (Said::CertificateRevoked, Some(ours)) => Meaning::Refused(ours, "as revoked"),
            (Said::UnsupportedCertificate, Some(ours)) => Meaning::Refused(ours, "as one that is not for clients"),
            (Said::DecryptError, Some(ours)) => Meaning::Refused(ours, "as one that was not signed by its issuer"),
            (Said::BadCertificate | Said::CertificateUnknown | Said::AccessDenied, Some(ours)) => {
                Meaning::Refused(ours, "and does not say why")
            }
            (Said::CertificateRequired | Said::NoCertificate, _) => Meaning::NoCertificate,
            (Said::ProtocolVersion, _) => Meaning::Version,
            (Said::HandshakeFailure | Said::InsufficientSecurity, _) => Meaning::NothingInCommon,
            (Said::NoApplicationProtocol, _) => Meaning::NoSuchProtocol,
            (Said::UnrecognisedName, _) => Meaning::NoSuchName,
            _ => Meaning::Other,
        }
    }

    /// What ends it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.meaning() {
            Meaning::Expired(ours) => {
                format!("renew `ssl_cert` {}; slotd reads it again by itself", ours.files.cert.display())
            }
            Meaning::UnknownIssuer(ours) => {
                let issuer = ours.shown.as_ref().map_or("its issuer", |shown| &shown.issuer);
                format!("add the certificate of {issuer} to the server's ssl_ca_file, or give another `ssl_cert`")
            }
            Meaning::Refused(..) => "see the server's log for the reason, and give another `ssl_cert`".to_owned(),
            Meaning::NoCertificate => "give `ssl_cert` and `ssl_key`".to_owned(),
            Meaning::Version => "raise ssl_max_protocol_version on the server to TLSv1.2 or more".to_owned(),
            Meaning::NothingInCommon => "see the server's log; ssl_ciphers and ssl_ecdh_curve (ssl_groups from 18 on) \
                                         may be too narrow, or it wants `ssl_cert` and `ssl_key`"
                .to_owned(),
            Meaning::NoSuchProtocol => {
                "correct `hostname` and `port`: this is no Postgres server, or a proxy for others".to_owned()
            }
            Meaning::NoSuchName => "give `hostname` as the proxy before the server knows it".to_owned(),
            Meaning::Other => "see the server's log".to_owned(),
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Meaning::Expired(ours) => {
                f.write_str("the server refuses the client certificate as expired")?;
                if let Some(shown) = &ours.shown {
                    write!(f, ": it was valid until {}", When { at: shown.not_after, now: Timestamp::now() })?;
                }
                ours.fmt(f)
            }
            Meaning::UnknownIssuer(ours) => {
                write!(f, "the server does not know who issued the client certificate{ours}")
            }
            Meaning::Refused(ours, how) => write!(f, "the server refuses the client certificate {how}{ours}"),
            Meaning::NoCertificate => f.write_str("the server demands a client certificate, and none is given"),
            Meaning::Version => f.write_str("the server speaks neither TLS 1.2 nor TLS 1.3, and slotd nothing older"),
            Meaning::NothingInCommon => f.write_str("server and slotd have no cipher, curve or signature in common"),
            Meaning::NoSuchProtocol => f.write_str("the server does not know the protocol postgresql (ALPN)"),
            Meaning::NoSuchName => f.write_str("the server does not know the host name that slotd asks for (SNI)"),
            Meaning::Other => write!(f, "the server ended TLS with the alert {:?}", self.said),
        }
    }
}

impl std::error::Error for Alert {}

impl fmt::Display for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Some(shown) => write!(f, " (it is {shown}, from {})", self.files.cert.display()),
            None => write!(f, " (from {})", self.files.cert.display()),
        }
    }
}
