//! Whether what was drained is what was written: outside the clock, for each file.
//!
//! A drained file is replayed, change by change, and must lead from the table as it was to the table as it is, row by
//! row, in as many inserts, updates and deletes as were made. Each row counts its updates, so that one that is missing,
//! stands twice or out of order is found.

mod json;
mod raw;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::backlog::{Kind, Table};
use crate::server::Failure;

/// How many changes of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) inserts: u64,
    pub(crate) updates: u64,
    pub(crate) deletes: u64,
}

impl Counts {
    /// All of them.
    pub(crate) const fn all(self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// How a drained file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Debezium,
    /// `pgoutput` as the server sends it, with a line break behind each message.
    Pgoutput,
    Sequin,
    Wal2json,
}

/// A row: how often it was updated, and a hash of all of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    id: i64,
    version: i64,
    hash: u64,
}

/// One change of the backlog's table.
enum Change {
    Insert(Row),
    Update(Row),
    Delete(i64),
}

/// A table's rows by their id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows(HashMap<i64, (i64, u64)>);

impl Rows {
    /// What stands in the table.
    pub(crate) async fn of_table(client: &Client, table: &Table) -> Result<Self, Failure> {
        let columns: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
        let copy = format!("COPY (SELECT {} FROM {}) TO STDOUT", columns.join(", "), table.name);
        let mut lines = std::pin::pin!(client.copy_out(&copy).await?);
        let mut rows = Self::default();
        while let Some(line) = lines.try_next().await? {
            let line = std::str::from_utf8(&line)?.trim_end_matches('\n');
            let values: Vec<_> = line.split('\t').map(unescaped).collect();
            let row = row(table, values.iter().map(|value| value.as_deref()))?;
            rows.0.insert(row.id, (row.version, row.hash));
        }
        Ok(rows)
    }

    /// How many, and a sum of their hashes.
    pub(crate) fn checksum(&self) -> (usize, u64) {
        let sum = self.0.iter().fold(0_u64, |sum, (id, row)| {
            let mut hasher = DefaultHasher::new();
            (id, row).hash(&mut hasher);
            sum.wrapping_add(hasher.finish())
        });
        (self.0.len(), sum)
    }

    fn apply(&mut self, change: Change, counts: &mut Counts) -> Result<(), Failure> {
        match change {
            Change::Insert(row) => {
                counts.inserts += 1;
                if self.0.insert(row.id, (row.version, row.hash)).is_some() {
                    return Err(format!("row {} is inserted twice", row.id).into());
                }
            }
            Change::Update(row) => {
                counts.updates += 1;
                let before = self.0.insert(row.id, (row.version, row.hash)).map(|(version, _)| version);
                if before != Some(row.version - 1) {
                    return Err(format!("row {} becomes version {} after {before:?}", row.id, row.version).into());
                }
            }
            Change::Delete(id) => {
                counts.deletes += 1;
                if self.0.remove(&id).is_none() {
                    return Err(format!("row {id} is deleted and was not there").into());
                }
            }
        }
        Ok(())
    }
}

/// What a drained file has to say.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) table: &'static Table,
    pub(crate) before: Rows,
    pub(crate) after: Rows,
    pub(crate) counts: Counts,
}

impl Expected {
    /// Replays `files`, in their order.
    pub(crate) fn check(&self, format: Format, files: &[PathBuf]) -> Result<(), Failure> {
        let (mut rows, mut counts) = (self.before.clone(), Counts::default());
        let mut apply = |change| rows.apply(change, &mut counts);
        for file in files {
            match format {
                Format::Pgoutput => raw::read(file, self.table, &mut apply)?,
                _ => json::read(format, file, self.table, &mut apply)?,
            }
        }
        if counts != self.counts {
            return Err(format!("{counts:?} were drained, and {:?} written", self.counts).into());
        }
        if rows != self.after {
            return Err(
                format!("{:?} was drained, and the table is {:?}", rows.checksum(), self.after.checksum()).into()
            );
        }
        Ok(())
    }
}

/// Where changes go while a file is read.
type Apply<'a> = dyn FnMut(Change) -> Result<(), Failure> + 'a;

/// A row from the text of its columns, in the table's order.
fn row<'a>(table: &Table, mut values: impl Iterator<Item = Option<&'a str>>) -> Result<Row, Failure> {
    let mut hasher = DefaultHasher::new();
    let mut numbers = [0; 2];
    for (at, (name, kind)) in table.columns.iter().enumerate() {
        let value = values.next().ok_or_else(|| format!("the column {name} is missing"))?;
        match (kind, value) {
            (Kind::Timestamp, Some(text)) => text.parse::<Timestamp>()?.as_microsecond().hash(&mut hasher),
            (_, value) => value.hash(&mut hasher),
        }
        if let Some(number) = numbers.get_mut(at) {
            *number = value.unwrap_or_default().parse()?;
        }
    }
    let [id, version] = numbers;
    Ok(Row { id, version, hash: hasher.finish() })
}

/// A value of COPY's text format.
fn unescaped(text: &str) -> Option<String> {
    if text == "\\N" {
        return None;
    }
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        value.push(match character {
            '\\' => match characters.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                other => other,
            },
            other => other,
        });
    }
    Some(value)
}

/// Tells where an error is.
fn at(file: &Path, line: usize, error: &Failure) -> Failure {
    format!("{}, change {line}: {error}", file.display()).into()
}
