//! `/etc/hosts` and `/etc/resolv.conf` as they stand.
//!
//! Both are read at each lookup and understood anew when they have changed, so that a network that moves needs no
//! restart. A file that can't be used is told, and what it said before goes on to count.
//!
//! Source: the manual pages resolv.conf(5) and hosts(5).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_resolver::Hosts;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use tracing::warn;

use super::dns::NameServers;
use super::error::SaidBy;

/// The addresses of a name, and who says so.
pub(super) type Known = (Vec<IpAddr>, SaidBy);

/// A file that can't be used, and why.
type Unusable = (PathBuf, String);

/// Both files, each with what it said last.
#[derive(Debug)]
pub(super) struct Files {
    hosts: Mutex<Watched<Hosts>>,
    name_servers: Mutex<Watched<NameServers>>,
}

impl Default for Files {
    fn default() -> Self {
        Self::at(Path::new("/etc/hosts"), Path::new("/etc/resolv.conf"))
    }
}

impl Files {
    fn at(hosts: &Path, resolv_conf: &Path) -> Self {
        Self {
            hosts: Mutex::new(Watched::new(hosts, Absent::IsEmpty)),
            name_servers: Mutex::new(Watched::new(resolv_conf, Absent::IsWrong)),
        }
    }

    /// What `/etc/hosts` says of `host`, and whom else to ask. Blocks on the disk.
    pub(super) fn look_up(&self, host: &str) -> (Option<Known>, Result<Arc<NameServers>, Unusable>) {
        let hosts = locked(&self.hosts).now(hosts);
        let known = hosts.ok().and_then(|hosts| of_host(&hosts, host)).map(|ips| (ips, SaidBy::HostsFile));
        (known, locked(&self.name_servers).now(NameServers::new))
    }
}

fn locked<T>(watched: &Mutex<T>) -> MutexGuard<'_, T> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In no matter which encoding, since comments may have any.
fn hosts(bytes: &[u8]) -> Result<Hosts, String> {
    let mut hosts = Hosts::default();
    let text = String::from_utf8_lossy(bytes);
    hosts.read_hosts_conf(text.as_bytes()).map_err(|error| format!("can't be understood: {error}"))?;
    Ok(hosts)
}

/// The addresses of a name that the file has, IPv6 first.
fn of_host(hosts: &Hosts, host: &str) -> Option<Vec<IpAddr>> {
    let name = Name::from_str(host).ok()?;
    let of_kind = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let lookups = [of_kind(RecordType::AAAA), of_kind(RecordType::A)];
    let ips: Vec<IpAddr> =
        lookups.iter().flatten().flat_map(Lookup::answers).filter_map(|record| record.data.ip_addr()).collect();
    (!ips.is_empty()).then_some(ips)
}

/// What a file that is not there means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    IsEmpty,
    IsWrong,
}

/// A file and what it said when it could last be used.
#[derive(Debug)]
struct Watched<T> {
    path: PathBuf,
    absent: Absent,
    /// What was read last.
    read: Option<Result<Vec<u8>, String>>,
    good: Option<Arc<T>>,
    /// Why what was read last can't be used.
    wrong: String,
}

impl<T> Watched<T> {
    fn new(path: &Path, absent: Absent) -> Self {
        Self { path: path.to_owned(), absent, read: None, good: None, wrong: String::new() }
    }

    /// What it says now, or what it said before it went wrong.
    fn now(&mut self, understand: impl Fn(&[u8]) -> Result<T, String>) -> Result<Arc<T>, Unusable> {
        // They are small, and their times don't tell a change within a tick of the kernel's clock.
        let read = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.absent == Absent::IsEmpty => Ok(Vec::new()),
            read => read.map_err(|error| format!("can't be read: {}", plain(&error))),
        };
        if self.read.as_ref() != Some(&read) {
            match read.as_deref().map_err(Clone::clone).and_then(understand) {
                Ok(good) => self.good = Some(Arc::new(good)),
                Err(why) => {
                    let then =
                        if self.good.is_some() { "what it said before goes on to count" } else { "it is left out" };
                    let hint = "correct the file; it is read again whenever a name is resolved";
                    warn!(hint, "{} {why}: {then}", self.path.display());
                    self.wrong = why;
                }
            }
            self.read = Some(read);
        }
        self.good.clone().ok_or_else(|| (self.path.clone(), self.wrong.clone()))
    }
}

/// An error of the operating system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_counts_as_it_stands_and_one_that_is_broken_as_it_stood() {
        let folder = tempfile::tempdir().unwrap();
        let (hosts, resolv_conf) = (folder.path().join("hosts"), folder.path().join("resolv.conf"));
        let files = Files::at(&hosts, &resolv_conf);
        let servers = |files: &Files| files.look_up("db").1.map(|servers| servers.ips());

        let (path, why) = servers(&files).unwrap_err();
        assert_eq!((path, why.as_str()), (resolv_conf.clone(), "can't be read: no such file or directory"));
        fs::write(&resolv_conf, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n").unwrap();
        let [first, second]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        assert_eq!(servers(&files).unwrap(), [first, second]);
        for broken in ["", "nameserver 999\n"] {
            fs::write(&resolv_conf, broken).unwrap();
            assert_eq!(servers(&files).unwrap(), [first, second], "{broken:?}");
        }
        fs::write(&resolv_conf, "nameserver 192.0.2.2\n").unwrap();
        assert_eq!(servers(&files).unwrap(), [second]);
        fs::remove_file(&resolv_conf).unwrap();
        assert_eq!(servers(&files).unwrap(), [second]);

        let known = |files: &Files| files.look_up("DB").0;
        assert_eq!(known(&files), None);
        fs::write(&hosts, b"192.0.2.1 other db # the old \xf6ne\n2001:db8::1 db\n").unwrap();
        let ips: Vec<IpAddr> = ["2001:db8::1", "192.0.2.1"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(known(&files), Some((ips, SaidBy::HostsFile)));
        fs::remove_file(&hosts).unwrap();
        assert_eq!(known(&files), None);
    }
}
