//! What a certificate says of itself.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::DB;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

/// How many names are listed.
const MOST_NAMES: usize = 5;
/// How many characters of a name are shown.
const MOST_CHARACTERS: usize = 120;

/// A certificate, as sentences tell of it. What its maker chose freely holds no control character and is cut to a length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// The names and addresses that it is for.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) serial: SerialNumber,
    /// It may sign others.
    pub(super) is_authority: bool,
    /// X.509 version 1, which has no place for names and purposes.
    pub(super) is_version_1: bool,
    /// What it is signed by, as Ed25519 and the like.
    pub(super) signed_by: String,
}

impl Certificate {
    /// Reads a certificate; `None` if it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let alternative = tbs.get_extension::<SubjectAltName>().ok().flatten();
        let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
        let algorithm = certificate.signature_algorithm().oid;
        Some(Self {
            subject: name(tbs.subject()),
            issuer: name(tbs.issuer()),
            names: alternative.iter().flat_map(|(_, names)| &names.0).filter_map(host).collect(),
            not_before: timestamp(tbs.validity().not_before)?,
            not_after: timestamp(tbs.validity().not_after)?,
            serial: tbs.serial_number().clone(),
            is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
            is_version_1: tbs.version() == x509_cert::certificate::Version::V1,
            signed_by: DB
                .by_oid(&algorithm)
                .map_or_else(|| algorithm.to_string(), |name| name.trim_start_matches("id-").to_owned()),
        })
    }

    /// It is its own issuer.
    pub(super) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    /// The names that it is for; `None` if there are none.
    pub(super) fn for_whom(&self) -> Option<String> {
        let (last, before) = self.names.get(..MOST_NAMES.min(self.names.len()))?.split_last()?;
        let more = self.names.len() - before.len() - 1;
        Some(match (before, more) {
            ([], _) => last.clone(),
            (_, 0) => format!("{} and {last}", before.join(", ")),
            (_, more) => format!("{}, {last} and {more} more", before.join(", ")),
        })
    }
}

/// Whose it is, for whom, and by whom it was made.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        if let Some(names) = self.for_whom() {
            write!(f, ", for {names}")?;
        }
        if self.is_self_signed() { f.write_str(", self-signed") } else { write!(f, ", issued by {}", self.issuer) }
    }
}

/// A name in the form of RFC 4514.
pub(super) fn name(name: &Name) -> String {
    if name.is_empty() { "a subject without a name".to_owned() } else { plain(&name.to_string()) }
}

/// A moment of a certificate or a list.
pub(super) fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok()
}

fn host(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(plain(name.as_str())),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            Some(v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?.to_string())
        }
        _ => None,
    }
}

/// A text of the peer, harmless on a terminal and in a log.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    for (at, c) in text.chars().enumerate() {
        match c {
            _ if at == MOST_CHARACTERS => {
                shown.push('…');
                break;
            }
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn read(names: &[&str], common_name: &str) -> Certificate {
        let mut params = CertificateParams::new(names.iter().copied().map(String::from).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        Certificate::read(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    #[test]
    fn names_are_listed_up_to_a_number() {
        assert_eq!(read(&[], "db").to_string(), "CN=db, self-signed");
        assert_eq!(read(&["db", "10.0.0.1", "::1"], "x").to_string(), "CN=x, for db, 10.0.0.1 and ::1, self-signed");
        let many = read(&["a", "b", "c", "d", "e", "f", "g"], "x");
        assert_eq!(many.for_whom().unwrap(), "a, b, c, d, e and 2 more");
    }

    #[test]
    fn no_text_of_the_peer_reaches_a_terminal_as_it_is() {
        let shown = read(&[], "a\u{1b}[2J\n\u{202e}é\u{9b}").subject;
        assert!(shown.starts_with("CN=a") && shown.contains('é') && !shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains('\u{202e}'), "{shown:?}");
        assert_eq!(read(&[], &"x".repeat(1000)).subject.chars().count(), MOST_CHARACTERS + 1);
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        assert_eq!(Certificate::read(b""), None);
        assert_eq!(Certificate::read(&[0x30; 100]), None);
    }
}
