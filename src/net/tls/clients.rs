//! TLS clients that are made already, so that not every connection reads a hundred roots.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{TlsClient, TlsError, Verify};

/// The system's roots lie in many files, so they are simply read again after this long.
const SYSTEM_AGE: Duration = Duration::from_secs(60);

/// The clients of this process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct TlsClients {
    made: Arc<Mutex<HashMap<Wish, Made>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Wish {
    verify: Verify,
    root_cert: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Made {
    client: TlsClient,
    roots: Roots,
}

/// What the roots were read from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Roots {
    /// Nothing is verified.
    None,
    /// A file as it was: device, inode, length, and when it was changed.
    File(u64, u64, u64, (i64, i64)),
    System(Instant),
}

impl Roots {
    fn now(wish: &Wish) -> Self {
        match (wish.verify, &wish.root_cert) {
            (Verify::Nothing, _) => Self::None,
            (_, None) => Self::System(Instant::now()),
            // What can't be read is told when it is read.
            (_, Some(path)) => fs::metadata(path).map_or(Self::None, |file| {
                Self::File(file.dev(), file.ino(), file.len(), (file.ctime(), file.ctime_nsec()))
            }),
        }
    }

    /// Whether roots that are read at the moment of `now` would be the same.
    fn still_hold(&self, now: &Self) -> bool {
        match (self, now) {
            (Self::System(then), Self::System(now)) => now.duration_since(*then) < SYSTEM_AGE,
            _ => self == now,
        }
    }
}

impl TlsClients {
    /// A client that verifies so much by the roots in `root_cert`, or by the system's. A file that has changed since is
    /// read again.
    ///
    /// # Errors
    /// There are no roots, or they can't be read.
    pub async fn get(&self, verify: Verify, root_cert: Option<&Path>) -> Result<TlsClient, TlsError> {
        let wish = Wish { verify, root_cert: root_cert.map(Path::to_owned) };
        let clients = self.clone();
        // Files are read off the threads that carry the streams.
        let got = spawn_blocking(move || clients.get_blocking(wish)).await;
        got.unwrap_or_else(|died| Err(TlsError::NoRoots(died.to_string())))
    }

    fn get_blocking(&self, wish: Wish) -> Result<TlsClient, TlsError> {
        let roots = Roots::now(&wish);
        // Held while they are read: hundreds of databases that begin together read them once.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(&wish)
            && made.roots.still_hold(&roots)
        {
            return Ok(made.client.clone());
        }
        let client = TlsClient::new(wish.verify, wish.root_cert.as_deref())?;
        made.insert(wish, Made { client: client.clone(), roots });
        Ok(client)
    }

    /// A certificate was refused: what the next connection trusts is read anew.
    pub fn doubt(&self, verify: Verify, root_cert: Option<&Path>) {
        let wish = Wish { verify, root_cert: root_cert.map(Path::to_owned) };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(&wish);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> String {
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem()
    }

    #[tokio::test]
    async fn a_file_is_read_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        fs::write(&path, root()).unwrap();
        let clients = TlsClients::default();
        let get = async || clients.get(Verify::Full, Some(&path)).await.unwrap().config;
        let first = get().await;
        assert!(Arc::ptr_eq(&first, &get().await));
        let next = folder.path().join("next.pem");
        fs::write(&next, root()).unwrap();
        fs::rename(&next, &path).unwrap();
        let second = get().await;
        assert!(!Arc::ptr_eq(&first, &second));
        clients.doubt(Verify::Full, Some(&path));
        assert!(!Arc::ptr_eq(&second, &get().await));
        fs::remove_file(&path).unwrap();
        assert!(matches!(clients.get(Verify::Full, Some(&path)).await, Err(TlsError::RootFile { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn the_roots_of_the_system_age() {
        let then = Roots::System(Instant::now());
        tokio::time::advance(SYSTEM_AGE / 2).await;
        assert!(then.still_hold(&Roots::System(Instant::now())));
        tokio::time::advance(SYSTEM_AGE).await;
        assert!(!then.still_hold(&Roots::System(Instant::now())));
    }
}
