//! TLS clients that are made already, so that not every connection reads a hundred roots.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{TlsClient, TlsError};
use crate::config::Tls;
use crate::task::joined;

/// The system's roots lie in many files, so they are simply read again after this long.
const SYSTEM_AGE: Duration = Duration::from_secs(60);

/// The clients of this process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct TlsClients {
    seats: Arc<Mutex<HashMap<Tls, Arc<Seat>>>>,
}

/// The client for one [`Tls`]; files that hang hold up this one alone.
#[derive(Debug, Default)]
struct Seat {
    /// Held while files are read: hundreds of databases that begin together read them once, and those that wait hold no
    /// thread.
    made: Arc<tokio::sync::Mutex<Option<Made>>>,
    doubted: AtomicBool,
}

#[derive(Debug, Clone)]
struct Made {
    client: TlsClient,
    read: Vec<Read>,
}

/// What a client was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    /// A file as it was: device, inode, length, and when it was changed. `None`: it could not be looked at.
    File(Option<(u64, u64, u64, (i64, i64))>),
    System(Instant),
}

impl Read {
    fn now(tls: &Tls) -> Vec<Self> {
        let mut read = Vec::new();
        if let Some(trust) = tls.mode.trust() {
            read.push(trust.root_cert.as_deref().map_or_else(|| Self::System(Instant::now()), Self::file));
            read.extend(trust.crl.as_deref().map(Self::file));
        }
        read.extend(tls.client_cert.iter().flat_map(|files| [&files.cert, &files.key]).map(|path| Self::file(path)));
        read
    }

    fn file(path: &Path) -> Self {
        // What can't be read is told when it is read.
        let file = fs::metadata(path).ok();
        Self::File(file.map(|file| (file.dev(), file.ino(), file.len(), (file.ctime(), file.ctime_nsec()))))
    }

    /// Whether what is read at the moment of `now` would be the same.
    fn still_holds(&self, now: &Self) -> bool {
        match (self, now) {
            (Self::System(then), Self::System(now)) => now.duration_since(*then) < SYSTEM_AGE,
            _ => self == now,
        }
    }
}

impl TlsClients {
    /// A client for `tls`. Files that have changed since are read again.
    ///
    /// # Errors
    /// A file can't be used, or there are no roots.
    pub async fn get(&self, tls: &Tls) -> Result<TlsClient, TlsError> {
        let (seat, tls) = (self.seat(tls), tls.clone());
        let mut made = Arc::clone(&seat.made).lock_owned().await;
        // Files are read off the threads that carry the streams.
        let read = spawn_blocking(move || {
            let read = Read::now(&tls);
            let doubted = seat.doubted.swap(false, Ordering::Relaxed);
            if let Some(made) = made.as_ref().filter(|_| !doubted)
                && made.read.iter().zip(&read).all(|(then, now)| then.still_holds(now))
            {
                return Ok(made.client.clone());
            }
            *made = None;
            let client = TlsClient::new(&tls)?;
            *made = Some(Made { client: client.clone(), read });
            Ok(client)
        });
        joined(read.await)
    }

    fn seat(&self, tls: &Tls) -> Arc<Seat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(seats.entry(tls.clone()).or_default())
    }

    /// `error` has ended a connection by `tls`: if other files could have kept it, the next connection reads them anew.
    pub fn doubt(&self, tls: &Tls, error: &TlsError) {
        if error.is_of_trust() {
            self.seat(tls).doubted.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::{SslMode, Trust};

    fn root() -> String {
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem()
    }

    #[tokio::test]
    async fn a_file_is_read_once_until_it_changes_or_is_doubted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        fs::write(&path, root()).unwrap();
        let clients = TlsClients::default();
        let trust = Trust { root_cert: Some(path.clone()), crl: None };
        let tls = Tls { mode: SslMode::VerifyFull(trust), ..Tls::REQUIRE };
        let get = async || clients.get(&tls).await.unwrap().config;
        let first = get().await;
        assert!(Arc::ptr_eq(&first, &get().await));
        let next = folder.path().join("next.pem");
        fs::write(&next, root()).unwrap();
        fs::rename(&next, &path).unwrap();
        let second = get().await;
        assert!(!Arc::ptr_eq(&first, &second));
        clients.doubt(&tls, &TlsError::Io(io::ErrorKind::UnexpectedEof.into()));
        assert!(Arc::ptr_eq(&second, &get().await), "a connection that broke off says nothing about files");
        clients.doubt(&tls, &TlsError::Handshake(rustls::Error::DecryptError));
        assert!(!Arc::ptr_eq(&second, &get().await));
        fs::remove_file(&path).unwrap();
        assert!(matches!(clients.get(&tls).await, Err(TlsError::File(_))));
    }

    #[tokio::test]
    async fn files_that_are_being_read_hold_up_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let clients = TlsClients::default();
        let of = |name: &str| {
            let root_cert = Some(folder.path().join(name));
            Tls { mode: SslMode::VerifyFull(Trust { root_cert, crl: None }), ..Tls::REQUIRE }
        };
        fs::write(folder.path().join("root.pem"), root()).unwrap();
        let (hung, whole) = (of("hung.pem"), of("root.pem"));
        let seat = clients.seat(&hung);
        let _reading = seat.made.lock().await;
        tokio::select! {
            biased;
            _ = clients.get(&hung) => panic!("it was not waited for"),
            read = clients.get(&whole) => drop(read.unwrap()),
        }
        clients.doubt(&hung, &TlsError::Handshake(rustls::Error::DecryptError));
    }

    #[tokio::test(start_paused = true)]
    async fn the_roots_of_the_system_age() {
        let then = Read::System(Instant::now());
        tokio::time::advance(SYSTEM_AGE / 2).await;
        assert!(then.still_holds(&Read::System(Instant::now())));
        tokio::time::advance(SYSTEM_AGE).await;
        assert!(!then.still_holds(&Read::System(Instant::now())));
    }
}
