//! From a host to addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use rustix::net::{AddressFamily, SocketType, netdevice};

/// Which families of addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    Both,
    /// `ipv6 = true`.
    Ipv6,
}

/// A host has no address that we may use.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("{host:?} is an IPv4 address and `ipv6 = true` allows IPv6 only")]
    NotIpv6 { host: String },
    #[error("the name {host:?} can't be resolved: {source}")]
    Lookup {
        host: String,
        #[source]
        source: Box<hickory_resolver::net::NetError>,
    },
    #[error("the interface {zone:?} of {ip} does not exist on this host")]
    Zone { ip: IpAddr, zone: String },
}

/// Resolves names by the servers and the hosts file that this machine names.
#[derive(Clone)]
pub struct Resolver {
    both: Arc<TokioResolver>,
    ipv6: Arc<TokioResolver>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`.
    ///
    /// # Errors
    /// They can't be read.
    pub fn from_system() -> Result<Self, Box<hickory_resolver::net::NetError>> {
        let with = |strategy| {
            let mut builder = TokioResolver::builder_tokio()?;
            builder.options_mut().ip_strategy = strategy;
            builder.build()
        };
        Ok(Self {
            both: Arc::new(with(LookupIpStrategy::Ipv6AndIpv4)?),
            ipv6: Arc::new(with(LookupIpStrategy::Ipv6Only)?),
        })
    }

    /// The addresses of the name `host`, at least one.
    ///
    /// # Errors
    /// It has none of the families asked for, or could not be asked about.
    pub async fn lookup(&self, host: &str, port: u16, families: Families) -> Result<Vec<SocketAddr>, ResolveError> {
        let resolver = match families {
            Families::Both => &self.both,
            Families::Ipv6 => &self.ipv6,
        };
        let found = resolver
            .lookup_ip(host)
            .await
            .map_err(|source| ResolveError::Lookup { host: host.to_owned(), source: Box::new(source) })?;
        Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }
}

/// The address of a literal, its zone turned into the interface's number.
///
/// # Errors
/// The zone is no interface, or the address is of a family that is not allowed.
pub fn literal(ip: IpAddr, zone: Option<&str>, port: u16, families: Families) -> Result<SocketAddr, ResolveError> {
    match (ip, families) {
        (IpAddr::V4(_), Families::Ipv6) => Err(ResolveError::NotIpv6 { host: ip.to_string() }),
        (IpAddr::V4(_), Families::Both) => Ok(SocketAddr::new(ip, port)),
        (IpAddr::V6(v6), _) => with_zone(v6, zone, port),
    }
}

fn with_zone(ip: Ipv6Addr, zone: Option<&str>, port: u16) -> Result<SocketAddr, ResolveError> {
    let Some(zone) = zone else { return Ok(SocketAddr::new(ip.into(), port)) };
    let index = zone.parse().ok().or_else(|| {
        let socket = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None).ok()?;
        netdevice::name_to_index(socket, zone).ok()
    });
    index
        .map(|index| SocketAddr::V6(SocketAddrV6::new(ip, port, 0, index)))
        .ok_or_else(|| ResolveError::Zone { ip: ip.into(), zone: zone.to_owned() })
}
