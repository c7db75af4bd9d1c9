//! The format `sequin`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{Out, json};
use crate::change::{Change, ChangeKind, Gap, Relation, StreamIdentity};
use crate::pgoutput::{Content, OldTuple, Tuple, Value};

mod place;
mod plan;
#[cfg(test)]
mod tests;

use place::{Place, integer};
use plan::Plan;

/// Plans that are kept at most, about 2 kB each for a table of 20 columns. Tables come and go while a stream lives, and
/// no message tells that one has gone.
const PLANS: usize = 1000;

/// Encodes changes as lines of JSON: `{record, changes, action, metadata}`.
///
/// All that is the same for each row of a table, for each change of a transaction or for the whole stream is made
/// into bytes once and copied from there.
pub struct Sequin {
    /// By the table's OID; a plan belongs to one `Arc` of a relation, and a newer relation takes its place.
    plans: HashMap<u32, Plan>,
    place: Place,
}

impl Sequin {
    /// An encoder for the changes of one stream.
    #[must_use]
    pub fn new(stream: Arc<StreamIdentity>) -> Self {
        Self { plans: HashMap::new(), place: Place::new(stream) }
    }

    /// Appends `change` as one line, its line break included.
    pub fn line(&mut self, change: &Change<'_>, out: &mut impl Out) {
        self.place.enter(change.transaction);
        let place = &self.place;
        let ordinal = change.ordinal;
        match change.kind {
            ChangeKind::Delete { relation, old } => {
                let plan = plan(&mut self.plans, relation);
                out.put(br#"{"record":{"#);
                old_record(plan, old, out);
                out.put(br#"},"changes":null,"action":"delete","metadata":{"#);
                out.put(&plan.table);
                place.put(ordinal, out);
            }
            ChangeKind::Gap(gap) => {
                out.put(br#"{"record":null,"changes":null,"action":"gap","metadata":{"#);
                put_gap(gap, out);
                place.put_gap(gap, out);
            }
            ChangeKind::Insert { relation, new } => {
                let plan = plan(&mut self.plans, relation);
                out.put(br#"{"record":{"#);
                let whole = new_record(plan, None, new, out);
                out.put(br#"},"changes":null,"action":"insert","metadata":{"#);
                out.put(&plan.table);
                place.put(ordinal, out);
                if !whole {
                    unchanged(plan, None, new, out);
                }
            }
            ChangeKind::Message { transactional, prefix, content } => {
                out.put(br#"{"record":{"prefix":"#);
                json::string(prefix, out);
                put_content(content, out);
                out.put(br#"},"changes":null,"action":"message","metadata":{"transactional":"#);
                out.put(boolean(transactional));
                out.put(b",");
                place.put(ordinal, out);
            }
            ChangeKind::Truncate { relation, cascade, restart_identity } => {
                out.put(br#"{"record":null,"changes":null,"action":"truncate","metadata":{"#);
                out.put(&plan(&mut self.plans, relation).table);
                out.put(br#""cascade":"#);
                out.put(boolean(cascade));
                out.put(br#","restart_identity":"#);
                out.put(boolean(restart_identity));
                out.put(b",");
                place.put(ordinal, out);
            }
            ChangeKind::Update { relation, old, new } => {
                let plan = plan(&mut self.plans, relation);
                out.put(br#"{"record":{"#);
                let whole = new_record(plan, old, new, out);
                out.put(br#"},"changes":{"#);
                if let Some(old) = old {
                    changes(plan, old, new, out);
                }
                out.put(br#"},"action":"update","metadata":{"#);
                out.put(&plan.table);
                place.put(ordinal, out);
                if !whole {
                    unchanged(plan, old, new, out);
                }
            }
        }
        out.put(b"}}\n");
    }
}

impl fmt::Debug for Sequin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequin").field("place", &self.place).field("tables", &self.plans.len()).finish()
    }
}

/// The plan of `relation`, made anew if there is none or one of an earlier shape.
fn plan<'p>(plans: &'p mut HashMap<u32, Plan>, relation: &Arc<Relation>) -> &'p Plan {
    if plans.len() >= PLANS && !plans.contains_key(&relation.oid) {
        // Those that are still wanted are soon made anew.
        plans.clear();
    }
    let plan = plans.entry(relation.oid).or_insert_with(|| Plan::new(relation));
    if !plan.is_of(relation) {
        *plan = Plan::new(relation);
    }
    plan
}

/// Puts the new row; whether that is all of it.
fn new_record(plan: &Plan, old: Option<OldTuple<'_>>, new: Tuple<'_>, out: &mut impl Out) -> bool {
    let mut old = old.map(|old| old.tuple().values());
    let mut first = true;
    let mut whole = true;
    for (column, new) in plan.columns.iter().zip(new.values()) {
        let old = old.as_mut().and_then(Iterator::next);
        match filled(old, new) {
            Value::Unchanged => whole = false,
            value => column.put(&mut first, value, out),
        }
    }
    whole
}

/// Puts the old row, as far as it was sent.
fn old_record(plan: &Plan, old: OldTuple<'_>, out: &mut impl Out) {
    let mut first = true;
    for (column, value) in plan.columns.iter().zip(old.tuple().values()) {
        if column.was_sent(old, value) {
            column.put(&mut first, value, out);
        }
    }
}

/// Puts the old values, as far as they were sent, of the columns that have another value now.
fn changes(plan: &Plan, old: OldTuple<'_>, new: Tuple<'_>, out: &mut impl Out) {
    let mut first = true;
    for ((column, value), new) in plan.columns.iter().zip(old.tuple().values()).zip(new.values()) {
        if new != Value::Unchanged && value != new && column.was_sent(old, value) {
            column.put(&mut first, value, out);
        }
    }
}

/// Puts the names of the columns that [`new_record`] left out.
fn unchanged(plan: &Plan, old: Option<OldTuple<'_>>, new: Tuple<'_>, out: &mut impl Out) {
    let mut old = old.map(|old| old.tuple().values());
    out.put(br#","unchanged":["#);
    let mut first = true;
    for (column, new) in plan.columns.iter().zip(new.values()) {
        let old = old.as_mut().and_then(Iterator::next);
        if filled(old, new) == Value::Unchanged {
            column.put_name(&mut first, out);
        }
    }
    out.put(b"]");
}

/// The new value; where it was not sent since it is the old one, the old one if that was sent.
fn filled<'a>(old: Option<Value<'a>>, new: Value<'a>) -> Value<'a> {
    match (new, old) {
        // A null in an old tuple means "not sent" or, with identity FULL, a null; and no null is ever unchanged TOAST.
        (Value::Unchanged, Some(old @ (Value::Text(_) | Value::Binary(_)))) => old,
        (new, _) => new,
    }
}

fn put_content(content: Content<'_>, out: &mut impl Out) {
    if std::str::from_utf8(content.0).is_ok() {
        out.put(br#","content":"#);
        json::string(content.0, out);
    } else {
        out.put(br#","content_base64":""#);
        json::base64(content.0, out);
        out.put(b"\"");
    }
}

fn put_gap(gap: &Gap, out: &mut impl Out) {
    out.put(br#""from":"#);
    integer(gap.from.0, out);
    out.put(br#","to":"#);
    match gap.to {
        Some(to) => integer(to.0, out),
        None => out.put(b"null"),
    }
    out.put(br#","reason":"#);
    json::string(gap.reason.as_bytes(), out);
    out.put(b",");
}

const fn boolean(value: bool) -> &'static [u8] {
    if value { b"true" } else { b"false" }
}
