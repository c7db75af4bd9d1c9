//! Finishing a file.
//!
//! The sidecar says first that it will be done; then the names change; then the sidecar says that it is done. In
//! between, [`recover`](super::recover) sees from the names how far it came.

use std::io;

use super::series::{Open, Series};
use super::sidecar::{Place, State};
use super::trouble;
use crate::faults::{self, Point};
use crate::sink::SinkError;
use crate::sink::lines::Lines;

impl<E: Lines> Series<E> {
    /// Finishes the current file if it is large enough, and begins the next one.
    pub(super) fn rotate_if_due(&self, open: &mut Open<E>) -> Result<(), SinkError> {
        let state = open.sidecar.state().clone();
        if state.length == 0 || state.length < self.rotate_size {
            return Ok(());
        }
        let number = self.free_number(state.segment)?;
        let begun =
            if state.begun.segment == state.segment { Place { segment: number, ..state.begun } } else { state.begun };
        let state = State { segment: number, begun, ..state };
        open.sidecar.store(State { rotating: true, ..state.clone() })?;
        faults::point(Point::RotateBegun);
        let path = self.names.current();
        self.storage.rename(path, &self.names.finished(number)).map_err(trouble::io("rename", path))?;
        faults::point(Point::RotateRenamed);
        open.file = self.storage.create_new(path).map_err(trouble::io("make", path))?;
        faults::point(Point::RotateCreated);
        self.sync_names()?;
        faults::point(Point::RotateSynced);
        open.sidecar.store(State { segment: number + 1, length: 0, tail: 0, rotating: false, ..state })?;
        self.remove_old(number);
        Ok(())
    }

    /// A rename would overwrite what has the name already, whosever it is.
    fn free_number(&self, mut number: u64) -> Result<u64, SinkError> {
        loop {
            let path = self.names.finished(number);
            match self.storage.open(&path, false) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(number),
                Err(error) => return Err(trouble::io("look for", &path)(error)),
                Ok(_) => number += 1,
            }
        }
    }
}
