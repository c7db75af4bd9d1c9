//! A line for each change, short enough to be read while they flow.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use serde_json::{Map, Value};

use super::server::Failure;

/// Of one transaction so many rows are shown.
const ROWS: u64 = 5;
/// A transaction of so many rows is a large one.
const LARGE: u64 = 20_000;
/// What has to be shown.
const KINDS: [&str; 6] = ["insert", "update", "delete", "new column", "truncate", "large transaction"];

pub(crate) struct Screen {
    colour: bool,
    /// The columns of each table, as far as seen.
    columns: BTreeMap<String, BTreeSet<String>>,
    transaction: Transaction,
    changes: u64,
    shown: BTreeSet<&'static str>,
}

/// The transaction of the last change.
#[derive(Default)]
struct Transaction {
    commit_lsn: u64,
    rows: u64,
    in_order: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            colour: slotd::logging::has_colour(&io::stdout()),
            columns: BTreeMap::new(),
            transaction: Transaction::default(),
            changes: 0,
            shown: BTreeSet::new(),
        }
    }

    /// Prints a line.
    pub(crate) fn say(&self, line: &str) -> Result<(), Failure> {
        Ok(writeln!(io::stdout(), "{line}")?)
    }

    /// Shows a change in the format `sequin`.
    pub(crate) fn change(&mut self, line: &Value) -> Result<(), Failure> {
        let metadata = &line["metadata"];
        let (action, table) = (text(&line["action"]), text(&metadata["table_name"]));
        let commit_lsn = metadata["commit_lsn"].as_u64().ok_or("a change has no commit_lsn")?;
        if commit_lsn != self.transaction.commit_lsn {
            self.close()?;
            if commit_lsn < self.transaction.commit_lsn {
                return Err("a transaction came before one that was committed earlier".into());
            }
            self.transaction = Transaction { commit_lsn, rows: 0, in_order: true };
        }
        self.transaction.in_order &= metadata["commit_idx"].as_u64() == Some(self.transaction.rows);
        self.transaction.rows += 1;
        self.changes += 1;
        if let Some(kind) = KINDS.iter().find(|kind| **kind == action) {
            self.shown.insert(kind);
        }
        let record = line["record"].as_object();
        if let Some(record) = record.filter(|_| action != "delete") {
            self.note_columns(&table, record)?;
        }
        if self.transaction.rows > ROWS {
            return Ok(());
        }
        let row = record.map(row).unwrap_or_default();
        let (colour, sign) = match &*action {
            "insert" => ("32", '+'),
            "update" => ("33", '~'),
            "delete" => ("31", '-'),
            _ => ("35", '!'),
        };
        let head = self.paint(colour, &format!("{sign} {action:<8}"));
        self.say(&format!("{head} {table:<7} {row}"))
    }

    /// Says so when a table has a column that it had not.
    fn note_columns(&mut self, table: &str, record: &Map<String, Value>) -> Result<(), Failure> {
        let known = self.columns.entry(table.to_owned()).or_default();
        let first = known.is_empty();
        let new: Vec<&String> = record.keys().filter(|column| !known.contains(*column)).collect();
        known.extend(new.iter().copied().cloned());
        if first || new.is_empty() {
            return Ok(());
        }
        self.shown.insert("new column");
        let names: Vec<&str> = new.iter().map(|name| name.as_str()).collect();
        let head = self.paint("35", "! column  ");
        self.say(&format!("{head} {table:<7} now has {}: the schema changed, the stream goes on", names.join(", ")))
    }

    /// Ends the transaction whose rows were not all shown.
    fn close(&mut self) -> Result<(), Failure> {
        let Transaction { rows, in_order, .. } = self.transaction;
        if rows > ROWS {
            if !in_order {
                return Err(format!("a transaction of {rows} rows is not in order").into());
            }
            let rest = thousands(rows - ROWS);
            self.say(&format!("           … {rest} rows more of this one transaction, all in order"))?;
        }
        if rows >= LARGE {
            self.shown.insert("large transaction");
        }
        self.transaction.rows = 0;
        Ok(())
    }

    /// Shows a health answer.
    pub(crate) fn health(&self, status: u16, health: &Value) -> Result<(), Failure> {
        let words = [("reason", "because of"), ("sentence", "that is"), ("hint", "to end it")];
        let why: String = words
            .iter()
            .filter(|(key, _)| health[*key].is_string())
            .map(|(key, word)| format!("; {word} {}", text(&health[*key])))
            .collect();
        let retained = health["wal"]["retained_bytes"].as_u64();
        let retained =
            retained.map_or_else(String::new, |bytes| format!(", {} kB of WAL retained", thousands(bytes / 1024)));
        let acknowledged = &health["positions"]["acknowledged"];
        let acknowledged =
            if acknowledged.is_string() { format!(", acknowledged to {}", text(acknowledged)) } else { String::new() };
        let head = self.paint("36", "  health  ");
        self.say(&format!(
            "{head} GET /health/shop: {status} {}, {}{acknowledged}{retained}{why}",
            text(&health["verdict"]),
            text(&health["state"]),
        ))
    }

    /// Says what was shown.
    pub(crate) fn sum_up(&mut self) -> Result<(), Failure> {
        self.close()?;
        let shown: Vec<&str> = KINDS.iter().copied().filter(|kind| self.shown.contains(kind)).collect();
        self.say(&format!(
            "\n{} changes; shown: {}. Postgres and slotd are stopped, their folders are removed.",
            thousands(self.changes),
            shown.join(", ")
        ))
    }

    /// The kinds that were not shown.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        KINDS.iter().copied().filter(|kind| !self.shown.contains(kind)).collect()
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `id=7 city=Graz`: the key first, nulls left out.
fn row(record: &Map<String, Value>) -> String {
    let mut columns: Vec<_> = record.iter().filter(|(_, value)| !value.is_null()).collect();
    columns.sort_by_key(|(name, _)| *name != "id");
    let shown: Vec<String> = columns.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    shown.join(" ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// 20000 as 20,000.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join(",")
}
