//! From a host to addresses, each family's as soon as it is known.
//!
//! A name is looked for in `/etc/hosts` first, then at the name servers of `/etc/resolv.conf` ([`dns`]); or, where the
//! file says so, wherever `/etc/nsswitch.conf` points to ([`getent`]).

mod dns;
mod error;
mod files;
mod getent;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use hickory_resolver::proto::rr::RecordType;
use rustix::net::{AddressFamily, SocketType, netdevice};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::config;
pub use error::{Missing, NameServerError, ResolveError, SaidBy};
use files::Files;

/// What is known of a host, as it comes in; ends by the deadline that it was asked with.
///
/// Addresses of one family, or of both, in the order in which they are to be tried; or why a family has none. A host
/// without any address gives exactly one error.
pub type Answers = BoxStream<'static, Result<Vec<SocketAddr>, ResolveError>>;

/// Which families of addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    Both,
    /// `ipv6 = true`.
    Ipv6,
}

impl Families {
    /// The records that are asked for: IPv6 first, as RFC 8305, section 3, has it.
    const fn records(self) -> &'static [RecordType] {
        match self {
            Self::Both => &[RecordType::AAAA, RecordType::A],
            Self::Ipv6 => &[RecordType::AAAA],
        }
    }

    const fn has(self, ip: IpAddr) -> bool {
        matches!(self, Self::Both) || ip.is_ipv6()
    }
}

/// Resolves names; clones share what they know.
#[derive(Debug, Clone)]
pub struct Resolver(Way);

#[derive(Debug, Clone)]
enum Way {
    /// What `/etc/hosts` and `/etc/resolv.conf` say, and the name servers' answers within their TTL.
    Own(Arc<Files>),
    System,
}

impl Resolver {
    /// The one that `[agent] resolver` names.
    #[must_use]
    pub fn new(wish: config::Resolver) -> Self {
        Self(match wish {
            config::Resolver::Hickory => Way::Own(Arc::default()),
            config::Resolver::System => Way::System,
        })
    }

    /// Asks for the addresses of the name `host`.
    #[must_use]
    pub fn lookup(&self, host: &str, port: u16, families: Families, deadline: Instant) -> Answers {
        let host = host.to_owned();
        let answers: Answers = match &self.0 {
            Way::System => stream::once(async move { getent::lookup(&host, families, deadline).await }).boxed(),
            Way::Own(files) => {
                let files = Arc::clone(files);
                stream::once(async move { own(files, host, families, deadline).await }).flatten().boxed()
            }
        };
        let at_port = move |mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        answers.map(move |answer| answer.map(|found| found.into_iter().map(at_port).collect())).boxed()
    }
}

/// Files first; they are read off the threads that carry the streams.
async fn own(files: Arc<Files>, host: String, families: Families, deadline: Instant) -> Answers {
    let name = host.clone();
    let Ok(Ok((known, name_servers))) = timeout_at(deadline, spawn_blocking(move || files.look_up(&name))).await else {
        return only(Err(ResolveError::FilesLate { host }));
    };
    if let Some((ips, by)) = known.or_else(|| loopback(&host)) {
        return only(addresses(ips, families).ok_or(ResolveError::NoAddress { host, missing: Missing::Ipv6, by }));
    }
    match name_servers {
        Ok(servers) => dns::ask(servers, host, families, deadline),
        Err((path, why)) => only(Err(ResolveError::File { host, path, why })),
    }
}

/// What `localhost` and all below it are, whatever a name server says: RFC 6761, section 6.3.
fn loopback(host: &str) -> Option<files::Known> {
    let name = host.trim_end_matches('.');
    let is = name == "localhost" || name.ends_with(".localhost");
    is.then(|| (vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()], SaidBy::Loopback))
}

/// Those of `ips` that are wanted, if there is one; the port is yet to be set.
fn addresses(ips: impl IntoIterator<Item = IpAddr>, families: Families) -> Option<Vec<SocketAddr>> {
    let wanted = ips.into_iter().filter(|ip| families.has(*ip));
    let addresses: Vec<_> = wanted.map(|ip| SocketAddr::new(ip, 0)).collect();
    (!addresses.is_empty()).then_some(addresses)
}

fn only(answer: Result<Vec<SocketAddr>, ResolveError>) -> Answers {
    stream::iter([answer]).boxed()
}

/// The address of a literal, its zone turned into the interface's number; one that is wrong is the error.
#[must_use]
pub fn literal(ip: IpAddr, zone: Option<&str>, port: u16, families: Families) -> Answers {
    only(match (ip, families) {
        (IpAddr::V4(_), Families::Ipv6) => Err(ResolveError::NotIpv6 { host: ip.to_string() }),
        (IpAddr::V4(_), Families::Both) => Ok(vec![SocketAddr::new(ip, port)]),
        (IpAddr::V6(v6), _) => with_zone(v6, zone, port).map(|address| vec![address]),
    })
}

fn with_zone(ip: Ipv6Addr, zone: Option<&str>, port: u16) -> Result<SocketAddr, ResolveError> {
    let Some(zone) = zone else { return Ok(SocketAddr::new(ip.into(), port)) };
    interface(zone)
        .map(|index| SocketAddr::V6(SocketAddrV6::new(ip, port, 0, index)))
        .ok_or_else(|| ResolveError::Zone { ip: ip.into(), zone: zone.to_owned() })
}

/// The number of an interface, which a zone may be already.
fn interface(zone: &str) -> Option<u32> {
    zone.parse().ok().or_else(|| {
        let socket = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None).ok()?;
        netdevice::name_to_index(socket, zone).ok()
    })
}
