//! The sidecar: how far a file series is durable, and the record beside it.
//!
//! It has two entries of [`ENTRY`] bytes, each a [sealed](crate::storage::sealed) line filled up with blanks, so that
//! `cat` shows it. They are written in turn, in place: a write that a crash tears leaves the entry before it whole.
//! The whole one with the higher sequence counts. Each entry lies on a page and sectors of its own.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trouble;
use crate::change::{Cursor, Record};
use crate::faults::{self, Point};
use crate::sink::SinkError;
use crate::storage::{self, File, SharedStorage, Storage, sealed};

/// The bytes of one entry.
const ENTRY: usize = 4096;

/// What an entry says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Higher than that of every entry before it.
    pub sequence: u64,
    /// The number that the current file gets when it is finished.
    pub segment: u64,
    /// How many bytes of the current file are durable and count.
    pub length: u64,
    /// The checksum of the last of them; see [`super::tail`].
    pub tail: u32,
    /// Where the record's stream begins. What stands before it is of another slot, another cluster, or from before a
    /// gap, and says nothing of where this stream stands.
    #[serde(default)]
    pub begun: Place,
    /// The current file is about to get its finished name, or has it.
    pub rotating: bool,
    /// Set while changes are missing that somebody took out of the file: where it really ends.
    pub short: Option<Short>,
    /// `None` until the first [`adopt`](crate::sink::Sink::adopt).
    pub record: Option<Record>,
}

/// A place in a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The number that the file has, or gets when it is finished.
    pub segment: u64,
    /// A length of that file.
    pub length: u64,
}

/// Where a file really ends that is shorter than it was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Short {
    /// The last change that is there.
    pub cursor: Option<Cursor>,
}

impl State {
    /// Where the sink stands.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        match &self.short {
            Some(short) => short.cursor,
            None => self.record.as_ref()?.cursor,
        }
    }
}

/// The sidecar of an open series.
#[derive(Debug)]
pub(super) struct Sidecar {
    storage: SharedStorage,
    path: PathBuf,
    state: State,
    /// `None` until [`Sidecar::begin`].
    file: Option<Box<dyn File>>,
}

impl Sidecar {
    /// What the sidecar at `path` says; `None` if there is none.
    pub(super) fn read(storage: &dyn Storage, path: &Path) -> Result<Option<State>, SinkError> {
        let bytes = match storage::read(storage, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(trouble::io("read", path))?,
        };
        let entries = bytes.chunks(ENTRY).filter_map(|entry| serde_json::from_slice(sealed::unseal(entry)?).ok());
        match entries.max_by_key(|state: &State| state.sequence) {
            Some(state) => Ok(Some(state)),
            None => Err(trouble::unreadable_sidecar(path)),
        }
    }

    /// One that is to say `state` and is not written yet.
    pub(super) const fn new(storage: SharedStorage, path: PathBuf, state: State) -> Self {
        Self { storage, path, state, file: None }
    }

    /// Puts a new sidecar in place of whatever stands there, durably; nothing the second time.
    ///
    /// Done whenever a series is opened, and not only when it is new: where an fsync failed, what was read may stand
    /// in the kernel's cache alone, and a process that starts can't know of the failure that ended the one before it.
    /// An old file is never trusted with a new entry; otherwise a torn write could fall back by two.
    pub(super) fn begin(&mut self) -> Result<(), SinkError> {
        if self.file.is_some() {
            return Ok(());
        }
        let (storage, path) = (&*self.storage, &*self.path);
        self.state.sequence += 1;
        let blank = blank_entry();
        let entry = entry(&self.state).map_err(trouble::io("write", path))?;
        let entries = if self.state.sequence.is_multiple_of(2) { [entry, blank] } else { [blank, entry] };
        self.file = Some(storage::replace(storage, path, &entries.concat()).map_err(trouble::io("write", path))?);
        Ok(())
    }

    /// What it says.
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Makes `state`, whose sequence is ignored, durable. After an error the sidecar may say either; it must be made
    /// anew.
    pub(super) fn store(&mut self, mut state: State) -> Result<(), SinkError> {
        self.begin()?;
        let Some(file) = &mut self.file else { return Err(trouble::closed(&self.path)) };
        state.sequence = self.state.sequence + 1;
        let bytes = entry(&state).map_err(trouble::io("write", &self.path))?;
        let at = if state.sequence.is_multiple_of(2) { 0 } else { ENTRY as u64 };
        file.write_all_at(&bytes, at).map_err(trouble::io("write", &self.path))?;
        faults::point(Point::SidecarWritten);
        file.sync().map_err(trouble::io("fsync", &self.path))?;
        faults::point(Point::SidecarSynced);
        self.state = state;
        Ok(())
    }
}

fn entry(state: &State) -> io::Result<Vec<u8>> {
    let line = sealed::seal(&serde_json::to_string(state)?);
    let mut entry = blank_entry();
    // Names have a bounded length, so this always fits.
    let place = entry[..ENTRY - 1].get_mut(..line.len()).ok_or(io::ErrorKind::FileTooLarge)?;
    place.copy_from_slice(line.as_bytes());
    Ok(entry)
}

fn blank_entry() -> Vec<u8> {
    let mut entry = vec![b' '; ENTRY];
    entry[ENTRY - 1] = b'\n';
    entry
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ident::{PublicationName, SlotName};
    use crate::lsn::{EndLsn, Lsn, Timeline};
    use crate::storage::forgetful::Forgetful;

    fn path() -> &'static Path {
        Path::new("/c/shop.jsonl.cursor")
    }

    fn fresh() -> Forgetful {
        let storage = Forgetful::new();
        storage.create_dir_all(Path::new("/c")).unwrap();
        storage
    }

    fn begun(storage: &Forgetful) -> Sidecar {
        let mut sidecar = Sidecar::new(Arc::new(storage.clone()), path().to_owned(), state(0));
        sidecar.begin().unwrap();
        sidecar
    }

    fn state(length: u64) -> State {
        let end = EndLsn::of_commit(Lsn(u64::MAX));
        let cursor =
            Cursor { timeline: u32::MAX, commit_lsn: Lsn(u64::MAX), ordinal: Some(u64::MAX), end_lsn: Some(end) };
        let record = Record {
            beginning: u64::MAX,
            system_identifier: u64::MAX,
            timeline: Timeline { id: u32::MAX, begin: Lsn(u64::MAX) },
            slot: SlotName::new("s".repeat(63)).unwrap(),
            publication: PublicationName::new("\u{1}".repeat(63)).unwrap(),
            standby: false,
            acknowledged: Some(end),
            cursor: Some(cursor),
            open_gap: None,
            diverged: None,
        };
        let begun = Place { segment: u64::MAX, length: u64::MAX };
        State { segment: u64::MAX, length, begun, record: Some(record), ..State::default() }
    }

    #[test]
    fn the_last_entry_counts_and_the_largest_fits() {
        let storage = fresh();
        assert_eq!(Sidecar::read(&storage, path()).unwrap(), None);
        let mut sidecar = begun(&storage);
        for length in 1..5 {
            sidecar.store(State { short: Some(Short { cursor: state(0).cursor() }), ..state(length) }).unwrap();
            let found = Sidecar::read(&storage, path()).unwrap().unwrap();
            assert_eq!(found, *sidecar.state());
            assert_eq!((found.length, found.sequence), (length, length + 1));
        }
        let bytes = storage::read(&storage, path()).unwrap();
        assert_eq!(bytes.len(), 2 * ENTRY);
        assert_eq!(std::str::from_utf8(&bytes).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_torn_write_leaves_the_entry_before_it() {
        let mut found = [false; 2];
        for seed in 0..200 {
            let storage = fresh();
            let mut sidecar = begun(&storage);
            for length in 1..4 {
                sidecar.store(state(length)).unwrap();
            }
            // The write, not its fsync.
            storage.die_after(1);
            sidecar.store(state(4)).unwrap_err();
            let after = Sidecar::read(&storage.crash(seed), path()).unwrap().unwrap().length;
            assert!(after == 3 || after == 4);
            found[usize::from(after == 4)] = true;
        }
        assert_eq!(found, [true; 2]);
    }

    #[test]
    fn one_without_a_whole_entry_is_an_error_and_not_none() {
        let storage = fresh();
        storage::replace(&storage, path(), b"{\"something\": \"else\"}\n").unwrap();
        let error = Sidecar::read(&storage, path()).unwrap_err();
        assert!(error.sentence.contains("shop.jsonl.cursor") && !error.hint.is_empty());
        storage::replace(&storage, path(), b"").unwrap();
        Sidecar::read(&storage, path()).unwrap_err();
    }
}
