//! Why no address could be reached, in words, and what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;

use super::super::resolve::{Families, Missing, ResolveError};

/// No TCP connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error(transparent)]
    Resolve(ResolveError),
    #[error(transparent)]
    Dial(DialError),
}

impl ReachError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Resolve(error) => error.hint(),
            Self::Dial(error) => error.hint().to_owned(),
        }
    }
}

/// There are addresses, and none could be connected to.
#[derive(Debug)]
pub struct DialError {
    pub attempts: Vec<(SocketAddr, io::Error)>,
    /// Time ran out before their turn.
    pub untried: Vec<SocketAddr>,
    /// What is known of a family without addresses.
    pub unresolved: Vec<ResolveError>,
    families: Families,
}

impl std::error::Error for DialError {}

impl From<DialError> for ReachError {
    /// Without any address it is the name that failed.
    fn from(mut error: DialError) -> Self {
        match error.unresolved.pop() {
            Some(why) if error.attempts.is_empty() && error.untried.is_empty() => Self::Resolve(why),
            why => {
                error.unresolved.extend(why);
                Self::Dial(error)
            }
        }
    }
}

/// Why IPv6 would be needed.
enum Ipv6Only {
    /// `ipv6 = true`.
    Wished,
    /// The name has no IPv4 address.
    Name,
    /// The file gives an IPv6 address, or it is not known whether there is IPv4.
    Given,
}

impl DialError {
    pub(super) const fn new(families: Families) -> Self {
        Self { attempts: Vec::new(), untried: Vec::new(), unresolved: Vec::new(), families }
    }

    /// Whether this host has no way to any IPv6 address, and no other is known.
    fn lacks_ipv6(&self) -> Option<Ipv6Only> {
        let has_no_way = |(address, error): &(SocketAddr, io::Error)| address.is_ipv6() && is_without_route(error);
        if self.attempts.is_empty() || !self.untried.is_empty() || !self.attempts.iter().all(has_no_way) {
            return None;
        }
        let is_name = |error: &ResolveError| matches!(error, ResolveError::NoAddress { missing: Missing::Ipv4, .. });
        Some(match self.families {
            Families::Ipv6 => Ipv6Only::Wished,
            Families::Both if self.unresolved.iter().any(is_name) => Ipv6Only::Name,
            Families::Both => Ipv6Only::Given,
        })
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.lacks_ipv6() {
            Some(Ipv6Only::Wished) => {
                "give this host an IPv6 address and a route, or leave `ipv6 = true` out if the server has an IPv4 address"
            }
            Some(Ipv6Only::Name | Ipv6Only::Given) => {
                "give this host an IPv6 address and a route, or put a name or address of the server that is IPv4 into \
                 `hostname`"
            }
            None => self.hint_of_attempts(),
        }
    }

    fn hint_of_attempts(&self) -> &'static str {
        let any = |kind| self.attempts.iter().any(|(_, error)| error.kind() == kind);
        if any(io::ErrorKind::ConnectionRefused) {
            "nothing listens there: start the server, or correct `hostname` and `port`; the server's listen_addresses has \
             to cover the address"
        } else if any(io::ErrorKind::TimedOut) {
            "nothing comes back: see whether the host is up, and whether firewalls and security groups let this host \
             through to `port`"
        } else {
            "start the server, or correct `hostname` and `port`; listen_addresses and a firewall can be in the way too"
        }
    }
}

/// ENETUNREACH, or IPv6 is switched off on this host.
fn is_without_route(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lacks_ipv6() {
            Some(Ipv6Only::Wished) => "`ipv6 = true` allows IPv6 only, and this host has no IPv6 route: ",
            Some(Ipv6Only::Name) => "the name has IPv6 addresses only, and this host has no IPv6 route: ",
            Some(Ipv6Only::Given) => "this host has no IPv6 route: ",
            None => "no address answers: ",
        })?;
        let attempts = self.attempts.iter().map(|(address, error)| format!("{address}: {}", plain(error)));
        let untried = self.untried.iter().map(|address| format!("{address}: not tried, for lack of time"));
        // That a name has one family alone is no trouble.
        let is_trouble = |error: &&ResolveError| !matches!(error, ResolveError::NoAddress { .. });
        let unresolved = self.unresolved.iter().filter(is_trouble).map(ResolveError::to_string);
        f.write_str(&attempts.chain(untried).chain(unresolved).collect::<Vec<_>>().join("; "))
    }
}

/// An error of the operating system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
