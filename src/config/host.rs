//! Where a server is: a literal address, a name, or the folder of a Unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::url::{DEFAULT_PORT, port_number};
use super::wrong::Wrong;
use super::{Host, Server};

/// The longest name that DNS carries, and the longest part of one between two dots.
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Reads `hostname`: `db.example.com`, `10.0.0.1`, `::1`, `[::1]`, `fe80::1%eth0`, `/run/postgresql`.
pub(super) fn host(text: &str) -> Result<Host, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("a host can't be empty"));
    }
    if text.starts_with('/') {
        return Ok(Host::Socket(PathBuf::from(text)));
    }
    if text.contains("://") {
        return Err(Wrong::new("this is a URL, not a host").hint("give it as `url`"));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return if bare.len() == text.len() || ip.is_ipv6() {
            Ok(Host::Address { ip, zone: None })
        } else {
            Err(Wrong::new("only IPv6 addresses stand in brackets"))
        };
    }
    if let Some((ip, zone)) = bare.split_once('%') {
        return match ip.parse::<Ipv6Addr>() {
            Ok(ip) if !zone.is_empty() && zone.chars().all(|c| c.is_ascii_graphic() && c != '/') => {
                Ok(Host::Address { ip: ip.into(), zone: Some(zone.to_owned()) })
            }
            _ => Err(Wrong::new("this is not an IPv6 address with a zone").hint("write it as \"fe80::1%eth0\"")),
        };
    }
    if text.contains(',') {
        return Err(Wrong::new("there is room for one host only")
            .hint("write hosts = [\"a:5432\", \"b:5432\"] for the one of them that is the primary"));
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(Wrong::new("a port does not belong here").hint("give it as `port`"));
    }
    name(text)
}

/// Reads one of `hosts`: a host, and behind a colon its port.
pub(super) fn server(text: &str) -> Result<Server, Wrong> {
    let (place, port) = match text.rsplit_once(':') {
        // More than one colon is an IPv6 address, and its port stands behind a bracket.
        Some((place, port)) if !place.contains(':') || place.ends_with(']') => {
            let wrong = || Wrong::new("what stands behind the colon is no port").hint("write \"a.example.com:5432\"");
            (place, port_number(port).map_err(|_| wrong())?)
        }
        _ => (text, DEFAULT_PORT),
    };
    match host(place)? {
        Host::Socket(_) => Err(Wrong::new("a Unix socket leads to this machine, and `hosts` are several")
            .hint("give it as `hostname`, without `hosts`")),
        host => Ok(Server { host, port }),
    }
}

/// Reads a name. It is kept in lower case, since DNS knows no other.
fn name(text: &str) -> Result<Host, Wrong> {
    if let Some(odd) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))) {
        let wrong = Wrong::new("a host name is made of letters, digits, `-`, `.` and `_`");
        return Err(if odd.is_ascii() { wrong } else { wrong.hint("write the name as DNS has it (`xn--…`)") });
    }
    let is_label = |label: &str| (1..=MAX_LABEL_BYTES).contains(&label.len());
    // Where `getent` is asked, a name that begins with `-` would be an option.
    if text.len() > MAX_HOST_BYTES
        || text.starts_with('-')
        || !text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
    {
        return Err(Wrong::new("this is neither a host name nor an address"));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(Wrong::new("this is not an IPv4 address").hint("write four numbers from 0 to 255"));
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

impl fmt::Display for Host {
    /// As `hostname` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { ip, zone: Some(zone) } => write!(f, "{ip}%{zone}"),
            Self::Address { ip, zone: None } => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
            Self::Socket(folder) => write!(f, "{}", folder.display()),
        }
    }
}

impl Host {
    /// Whether what is sent there stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address { ip, .. } => ip.to_canonical().is_loopback(),
            Self::Name(name) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            Self::Socket(_) => true,
        }
    }
}

/// `host:port`, as the file names them.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            Host::Address { ip, zone: None } if ip.is_ipv4() => write!(f, "{ip}:{port}"),
            Host::Address { ip, zone } => {
                let zone = zone.as_ref().map(|zone| format!("%{zone}")).unwrap_or_default();
                write!(f, "[{ip}{zone}]:{port}")
            }
            Host::Name(name) => write!(f, "{name}:{port}"),
            Host::Socket(folder) => write!(f, "{} port {port}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_names_and_sockets_are_told_apart() {
        let address = |ip: &str| Host::Address { ip: ip.parse().unwrap(), zone: None };
        assert_eq!(host("10.0.0.1").unwrap(), address("10.0.0.1"));
        assert_eq!(host("::1").unwrap(), address("::1"));
        assert_eq!(host("[::1]").unwrap(), address("::1"));
        let zoned = Host::Address { ip: "fe80::1".parse().unwrap(), zone: Some("eth0".to_owned()) };
        assert_eq!(host("fe80::1%eth0").unwrap(), zoned);
        assert_eq!(host("[fe80::1%eth0]").unwrap(), zoned);
        assert_eq!(host("DB.example.com").unwrap(), Host::Name("db.example.com".to_owned()));
        assert_eq!(host("/run/postgresql").unwrap(), Host::Socket("/run/postgresql".into()));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "",
            "[10.0.0.1]",
            "[::1",
            "::1%",
            "10.0.0.1%eth0",
            "10.0.0",
            "999.1.1.1",
            "a b",
            "a..b",
            "db..",
            ".db",
            ".",
            "a,b",
            "db:5432",
            "[::1]:5432",
            "u@db",
            "db/shop",
            "http://db",
            "bücher.example",
            "-A",
            &"a".repeat(64),
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
        assert!(host("db:5432").unwrap_err().hint.unwrap().contains("`port`"));
    }

    #[test]
    fn loopback_is_local() {
        for local in
            ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST.", "/tmp", "a.localhost"]
        {
            assert!(host(local).unwrap().is_local(), "{local}");
        }
        for remote in ["10.0.0.1", "db", "localhost.example.com", "notlocalhost", "::2"] {
            assert!(!host(remote).unwrap().is_local(), "{remote}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = host(&text);
        }

        #[test]
        fn every_address_is_read(v4: [u8; 4], v6: [u16; 8]) {
            let (v4, v6) = (IpAddr::from(v4), IpAddr::from(v6));
            prop_assert_eq!(host(&v4.to_string()), Ok(Host::Address { ip: v4, zone: None }));
            prop_assert_eq!(host(&v6.to_string()), Ok(Host::Address { ip: v6, zone: None }));
            prop_assert_eq!(host(&format!("[{v6}]")), Ok(Host::Address { ip: v6, zone: None }));
        }
    }
}
