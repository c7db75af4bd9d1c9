//! How much room a series leaves on its file system, and when it goes on after there was too little.
//!
//! Room is asked for before every write, since encoded lines can be many times longer than what came over the wire, and
//! asking costs a microsecond. A sink that was refused stays refused until there is room for what was refused and some
//! more: otherwise a smaller batch would slip in, the database would show itself as streaming, and stop again at once.

use std::io;
use std::path::PathBuf;

use super::trouble;
use crate::config::MinFree;
use crate::sink::SinkError;
use crate::storage::{SharedStorage, Space};

/// After a refusal so much must be free beyond what is to stay free, at most, whatever was refused.
const MARGIN: u64 = 16 << 20;

/// The room of one series.
#[derive(Debug)]
pub(super) struct Room {
    storage: SharedStorage,
    dir: PathBuf,
    min_free: MinFree,
    /// Since the last refusal nothing was written.
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Refused {
    why: Why,
    /// What was to be written, as far as that is known.
    wanted: u64,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// `min_free`, which keeps so many bytes free.
    MinFree(u64),
    /// The file system itself refused.
    Full,
    /// The file system refused slotd's user, or its folder.
    Quota,
}

impl Why {
    /// Whether `error` says that there is no room.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull => Some(Self::Full),
            io::ErrorKind::QuotaExceeded => Some(Self::Quota),
            _ => None,
        }
    }
}

impl Room {
    pub(super) const fn new(storage: SharedStorage, dir: PathBuf, min_free: MinFree) -> Self {
        Self { storage, dir, min_free, refused: None }
    }

    /// Whether a stream may begin: there is room, and if there was too little before, there is enough again.
    pub(super) fn ready(&mut self) -> Result<(), SinkError> {
        let space = self.space()?;
        let floor = self.floor(space);
        if space.free >= floor.saturating_add(self.needed(space)) {
            return Ok(());
        }
        self.refused.get_or_insert(Refused { why: Why::MinFree(floor), wanted: 0 });
        Err(self.trouble(space))
    }

    /// Whether `bytes` may be written now, of `wanted` in all.
    pub(super) fn take(&mut self, bytes: u64, wanted: u64) -> Result<(), SinkError> {
        let space = self.space()?;
        let floor = self.floor(space);
        if floor == 0 || space.free >= floor.saturating_add(bytes) {
            return Ok(());
        }
        Err(self.refuse(Why::MinFree(floor), wanted))
    }

    /// There was no room for `wanted` bytes; in words.
    pub(super) fn refuse(&mut self, why: Why, wanted: u64) -> SinkError {
        self.refused = Some(Refused { why, wanted });
        match self.space() {
            Ok(space) => self.trouble(space),
            Err(error) => error,
        }
    }

    /// Something was written.
    pub(super) fn taken(&mut self) {
        self.refused = None;
    }

    fn needed(&self, space: Space) -> u64 {
        let margin = MARGIN.min(space.total / 50);
        self.refused.as_ref().map_or(0, |refused| refused.wanted.max(margin))
    }

    fn trouble(&self, space: Space) -> SinkError {
        let why = self.refused.as_ref().map_or(Why::Full, |refused| refused.why);
        let needed = self.floor(space).saturating_add(self.needed(space));
        trouble::no_room(&self.dir, why, Some(needed), space.total)
    }

    fn floor(&self, space: Space) -> u64 {
        match self.min_free {
            MinFree::Bytes(bytes) => bytes,
            MinFree::Percent(percent) => (space.total as f64 * percent / 100.0) as u64,
        }
    }

    fn space(&self) -> Result<Space, SinkError> {
        self.storage.space(&self.dir).map_err(trouble::io("ask for the free room of", &self.dir))
    }
}
