//! The real file system.

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Entry, File, Lock, Space, Storage};

/// Files hold rows: their owner writes them, their group may read them, nobody else.
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(options().create_new(true).open(path)?))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIR_MODE).create(dir)
    }

    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            // A name that is not UTF-8 is none of ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, len: metadata.len(), modified: metadata.modified()? });
            }
        }
        Ok(entries)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let file = open(path, true)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        Ok(Box::new(open(path, create)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

impl File for fs::File {
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let named = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            named => named?,
        };
        let own = self.metadata()?;
        Ok((named.dev(), named.ino()) == (own.dev(), own.ino()))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }
}

fn open(path: &Path, create: bool) -> io::Result<fs::File> {
    options().create(create).open(path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false).mode(FILE_MODE);
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::storage;

    #[test]
    fn files_are_made_read_listed_renamed_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        Disk.create_dir_all(&dir).unwrap();
        Disk.create_dir_all(&dir).unwrap();
        let (one, two) = (dir.join("one"), dir.join("two"));
        assert_eq!(Disk.open(&one, false).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut file = Disk.open(&one, true).unwrap();
        file.write_all_at(b"hello world", 0).unwrap();
        file.set_len(5).unwrap();
        file.sync().unwrap();
        assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o137, 0, "no other mode than 0640 or less");
        assert_eq!(storage::read(&Disk, &one).unwrap(), b"hello");
        assert_eq!(
            file.read_exact_at(&mut [0; 6], 0).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof,
            "nothing behind the end"
        );
        assert!(file.is_at(&one).unwrap());
        Disk.rename(&one, &two).unwrap();
        Disk.sync_dir(&dir).unwrap();
        assert!(!file.is_at(&one).unwrap() && file.is_at(&two).unwrap());
        let listed = Disk.list(&dir).unwrap();
        assert_eq!(listed.iter().map(|entry| (entry.name.as_str(), entry.len)).collect::<Vec<_>>(), [("two", 5)]);
        assert!(Disk.list(temp.path()).unwrap().is_empty(), "folders are not listed");
        Disk.remove(&two).unwrap();
        assert!(Disk.list(&dir).unwrap().is_empty());
        let space = Disk.space(&dir).unwrap();
        assert!(space.free > 0 && space.free <= space.total);
    }

    #[test]
    fn a_new_file_is_made_through_no_name_that_stands_there() {
        let temp = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (temp.path().join("state.new"), temp.path().join("elsewhere"));
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(
            Disk.create_new(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists,
            "a link that leads nowhere"
        );
        assert!(!elsewhere.exists());
        fs::write(&elsewhere, "somebody's").unwrap();
        assert_eq!(Disk.create_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "a link to a file");
        fs::remove_file(&path).unwrap();
        Disk.create_new(&path).unwrap().write_all_at(b"ours", 0).unwrap();
        assert_eq!(Disk.create_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "a file");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0, "no other mode than 0640 or less");
        assert_eq!(fs::read(&elsewhere).unwrap(), b"somebody's");
    }

    #[test]
    fn what_is_replaced_is_whole_and_leaves_nothing_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state");
        fs::write(storage::beside(&path), "left by a failed try, and longer than the new content").unwrap();
        for content in [&b"first content"[..], b"second"] {
            storage::replace(&Disk, &path, content).unwrap();
            assert_eq!(storage::read(&Disk, &path).unwrap(), content);
        }
        assert_eq!(Disk.list(temp.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_lock_has_one_holder_until_it_is_dropped() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let held = Disk.lock(&path).unwrap();
        assert_eq!(Disk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        Disk.lock(&path).unwrap();
    }
}
