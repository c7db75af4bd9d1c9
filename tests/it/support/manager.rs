//! What systemd is to a service: a socket that is told things, and variables that name it.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::Slotd;

/// How long a message may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The manager of one service.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: tokio::net::UnixDatagram,
    address: String,
    _folder: Option<TempDir>,
}

impl Manager {
    /// One that listens at a path.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("notify").to_str().unwrap().to_owned();
        Self::at(&SocketAddr::from_pathname(&address).unwrap(), address, Some(folder))
    }

    /// One that listens at an abstract name.
    pub(crate) fn hidden() -> Self {
        let name = format!("slotd-test-{:016x}", fastrand::u64(..));
        Self::at(&SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}"), None)
    }

    fn at(to: &SocketAddr, address: String, folder: Option<TempDir>) -> Self {
        let socket = UnixDatagram::bind_addr(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket: tokio::net::UnixDatagram::from_std(socket).unwrap(), address, _folder: folder }
    }

    /// From its next start on `slotd` tells this manager; with `watchdog` it has to say as often that it is not stuck.
    pub(crate) fn look_after(&self, slotd: &mut Slotd, watchdog: Option<Duration>) {
        slotd.set_env("NOTIFY_SOCKET", &self.address);
        if let Some(watchdog) = watchdog {
            slotd.set_env("WATCHDOG_USEC", &watchdog.as_micros().to_string());
        }
    }

    /// The next message; panics after a minute.
    pub(crate) async fn next(&self) -> String {
        self.within(PATIENCE).await.expect("nothing is told for a minute")
    }

    /// The next message, if it comes in time.
    pub(crate) async fn within(&self, patience: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = timeout(patience, self.socket.recv(&mut buffer)).await.ok()?.unwrap();
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// All messages until they are as wished; panics after a minute in which none came.
    pub(crate) async fn until(&self, wish: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut told = Vec::new();
        while !wish(&told) {
            let message = self.within(PATIENCE).await;
            told.push(message.unwrap_or_else(|| panic!("what is told is not as awaited: {told:#?}")));
        }
        told
    }

    /// All messages until the status is `wanted`.
    pub(crate) async fn until_status(&self, wanted: &str) -> Vec<String> {
        self.until(|told| told_of(told, "STATUS").last() == Some(&wanted)).await
    }

    /// What is told and was not read yet.
    pub(crate) fn rest(&self) -> Vec<String> {
        let mut rest = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.try_recv(&mut buffer) {
            rest.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        rest
    }
}

/// The values of `key` in messages, in order.
pub(crate) fn told_of<'m>(messages: &'m [String], key: &str) -> Vec<&'m str> {
    let lines = messages.iter().flat_map(|message| message.lines());
    lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}
