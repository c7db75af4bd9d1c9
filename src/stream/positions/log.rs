//! The file behind the positions.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Key, PositionsError, Records};
use crate::change::Record;
use crate::faults::{self, Point};
use crate::storage::{self, File, SharedStorage, Storage, sealed};

/// Its name in the state directory.
pub(super) const NAME: &str = "positions.jsonl";
/// It is written anew, with what counts alone, once it is larger than this and than twice that.
const LARGE: u64 = 1 << 20;

/// The log and what it says. All calls block.
#[derive(Debug)]
pub(super) struct Log {
    storage: SharedStorage,
    path: PathBuf,
    records: Records,
    /// `None` after an error: an fsync that failed proves nothing when it is tried again, so a new file is begun.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: Box<dyn File>,
    len: u64,
    /// Its length when it was begun.
    begun: u64,
}

/// One position, as a line holds it.
#[derive(Serialize, Deserialize)]
struct Position<K = Key, R = Record> {
    at: K,
    record: R,
}

impl Log {
    /// Reads `dir`/positions.jsonl if it is there, and begins it anew: what the kernel shows of a file need not be on
    /// the disk if the process before ended on an fsync that failed.
    pub(super) fn open(storage: SharedStorage, dir: &Path) -> Result<Self, PositionsError> {
        let path = dir.join(NAME);
        let error = |verb, source| PositionsError { verb, path: path.clone(), source: Arc::new(source) };
        storage.create_dir_all(dir).map_err(|source| error("make the folder of", source))?;
        let records = read(&*storage, &path)?;
        let mut log = Self { storage, path, records, open: None };
        log.begin().map_err(|source| log.error("write", source))?;
        Ok(log)
    }

    /// What is durable.
    pub(super) const fn records(&self) -> &Records {
        &self.records
    }

    /// Makes `changes` durable, in one line.
    pub(super) fn write(&mut self, changes: Records) -> Result<(), PositionsError> {
        match self.append(&changes) {
            Ok(()) => {
                self.records.extend(changes);
                Ok(())
            }
            Err(source) => {
                self.open = None;
                Err(self.error("write", source))
            }
        }
    }

    fn append(&mut self, changes: &Records) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.len > LARGE.max(2 * open.begun)) {
            self.begin()?;
        }
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let line = line(changes)?;
        open.file.write_all_at(line.as_bytes(), open.len)?;
        faults::point(Point::PositionsWritten);
        open.file.sync()?;
        faults::point(Point::PositionsSynced);
        open.len += line.len() as u64;
        Ok(())
    }

    /// Begins a new file that holds what counts.
    fn begin(&mut self) -> io::Result<()> {
        let line = line(&self.records)?;
        let file = storage::replace(&*self.storage, &self.path, line.as_bytes())?;
        let len = line.len() as u64;
        self.open = Some(Open { file, len, begun: len });
        Ok(())
    }

    fn error(&self, verb: &'static str, source: io::Error) -> PositionsError {
        PositionsError { verb, path: self.path.clone(), source: Arc::new(source) }
    }
}

/// What the file at `path` says, if it is there.
pub(super) fn read(storage: &dyn Storage, path: &Path) -> Result<Records, PositionsError> {
    let bytes = match storage::read(storage, path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => {
            let error = |source| PositionsError { verb: "read", path: path.to_owned(), source: Arc::new(source) };
            bytes.map_err(error)?
        }
    };
    let mut records = Records::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match sealed::unseal(line).and_then(|state| serde_json::from_slice::<Vec<Position>>(state).ok()) {
            Some(positions) => records.extend(positions.into_iter().map(|position| (position.at, position.record))),
            // The end of a write that a crash tore was never reported as durable.
            None if !line.ends_with(b"\n") => {}
            None => tracing::warn!("{}: a line that is not whole is passed over", path.display()),
        }
    }
    Ok(records)
}

fn line(records: &Records) -> io::Result<String> {
    let positions: Vec<_> = records.iter().map(|(at, record)| Position { at, record }).collect();
    Ok(sealed::seal(&serde_json::to_string(&positions)?) + "\n")
}
