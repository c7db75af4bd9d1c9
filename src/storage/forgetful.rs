//! A storage that forgets at a crash what was not fsynced. For tests.
//!
//! A process sees one file system; the disk holds another. Each write and each change of a file's length waits until
//! the file's [`File::sync`], each new, renamed or removed name until the folder's [`Storage::sync_dir`].
//! [`Forgetful::crash`] gives the file system after a power cut, drawn from a seed:
//!
//! * each waiting write survived whole, or in part, cut at a byte or in sectors of 512 bytes, or not at all,
//!   independently of the others, so that a later write may stand behind a hole of zeros;
//! * each waiting change of a length survived or not;
//! * each waiting change of names, be it of a file or of a folder, survived or not; those that touch the same name in
//!   their order, the others independently, which is less than a journal keeps, but all that POSIX promises; and with a
//!   folder goes all that stands in it.
//!
//! It can be told to die after some operation ([`Forgetful::die_after`]), to fail one fsync, whose writes are then
//! lost though a later fsync succeeds ([`Forgetful::fail_sync`]), and to be full ([`Forgetful::set_room`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fastrand::Rng;

use super::{Entry, File, Lock, Space, Storage};

#[cfg(test)]
mod tests;

const SECTOR: usize = 512;
/// What [`Storage::space`] tells as the whole: 1 GiB.
const TOTAL: u64 = 1 << 30;

/// A file system in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Forgetful {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<Content>,
    /// As the process sees it.
    names: Names,
    /// As the disk holds it; what stands in a folder that is not durable can't be reached there.
    durable_names: Names,
    waiting_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    dies_after: Option<u64>,
    /// How many syncs go well before the one that fails, and what draws the part of it that survives.
    failing_sync: Option<(u64, u64)>,
    room: Option<u64>,
}

type Names = BTreeMap<PathBuf, Named>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Dir,
    /// Its place in `files`.
    File(usize),
}

#[derive(Debug, Default, Clone)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    waiting: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Bytes { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Made { path: PathBuf, named: Named },
    Removed { path: PathBuf },
    Renamed { from: PathBuf, to: PathBuf },
}

impl Forgetful {
    /// An empty file system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations have changed something or made it durable.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock_inner().operations
    }

    /// Lets the next `operations` of them succeed and everything fail from then on, reading too: the process is dead.
    pub fn die_after(&self, operations: u64) {
        let mut inner = self.lock_inner();
        inner.dies_after = Some(inner.operations + operations);
    }

    /// Another process begins under the same kernel: what waited still waits.
    pub fn revive(&self) {
        self.lock_inner().dies_after = None;
    }

    /// Whether it has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.lock_inner().is_dead()
    }

    /// Lets `before` syncs (of files and folders) succeed and the one after them fail, once. Of what a file's sync
    /// should have made durable survives what `seed` draws, as in a crash, and no later sync makes up for it, though
    /// the process goes on seeing it: this is what Linux does.
    pub fn fail_sync(&self, before: u64, seed: u64) {
        self.lock_inner().failing_sync = Some((before, seed));
    }

    /// Lets files grow by `room` bytes more in all, and by what is cut off again; `None` is without a bound.
    pub fn set_room(&self, room: Option<u64>) {
        self.lock_inner().room = room;
    }

    /// The file system after a power cut now; the same seed draws the same one. This one stays as it is.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let inner = self.lock_inner();
        let mut names = inner.durable_names.clone();
        let mut lost = BTreeSet::new();
        for change in &inner.waiting_names {
            if rng.bool() && change.touched().all(|path| !lost.contains(path)) {
                change.apply(&mut names);
            } else {
                lost.extend(change.touched());
            }
        }
        let files = inner.files.iter().map(|file| file.after_crash(&mut rng)).collect();
        let dirs = names.clone();
        names.retain(|path, _| path.ancestors().skip(1).all(|dir| is_dir(&dirs, dir)));
        let after = Inner { files, durable_names: names.clone(), names, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(after)) }
    }

    fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_dead(&self) -> bool {
        self.dies_after.is_some_and(|last| self.operations >= last)
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_dead() { Err(io::Error::other("the process is dead")) } else { Ok(()) }
    }

    fn operation(&mut self) -> io::Result<()> {
        self.alive()?;
        self.operations += 1;
        Ok(())
    }

    /// If the sync that is now due is the one to fail: its seed.
    fn sync_fails(&mut self) -> Option<u64> {
        let (before, seed) = self.failing_sync?;
        self.failing_sync = before.checked_sub(1).map(|before| (before, seed));
        (before == 0).then_some(seed)
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Named::File(file)) => Ok(*file),
            Some(Named::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make(&mut self, path: &Path, named: Named) -> io::Result<()> {
        self.alive()?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !path.parent().is_some_and(|dir| is_dir(&self.names, dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.operation()?;
        self.change_names(NameChange::Made { path: path.to_owned(), named });
        Ok(())
    }

    fn make_file(&mut self, path: &Path) -> io::Result<usize> {
        let file = self.files.len();
        self.make(path, Named::File(file))?;
        self.files.push(Content::default());
        Ok(file)
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.waiting_names.push(change);
    }
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.waiting.push(change);
    }

    fn sync(&mut self) {
        for change in self.waiting.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn tear(&mut self, rng: &mut Rng) {
        for change in self.waiting.drain(..) {
            change.apply_torn(&mut self.durable, rng);
        }
    }

    fn after_crash(&self, rng: &mut Rng) -> Self {
        let mut after = self.clone();
        after.tear(rng);
        Self { seen: after.durable.clone(), ..after }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Bytes { offset, bytes } => put(content, *offset, bytes),
            Self::Length(len) => content.resize(*len, 0),
        }
    }

    fn apply_torn(&self, content: &mut Vec<u8>, rng: &mut Rng) {
        match (rng.u8(0..4), self) {
            (0, _) | (2.., Self::Length(_)) => {}
            (1, change) => change.apply(content),
            (2, Self::Bytes { offset, bytes }) => put(content, *offset, &bytes[..rng.usize(0..=bytes.len())]),
            (_, Self::Bytes { offset, bytes }) => {
                let mut at = 0;
                while at < bytes.len() {
                    let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                    if rng.bool() {
                        put(content, offset + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

impl NameChange {
    fn dir(&self) -> &Path {
        let (Self::Made { path, .. } | Self::Removed { path } | Self::Renamed { to: path, .. }) = self;
        path.parent().unwrap_or(path)
    }

    fn touched(&self) -> impl Iterator<Item = &Path> {
        let (one, other) = match self {
            Self::Made { path, .. } | Self::Removed { path } => (path, None),
            Self::Renamed { from, to } => (from, Some(to)),
        };
        std::iter::once(one.as_path()).chain(other.map(PathBuf::as_path))
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Made { path, named } => {
                names.insert(path.clone(), *named);
            }
            Self::Removed { path } => {
                names.remove(path);
            }
            Self::Renamed { from, to } => {
                if let Some(named) = names.remove(from) {
                    names.insert(to.clone(), named);
                }
            }
        }
    }
}

/// The root has no name, and is always there.
fn is_dir(names: &Names, path: &Path) -> bool {
    path == Path::new("/") || names.get(path) == Some(&Named::Dir)
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Storage for Forgetful {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock_inner().make(dir, Named::Dir)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = self.lock_inner().make_file(path)?;
        Ok(Box::new(Handle { storage: self.clone(), file }))
    }

    fn is_dir(&self, dir: &Path) -> bool {
        is_dir(&self.lock_inner().names, dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let inner = self.lock_inner();
        inner.alive()?;
        let here = inner.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entries = here.filter_map(|(path, &named)| {
            let Named::File(file) = named else { return None };
            let name = path.file_name()?.to_str()?.to_owned();
            Some(Entry { name, len: inner.files[file].seen.len() as u64, modified: SystemTime::UNIX_EPOCH })
        });
        Ok(entries.collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut inner = self.lock_inner();
        inner.alive()?;
        if !inner.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held { storage: self.clone(), path: path.to_owned() }))
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let mut inner = self.lock_inner();
        inner.alive()?;
        let file = match inner.file(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => inner.make_file(path)?,
            found => found?,
        };
        Ok(Box::new(Handle { storage: self.clone(), file }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock_inner();
        inner.alive()?;
        inner.file(path)?;
        inner.operation()?;
        inner.change_names(NameChange::Removed { path: path.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock_inner();
        inner.alive()?;
        inner.file(from)?;
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        inner.operation()?;
        inner.change_names(NameChange::Renamed { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let inner = self.lock_inner();
        inner.alive()?;
        Ok(Space { free: inner.room.unwrap_or(TOTAL), total: TOTAL })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock_inner();
        inner.operation()?;
        if inner.sync_fails().is_some() {
            return Err(io::Error::other("the fsync of a folder failed"));
        }
        let Inner { waiting_names, durable_names, .. } = &mut *inner;
        waiting_names.retain(|change| {
            let here = change.dir() == dir;
            if here {
                change.apply(durable_names);
            }
            !here
        });
        Ok(())
    }
}

#[derive(Debug)]
struct Held {
    storage: Forgetful,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.storage.lock_inner().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct Handle {
    storage: Forgetful,
    file: usize,
}

impl File for Handle {
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let inner = self.storage.lock_inner();
        inner.alive()?;
        Ok(inner.names.get(path) == Some(&Named::File(self.file)))
    }

    fn len(&self) -> io::Result<u64> {
        let inner = self.storage.lock_inner();
        inner.alive()?;
        Ok(inner.files[self.file].seen.len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let inner = self.storage.lock_inner();
        inner.alive()?;
        let rest = usize::try_from(offset).ok().and_then(|offset| inner.files[self.file].seen.get(offset..));
        let found = rest.and_then(|rest| rest.get(..buf.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut inner = self.storage.lock_inner();
        inner.operation()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let cut = inner.files[self.file].seen.len().saturating_sub(len);
        inner.room = inner.room.map(|room| room.saturating_add(cut as u64));
        inner.files[self.file].change(Change::Length(len));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.storage.lock_inner();
        inner.operation()?;
        if let Some(seed) = inner.sync_fails() {
            inner.files[self.file].tear(&mut Rng::with_seed(seed));
            return Err(io::Error::other("the fsync of a file failed"));
        }
        inner.files[self.file].sync();
        Ok(())
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.storage.lock_inner();
        inner.operation()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let len = inner.files[self.file].seen.len();
        let growth = (offset + bytes.len()).saturating_sub(len);
        let room = inner.room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
        let fitting = bytes.len() - growth.saturating_sub(room).min(bytes.len());
        inner.room = inner.room.map(|room| room.saturating_sub(growth as u64));
        inner.files[self.file].change(Change::Bytes { offset, bytes: bytes[..fitting].to_owned() });
        if fitting < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}
