//! Entries of systemd's journal: a datagram each, with the event's fields beside the message.
//!
//! Source: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fmt::{self, Debug};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::status::one_line;

/// Where the journal takes entries.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The most characters of one value: a datagram has a bound, and the sentences of servers have none.
const LONGEST: usize = 8192;

/// The journal's socket; each write is an entry.
#[derive(Debug)]
pub(super) struct Socket(UnixDatagram);

impl Socket {
    /// The socket, if it answers.
    ///
    /// # Errors
    /// It is not there, or nobody listens.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Self(UnixDatagram::unbound()?);
        // The journal ignores an entry without a field.
        socket.write_all(b"\n").map(|()| socket)
    }
}

impl Write for Socket {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.0.send_to(entry, SOCKET)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as an entry, `NAME=value` line by line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry;

impl<S, N> FormatEvent<S, N> for Entry
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut entry: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let priority = match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        writeln!(entry, "PRIORITY={priority}\nSYSLOG_IDENTIFIER=slotd\nTARGET={}", metadata.target())?;
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            writeln!(entry, "CODE_FILE={file}\nCODE_LINE={line}")?;
        }
        let mut fields = Fields { entry, written: Ok(()) };
        event.record(&mut fields);
        fields.written
    }
}

struct Fields<'w> {
    entry: Writer<'w>,
    written: fmt::Result,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: &str) -> fmt::Result {
        let name = field.name().to_ascii_uppercase().replace('.', "_");
        if name != "MESSAGE" {
            self.entry.write_str("SLOTD_")?;
        }
        // A line break would begin another field.
        let value: String = one_line(value).chars().take(LONGEST).collect();
        writeln!(self.entry, "{name}={value}")
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let put = self.put(field, value);
        self.written = self.written.and(put);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
