//! A file series at work: batches and gap records behind one another.

use std::sync::Arc;

use super::names::Names;
use super::room::Room;
use super::sidecar::{Place, Sidecar, State};
use super::spill::Spill;
use super::{Breaks, tail, trouble};
use crate::change::{Batch, Gap, Record, StreamIdentity, Transaction};
use crate::config::{FileSinkConfig, Keep};
use crate::faults::{self, Point};
use crate::sink::lines::Lines;
use crate::sink::{SinkError, Standing};
use crate::storage::{File, Lock, SharedStorage};

/// A file series. All calls block.
#[derive(Debug)]
pub(super) struct Series<E> {
    pub(super) names: Names,
    pub(super) storage: SharedStorage,
    pub(super) rotate_size: u64,
    pub(super) keep: Keep,
    pub(super) breaks: Breaks,
    room: Room,
    lock: Option<Lock>,
    /// `None` before the first call and after an error.
    open: Option<Open<E>>,
}

/// What is held between two calls.
#[derive(Debug)]
pub(super) struct Open<E> {
    stream: Arc<StreamIdentity>,
    encoder: Encoder<E>,
    pub(super) file: Box<dyn File>,
    pub(super) sidecar: Sidecar,
}

/// Keeps whatever an encoder has at hand out of debug output: it may be of rows.
struct Encoder<E>(E);

impl<E> std::fmt::Debug for Encoder<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<E>())
    }
}

impl<E: Lines> Series<E> {
    pub(super) fn new(config: FileSinkConfig, storage: SharedStorage, breaks: Breaks) -> Self {
        let names = Names::new(config.path);
        let room = Room::new(Arc::clone(&storage), names.dir().to_owned(), config.min_free);
        Self {
            names,
            storage,
            rotate_size: config.rotate_size,
            keep: config.keep,
            breaks,
            room,
            lock: None,
            open: None,
        }
    }

    /// See [`crate::sink::Sink::open`]. Needs no room, so that a full disk does not hide that a slot is lost.
    pub(super) fn open(&mut self, stream: Arc<StreamIdentity>) -> Result<Standing, SinkError> {
        self.open = None;
        self.storage.create_dir_all(self.names.dir()).map_err(trouble::io("make the folder", self.names.dir()))?;
        self.take_lock()?;
        let (file, state) = self.recover()?;
        let standing = Standing { record: state.record.clone(), cursor: state.cursor(), bare: state.record.is_none() };
        let sidecar = Sidecar::new(Arc::clone(&self.storage), self.names.sidecar(), state);
        let encoder = Encoder(E::new(Arc::clone(&stream)));
        self.open = Some(Open { stream, encoder, file, sidecar });
        Ok(standing)
    }

    /// See [`crate::sink::Sink::ready`].
    pub(super) fn ready(&mut self) -> Result<(), SinkError> {
        // Files grow old while nothing is written, too, and what `keep` gives up may be the room that is missing.
        if let Some(open) = &self.open {
            self.remove_old(open.sidecar.state().segment.saturating_sub(1));
        }
        if let Err(error) = self.room.ready() {
            self.open = None;
            return Err(error);
        }
        self.while_open(|series, open| series.rotate_if_due(open))
    }

    /// See [`crate::sink::Sink::adopt`].
    pub(super) fn adopt(&mut self, record: Record, gap: Option<Gap>) -> Result<(), SinkError> {
        self.while_open(move |series, open| {
            let mut state = State { short: None, ..open.sidecar.state().clone() };
            if let Some(gap) = gap {
                let place = Transaction {
                    timeline: record.timeline.id,
                    commit_lsn: gap.to.unwrap_or(gap.from),
                    commit_timestamp: None,
                    xid: None,
                };
                (state.length, state.tail) = series.append(open, &Batch::of_gap(gap, place))?;
            }
            state.record = Some(record);
            state.begun = Place { segment: state.segment, length: state.length };
            open.sidecar.store(state)?;
            series.rotate_if_due(open)
        })
    }

    /// See [`crate::sink::Sink::write`].
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.while_open(|series, open| {
            let mut state = State { short: None, ..open.sidecar.state().clone() };
            // Also where changes were taken out of the file: what is recorded must not stand beyond what is there.
            let stands = open.sidecar.state().cursor();
            let record = state.record.as_mut().ok_or_else(|| trouble::closed(series.names.current()))?;
            record.timeline = open.stream.timeline;
            record.standby = open.stream.standby;
            record.publication.clone_from(&open.stream.publication);
            record.acknowledged = record.acknowledged.max(batch.end_lsn);
            record.cursor = batch.cursor.or(stands);
            if !batch.is_empty() {
                (state.length, state.tail) = series.append(open, batch)?;
            }
            open.sidecar.store(state)?;
            if !batch.is_empty() {
                series.room.taken();
            }
            series.rotate_if_due(open)
        })
    }

    fn while_open(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Open<E>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let mut open = self.open.take().ok_or_else(|| trouble::closed(self.names.current()))?;
        // Before anything else is written: what is done rests on what was read.
        open.sidecar.begin()?;
        work(self, &mut open)?;
        self.open = Some(open);
        Ok(())
    }

    /// Writes the lines of `batch` behind those that count and makes them durable; tells what then counts.
    fn append(&mut self, open: &mut Open<E>, batch: &Batch) -> Result<(u64, u32), SinkError> {
        let path = self.names.current();
        let start = open.sidecar.state().length;
        let own = || Ok(open.file.len()? == start && open.file.is_at(path)?);
        if !own().map_err(trouble::io("look at", path))? {
            return Err(trouble::touched(path));
        }
        let expected = batch.wire_bytes().saturating_mul(2).saturating_add(1024);
        let mut lines = Spill::new(&mut *open.file, path, &mut self.room, start, expected);
        let mut count = 0;
        for change in batch.changes() {
            open.encoder.0.line(&change, &mut lines);
            count += 1;
        }
        let end = match lines.finish() {
            Ok(end) => end,
            Err(error) => {
                // The room that the part of a batch takes is wanted elsewhere. What is not cut here is cut by `open`.
                let _ = open.file.set_len(start);
                return Err(error);
            }
        };
        if count != batch.len() {
            return Err(trouble::undecoded(path, count, batch.len()));
        }
        faults::point(Point::FileWritten);
        if !self.breaks.acks_before_fsync() {
            open.file.sync().map_err(trouble::io("fsync", path))?;
        }
        faults::point(Point::FileSynced);
        let tail = tail(&*open.file, end).map_err(trouble::io("read", path))?;
        Ok((end, tail))
    }

    fn take_lock(&mut self) -> Result<(), SinkError> {
        if self.lock.is_none() {
            let path = self.names.lock();
            self.lock = Some(self.storage.lock(&path).map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => trouble::locked(self.names.current()),
                _ => trouble::io("lock", &path)(error),
            })?);
        }
        Ok(())
    }
}
