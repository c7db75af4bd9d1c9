//! What is written to the terminal. A reader that has closed its end, as `head` does, is no error.

use std::io::{self, Write as _};

use super::failure::Failure;
use crate::config::{self, Mistake, Style};
use crate::logging::has_colour;
use crate::status::Verdict;

/// Writes `text` and a line break, if it has none, to standard output.
pub(super) fn say(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(io::stdout().lock(), "{text}{end}");
}

/// Writes `slotd: SENTENCE` and the hint to standard error.
pub(super) fn complain(failure: &Failure) {
    let name = if has_colour(&io::stderr()) { paint("slotd:", RED) } else { "slotd:".to_owned() };
    let hint = failure.hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    let _ = write!(io::stderr().lock(), "{name} {}\n{hint}", failure.sentence);
}

/// Writes `text` to standard error as it is.
pub(super) fn show_verbatim(text: &str) {
    let _ = write!(io::stderr().lock(), "{text}");
}

/// Shows mistakes, or warnings, of a file on standard error.
pub(super) fn show_mistakes(list: &[Mistake]) {
    let style = if has_colour(&io::stderr()) { Style::Colour } else { Style::Plain };
    let _ = write!(io::stderr().lock(), "{}", config::render_all(list, style));
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
