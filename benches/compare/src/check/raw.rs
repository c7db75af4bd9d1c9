//! What `pg_recvlogical` makes of `pgoutput`: each message, and a line break.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use slotd::pgoutput::{self, DecodeError, Message, Tuple, Value};

use super::{Apply, Change, at, row};
use crate::backlog::Table;
use crate::server::Failure;

/// What is read at once; no message here is longer than half of it.
const WINDOW: usize = 4 << 20;

/// Hands each change of `table` to `apply`.
pub(super) fn read(path: &Path, table: &Table, apply: &mut Apply<'_>) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let mut window = Vec::with_capacity(WINDOW);
    let (mut start, mut number, mut relations) = (0, 0, HashMap::new());
    loop {
        if window.len() - start < WINDOW / 2 {
            window.drain(..start);
            start = 0;
            let room = WINDOW - window.len();
            file.by_ref().take(room as u64).read_to_end(&mut window)?;
        }
        let rest = &window[start..];
        if rest.is_empty() {
            return Ok(());
        }
        number += 1;
        // A message does not carry its length: what is left over behind it tells.
        let len = match pgoutput::decode(rest) {
            Err(DecodeError::TrailingBytes { left, .. }) => rest.len() - left,
            Err(error) => return Err(at(path, number, &error.into())),
            Ok(_) => return Err(at(path, number, &"no line break behind it".into())),
        };
        let change = pgoutput::decode(&rest[..len]).map_err(Failure::from);
        let change = change.and_then(|message| change_of(&message, table, &mut relations));
        let applied = change.and_then(|change| change.map_or(Ok(()), &mut *apply));
        applied.map_err(|error| at(path, number, &error))?;
        start += len + 1;
    }
}

fn change_of(
    message: &Message<'_>,
    table: &Table,
    relations: &mut HashMap<u32, bool>,
) -> Result<Option<Change>, Failure> {
    let is_ours = |oid: &u32| relations.get(oid).copied().ok_or("a table that was not described");
    Ok(match message {
        Message::Relation { oid, name, .. } => {
            relations.insert(*oid, *name == table.name);
            None
        }
        Message::Insert { relation, new, .. } if is_ours(relation)? => Some(Change::Insert(of_tuple(table, *new)?)),
        Message::Update { relation, new, .. } if is_ours(relation)? => Some(Change::Update(of_tuple(table, *new)?)),
        Message::Delete { relation, old, .. } if is_ours(relation)? => {
            let id = old.tuple().values().next().ok_or("a delete without a column")?;
            Some(Change::Delete(text(id)?.ok_or("a delete without an id")?.parse()?))
        }
        _ => None,
    })
}

fn of_tuple(table: &Table, tuple: Tuple<'_>) -> Result<super::Row, Failure> {
    let values: Vec<_> = tuple.values().map(text).collect::<Result<_, _>>()?;
    row(table, values.into_iter())
}

fn text(value: Value<'_>) -> Result<Option<&str>, Failure> {
    match value {
        Value::Text(text) => Ok(Some(std::str::from_utf8(text)?)),
        Value::Null => Ok(None),
        Value::Binary(_) | Value::Unchanged => Err("a value that was not sent as text".into()),
    }
}
