//! Files, as far as durability needs them.
//!
//! Sinks and state go to disk through [`Storage`] alone, so that a test can put a storage underneath that forgets at
//! a crash what was not fsynced ([`forgetful`]): killing a process proves nothing about fsync, since the kernel lives
//! on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

mod disk;
#[cfg(any(test, feature = "faults"))]
pub mod forgetful;
pub mod json;
pub mod sealed;

pub use disk::Disk;

/// A file system. Calls block: async code goes through `spawn_blocking`.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Makes an empty file `path`, mode 0640, and opens it for reading and writing. What the name stands for afterwards
    /// was made by this call and by nobody else. Durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// As the file system says; `AlreadyExists` if anything has the name, be it a link that leads nowhere.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Makes the folder `dir`, mode 0750. Durable only after [`Storage::sync_dir`] of its parent.
    ///
    /// # Errors
    /// As the file system says; `AlreadyExists` if anything has the name.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes `dir` and its parents, durably.
    ///
    /// # Errors
    /// As the file system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let sync = || self.sync_dir(parent.unwrap_or_else(|| Path::new(".")));
        if self.is_dir(dir) {
            // The process that made it may have died before it did this. Whoever may not read the parent has not made
            // anything there.
            return match sync() {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            };
        }
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match self.create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_dir(dir) => sync(),
            Err(error) => Err(error),
            Ok(()) => sync(),
        }
    }

    /// Whether `dir` is a folder.
    fn is_dir(&self, dir: &Path) -> bool;

    /// What stands in `dir`, in no order; only plain files.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Takes the exclusive lock that the file `path` stands for, and makes the file if it is missing. Held until the
    /// guard is dropped; the file stays.
    ///
    /// # Errors
    /// As the file system says; `WouldBlock` while another holder has it, in this process or in another.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// Opens `path` for reading and writing; makes it, mode 0640, if `create`.
    /// A new name is durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// As the file system says; `NotFound` without `create`.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>>;

    /// Removes the file `path`.
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives the file `from` the name `to`, in place of what stood there. Durable only after [`Storage::sync_dir`].
    ///
    /// # Errors
    /// As the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Free and total bytes of the file system that `dir` is on.
    ///
    /// # Errors
    /// As the file system says.
    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// Makes names that were made, removed or renamed in `dir` durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A lock that is held; dropping it gives it back.
pub type Lock = Box<dyn fmt::Debug + Send + Sync>;

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "nothing here asks whether a file is empty")]
pub trait File: fmt::Debug + Send {
    /// Whether `path` still names this file; it does not once somebody moved or removed it.
    ///
    /// # Errors
    /// As the file system says; a name that is gone is not an error.
    fn is_at(&self, path: &Path) -> io::Result<bool>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// As the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Reads `buf.len()` bytes from `offset`.
    ///
    /// # Errors
    /// As the file system says; `UnexpectedEof` behind the end.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Cuts or extends it.
    ///
    /// # Errors
    /// As the file system says.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable (`fdatasync`). After an error nothing counts that was written
    /// since the last success, whatever a later call says: the kernel takes the pages for written, keeps or drops them,
    /// and reports a failure once. It has to be cut off, which drops the pages, and written anew.
    ///
    /// # Errors
    /// As the file system says.
    fn sync(&mut self) -> io::Result<()>;

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// As the file system says.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the folder.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for an unprivileged process.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// The whole of the file `path`.
///
/// # Errors
/// As the file system says.
pub fn read(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, false)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Puts `bytes` in place of the file `path`, so that after a crash either the old or the new content stands there
/// whole: write beside it, fsync, rename, fsync the folder. Gives the new file, which is not looked for by its name again.
///
/// # Errors
/// As the file system says; `AlreadyExists` if somebody else makes something beside it at the same time.
pub fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn File>> {
    let beside = beside(path);
    // What a failed try left.
    match storage.remove(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = storage.create_new(&beside)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    storage.rename(&beside, path)?;
    storage.sync_dir(path.parent().unwrap_or_else(|| Path::new("/")))?;
    Ok(file)
}

/// The name under which the next content of `path` is written.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// A storage that is shared by sinks and state.
pub type SharedStorage = Arc<dyn Storage>;
