//! Where changes go.
//!
//! A sink takes a batch and returns once it is durable. Its contract with `stream`:
//!
//! 1. [`Sink::open`] is called first, and again after every error: it mends what a crash left (a torn tail is cut)
//!    and tells where the sink stands. It takes nothing, so a sink that can't write can still be judged.
//! 2. [`Sink::adopt`] begins a stream anew: a gap record if there is a hole, then the new record, in one step.
//! 3. [`Sink::ready`] is called before the stream starts: whether a write would be taken now, as far as that can be
//!    known. What `open` told is durable once it returns.
//! 4. [`Sink::write`] gets batches in order, each behind the cursor of the one before. When it returns `Ok`, the
//!    batch's changes *and* its cursor are durable, in one step: after a crash both stand or neither.
//! 5. After an error the sink is closed. Whether the failed call counts is told by the next `open` alone: it may have
//!    become durable before what failed, but then as a whole, changes and cursor.
//! 6. A call that is no longer waited for ends by itself. The next one waits for it without a thread, so a disk or a
//!    reader that hangs holds one thread for each sink, however often it is tried.

mod file;
mod lines;
pub mod stdout;

use std::fmt;
use std::sync::Arc;

use crate::change::{Batch, Cursor, Gap, Record, StreamIdentity};
pub use file::FileSink;
pub use stdout::StdoutSink;

/// Where a sink stands when it is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What was recorded beside the changes, if the sink can hold it.
    pub record: Option<Record>,
    /// The last change that is really there. Behind the record's cursor if somebody took changes away.
    pub cursor: Option<Cursor>,
    /// The sink holds records and has none; `record` is what else is known of it, and may be old.
    pub bare: bool,
}

/// A sink refused, or could not do, what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct SinkError {
    /// What failed, on which sink.
    pub sentence: String,
    /// What ends it.
    pub hint: String,
    /// The error below.
    #[source]
    pub source: Option<std::io::Error>,
}

/// One of the kinds of sink.
pub enum Sink {
    File(FileSink),
    Stdout(StdoutSink),
}

impl Sink {
    /// Whether it records its position itself, in one step with the changes.
    #[must_use]
    pub const fn holds_record(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Opens the sink for one stream and tells where it stands.
    ///
    /// # Errors
    /// The sink can't be written, or what stands there is not what slotd left.
    pub async fn open(&mut self, stream: Arc<StreamIdentity>) -> Result<Standing, SinkError> {
        match self {
            Self::File(sink) => sink.open(stream).await,
            Self::Stdout(sink) => sink.open(stream).await,
        }
    }

    /// Begins a stream that does not go on from where the sink stood: writes `gap`, if there is one, and makes
    /// `record` the sink's record.
    ///
    /// # Errors
    /// All of it counts or nothing; the sink must be opened again, and tells.
    pub async fn adopt(&mut self, record: Record, gap: Option<Gap>) -> Result<(), SinkError> {
        match self {
            Self::File(sink) => sink.adopt(record, gap).await,
            Self::Stdout(sink) => sink.adopt(record, gap).await,
        }
    }

    /// Whether a write would be taken now; what `open` told is durable from here on.
    ///
    /// # Errors
    /// There is no room, or the last write is still under way. The sink must be opened again.
    pub async fn ready(&mut self) -> Result<(), SinkError> {
        match self {
            Self::File(sink) => sink.ready().await,
            Self::Stdout(sink) => sink.ready().await,
        }
    }

    /// Makes `batch` and its cursor durable.
    ///
    /// # Errors
    /// All of the batch counts or nothing; the sink must be opened again, and tells.
    pub async fn write(&mut self, batch: Arc<Batch>) -> Result<(), SinkError> {
        match self {
            Self::File(sink) => sink.write(batch).await,
            Self::Stdout(sink) => sink.write(batch).await,
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(sink) => sink.fmt(f),
            Self::Stdout(sink) => sink.fmt(f),
        }
    }
}
