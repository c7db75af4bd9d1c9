//! TLS failed: what is said, and what ends it.

use std::io;

use super::alert::Alert;
use super::files::FileError;
use super::refusal::Refusal;

/// TLS failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server ended TLS and said why.
    #[error("{0}")]
    Alert(#[source] Alert),
    #[error("the server answered the request for TLS with the byte {0:#04x}, which is neither yes nor no")]
    Answer(u8),
    #[error("{0}")]
    Certificate(Box<Refusal>),
    /// With `ssl_negotiation = "direct"`.
    #[error(
        "the server closed the connection when TLS began without a request, as servers before PostgreSQL 17 do \
         (ssl_negotiation is \"direct\")"
    )]
    ClosedDirect(#[source] io::Error),
    #[error("{0}")]
    File(#[from] FileError),
    #[error("TLS with the server failed: {0}")]
    Handshake(#[source] rustls::Error),
    #[error("the connection broke off while TLS was being set up: {0}")]
    Io(#[source] io::Error),
    #[error("{0:?} can't be the name of a certificate")]
    Name(String),
    /// With `ssl_negotiation = "direct"`.
    #[error(
        "the server began TLS without agreeing on the protocol postgresql (ALPN), as ssl_negotiation \"direct\" demands"
    )]
    NoAlpn,
    #[error("no root certificate was found: {0}")]
    NoRoots(String),
    #[error("the server does not offer TLS")]
    NotOffered,
    #[error("what the server sends where TLS should begin is not TLS")]
    NotTls(#[source] rustls::Error),
    /// Bytes that came with the answer could have been put there by anyone.
    #[error("the server went on in plain text after its yes to TLS; nothing of that was taken")]
    PlainText,
    /// It answers the request for TLS with an error: it could not even make a process for the connection.
    #[error("the server could not begin a session")]
    Unable,
    #[error(
        "channel_binding = \"require\" can't be kept: the server's certificate is signed by {0}, which names no hash to \
         bind to"
    )]
    Unbindable(String),
}

impl TlsError {
    /// Whether it is the connection's failure, and none of TLS.
    #[must_use]
    pub const fn is_of_connection(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Unable | Self::ClosedDirect(_))
    }

    /// Whether files that are read anew could end it.
    pub(super) const fn is_of_trust(&self) -> bool {
        matches!(self, Self::Alert(_) | Self::Certificate(_) | Self::Handshake(_))
    }

    /// What ends it.
    #[must_use]
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Alert(alert) => return alert.hint(),
            Self::Certificate(refusal) => return refusal.hint(),
            Self::File(error) => return error.hint(),
            Self::Answer(_) => "correct `hostname` and `port`: this is no Postgres server",
            Self::ClosedDirect(_) => {
                "leave `ssl_negotiation` out, unless the server is of 17 or later and only being restarted"
            }
            Self::Handshake(_) => "see the server's log",
            Self::Io(_) => "nothing to do if the server is being restarted",
            Self::Name(_) => "give `hostname` as the certificate has it",
            Self::NoAlpn => "leave `ssl_negotiation` out: a proxy ends TLS here that does not know it",
            Self::NoRoots(_) => {
                "install the system's root certificates (Debian: ca-certificates), or name the authority's in \
                 `ssl_root_cert`"
            }
            Self::NotOffered => "set `ssl = on` on the server, or `ssl = false` here to send everything in plain text",
            Self::NotTls(_) => "correct `hostname` and `port`, or find out what stands between slotd and the server",
            Self::PlainText => "find out who stands between slotd and the server: Postgres never does that",
            Self::Unable => "see the server's log: it lacks memory or processes",
            Self::Unbindable(_) => {
                "give the server a certificate that is signed by RSA or ECDSA, or leave `channel_binding` out"
            }
        };
        hint.to_owned()
    }
}
