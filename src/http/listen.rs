//! Where HTTP listens: a TCP port and the Unix socket.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixSocket};

use super::guard::Exposure;
use crate::config;

/// How many who connect to the Unix socket may wait to be taken up.
const BACKLOG: u32 = 128;

/// Why a listener could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("another agent answers on {0}; stop it first, or give this one a runtime directory of its own")]
    Live(PathBuf),
    #[error("{0} is not a socket; move it away")]
    NotASocket(PathBuf),
    #[error("health can't listen on {address}; set another address at [http] listen, or \"off\"")]
    Port {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the socket {path} can't be made; see that its folder exists and is ours")]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// All that is listened on; either may be missing.
#[derive(Debug, Default)]
pub struct Listeners {
    /// `None` is `listen = "off"`.
    pub port: Option<HealthPort>,
    pub socket: Option<ControlSocket>,
}

/// The TCP port that serves health.
#[derive(Debug)]
pub struct HealthPort {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) exposure: Exposure,
}

impl HealthPort {
    /// What `http` asks for; `None` is `listen = "off"`.
    ///
    /// # Errors
    /// The address isn't ours or is taken.
    pub async fn of(http: &config::Http) -> Result<Option<Self>, ServeError> {
        match http.listen {
            Some(address) => Self::bind(address, http.public_status).await.map(Some),
            None => Ok(None),
        }
    }

    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address isn't ours or is taken.
    pub async fn bind(address: SocketAddr, public_status: bool) -> Result<Self, ServeError> {
        let wrong = |source| ServeError::Port { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        Ok(Self { listener, address, exposure: Exposure::of(address, public_status) })
    }

    /// Where it listens, with the port that was taken.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The Unix socket that serves health and takes commands; its file goes when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// The socket's file, known by its inode so that a successor's is never removed.
#[derive(Debug)]
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    inode: (u64, u64),
}

impl ControlSocket {
    /// Listens on `path` with mode 0660, and makes its folder if it is missing. The file that a dead agent left is
    /// replaced.
    ///
    /// # Errors
    /// A live agent answers there, it is something else than a socket, or it can't be made.
    pub fn bind(path: impl Into<PathBuf>) -> Result<Self, ServeError> {
        let path = path.into();
        let wrong = |source| ServeError::Socket { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(wrong)?;
        }
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ServeError::NotASocket(path)),
            Ok(_) if UnixStream::connect(&path).is_ok() => return Err(ServeError::Live(path)),
            Ok(_) => {}
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(wrong(other)),
        }
        // Made beside, so that it takes a dead one's place at once; and given its mode before it listens, since until then
        // nobody can connect, whatever the umask allows.
        let beside = path.with_extension("new");
        remove(&beside).map_err(wrong)?;
        let socket = UnixSocket::new_stream().map_err(wrong)?;
        socket.bind(&beside).map_err(wrong)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o660)).map_err(wrong)?;
        let listener = socket.listen(BACKLOG).map_err(wrong)?;
        fs::rename(&beside, &path).map_err(wrong)?;
        let made = fs::symlink_metadata(&path).map_err(wrong)?;
        let file = SocketFile { inode: (made.dev(), made.ino()), path };
        Ok(Self { listener, file })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if ours {
            // What stays behind is taken for stale by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}
