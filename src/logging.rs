//! Where the log goes and what it looks like: standard error, as text for people or JSON for machines.
//!
//! Text has time, level, message and fields on one line. Under systemd's journal the time is left out, which the
//! journal adds itself.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogLevel;

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

/// Sends the log of this process to standard error, from `level` up.
///
/// # Errors
/// The process has a log already.
pub fn init(format: LogFormat, level: LogLevel) -> Result<(), TryInitError> {
    let builder = fmt().with_writer(io::stderr).with_max_level(LevelFilter::from(level)).with_target(false);
    std::panic::set_hook(Box::new(tell_panic));
    let journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    match format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
        }
        LogFormat::Text => {
            let builder = builder.with_ansi(has_colour(&io::stderr())).compact();
            if journal { builder.without_time().finish().try_init() } else { builder.finish().try_init() }
        }
    }
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
