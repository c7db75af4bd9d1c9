//! The sink `file`: JSON Lines on a file system, exactly once.
//!
//! ```text
//!  shop.000001.jsonl  shop.000002.jsonl   finished, never touched again but by `keep`
//!  shop.jsonl                             the current file
//!  shop.jsonl.cursor                      the sidecar: how much of it counts, and the record
//!  shop.jsonl.lock                        held by the one process that writes
//! ```
//!
//! A batch costs two fsyncs: its lines, then the sidecar with their length and the cursor behind them. What stands
//! behind the sidecar's length was never reported as durable and is cut off when the series is opened; so lines and
//! cursor become durable in one step, and after a crash no change is missing or stands twice. docs/FILES.md tells how
//! the files are read.
//!
//! The cursor is not read from the lines themselves: that would need every format to carry it, would say nothing of
//! transactions without a change, and could not tell a torn batch from a whole one.

mod keep;
mod names;
mod recover;
mod reread;
mod room;
mod rotate;
mod series;
mod sidecar;
mod spill;
mod trouble;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{SinkError, Standing};
use crate::change::{Batch, Gap, Record, StreamIdentity};
use crate::config::FileSinkConfig;
use crate::encode::Sequin;
use crate::faults::{self, Break};
use crate::storage::{File, SharedStorage};
use series::Series;

/// The sink `file`, for the file series of one slot.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    /// Behind a lock, so that a call that was no longer waited for ends before the next one begins. It is taken before
    /// there is a thread for the call.
    series: Arc<Mutex<Series<Sequin>>>,
    /// Whether the last call was waited for and went well.
    usable: bool,
}

impl FileSink {
    /// A sink that writes `config.path`, in which `{database}` is already replaced. Touches nothing yet.
    #[must_use]
    pub fn new(config: FileSinkConfig, storage: SharedStorage) -> Self {
        let path = config.path.clone();
        let series = Arc::new(Mutex::new(Series::new(config, storage, Breaks::wished())));
        Self { path, series, usable: false }
    }

    pub(super) async fn open(&mut self, stream: Arc<StreamIdentity>) -> Result<Standing, SinkError> {
        self.blocking(move |series| series.open(stream)).await
    }

    pub(super) async fn ready(&mut self) -> Result<(), SinkError> {
        self.usable()?;
        self.blocking(Series::ready).await
    }

    pub(super) async fn adopt(&mut self, record: Record, gap: Option<Gap>) -> Result<(), SinkError> {
        self.usable()?;
        self.blocking(move |series| series.adopt(record, gap)).await
    }

    pub(super) async fn write(&mut self, batch: Arc<Batch>) -> Result<(), SinkError> {
        self.usable()?;
        self.blocking(move |series| series.write(&batch)).await
    }

    fn usable(&self) -> Result<(), SinkError> {
        if self.usable { Ok(()) } else { Err(trouble::closed(&self.path)) }
    }

    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Series<Sequin>) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, SinkError> {
        // Stays so if this future is dropped: the call then counts as failed, however it ends.
        self.usable = false;
        let mut series = Arc::clone(&self.series).lock_owned().await;
        let run = move || work(&mut series);
        let done = tokio::task::spawn_blocking(run).await;
        let done = done.unwrap_or_else(|error| Err(trouble::ended(&self.path, error)));
        self.usable = done.is_ok();
        done
    }
}

/// The rules that a test may break here; nothing else can.
#[derive(Debug, Clone, Copy, Default)]
struct Breaks {
    ack_before_fsync: bool,
    keep_torn_tail: bool,
}

impl Breaks {
    /// What the environment of a test build asks for; else nothing.
    fn wished() -> Self {
        Self {
            ack_before_fsync: faults::broken(Break::AckBeforeFsync),
            keep_torn_tail: faults::broken(Break::KeepTornTail),
        }
    }

    const fn acks_before_fsync(self) -> bool {
        cfg!(any(test, feature = "faults")) && self.ack_before_fsync
    }

    const fn keeps_torn_tail(self) -> bool {
        cfg!(any(test, feature = "faults")) && self.keep_torn_tail
    }
}

/// The checksum of the last bytes, at most 4096, of the first `length` of `file`: what tells slotd's own file from
/// another one that somebody put in its place.
fn tail(file: &dyn File, length: u64) -> io::Result<u32> {
    let start = length.saturating_sub(4096);
    let mut bytes = vec![0; usize::try_from(length - start).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, start)?;
    Ok(crc32fast::hash(&bytes))
}
