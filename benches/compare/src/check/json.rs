//! Files with one JSON object a line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Apply, Change, Format, at, row};
use crate::backlog::Table;
use crate::server::Failure;

type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// Hands each change of `table` to `apply`.
pub(super) fn read(format: Format, path: &Path, table: &Table, apply: &mut Apply<'_>) -> Result<(), Failure> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        if file.read_line(&mut line)? == 0 {
            break;
        }
        let change = match format {
            Format::Debezium => debezium(&line, table),
            Format::Wal2json => wal2json(&line, table),
            Format::Sequin | Format::Pgoutput => sequin(&line, table),
        };
        let applied = change.and_then(|change| change.map_or(Ok(()), &mut *apply));
        applied.map_err(|error| at(path, number, &error))?;
    }
    Ok(())
}

fn sequin(line: &str, table: &Table) -> Result<Option<Change>, Failure> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        record: Object<'a>,
        #[serde(borrow)]
        action: Cow<'a, str>,
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        table_name: Cow<'a, str>,
    }
    let line: Line<'_> = serde_json::from_str(line)?;
    if line.metadata.table_name != table.name {
        return Ok(None);
    }
    change(&line.action, table, &line.record).map(Some)
}

fn debezium(line: &str, table: &Table) -> Result<Option<Change>, Failure> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        before: Option<Object<'a>>,
        #[serde(borrow)]
        after: Option<Object<'a>>,
        #[serde(borrow)]
        source: Source<'a>,
        #[serde(borrow)]
        op: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(borrow)]
        table: Cow<'a, str>,
    }
    let line: Line<'_> = serde_json::from_str(line)?;
    if line.source.table != table.name {
        return Ok(None);
    }
    let record = line.after.or(line.before).ok_or("neither `before` nor `after`")?;
    let action = match &*line.op {
        "c" => "insert",
        "u" => "update",
        "d" => "delete",
        other => return Err(format!("an operation {other}").into()),
    };
    change(action, table, &record).map(Some)
}

fn wal2json(line: &str, table: &Table) -> Result<Option<Change>, Failure> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        action: Cow<'a, str>,
        #[serde(borrow)]
        table: Option<Cow<'a, str>>,
        #[serde(borrow)]
        columns: Option<Vec<Column<'a>>>,
        #[serde(borrow)]
        identity: Option<Vec<Column<'a>>>,
    }
    #[derive(Deserialize)]
    struct Column<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let line: Line<'_> = serde_json::from_str(line)?;
    if line.table.as_deref() != Some(table.name) {
        return Ok(None);
    }
    let columns = line.columns.or(line.identity).ok_or("neither `columns` nor `identity`")?;
    let record = columns.into_iter().map(|column| (column.name, column.value)).collect();
    let action = match &*line.action {
        "I" => "insert",
        "U" => "update",
        "D" => "delete",
        other => return Err(format!("an action {other}").into()),
    };
    change(action, table, &record).map(Some)
}

fn change(action: &str, table: &Table, record: &Object<'_>) -> Result<Change, Failure> {
    let value = |name: &str| record.get(name).map(|value| text(value)).transpose();
    if action == "delete" {
        let id = value("id")?.flatten().ok_or("a delete without an id")?;
        return Ok(Change::Delete(id.parse()?));
    }
    let columns = table.columns.iter().map(|(name, _)| value(name)?.ok_or_else(|| format!("no {name}").into()));
    let columns: Vec<_> = columns.collect::<Result<_, Failure>>()?;
    let row = row(table, columns.iter().map(|value| value.as_deref()))?;
    match action {
        "insert" => Ok(Change::Insert(row)),
        "update" => Ok(Change::Update(row)),
        other => Err(format!("an action {other}").into()),
    }
}

/// The text of a value: the inside of a string, anything else as it stands.
fn text(value: &RawValue) -> Result<Option<Cow<'_, str>>, Failure> {
    match value.get() {
        "null" => Ok(None),
        text if text.starts_with('"') => Ok(Some(Cow::Owned(serde_json::from_str(text)?))),
        text => Ok(Some(Cow::Borrowed(text))),
    }
}
