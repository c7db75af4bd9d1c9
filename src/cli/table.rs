//! The table of `slotd status`: one line for each database within 80 columns, then what is wrong and what ends it.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::out::paint_verdict;
use super::seen::{All, Seen};
use crate::status::{age, size};

const WIDTH: usize = 80;
const GAP: usize = 2;
const HEAD: [&str; 6] = ["NAME", "STATE", "SINCE", "LAG", "RETAINED", "REASON"];
/// The column that takes the colour of the verdict.
const STATE: usize = 1;

/// The whole text, as of `now`.
pub(super) fn render(all: &All, now: Timestamp, colour: bool) -> String {
    let mut text = String::new();
    if all.databases.is_empty() {
        text.push_str("the file names no database\n");
    } else {
        write_table(&mut text, &all.databases, now, colour);
    }
    let own = all.troubles.iter().map(|trouble| ("slotd", trouble, None));
    let theirs = all.databases.iter().flat_map(|one| {
        // Below the worst of its troubles.
        let tries = std::iter::once(tries(one, now)).chain(std::iter::repeat(None));
        one.troubles.iter().zip(tries).map(|(trouble, tries)| (one.name.as_str(), trouble, tries))
    });
    let mut troubles: Vec<_> = own.chain(theirs).collect();
    troubles.sort_by_key(|(_, trouble, _)| std::cmp::Reverse(trouble.verdict()));
    for (name, trouble, tries) in troubles {
        let verdict = trouble.verdict();
        let word = verdict.as_str();
        let word = if colour { paint_verdict(word, verdict) } else { word.to_owned() };
        let _ = write!(text, "\n{word}  {name}: {}\n      hint: {}\n", trouble.sentence, trouble.hint);
        if let Some(tries) = tries {
            let _ = writeln!(text, "      {tries}");
        }
    }
    text
}

/// How often it was tried, and when it is tried again.
fn tries(one: &Seen, now: Timestamp) -> Option<String> {
    let next = Duration::try_from(one.next_try?.duration_since(now)).unwrap_or_default();
    let failed = match one.failures {
        1 => "1 try has failed".to_owned(),
        failures => format!("{failures} tries have failed"),
    };
    // A fraction of a second is no "0 s".
    Some(format!("{failed}, the next comes within {}", age(next + Duration::from_millis(999))))
}

fn write_table(text: &mut String, databases: &[Seen], now: Timestamp, colour: bool) {
    let rows: Vec<_> = databases.iter().map(|one| row(one, now)).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let others: usize = widths[1..].iter().sum::<usize>() + GAP * (HEAD.len() - 1);
    widths[0] = widths[0].min(WIDTH.saturating_sub(others)).max(HEAD[0].len());
    write_row(text, &HEAD.map(str::to_owned), &widths, |_, cell| cell);
    for (row, one) in rows.iter().zip(databases) {
        write_row(text, row, &widths, |column, cell| {
            if colour && column == STATE { paint_verdict(&cell, one.verdict()) } else { cell }
        });
    }
}

fn row(one: &Seen, now: Timestamp) -> [String; 6] {
    let since = Duration::try_from(now.duration_since(one.since)).unwrap_or_default();
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), size);
    [
        one.name.clone(),
        one.state.clone(),
        age(since),
        bytes(one.lag.bytes),
        bytes(one.wal.as_ref().map(|wal| wal.retained_bytes)),
        one.reason.clone().unwrap_or_default(),
    ]
}

fn write_row(text: &mut String, row: &[String; 6], widths: &[usize; 6], paint: impl Fn(usize, String) -> String) {
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let cell = paint(column, format!("{:width$}", cut(cell, *width)));
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', GAP));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The first `width` characters, the last of them `…` if there are more.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
