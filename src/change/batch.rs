//! A batch: changes borrowed from the wire.
//!
//! The reader receives into one buffer, notes where each change lies, and splits the buffer off as the batch's
//! `wire`. No byte of a row is copied before a sink encodes it. A batch spans transactions and may end inside one;
//! [`Batch::cursor`] says where a sink stands once it has taken the batch whole.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{Cursor, Relation};
use crate::lsn::{EndLsn, Lsn};
use crate::pgoutput::{self, Content, OldTuple, Tuple};

/// The transaction that a change belongs to; of a non-transactional message, the message alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// The timeline that the server's history gives to `commit_lsn`.
    pub timeline: u32,
    /// The commit LSN as BEGIN carries it; a non-transactional message's own LSN.
    pub commit_lsn: Lsn,
    /// When it was committed; `None` for a non-transactional message.
    pub commit_timestamp: Option<Timestamp>,
    /// Its transaction id; `None` for a non-transactional message.
    pub xid: Option<u32>,
}

/// A hole in the stream, told in the sink itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last position that is known to be delivered.
    pub from: Lsn,
    /// Where the stream goes on; `None` while the hole is open.
    pub to: Option<Lsn>,
    /// Why, in the words of the state's reason.
    pub reason: String,
}

/// One change: what happened, and its place.
#[derive(Debug)]
pub struct Change<'a> {
    /// The transaction it belongs to.
    pub transaction: &'a Transaction,
    /// Its place in there, from 0; in commit order, before any filter. `None` of a non-transactional message.
    pub ordinal: Option<u64>,
    /// What happened.
    pub kind: ChangeKind<'a>,
}

/// What happened.
#[derive(Debug)]
pub enum ChangeKind<'a> {
    Delete {
        relation: &'a Arc<Relation>,
        old: OldTuple<'a>,
    },
    Gap(&'a Gap),
    Insert {
        relation: &'a Arc<Relation>,
        new: Tuple<'a>,
    },
    Message {
        transactional: bool,
        prefix: &'a [u8],
        content: Content<'a>,
    },
    /// One table of a TRUNCATE; a statement that names several gives several.
    Truncate {
        relation: &'a Arc<Relation>,
        cascade: bool,
        restart_identity: bool,
    },
    Update {
        relation: &'a Arc<Relation>,
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
}

/// Changes in commit order, and the cursor after them.
pub struct Batch {
    wire: Bytes,
    entries: Vec<Entry>,
    transactions: Vec<Transaction>,
    relations: Vec<Arc<Relation>>,
    gap: Option<Gap>,
    /// Where a sink stands that has taken this batch.
    pub cursor: Option<Cursor>,
    /// The end of the last transaction that ends in this batch: what may be acknowledged once all sinks have it.
    pub end_lsn: Option<EndLsn>,
    /// How many transactions and non-transactional messages of the stream are whole with this batch, counted from the
    /// stream's start.
    pub units: u64,
}

impl fmt::Debug for Batch {
    /// Without `wire`: it holds rows, and they belong into sinks alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("changes", &self.len())
            .field("wire_bytes", &self.wire_bytes())
            .field("cursor", &self.cursor)
            .field("end_lsn", &self.end_lsn)
            .field("units", &self.units)
            .finish_non_exhaustive()
    }
}

/// Where a change lies in `wire`.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    len: u32,
    transaction: u32,
    /// Into `relations`; unused by a message.
    relation: u32,
    ordinal: Option<u64>,
}

impl Batch {
    /// A batch that holds a gap record and nothing else; it moves no cursor.
    #[must_use]
    pub fn of_gap(gap: Gap, transaction: Transaction) -> Self {
        Self {
            wire: Bytes::new(),
            entries: Vec::new(),
            transactions: vec![transaction],
            relations: Vec::new(),
            gap: Some(gap),
            cursor: None,
            end_lsn: None,
            units: 0,
        }
    }

    /// Its changes, in order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let gap = self.gap.iter().map(|gap| Change {
            transaction: &self.transactions[0],
            ordinal: None,
            kind: ChangeKind::Gap(gap),
        });
        gap.chain(self.entries.iter().filter_map(|entry| self.change(entry)))
    }

    /// What of it lies beyond `held`; `None` if nothing does.
    #[must_use]
    pub fn beyond(&self, held: &Cursor) -> Option<Self> {
        let cursor = self.cursor?;
        let ends_what_was_half =
            cursor.end_lsn.is_some() && held.end_lsn.is_none() && cursor.commit_lsn == held.commit_lsn;
        if cursor.position() <= held.position() && !ends_what_was_half {
            return None;
        }
        let is_new = |entry: &&Entry| {
            let transaction = self.transactions.get(entry.transaction as usize);
            transaction.is_some_and(|transaction| !held.holds(transaction.commit_lsn, entry.ordinal))
        };
        Some(Self {
            wire: self.wire.clone(),
            entries: self.entries.iter().filter(is_new).copied().collect(),
            transactions: self.transactions.clone(),
            relations: self.relations.clone(),
            gap: None,
            cursor: self.cursor,
            end_lsn: self.end_lsn,
            units: self.units,
        })
    }

    /// How many of its units `held` has whole.
    #[must_use]
    pub fn units_in(&self, held: &Cursor) -> u64 {
        let is_held = |transaction: &&Transaction| {
            let at = transaction.commit_lsn;
            let half = held.end_lsn.is_none() && held.ordinal.is_some();
            at < held.commit_lsn || at == held.commit_lsn && !half
        };
        self.transactions.iter().filter(is_held).count() as u64
    }

    /// How many changes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + usize::from(self.gap.is_some())
    }

    /// Whether it holds no change; it may still move the cursor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of the wire it holds on to.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.wire.len()
    }

    fn change(&self, entry: &Entry) -> Option<Change<'_>> {
        let body = self.wire.get(entry.start as usize..(entry.start + entry.len) as usize)?;
        let relation = self.relations.get(entry.relation as usize);
        // Decoded once before, by the reader, so that what does not decode never gets here.
        let kind = match pgoutput::decode(body).ok()? {
            pgoutput::Message::Insert { new, .. } => ChangeKind::Insert { relation: relation?, new },
            pgoutput::Message::Update { old, new, .. } => ChangeKind::Update { relation: relation?, old, new },
            pgoutput::Message::Delete { old, .. } => ChangeKind::Delete { relation: relation?, old },
            pgoutput::Message::Truncate { cascade, restart_identity, .. } => {
                ChangeKind::Truncate { relation: relation?, cascade, restart_identity }
            }
            pgoutput::Message::Message { transactional, prefix, content, .. } => {
                ChangeKind::Message { transactional, prefix, content }
            }
            _ => return None,
        };
        let transaction = self.transactions.get(entry.transaction as usize)?;
        Some(Change { transaction, ordinal: entry.ordinal, kind })
    }
}

/// Collects the entries of the next batch while its bytes still arrive.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    entries: Vec<Entry>,
    transactions: Vec<Transaction>,
    relations: Vec<Arc<Relation>>,
    cursor: Option<Cursor>,
    end_lsn: Option<EndLsn>,
    units: u64,
}

impl BatchBuilder {
    /// Later changes belong to `transaction`.
    pub fn begin(&mut self, transaction: Transaction) {
        self.transactions.push(transaction);
    }

    /// A change lies at `start..start + len` of the bytes that the batch will be finished with, of the transaction
    /// begun last; `cursor` is where a sink stands after it.
    pub fn push(&mut self, start: usize, len: usize, relation: Option<&Arc<Relation>>, cursor: Cursor) {
        let relation = relation.map_or(0, |relation| self.relation(relation));
        self.entries.push(Entry {
            // A message of Postgres is shorter than 1 GiB and a batch holds at most one that is larger than itself.
            start: u32::try_from(start).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
            transaction: u32::try_from(self.transactions.len().saturating_sub(1)).unwrap_or(u32::MAX),
            relation,
            ordinal: cursor.ordinal,
        });
        self.cursor = Some(cursor);
    }

    /// The transaction is whole: `cursor` has its end.
    pub const fn commit(&mut self, cursor: Cursor, units: u64) {
        self.end_lsn = cursor.end_lsn;
        self.complete(cursor, units);
    }

    /// A unit is whole that has no end of its own: a non-transactional message.
    pub const fn complete(&mut self, cursor: Cursor, units: u64) {
        self.cursor = Some(cursor);
        self.units = units;
    }

    /// Whether a change is of `relation`, in this very form.
    #[must_use]
    pub fn holds(&self, relation: &Arc<Relation>) -> bool {
        self.relations.iter().any(|known| Arc::ptr_eq(known, relation))
    }

    /// The changes of `relation` are to be read as of `other`, the same table with types of another form.
    pub fn reread(&mut self, relation: &Arc<Relation>, other: &Arc<Relation>) {
        for known in self.relations.iter_mut().filter(|known| Arc::ptr_eq(known, relation)) {
            *known = Arc::clone(other);
        }
    }

    /// Whether there is anything to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cursor.is_none()
    }

    /// How many changes are noted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// The batch over `wire`; the builder is empty again but stays inside the transaction `open`.
    pub fn finish(&mut self, wire: Bytes, open: Option<Transaction>) -> Batch {
        let next = Self {
            entries: Vec::with_capacity(self.entries.len()),
            transactions: open.into_iter().collect(),
            units: self.units,
            ..Self::default()
        };
        let done = std::mem::replace(self, next);
        Batch {
            wire,
            entries: done.entries,
            transactions: done.transactions,
            relations: done.relations,
            gap: None,
            cursor: done.cursor,
            end_lsn: done.end_lsn,
            units: done.units,
        }
    }

    fn relation(&mut self, relation: &Arc<Relation>) -> u32 {
        // Changes of one table come in runs; a batch sees few tables.
        let known = self.relations.iter().rposition(|known| Arc::ptr_eq(known, relation));
        let index = known.unwrap_or_else(|| {
            self.relations.push(Arc::clone(relation));
            self.relations.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{HandMade, text_table};

    #[test]
    fn debug_shows_no_row_and_no_content() {
        let message = b"M\0\0\0\0\0\0\0\0\x01audit\0\0\0\0\x064111-1";
        let mut builder = BatchBuilder::default();
        let transaction = Transaction { timeline: 1, commit_lsn: Lsn(1), commit_timestamp: None, xid: None };
        builder.begin(transaction);
        builder.push(0, message.len(), None, Cursor { timeline: 1, commit_lsn: Lsn(1), ordinal: None, end_lsn: None });
        let batch = builder.finish(Bytes::from_static(message), None);
        let changes: Vec<_> = batch.changes().collect();
        assert_eq!(changes.len(), 1);
        let shown = format!("{batch:?} {changes:?}");
        // Neither as text nor as a list of bytes.
        assert!(!shown.contains("4111") && !shown.contains("52, 49, 49"), "{shown}");
    }

    /// Units as the server sends them: messages, some where the COMMIT of the next transaction begins, and transactions
    /// with few rows or none.
    fn units(rng: &mut fastrand::Rng) -> Vec<(Lsn, Option<u64>)> {
        let mut lsn = 0;
        let units = (0..8).flat_map(|_| {
            lsn += 10;
            let mut units = Vec::new();
            if rng.bool() {
                units.push((Lsn(lsn), None));
            }
            if rng.bool() {
                units.push((Lsn(lsn), Some(rng.u64(0..4))));
            }
            units
        });
        units.collect()
    }

    /// Their changes in batches, cut anywhere.
    fn batches(units: &[(Lsn, Option<u64>)], rng: &mut fastrand::Rng) -> Vec<Batch> {
        let relation = text_table("t", &["id"]);
        let (mut made, mut batches) = (HandMade::default(), Vec::new());
        for (lsn, rows) in units {
            match rows {
                None => made.message(*lsn),
                Some(rows) => {
                    made.begin(*lsn, 0);
                    for _ in 0..*rows {
                        made.insert(&relation, &["1"]);
                        if rng.bool() {
                            batches.push(made.finish());
                        }
                    }
                    made.commit(Lsn(lsn.0 + 5));
                }
            }
            if rng.bool() {
                batches.push(made.finish());
            }
        }
        batches.push(made.finish());
        batches
    }

    fn places<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Vec<(Lsn, Option<u64>)> {
        let changes = batches.into_iter().flat_map(Batch::changes);
        changes.map(|change| (change.transaction.commit_lsn, change.ordinal)).collect()
    }

    #[test]
    fn beyond_a_cursor_is_all_that_comes_after_it_and_nothing_else() {
        for seed in 0..300 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let units = units(&mut rng);
            let first = batches(&units, &mut rng);
            for (at, cursor) in first.iter().enumerate().filter_map(|(at, batch)| Some((at, batch.cursor?))) {
                // The server sends from the start of the cursor's unit on, and cuts fall elsewhere.
                let again = batches(&units, &mut rng);
                let rest: Vec<_> = again.iter().filter_map(|batch| batch.beyond(&cursor)).collect();
                assert_eq!(places(&rest), places(&first[at + 1..]), "seed {seed}, {cursor:?}");
                let end = |batches: &[Batch]| batches.iter().filter_map(|batch| batch.cursor).next_back();
                assert_eq!(end(&rest).or(Some(cursor)), end(&first), "seed {seed}, {cursor:?}");
            }
        }
    }
}
