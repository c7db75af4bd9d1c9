//! The log is written by a thread of its own, so that a reader who stops reading stops nothing but the log.
//!
//! Whoever logs waits until its line is written, as long as that takes no time to speak of: then the log is complete
//! whenever and however the process ends. A line that takes longer than [`PATIENCE`] is stuck, and nobody waits until all
//! is written again. What does not fit into the queue meanwhile is lost, is counted, and the count is the first that the
//! log says afterwards.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use crate::status::LOST_LINES;

/// How long a line is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many lines wait at most.
const LINES: usize = 1000;

thread_local! {
    /// The writer itself logs how many lines are lost, and must not wait for itself.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// Where lines are put; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    put: Mutex<Put>,
    written: Mutex<u64>,
    progress: Condvar,
    stuck: AtomicBool,
}

#[derive(Debug)]
struct Put {
    lines: SyncSender<Vec<u8>>,
    /// How many were taken.
    count: u64,
}

impl Queue {
    /// Starts the thread that writes to `out`, one call for each line.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, to_write) = sync_channel(LINES);
        let shared = Arc::new(Shared {
            put: Mutex::new(Put { lines, count: 0 }),
            written: Mutex::new(0),
            progress: Condvar::new(),
            stuck: AtomicBool::new(false),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.write(&to_write, out))?;
        Ok(Self { shared })
    }

    fn put(&self, line: &[u8]) {
        let Shared { put, written, progress, stuck } = &*self.shared;
        let number = {
            let mut put = lock(put);
            if put.lines.try_send(line.to_vec()).is_err() {
                LOST_LINES.fetch_add(1, Ordering::Relaxed);
                return;
            }
            put.count += 1;
            put.count
        };
        if stuck.load(Ordering::Relaxed) || IS_WRITER.get() {
            return;
        }
        let waited = progress.wait_timeout_while(lock(written), PATIENCE, |written| *written < number);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            stuck.store(true, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn write(&self, lines: &Receiver<Vec<u8>>, mut out: impl Write) {
        IS_WRITER.set(true);
        let mut told = LOST_LINES.load(Ordering::Relaxed);
        while let Ok(line) = lines.recv() {
            // There is no other place to say that it failed.
            let _ = out.write_all(&line);
            let all = lock(&self.put).count;
            let mut written = lock(&self.written);
            *written += 1;
            let is_all = *written == all;
            drop(written);
            self.progress.notify_all();
            if !is_all {
                continue;
            }
            self.stuck.store(false, Ordering::Relaxed);
            let lost = LOST_LINES.load(Ordering::Relaxed);
            if lost > told {
                warn!(lost = lost - told, "{} lines of the log are lost: nobody read it for a while", lost - told);
                told = lost;
            }
        }
    }
}

/// One line as it is written: the formatters hand it over in one piece.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes a line each time that it is let.
    struct Gate {
        open: Receiver<()>,
        out: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.open.recv();
            self.out.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Queue, Sender<()>, Receiver<String>) {
        let (gate, open) = channel();
        let (out, lines) = channel();
        (Queue::start(Gate { open, out }).unwrap(), gate, lines)
    }

    #[test]
    fn a_line_is_written_when_the_call_returns() {
        let (queue, gate, lines) = gated();
        for number in 0..100 {
            gate.send(()).unwrap();
            (&queue).write_all(format!("{number}").as_bytes()).unwrap();
            assert_eq!(lines.try_recv().unwrap(), number.to_string());
        }
    }

    #[test]
    fn a_stuck_log_is_waited_for_once_and_loses_what_does_not_fit() {
        let (queue, gate, lines) = gated();
        let before = LOST_LINES.load(Ordering::Relaxed);
        // One is at the writer, and the queue is full behind it.
        for number in 0..=LINES + 10 {
            (&queue).write_all(number.to_string().as_bytes()).unwrap();
        }
        assert!(queue.shared.stuck.load(Ordering::Relaxed));
        let lost = LOST_LINES.load(Ordering::Relaxed) - before;
        assert!((10..=11).contains(&lost), "{lost} lines are lost");
        for _ in 0..=LINES {
            gate.send(()).unwrap();
        }
        let written: Vec<String> = lines.iter().take(LINES + 11 - usize::try_from(lost).unwrap()).collect();
        assert!(written.iter().enumerate().all(|(at, line)| *line == at.to_string()), "out of order");
        // From here on lines are waited for again.
        gate.send(()).unwrap();
        (&queue).write_all(b"last").unwrap();
        assert_eq!(lines.recv().unwrap(), "last");
    }
}
