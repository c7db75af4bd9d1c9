//! What a crash, or somebody else, left: makes file and sidecar fit again, or says why they don't.

use std::io;

use super::reread::{LastLine, begins_as, end_of_lines, last_line};
use super::series::Series;
use super::sidecar::{Short, Sidecar, State};
use super::{tail, trouble};
use crate::change::Cursor;
use crate::lsn::Lsn;
use crate::sink::SinkError;
use crate::sink::lines::Lines;
use crate::storage::{self, File};

impl<E: Lines> Series<E> {
    /// The current file, ended where it counts, and what the sidecar must say of it. All names are durable.
    pub(super) fn recover(&self) -> Result<(Box<dyn File>, State), SinkError> {
        let mut state = match Sidecar::read(&*self.storage, &self.names.sidecar())? {
            Some(state) if state.rotating => self.end_rotation(state)?,
            Some(state) => state,
            None => self.first_state()?,
        };
        let path = self.names.current();
        let mut file = self.storage.open(path, true).map_err(trouble::io("open", path))?;
        let len = file.len().map_err(trouble::io("read", path))?;
        if len < state.length {
            self.shorten(&mut *file, len, &mut state)?;
        } else if tail(&*file, state.length).map_err(trouble::io("read", path))? != state.tail {
            return Err(trouble::exchanged(path, &self.names.sidecar()));
        } else if len > state.length && self.breaks.keeps_torn_tail() {
            state.length = len;
            state.tail = tail(&*file, len).map_err(trouble::io("read", path))?;
        } else if len > state.length {
            // What follows lines of ours is ours; what follows nothing may be anybody's.
            if state.length == 0 && !begins_as(&*file, len, E::BEGIN).map_err(trouble::io("read", path))? {
                return Err(trouble::exchanged(path, &self.names.sidecar()));
            }
            // Also after an fsync that failed, whoever saw it. Linux takes what it could not write for written and says so
            // once, so nothing behind the length may stay: the cut drops it from the kernel's cache, and what comes
            // instead has its own fsync. What is before the length had one that went well, and is the same in whatever
            // the failed one wrote.
            file.set_len(state.length).map_err(trouble::io("cut", path))?;
        }
        // Not only where a name was made here: the process before may have died before it did this.
        self.sync_names()?;
        Ok((file, state))
    }

    pub(super) fn sync_names(&self) -> Result<(), SinkError> {
        let dir = self.names.dir();
        self.storage.sync_dir(dir).map_err(trouble::io("fsync", dir))
    }

    /// The current file if there is one.
    fn current(&self) -> Result<Option<Box<dyn File>>, SinkError> {
        let path = self.names.current();
        match self.storage.open(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some).map_err(trouble::io("open", path)),
        }
    }

    /// Without a sidecar there may be finished files, whose numbers are not given again, but no lines in the current.
    fn first_state(&self) -> Result<State, SinkError> {
        let path = self.names.current();
        let len = self.current()?.map_or(Ok(0), |file| file.len()).map_err(trouble::io("read", path))?;
        if len > 0 {
            return Err(trouble::foreign(path, len, &self.names.sidecar()));
        }
        let last = self.finished()?.last().map_or(0, |(number, _)| *number);
        Ok(State { segment: last + 1, ..State::default() })
    }

    /// A crash in a rotation: whether the file has its finished name yet is told by what stands under the current one.
    /// It is not told by the finished file, which a consumer may have taken away.
    fn end_rotation(&self, state: State) -> Result<State, SinkError> {
        let path = self.names.current();
        let renamed = match self.current()? {
            None => true,
            Some(file) => file.len().map_err(trouble::io("read", path))? == 0,
        };
        Ok(if renamed {
            State { segment: state.segment + 1, length: 0, tail: 0, rotating: false, ..state }
        } else {
            // As before the rotation; it is due again.
            State { rotating: false, ..state }
        })
    }

    /// Somebody took lines out of the file, or the file itself: ends it behind its last complete line, and finds the
    /// change that is really the last.
    fn shorten(&self, file: &mut dyn File, len: u64, state: &mut State) -> Result<(), SinkError> {
        let path = self.names.current();
        let end = end_of_lines(file, len).map_err(trouble::io("read", path))?;
        let here = state.begun.segment == state.segment;
        let position = match last_line(file, end).map_err(trouble::io("read", path))? {
            LastLine::Foreign => return Err(trouble::exchanged(path, &self.names.sidecar())),
            // Of another stream.
            LastLine::Change(..) | LastLine::None if here && end <= state.begun.length => None,
            LastLine::Change(commit_lsn, ordinal) => Some((commit_lsn, ordinal)),
            LastLine::None => self.last_finished(state)?,
        };
        if end < len {
            file.set_len(end).map_err(trouble::io("cut", path))?;
        }
        let cursor = position.zip(state.record.as_ref()).map(|((commit_lsn, ordinal), record)| {
            record.cursor.filter(|cursor| cursor.position() == (commit_lsn, ordinal)).unwrap_or_else(|| Cursor {
                timeline: record.cursor.map_or(record.timeline.id, |cursor| cursor.timeline),
                commit_lsn,
                ordinal,
                end_lsn: None,
            })
        });
        state.length = end;
        state.tail = tail(file, end).map_err(trouble::io("read", path))?;
        state.short = Some(Short { cursor });
        Ok(())
    }

    /// The last change of the record's stream in the finished files.
    fn last_finished(&self, state: &State) -> Result<Option<(Lsn, Option<u64>)>, SinkError> {
        let ours = |(number, _): &(u64, storage::Entry)| (state.begun.segment..state.segment).contains(number);
        for (number, _) in self.finished()?.into_iter().rev().filter(ours) {
            let path = self.names.finished(number);
            let line = || {
                let file = self.storage.open(&path, false)?;
                let end = end_of_lines(&*file, file.len()?)?;
                let of_another = number == state.begun.segment && end <= state.begun.length;
                if of_another { Ok(LastLine::None) } else { last_line(&*file, end) }
            };
            match line() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                line => match line.map_err(trouble::io("read", &path))? {
                    LastLine::Change(commit_lsn, ordinal) => return Ok(Some((commit_lsn, ordinal))),
                    LastLine::Foreign => return Err(trouble::exchanged(&path, &self.names.sidecar())),
                    LastLine::None => {}
                },
            }
        }
        Ok(None)
    }
}
