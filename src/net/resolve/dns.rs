//! Asking name servers.
//!
//! hickory-resolver does the asking and keeps each answer for its TTL. What is done here: the servers are asked in the
//! order of the file, each by itself, so that every answer has its author and a server that is dead delays nothing for
//! longer than [`PATIENCE`]; and of a short name, A and AAAA are always those of one and the same full name.
//!
//! Sources: RFC 1034 and 1035; for what a short name stands for, resolv.conf(5).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, FuturesUnordered};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::domain::usage;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::time::{Instant, sleep, sleep_until};

use super::error::{Missing, NameServerError, ResolveError, SaidBy};
use super::{Answers, Families};
use crate::task::joined;

/// How long a name server is waited for before the next one is asked as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for one that was silent lately: long enough for it to win again once it is back.
const DOUBT: Duration = Duration::from_millis(100);

/// For how long at most a missing record stays missing, whatever its TTL: who makes a name waits for it.
const MISSING: Duration = Duration::from_secs(10);

/// What `/etc/resolv.conf` says.
#[derive(Debug)]
pub(super) struct NameServers {
    /// In the order of the file, at least one.
    servers: Vec<NameServer>,
    short_names: ShortNames,
}

struct NameServer {
    ip: IpAddr,
    /// With this server alone.
    resolver: TokioResolver,
    /// It let a question wait for longer than our patience, and has not answered since.
    is_silent: AtomicBool,
}

impl std::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NameServer({})", self.ip)
    }
}

impl NameServers {
    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// It names no name server, or a domain that is none.
    pub(super) fn new(resolv_conf: &[u8]) -> Result<Self, String> {
        let (config, mut options) = parse_resolv_conf(resolv_conf)
            .map_err(|error| format!("names no name server that can be used ({error})"))?;
        options.use_hosts_file = ResolveHosts::Never;
        options.negative_max_ttl = Some(MISSING);
        let short_names = ShortNames::of(&config, options.ndots);
        let (_, _, servers) = config.into_parts();
        let servers = servers.into_iter().map(|server| NameServer::new(server, &options)).collect::<Result<_, _>>()?;
        Ok(Self { servers, short_names })
    }

    #[cfg(test)]
    pub(super) fn ips(&self) -> Vec<IpAddr> {
        self.servers.iter().map(|server| server.ip).collect()
    }
}

impl NameServer {
    fn new(config: NameServerConfig, options: &ResolverOpts) -> Result<Self, String> {
        let ip = config.ip;
        let config = ResolverConfig::from_name_servers(vec![config]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options.clone();
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { ip, resolver, is_silent: AtomicBool::new(false) })
    }

    fn patience(&self) -> Duration {
        if self.is_silent.load(Ordering::Relaxed) { DOUBT } else { PATIENCE }
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Vec<IpAddr>, Nothing> {
        let said = self.resolver.lookup(name, kind).await;
        let answered = !matches!(said, Err(NetError::Timeout));
        if answered {
            self.is_silent.store(false, Ordering::Relaxed);
        }
        let of = SaidBy::NameServer(self.ip);
        let failed = |why| Nothing::Unknown(vec![(self.ip, why)]);
        match said {
            Ok(lookup) => {
                let ips: Vec<_> = lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
                if ips.is_empty() { Err(Nothing::NoRecord(of)) } else { Ok(ips) }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Err(match none.response_code {
                ResponseCode::NXDomain => Nothing::NoName(of),
                ResponseCode::NoError => Nothing::NoRecord(of),
                code => failed(NameServerError::Code(code)),
            }),
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(failed(NameServerError::Code(code))),
            Err(NetError::Timeout) => Err(failed(NameServerError::Silent)),
            Err(other) => Err(failed(NameServerError::Other(other.to_string()))),
        }
    }
}

/// No address came of a question.
#[derive(Debug)]
enum Nothing {
    /// NXDOMAIN.
    NoName(SaidBy),
    /// NODATA.
    NoRecord(SaidBy),
    /// What hindered each name server.
    Unknown(Vec<(IpAddr, NameServerError)>),
}

/// Asks for one kind of record: the next server joins when one fails, or takes longer than [`PATIENCE`]. One that is slow
/// is heard out even if another has answered, so that it is known when it answers again.
async fn ask_in_turn(
    servers: &Arc<NameServers>,
    name: &Name,
    kind: RecordType,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Nothing> {
    // hickory-resolver answers this by itself.
    if usage::INVALID.zone_of(name) {
        return Err(Nothing::NoName(SaidBy::Never));
    }
    let all = &servers.servers;
    let mut waiting = all.iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        let mut patience = PATIENCE;
        let joining = waiting.next();
        if let Some((at, server)) = joining {
            patience = server.patience();
            let (servers, name) = (Arc::clone(servers), name.clone());
            running.push(tokio::spawn(async move { servers.servers[at].ask(name, kind).await }));
        }
        tokio::select! {
            biased;
            Some(said) = running.next() => match joined(said) {
                Err(Nothing::Unknown(why)) => failures.extend(why),
                known => return known,
            },
            () = sleep_until(deadline), if !running.is_empty() => {
                let asked = all[..all.len() - waiting.len()].iter().map(|server| server.ip);
                let silent = asked.filter(|ip| !failures.iter().any(|(failed, _)| failed == ip)).collect::<Vec<_>>();
                failures.extend(silent.into_iter().map(|ip| (ip, NameServerError::Silent)));
                return Err(Nothing::Unknown(failures));
            }
            () = sleep(patience), if waiting.len() > 0 => {
                // One in doubt may have answered another question meanwhile.
                if let Some((_, server)) = joining.filter(|_| patience == PATIENCE) {
                    server.is_silent.store(true, Ordering::Relaxed);
                }
            }
            else => return Err(Nothing::Unknown(failures)),
        }
    }
}

/// Asks for all records of `host` that are wanted.
pub(super) fn ask(servers: Arc<NameServers>, host: String, families: Families, deadline: Instant) -> Answers {
    let names = servers.short_names.stand_for(&host);
    let asking = Asking {
        servers,
        host,
        families,
        deadline,
        names,
        asked: Vec::new(),
        running: FuturesUnordered::new(),
        is_found: false,
        nothing: Vec::new(),
        nothing_before: Vec::new(),
    };
    stream::unfold(asking, async |mut asking| asking.next().await.map(|answer| (answer, asking))).boxed()
}

/// A question and what came of it.
type Said = (RecordType, Result<Vec<IpAddr>, Nothing>);

/// The questions about one host, one full name after the other until one of them has an address.
struct Asking {
    servers: Arc<NameServers>,
    host: String,
    families: Families,
    deadline: Instant,
    /// Not asked about yet.
    names: VecDeque<Name>,
    asked: Vec<String>,
    /// About the last name in `asked`.
    running: FuturesUnordered<BoxFuture<'static, Said>>,
    is_found: bool,
    /// Of the last name in `asked`.
    nothing: Vec<(RecordType, Nothing)>,
    /// Of the names before it.
    nothing_before: Vec<(RecordType, Nothing)>,
}

impl Asking {
    async fn next(&mut self) -> Option<Result<Vec<SocketAddr>, ResolveError>> {
        loop {
            match self.running.next().await {
                Some((_, Ok(ips))) => {
                    self.is_found = true;
                    return Some(Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()));
                }
                // Of one kind alone: there are servers that answer NXDOMAIN for AAAA where there is an A (RFC 4074).
                Some((kind, Err(nothing))) => self.nothing.push((kind, nothing)),
                None if self.is_found => {
                    return self.nothing.pop().map(|(kind, nothing)| Err(self.lacks(kind, nothing)));
                }
                None => match self.names.pop_front() {
                    Some(name) => self.begin(&name),
                    None => return self.in_all().map(Err),
                },
            }
        }
    }

    fn begin(&mut self, name: &Name) {
        self.asked.push(name.to_ascii().trim_end_matches('.').to_owned());
        self.nothing_before.append(&mut self.nothing);
        for kind in self.families.records().iter().copied() {
            let (servers, name, deadline) = (Arc::clone(&self.servers), name.clone(), self.deadline);
            let said = async move { (kind, ask_in_turn(&servers, &name, kind, deadline).await) };
            self.running.push(said.boxed());
        }
    }

    /// What the name that has addresses lacks.
    fn lacks(&self, kind: RecordType, nothing: Nothing) -> ResolveError {
        let host = self.host.clone();
        let missing = if kind == RecordType::A { Missing::Ipv4 } else { Missing::Ipv6 };
        match nothing {
            Nothing::Unknown(failures) => ResolveError::NameServers { host, of: missing, failures },
            Nothing::NoName(by) | Nothing::NoRecord(by) => ResolveError::NoAddress { host, missing, by },
        }
    }

    /// Why none of the names has an address, once: that a server failed comes before what another one said, and a name
    /// without an address before one that does not exist.
    fn in_all(&mut self) -> Option<ResolveError> {
        let (mut failures, mut no_record, mut no_name) = (Vec::new(), None, None);
        for (_, nothing) in self.nothing_before.drain(..).chain(self.nothing.drain(..)) {
            match nothing {
                Nothing::Unknown(of) => failures.extend(of),
                Nothing::NoRecord(by) => no_record = Some(by),
                Nothing::NoName(by) => no_name = Some(by),
            }
        }
        let host = self.host.clone();
        if !failures.is_empty() {
            let mut told: Vec<(IpAddr, NameServerError)> = Vec::new();
            for failure in failures {
                if !told.contains(&failure) {
                    told.push(failure);
                }
            }
            return Some(ResolveError::NameServers { host, of: Missing::Any, failures: told });
        }
        let missing = match self.families {
            Families::Both => Missing::Any,
            Families::Ipv6 => Missing::Ipv6,
        };
        no_record
            .map(|by| ResolveError::NoAddress { host: host.clone(), missing, by })
            .or_else(|| no_name.map(|by| ResolveError::NoSuchName { host, asked: self.asked.clone(), by }))
    }
}

/// What a name without a final dot may stand for: `search` and `ndots`.
#[derive(Debug)]
struct ShortNames {
    search: Vec<Name>,
    ndots: usize,
}

impl ShortNames {
    fn of(config: &ResolverConfig, ndots: usize) -> Self {
        // The domain of this host counts where the file names none.
        let search = match config.search() {
            [] => config.domain().cloned().into_iter().collect(),
            search => search.to_vec(),
        };
        Self { search, ndots }
    }

    /// The full names, in the order in which they are asked about.
    fn stand_for(&self, host: &str) -> VecDeque<Name> {
        let Ok(mut name) = Name::from_str_relaxed(host) else { return VecDeque::new() };
        if name.is_fqdn() {
            return VecDeque::from([name]);
        }
        let mut names: VecDeque<_> =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        name.set_fqdn(true);
        if host.matches('.').count() >= self.ndots {
            names.push_front(name);
        } else {
            names.push_back(name);
        }
        for name in &mut names {
            name.set_fqdn(true);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands_for(resolv_conf: &str, host: &str) -> Vec<String> {
        let (config, options) = parse_resolv_conf(format!("nameserver 127.0.0.1\n{resolv_conf}")).unwrap();
        ShortNames::of(&config, options.ndots).stand_for(host).iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn a_short_name_stands_for_what_search_and_ndots_make_of_it() {
        let search = "search corp.test test";
        assert_eq!(stands_for(search, "db"), ["db.corp.test.", "db.test.", "db."]);
        assert_eq!(stands_for(search, "db.corp"), ["db.corp.", "db.corp.corp.test.", "db.corp.test."]);
        assert_eq!(stands_for(search, "db.corp.test."), ["db.corp.test."]);
        let more = "search corp.test\noptions ndots:2";
        assert_eq!(stands_for(more, "db.corp"), ["db.corp.corp.test.", "db.corp."]);
        assert_eq!(stands_for("domain corp.test", "db"), ["db.corp.test.", "db."]);
        assert_eq!(stands_for("domain other.test\nsearch corp.test", "db"), ["db.corp.test.", "db."]);
    }
}
