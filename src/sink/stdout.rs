//! The sink `stdout`: lines to standard output, at least once.
//!
//! A pipe keeps nothing: nobody can say which lines the reader at its other end has dealt with, so there is no cursor
//! here. The pipeline records its own, and after a crash the lines since then come again, each with the same
//! `idempotency_key`.
//!
//! A process that is killed, or a write that fails, may leave a torn line. What is written next begins with a line break,
//! so that what was torn is not the beginning of a line of ours; where no process of this agent has written before, with
//! none.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use tokio::sync::Mutex;

use super::lines::Lines;
use super::{SinkError, Standing};
use crate::change::{Batch, Gap, Record, StreamIdentity, Transaction};
use crate::encode::{Out, Sequin};

/// So many bytes are written at once; one line may add as many before it is torn.
const SPILL: usize = 64 * 1024;

/// Held by the one write that is under way. Those that wait for it hold no thread: a pipe that nobody reads holds one
/// thread for good, however often and by how many databases it is tried.
///
/// Holds whether standard output ends with a whole line; of what another process wrote, only [`first_of_all`] knows.
static TURN: LazyLock<Arc<Mutex<bool>>> = LazyLock::new(Arc::default);

/// No earlier process of this agent has written to standard output, so it ends with no torn line of ours. Said before the
/// first sink writes.
pub fn first_of_all() {
    if let Ok(mut whole) = TURN.try_lock() {
        *whole = true;
    }
}

/// The sink `stdout`. Any number of them share standard output, a batch at a time, so that lines never mix.
#[derive(Debug, Default)]
pub struct StdoutSink {
    /// `None` before the first call and after an error.
    encoder: Option<Sequin>,
}

impl StdoutSink {
    /// A sink that writes to standard output.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[expect(clippy::unused_async, reason = "one of the sinks, and those wait here")]
    pub(super) async fn open(&mut self, stream: Arc<StreamIdentity>) -> Result<Standing, SinkError> {
        self.encoder = Some(Sequin::new(stream));
        Ok(Standing::default())
    }

    /// A write that is stuck has to end first.
    pub(super) async fn ready(&self) -> Result<(), SinkError> {
        drop(TURN.lock().await);
        Ok(())
    }

    pub(super) async fn adopt(&mut self, record: Record, gap: Option<Gap>) -> Result<(), SinkError> {
        let Some(gap) = gap else { return Ok(()) };
        let place = Transaction {
            timeline: record.timeline.id,
            commit_lsn: gap.to.unwrap_or(gap.from),
            commit_timestamp: None,
            xid: None,
        };
        self.write(Arc::new(Batch::of_gap(gap, place))).await
    }

    pub(super) async fn write(&mut self, batch: Arc<Batch>) -> Result<(), SinkError> {
        let mut encoder = self.encoder.take().ok_or_else(|| trouble("standard output is closed", None))?;
        // Held for the whole batch, also if it is no longer waited for.
        let mut whole = Arc::clone(&TURN).lock_owned().await;
        let write = move || put(&mut encoder, &batch, &mut whole, &mut io::stdout().lock()).map(|()| encoder);
        let done = tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.encoder = Some(done.map_err(|error| trouble("can't write to standard output", Some(error)))?);
        Ok(())
    }
}

fn trouble(sentence: &str, source: Option<io::Error>) -> SinkError {
    let kind = source.as_ref().map_or_else(String::new, |error| format!(": {}", error.kind()));
    SinkError {
        sentence: format!("{sentence}{kind}"),
        hint: "see whether what reads slotd's standard output is still there, and start both again".to_owned(),
        source,
    }
}

/// Writes `batch` behind a `whole` line, and says whether what it leaves is one.
fn put(encoder: &mut impl Lines, batch: &Batch, whole: &mut bool, out: &mut impl Write) -> io::Result<()> {
    if !std::mem::replace(whole, false) {
        out.write_all(b"\n")?;
    }
    lines(encoder, batch, out)?;
    *whole = true;
    Ok(())
}

fn lines(encoder: &mut impl Lines, batch: &Batch, out: &mut impl Write) -> io::Result<()> {
    let mut lines = Buffered { out, buffer: Vec::new(), done: Ok(()) };
    let mut count = 0;
    for change in batch.changes() {
        encoder.line(&change, &mut lines);
        count += 1;
        // Between two lines, so that a process that dies seldom leaves a torn one.
        if lines.buffer.len() >= SPILL {
            lines.flush();
        }
    }
    lines.flush();
    lines.done?;
    if count != batch.len() {
        return Err(io::Error::other("a change of the batch can't be decoded again"));
    }
    out.flush()
}

/// Keeps the first error until it is asked for.
struct Buffered<'a, W> {
    out: &'a mut W,
    buffer: Vec<u8>,
    done: io::Result<()>,
}

impl<W: Write> Buffered<'_, W> {
    fn flush(&mut self) {
        if self.done.is_ok() {
            self.done = self.out.write_all(&self.buffer);
        }
        self.buffer.clear();
    }
}

impl<W: Write> Out for Buffered<'_, W> {
    fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > 2 * SPILL {
            self.flush();
            if bytes.len() >= SPILL {
                if self.done.is_ok() {
                    self.done = self.out.write_all(bytes);
                }
                return;
            }
        }
        self.buffer.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{HandMade, text_table};
    use crate::change::{Change, ChangeKind};
    use crate::lsn::Lsn;
    use crate::pgoutput::Value;

    /// The value alone.
    struct Bare;

    impl Lines for Bare {
        const BEGIN: &'static [u8] = b"";

        fn new(_: Arc<StreamIdentity>) -> Self {
            Self
        }

        fn line(&mut self, change: &Change<'_>, out: &mut impl Out) {
            let ChangeKind::Insert { new, .. } = change.kind else { return };
            if let Some(Value::Text(text)) = new.values().next() {
                out.put(text);
                out.put(b"\n");
            }
        }
    }

    fn batch(values: &[&str]) -> Batch {
        let table = text_table("t", &["text"]);
        let mut made = HandMade::default();
        made.begin(Lsn(100), 0);
        for value in values {
            made.insert(&table, &[value]);
        }
        made.commit(Lsn(140));
        made.finish()
    }

    /// Takes so many bytes, and then has no reader any more.
    struct Pipe(Vec<u8>, usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fitting = bytes.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&bytes[..fitting]);
            if fitting == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(fitting) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_may_be_torn_is_ended_before_anything_else_is_written() {
        let (mut pipe, mut whole) = (Pipe(Vec::new(), 9), false);
        let mut put = |value, pipe: &mut Pipe| put(&mut Bare, &batch(&[value]), &mut whole, pipe);
        put("one", &mut pipe).unwrap();
        put("second", &mut pipe).unwrap_err();
        pipe.1 = 100;
        put("second", &mut pipe).unwrap();
        put("third", &mut pipe).unwrap();
        assert_eq!(pipe.0, b"\none\nseco\nsecond\nthird\n");
    }

    #[test]
    fn lines_arrive_whole_and_in_order_whatever_their_length() {
        let values = ["a", &"b".repeat(SPILL - 3), "c", &"d".repeat(3 * SPILL), "", "e"];
        let mut pipe = Pipe(Vec::new(), usize::MAX);
        lines(&mut Bare, &batch(&values), &mut pipe).unwrap();
        assert!(pipe.0 == (values.join("\n") + "\n").as_bytes());
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_at_whatever_byte() {
        let values = ["a", &"d".repeat(3 * SPILL), "e"];
        for taken in [0, 1, 2, SPILL, 3 * SPILL + 3, 3 * SPILL + 4] {
            let error = lines(&mut Bare, &batch(&values), &mut Pipe(Vec::new(), taken)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{taken}");
        }
        let told = trouble("can't write to standard output", Some(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(told.sentence, "can't write to standard output: broken pipe");
    }
}
