//! Log lines for people: time, level, message, and behind it the fields whose values the message does not have already.

use std::fmt::{self, Debug};

use jiff::{Timestamp, Unit};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::status::one_line;

/// One event, one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    /// Whether a line begins with the time.
    pub(super) time: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (dim, plain) = if line.has_ansi_escapes() { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        if self.time {
            let now = Timestamp::now();
            let now = now.round(Unit::Millisecond).unwrap_or(now);
            write!(line, "{dim}{now:.3}{plain} ")?;
        }
        let level = event.metadata().level();
        let colour = if line.has_ansi_escapes() { colour(*level) } else { "" };
        write!(line, "{colour}{level:>5}{plain} ")?;
        let mut words = Words::default();
        event.record(&mut words);
        line.write_str(&words.message)?;
        for (name, value) in &words.fields {
            if !words.message.contains(value) {
                write!(line, " {dim}{name}={plain}{value}")?;
            }
        }
        line.write_char('\n')
    }
}

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

/// What an event says, on one line: text of a server must not forge another one.
#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Words {
    fn take(&mut self, field: &Field, value: &str) {
        let value = one_line(value);
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name(), value));
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, &format!("{value:?}"));
    }
}
