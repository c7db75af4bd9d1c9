//! The datagram socket of the service manager.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::warn;

/// How soon a message is sent again to a manager whose queue is full.
const AGAIN: Duration = Duration::from_millis(100);
/// How long whoever has something to say waits for that.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where messages go.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    /// Not connected: a manager that is restarted listens anew at the same place.
    to: SocketAddr,
    failing: AtomicBool,
}

impl NotifySocket {
    /// The one that `NOTIFY_SOCKET` names; one that can't be used is told in the log.
    pub(super) fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let name = env("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        Self::new(&name)
            .inspect_err(|error| {
                warn!(
                    hint = "with Type=exec in the unit nothing is waited for",
                    "NOTIFY_SOCKET is {name:?}, and the service manager can't be told anything: {error}"
                );
            })
            .ok()
    }

    /// One at the absolute path `name`, or at an abstract name, which begins with `@`.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it begins with neither / nor @")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to, failing: AtomicBool::new(false) })
    }

    /// Sends `message`, assignments on a line each. A manager whose queue stays full holds nobody up for longer than
    /// [`PATIENCE`]: the message is left to a task, which sends it once there is room.
    pub(super) async fn send(self: &Arc<Self>, message: &str) {
        if timeout(PATIENCE, self.deliver(message)).await.is_err() {
            let (socket, message) = (Arc::clone(self), message.to_owned());
            tokio::spawn(async move { socket.deliver(&message).await });
        }
    }

    /// Sends `message`, however long the manager's queue is full.
    pub(super) async fn deliver(&self, message: &str) {
        while !self.try_send(message) {
            sleep(AGAIN).await;
        }
    }

    /// Sends `message` unless the manager's queue is full: false. What fails otherwise is told in the log, once until it
    /// works again.
    pub(super) fn try_send(&self, message: &str) -> bool {
        let error = match self.socket.send_to_addr(message.as_bytes(), &self.to) {
            Ok(_) => None,
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => Some(error),
        };
        let told = self.failing.swap(error.is_some(), Ordering::Relaxed);
        if let Some(error) = error.filter(|_| !told) {
            warn!("the service manager can't be told anything: {error}");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_path_and_an_abstract_name_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let path = path.to_str().unwrap();
        let hidden = format!("slotd-test-{:016x}", fastrand::u64(..));
        for (manager, name) in [
            (UnixDatagram::bind(path).unwrap(), path.to_owned()),
            (UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&hidden).unwrap()).unwrap(), format!("@{hidden}")),
        ] {
            NotifySocket::new(&name).unwrap().deliver("READY=1").await;
            let mut buffer = [0; 64];
            let length = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1", "{name}");
        }
    }

    #[tokio::test]
    async fn a_manager_that_is_gone_or_can_not_be_is_survived() {
        for name in ["relative", "vsock:2:1234"] {
            assert!(NotifySocket::new(name).is_err(), "{name}");
        }
        assert!(NotifySocket::from_env(&|_| None).is_none());
        assert!(NotifySocket::from_env(&|_| Some(String::new())).is_none());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = NotifySocket::new(path.to_str().unwrap()).unwrap();
        socket.deliver("READY=1").await;
        assert!(socket.failing.load(Ordering::Relaxed));
        // One that comes later at the same place is told.
        let manager = UnixDatagram::bind(&path).unwrap();
        socket.deliver("WATCHDOG=1").await;
        assert_eq!(manager.recv(&mut [0; 64]).unwrap(), "WATCHDOG=1".len());
        assert!(!socket.failing.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let socket = NotifySocket::new(path.to_str().unwrap()).unwrap();
        let sending = async {
            for number in 0..2000 {
                socket.deliver(&number.to_string()).await;
            }
        };
        let reading = async {
            let mut read = Vec::new();
            manager.set_nonblocking(true).unwrap();
            while read.len() < 2000 {
                let mut buffer = [0; 64];
                match manager.recv(&mut buffer) {
                    Ok(length) => read.push(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                    Err(_) => sleep(AGAIN / 2).await,
                }
            }
            read
        };
        let ((), read) = tokio::join!(sending, reading);
        assert!(read.iter().enumerate().all(|(number, text)| number.to_string() == *text), "{read:?}");
    }
    #[tokio::test(start_paused = true)]
    async fn a_manager_that_reads_nothing_holds_nobody_up_and_is_told_once_it_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = Arc::new(NotifySocket::new(path.to_str().unwrap()).unwrap());
        while socket.try_send("STATUS=all is well") {}
        let begun = Instant::now();
        socket.send("STOPPING=1").await;
        assert!(begun.elapsed() <= PATIENCE + AGAIN);
        let mut buffer = [0; 64];
        loop {
            match manager.recv(&mut buffer) {
                Ok(length) if &buffer[..length] == b"STOPPING=1" => break,
                Ok(_) => {}
                Err(_) => sleep(AGAIN).await,
            }
        }
    }
}
