//! Why a server's certificate was refused, in words.

use std::fmt;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::{CertRevocationListError, CertificateError, Error};
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;

use super::certificate::{self, Certificate};
use super::verify::Trusted;
use super::when::When;
use crate::config::Trust;

/// The server's certificate was refused; the certificate is named, and what it was held against.
#[derive(Debug)]
pub struct Refusal {
    fault: Fault,
    /// The certificate at fault; `None` if it can't even be read.
    shown: Option<Certificate>,
    /// Whether that is the server's own, and not one of the authorities above it.
    is_leaf: bool,
    trust: Trust,
    /// Whom the certificate had to be for.
    host: String,
}

#[derive(Debug)]
enum Fault {
    Expired(When),
    NotYetValid(When),
    OtherName,
    /// Also: an authority of that name has another key.
    UnknownIssuer,
    OtherKey,
    SelfSigned,
    AuthorityAsLeaf,
    Revoked(Option<When>),
    NoList,
    ListExpired(When),
    ListUnfit,
    Version1,
    Purpose,
    Other(String),
}

/// One list of revoked certificates, as far as sentences need it.
struct List {
    issuer: String,
    revoked: Vec<(x509_cert::serial_number::SerialNumber, x509_cert::time::Time)>,
}

impl List {
    fn read(der: &[u8]) -> Option<Self> {
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(der).ok()?.tbs_cert_list;
        let revoked = list.revoked_certificates.unwrap_or_default();
        let revoked = revoked.into_iter().map(|entry| (entry.serial_number, entry.revocation_date)).collect();
        Some(Self { issuer: certificate::name(&list.issuer), revoked })
    }

    /// When `certificate` was revoked, if it was.
    fn revokes(&self, certificate: &Certificate) -> Option<Timestamp> {
        let (_, time) = self.revoked.iter().find(|(serial, _)| *serial == certificate.serial)?;
        (self.issuer == certificate.issuer).then(|| certificate::timestamp(*time))?
    }
}

impl Refusal {
    /// `error` is why `trusted` refused `chain`, which a server called `host` has shown.
    pub(super) fn new(error: &Error, chain: &[CertificateDer<'_>], trusted: &Trusted, host: &str) -> Self {
        let now = Timestamp::now();
        let chain: Vec<_> = chain.iter().filter_map(|der| Certificate::read(der)).collect();
        let fault = Fault::of(error, &chain, trusted, now);
        let lists = || trusted.lists.iter().filter_map(|der| List::read(der));
        let at_fault = match &fault {
            Fault::Expired(when) => chain.iter().position(|shown| shown.not_after == when.at),
            Fault::NotYetValid(when) => chain.iter().position(|shown| shown.not_before == when.at),
            Fault::Revoked(_) => chain.iter().position(|shown| lists().any(|list| list.revokes(shown).is_some())),
            Fault::NoList => chain.iter().position(|shown| lists().all(|list| list.issuer != shown.issuer)),
            // A chain that leads to nobody is told by its end.
            Fault::UnknownIssuer => end_of(&chain),
            _ => Some(0),
        };
        let at_fault = at_fault.unwrap_or(0);
        Self {
            fault,
            shown: chain.into_iter().nth(at_fault),
            is_leaf: at_fault == 0,
            trust: trusted.trust.clone(),
            host: host.to_owned(),
        }
    }

    /// What ends it.
    #[must_use]
    pub fn hint(&self) -> String {
        let issuer = self.shown.as_ref().map_or("its authority", |shown| &shown.issuer);
        let roots = match &self.trust.root_cert {
            Some(path) => format!("add it to `ssl_root_cert` {}", path.display()),
            None => "name its file in `ssl_root_cert`".to_owned(),
        };
        match &self.fault {
            Fault::Expired(_) => {
                "renew it on the server and run there: SELECT pg_reload_conf(); slotd tries again by itself".to_owned()
            }
            Fault::NotYetValid(_) => {
                "correct the clock of this host, or of the one that made the certificate; slotd tries again by itself"
                    .to_owned()
            }
            Fault::OtherName if self.shown.as_ref().is_none_or(|shown| shown.names.is_empty()) => format!(
                "have one made with {} in its subjectAltName, or write `ssl_mode = \"verify-ca\"`, which leaves the name \
                 unverified",
                self.host
            ),
            Fault::OtherName => format!(
                "give `hostname` as the certificate has it, have one made for {}, or write `ssl_mode = \"verify-ca\"`, \
                 which leaves the name unverified",
                self.host
            ),
            Fault::UnknownIssuer => format!("get the certificate of {issuer} from who runs the server, and {roots}"),
            Fault::OtherKey => {
                format!(
                    "get the present certificate of {issuer} from who runs the server, and {roots}; or find out who answers in the server's place"
                )
            }
            Fault::SelfSigned => {
                format!("get the certificate from who runs the server, and {roots}; or have an authority sign one")
            }
            Fault::AuthorityAsLeaf => {
                "give the server a certificate of its own that the authority has signed; `openssl req -x509` makes an \
                 authority unless it is given `-addext basicConstraints=critical,CA:FALSE`"
                    .to_owned()
            }
            Fault::Revoked(_) => {
                "give the server a new certificate; if it is not the server's, find out who answers in its place"
                    .to_owned()
            }
            Fault::NoList => format!("add the list of {issuer} to `ssl_crl`, or leave `ssl_crl` out"),
            Fault::ListExpired(_) => {
                "put the authority's present list into that file; slotd reads it again by itself".to_owned()
            }
            Fault::ListUnfit => format!("put the list that {issuer} itself has signed into `ssl_crl`"),
            Fault::Version1 => {
                "have it made anew with the names of the server in subjectAltName, which makes it version 3".to_owned()
            }
            Fault::Purpose => "have one made whose extendedKeyUsage names serverAuth, or is absent".to_owned(),
            Fault::Other(_) => {
                "have a certificate made as RFC 5280 has it, or write `ssl_mode = \"require\"`, which verifies nothing"
                    .to_owned()
            }
        }
    }

    /// The file of lists.
    fn crl(&self) -> String {
        self.trust.crl.as_ref().map(|path| format!("ssl_crl {}", path.display())).unwrap_or_default()
    }
}

/// The last certificate on the way up from the first.
fn end_of(chain: &[Certificate]) -> Option<usize> {
    let mut at = 0;
    for _ in chain {
        let here = chain.get(at)?;
        match chain.iter().position(|above| above.subject == here.issuer && !here.is_self_signed()) {
            Some(above) => at = above,
            None => break,
        }
    }
    Some(at)
}

impl Fault {
    fn of(error: &Error, chain: &[Certificate], trusted: &Trusted, now: Timestamp) -> Self {
        let when = |at: rustls::pki_types::UnixTime| {
            let at = i64::try_from(at.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            When { at: at.unwrap_or_default(), now }
        };
        let leaf = chain.first();
        match error {
            Error::InvalidCertificate(error) => match error {
                CertificateError::ExpiredContext { not_after, .. } => Self::Expired(when(*not_after)),
                CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid(when(*not_before)),
                CertificateError::NotValidForNameContext { .. } => Self::OtherName,
                CertificateError::UnknownIssuer if leaf.is_some_and(Certificate::is_self_signed) => Self::SelfSigned,
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                CertificateError::BadSignature => Self::OtherKey,
                CertificateError::Revoked => {
                    let lists = trusted.lists.iter().filter_map(|der| List::read(der));
                    let at = lists.flat_map(|list| chain.iter().filter_map(move |shown| list.revokes(shown))).next();
                    Self::Revoked(at.map(|at| When { at, now }))
                }
                CertificateError::UnknownRevocationStatus => Self::NoList,
                CertificateError::ExpiredRevocationListContext { next_update, .. } => {
                    Self::ListExpired(when(*next_update))
                }
                CertificateError::InvalidPurposeContext { .. } => Self::Purpose,
                CertificateError::Other(_) if leaf.is_some_and(|leaf| leaf.is_version_1) => Self::Version1,
                CertificateError::Other(_) if leaf.is_some_and(|leaf| leaf.is_authority) => Self::AuthorityAsLeaf,
                other => Self::Other(other.to_string()),
            },
            Error::InvalidCertRevocationList(
                CertRevocationListError::BadSignature | CertRevocationListError::IssuerInvalidForCrl,
            ) => Self::ListUnfit,
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose =
            if self.is_leaf { "the server's certificate" } else { "an authority's certificate that the server shows" };
        let issuer = self.shown.as_ref().map_or("its issuer", |shown| &shown.issuer);
        match &self.fault {
            Fault::Expired(when) => write!(f, "{whose} expired at {when}"),
            Fault::NotYetValid(when) => write!(f, "{whose} is not valid before {when}"),
            Fault::OtherName => match self.shown.as_ref().and_then(Certificate::for_whom) {
                Some(names) => write!(f, "{whose} is for {names}, and not for {}", self.host),
                None => write!(f, "{whose} names no host in its subjectAltName, and should name {}", self.host),
            },
            Fault::UnknownIssuer => match &self.trust.root_cert {
                Some(path) => {
                    write!(f, "{whose} is issued by {issuer}, who is not in ssl_root_cert {}", path.display())
                }
                None => write!(f, "{whose} is issued by {issuer}, who is not among the system's roots"),
            },
            Fault::OtherKey => {
                write!(f, "{whose} is not signed by the {issuer} that slotd trusts, but by another of that name")
            }
            Fault::SelfSigned => match &self.trust.root_cert {
                Some(path) => write!(f, "{whose} is self-signed, and is not in ssl_root_cert {}", path.display()),
                None => write!(f, "{whose} is self-signed, and is not among the system's roots"),
            },
            Fault::AuthorityAsLeaf => {
                write!(f, "the server shows the certificate of an authority (CA:TRUE) as its own")
            }
            Fault::Revoked(Some(when)) => write!(f, "{whose} was revoked at {when}, says {}", self.crl()),
            Fault::Revoked(None) => write!(f, "{whose} was revoked, says {}", self.crl()),
            Fault::NoList => {
                write!(f, "{} has no list of {issuer}, so whether {whose} was revoked is not known", self.crl())
            }
            Fault::ListExpired(when) => {
                write!(f, "the list in {} expired at {when}, so whether {whose} was revoked is not known", self.crl())
            }
            Fault::ListUnfit => write!(f, "the list in {} is not signed by {issuer}, whose name it has", self.crl()),
            Fault::Version1 => write!(f, "{whose} is of X.509 version 1, which can't say for which hosts it is"),
            Fault::Purpose => write!(f, "{whose} is not for servers, says its extendedKeyUsage"),
            Fault::Other(why) => write!(f, "{whose} can't be verified: {why}"),
        }?;
        match &self.shown {
            Some(shown) => write!(f, " (it is {shown})"),
            None => Ok(()),
        }
    }
}
