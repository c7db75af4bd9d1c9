//! Why a host has no address that may be used, in words, and what to do about it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use hickory_resolver::proto::op::ResponseCode;

/// A host has no address that we may use.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("{host:?} is an IPv4 address and `ipv6 = true` allows IPv6 only")]
    NotIpv6 { host: String },
    #[error("the interface {zone:?} of {ip} does not exist on this host")]
    Zone { ip: IpAddr, zone: String },
    /// NXDOMAIN for all that the name may stand for.
    #[error("there is no name {host:?}{}, {by} (NXDOMAIN)", also(.host, .asked))]
    NoSuchName { host: String, asked: Vec<String>, by: SaidBy },
    /// The name is known, without a record of the kind.
    #[error("the name {host:?} has no {missing}, {by}{}", record(*.missing, *.by))]
    NoAddress { host: String, missing: Missing, by: SaidBy },
    /// No name server could tell.
    #[error("{}: {}", unknown(.host, *.of), each(.failures))]
    NameServers { host: String, of: Missing, failures: Vec<(IpAddr, NameServerError)> },
    #[error("the name {host:?} can't be resolved: {} {why}", .path.display())]
    File { host: String, path: PathBuf, why: String },
    #[error("the name {host:?} can't be resolved: /etc/hosts and /etc/resolv.conf could not be read in time")]
    FilesLate { host: String },
    #[error("the name {host:?} can't be resolved: this host has no `getent`, which `resolver = \"system\"` asks")]
    NoGetent { host: String },
    #[error("this system knows no {missing} of the name {host:?}, says `{command}`")]
    NotInSystem { host: String, missing: Missing, command: String },
    #[error("the name {host:?} can't be resolved: `{command}` did not answer in time")]
    GetentLate { host: String, command: String },
    #[error("the name {host:?} can't be resolved: `{command}` {why}")]
    Getent { host: String, command: String, why: String },
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaidBy {
    HostsFile,
    NameServer(IpAddr),
    /// `localhost` and all below it.
    Loopback,
    /// Names under `invalid`, which no name server is asked about: RFC 6761, section 6.4.
    Never,
}

/// What a name does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Any,
    Ipv4,
    Ipv6,
}

/// Why one name server could not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameServerError {
    /// SERVFAIL, REFUSED and their like.
    Code(ResponseCode),
    Silent,
    Other(String),
}

impl ResolveError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotIpv6 { .. } => "give an IPv6 address, or leave `ipv6` out".to_owned(),
            Self::Zone { .. } => "name an interface of this host behind the `%`".to_owned(),
            Self::NoSuchName { by: SaidBy::Never, .. } => "correct `hostname`".to_owned(),
            Self::NoSuchName { .. } => {
                "correct `hostname`; if it is right, /etc/resolv.conf has to name a name server that knows it".to_owned()
            }
            Self::NoAddress { missing: Missing::Ipv6, by, .. } => {
                format!("leave `ipv6 = true` out, or give the name an IPv6 address {}", by.place())
            }
            Self::NoAddress { by, .. } => {
                format!("correct `hostname`, or give the name an address {}", by.place())
            }
            Self::NameServers { failures, .. } => of_name_servers(failures).to_owned(),
            Self::File { path, .. } => format!(
                "give {} a line `nameserver ADDRESS`, or set `resolver = \"system\"` under [agent]",
                path.display()
            ),
            Self::FilesLate { .. } => "see what the disk that /etc is on waits for".to_owned(),
            Self::NoGetent { .. } => {
                "install it (Debian's libc-bin, Red Hat's glibc-common), or leave `resolver` under [agent] out".to_owned()
            }
            Self::NotInSystem { missing: Missing::Ipv6, .. } => {
                "leave `ipv6 = true` out, or give the name an IPv6 address; where names are looked for stands in \
                 /etc/nsswitch.conf"
                    .to_owned()
            }
            Self::NotInSystem { .. } => {
                "correct `hostname`; where names are looked for stands in /etc/nsswitch.conf, and a host without an IPv6 \
                 address is shown no IPv6 addresses"
                    .to_owned()
            }
            Self::GetentLate { command, .. } | Self::Getent { command, .. } => {
                format!("run `{command}` by hand: something that the line `hosts` of /etc/nsswitch.conf names is in trouble")
            }
        }
    }
}

fn of_name_servers(failures: &[(IpAddr, NameServerError)]) -> &'static str {
    let all = |is: fn(&NameServerError) -> bool| failures.iter().all(|(_, failure)| is(failure));
    if all(|failure| matches!(failure, NameServerError::Silent)) {
        "see whether the name server is up and UDP and TCP port 53 lead to it; it is named in /etc/resolv.conf"
    } else if all(|failure| matches!(failure, NameServerError::Code(ResponseCode::Refused))) {
        "let the name server answer this host, or name another one in /etc/resolv.conf"
    } else {
        "the name server could not find out: see its log, or name another one in /etc/resolv.conf"
    }
}

/// What could not be found out.
fn unknown(host: &str, of: Missing) -> String {
    match of {
        Missing::Any => format!("the name {host:?} can't be resolved"),
        Missing::Ipv4 => format!("the IPv4 addresses of {host:?} are not known"),
        Missing::Ipv6 => format!("the IPv6 addresses of {host:?} are not known"),
    }
}

/// The names that a short one was taken for.
fn also(host: &str, asked: &[String]) -> String {
    match asked {
        [] => String::new(),
        [one] if one == host.trim_end_matches('.') => String::new(),
        asked => format!(" (asked for: {})", asked.join(", ")),
    }
}

/// What DNS would have to have.
const fn record(missing: Missing, by: SaidBy) -> &'static str {
    match (by, missing) {
        (SaidBy::NameServer(_), Missing::Any) => " (no A and no AAAA record)",
        (SaidBy::NameServer(_), Missing::Ipv4) => " (no A record)",
        (SaidBy::NameServer(_), Missing::Ipv6) => " (no AAAA record)",
        (SaidBy::HostsFile | SaidBy::Loopback | SaidBy::Never, _) => "",
    }
}

fn each(failures: &[(IpAddr, NameServerError)]) -> String {
    failures.iter().map(|(server, why)| format!("the name server {server} {why}")).collect::<Vec<_>>().join("; ")
}

impl SaidBy {
    /// Where the record would have to be.
    const fn place(self) -> &'static str {
        match self {
            Self::HostsFile => "in /etc/hosts",
            Self::NameServer(_) | Self::Loopback | Self::Never => "in DNS",
        }
    }
}

impl fmt::Display for SaidBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostsFile => f.write_str("says /etc/hosts"),
            Self::NameServer(server) => write!(f, "says the name server {server}"),
            Self::Loopback | Self::Never => f.write_str("as the standard for special names says"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "address",
            Self::Ipv4 => "IPv4 address",
            Self::Ipv6 => "IPv6 address",
        })
    }
}

impl fmt::Display for NameServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As dig and the servers' logs have them.
            Self::Code(ResponseCode::ServFail) => f.write_str("answered SERVFAIL"),
            Self::Code(ResponseCode::Refused) => f.write_str("answered REFUSED"),
            Self::Code(code) => write!(f, "answered {code}"),
            Self::Silent => f.write_str("did not answer"),
            Self::Other(why) => write!(f, "can't be asked: {why}"),
        }
    }
}
