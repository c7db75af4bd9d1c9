//! Where the log goes and what it looks like.
//!
//! To standard error: as text for people, in colour on a terminal, or as JSON for machines. Under systemd, where standard
//! error leads to the journal, each event goes to the journal itself, with its fields (`SLOTD_DATABASE`, `SLOTD_STATE`
//! and so on) beside the message, so that `journalctl SLOTD_DATABASE=shop` finds them. Nothing waits for a reader that
//! does not read: see [`queue`].

mod journal;
mod queue;
mod text;

use std::io::{self, IsTerminal};

use rustix::fs::fstat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::LogLevel;
use crate::status::LogSwitch;
use journal::Entry;
use queue::Queue;
use text::Text;

/// Whether `stream` is shown in colour: it is a terminal, and `NO_COLOR` is not set, or empty.
///
/// Source: <https://no-color.org>.
#[must_use]
pub fn has_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl LogFormat {
    /// `given`, or what `SLOTD_LOG_FORMAT` names, or text.
    ///
    /// # Errors
    /// The variable names neither.
    pub fn choose(given: Option<Self>, variable: Option<&str>) -> Result<Self, String> {
        match (given, variable) {
            (Some(format), _) => Ok(format),
            (None, None | Some("" | "text")) => Ok(Self::Text),
            (None, Some("json")) => Ok(Self::Json),
            (None, Some(other)) => Err(format!("SLOTD_LOG_FORMAT is {other:?} and must be text or json")),
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// There is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log can't begin: {0}")]
    Second(#[source] TryInitError),
    #[error("the log can't begin: no thread can be started: {0}")]
    Thread(#[source] io::Error),
}

/// Sends the log of this process to where it belongs, from `level` up. What is returned changes the level.
///
/// # Errors
/// See [`LogError`].
pub fn init(format: LogFormat, level: LogLevel) -> Result<LogSwitch, LogError> {
    let (filter, handle) = reload::Layer::new(LevelFilter::from(level));
    let destination = destination(format).map_err(LogError::Thread)?;
    tracing_subscriber::registry().with(destination.with_filter(filter)).try_init().map_err(LogError::Second)?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(LogSwitch::new(level, move |level| {
        // It fails only once the log is gone, and then nobody reads it.
        let _ = handle.reload(LevelFilter::from(level));
    }))
}

fn destination(format: LogFormat) -> io::Result<Box<dyn Layer<Registry> + Send + Sync>> {
    let layer = fmt::layer().with_target(false);
    let journal = leads_to_journal(std::env::var("JOURNAL_STREAM").ok().as_deref());
    Ok(match format {
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            layer.with_writer(Queue::start(io::stderr())?).boxed()
        }
        LogFormat::Text => {
            // Without its socket, what is written to standard error gets there all the same, as text.
            if journal && let Ok(socket) = journal::Socket::open() {
                return Ok(layer.with_ansi(false).event_format(Entry).with_writer(Queue::start(socket)?).boxed());
            }
            let layer = layer.with_ansi(has_colour(&io::stderr())).event_format(Text { time: !journal });
            layer.with_writer(Queue::start(io::stderr())?).boxed()
        }
    })
}

/// Whether `variable`, `$JOURNAL_STREAM`, names our standard error by device and inode: a variable alone may be left over
/// from a service that started a terminal.
///
/// Source: <https://www.freedesktop.org/software/systemd/man/systemd.exec.html#%24JOURNAL_STREAM>.
fn leads_to_journal(variable: Option<&str>) -> bool {
    let Some((device, inode)) = variable.and_then(|named| named.split_once(':')) else { return false };
    fstat(io::stderr()).is_ok_and(|is| is.st_dev.to_string() == device && is.st_ino.to_string() == inode)
}

/// One line of the log, and of what a panic says only what stands in the code: the rest may be of rows.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let said = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("a panic");
    match panic.location() {
        Some(place) => tracing::error!(file = place.file(), line = place.line(), "a defect of slotd: {said}"),
        None => tracing::error!("a defect of slotd: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_counts_before_the_variable() {
        assert_eq!(LogFormat::choose(None, None), Ok(LogFormat::Text));
        assert_eq!(LogFormat::choose(None, Some("json")), Ok(LogFormat::Json));
        assert_eq!(LogFormat::choose(Some(LogFormat::Text), Some("json")), Ok(LogFormat::Text));
        assert!(LogFormat::choose(None, Some("xml")).unwrap_err().contains("xml"));
    }
}
