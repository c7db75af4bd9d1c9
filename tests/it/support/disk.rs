//! A real disk that is small enough to be filled.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs in a [`Folder`](super::guard::Folder), which unmounts it.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// One of so many megabytes at the empty folder `path`.
    pub(crate) fn mount(path: &Path, megabytes: u32) -> Self {
        let options = format!("size={megabytes}m,mode=0750");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output().unwrap();
        assert!(
            mount.status.success(),
            "this test needs the privilege to mount a tmpfs (CAP_SYS_ADMIN): run it as root. mount says: {}",
            String::from_utf8_lossy(&mount.stderr)
        );
        Self { path: path.to_owned() }
    }

    /// Free bytes.
    pub(crate) fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.path).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// Takes so many megabytes of it.
    pub(crate) fn fill(&self, megabytes: usize) {
        fs::write(self.path.join("filler"), vec![b'x'; megabytes << 20]).unwrap();
    }

    /// Takes all of it.
    pub(crate) fn fill_up(&self) {
        let mut filler = fs::File::create(self.path.join("filler")).unwrap();
        while filler.write_all(&[b'x'; 4096]).is_ok() {}
    }

    /// Gives them back.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
    }
}
