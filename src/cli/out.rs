//! What is written to the terminal. A reader that has closed its end, as `head` does, is no error.

use std::io::{self, IsTerminal as _, Write as _};

use super::failure::Failure;
use crate::config::{self, Mistake, Style};
use crate::status::Verdict;

/// Standard output and standard error, with colour where they are terminals and `NO_COLOR` is not set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    /// Standard output has colour.
    pub(super) colour: bool,
    /// Standard error has colour.
    pub(super) colour_err: bool,
}

impl Out {
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && io::stdout().is_terminal(), colour_err: wanted && io::stderr().is_terminal() }
    }

    /// Writes `text` and a line break, if it has none, to standard output.
    #[expect(clippy::unused_self, reason = "whoever writes needs to have been given the right to")]
    pub(super) fn say(self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let _ = write!(io::stdout().lock(), "{text}{end}");
    }

    /// Writes `slotd: SENTENCE` and the hint to standard error.
    pub(super) fn complain(self, failure: &Failure) {
        let name = if self.colour_err { paint("slotd:", RED) } else { "slotd:".to_owned() };
        let hint = failure.hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
        let _ = write!(io::stderr().lock(), "{name} {}\n{hint}", failure.sentence);
    }

    /// Writes `text` to standard error as it is.
    #[expect(clippy::unused_self, reason = "whoever writes needs to have been given the right to")]
    pub(super) fn show_verbatim(self, text: &str) {
        let _ = write!(io::stderr().lock(), "{text}");
    }

    /// Shows mistakes, or warnings, of a file on standard error.
    pub(super) fn show_mistakes(self, list: &[Mistake]) {
        let style = if self.colour_err { Style::Colour } else { Style::Plain };
        let _ = write!(io::stderr().lock(), "{}", config::render_all(list, style));
    }
}

const RED: &str = "31";
const YELLOW: &str = "33";
const GREEN: &str = "32";

fn paint(text: &str, colour: &str) -> String {
    format!("\u{1b}[{colour}m{text}\u{1b}[0m")
}

/// `text` in the colour of `verdict`.
pub(super) fn paint_verdict(text: &str, verdict: Verdict) -> String {
    paint(
        text,
        match verdict {
            Verdict::Pass => GREEN,
            Verdict::Warn => YELLOW,
            Verdict::Fail => RED,
        },
    )
}
