//! Batches by hand, for tests of what comes behind the reader.

use std::sync::Arc;

use bytes::BytesMut;
use jiff::Timestamp;

use super::{Batch, BatchBuilder, Column, Cursor, Relation, Transaction, Type};
use crate::ident::TableName;
use crate::lsn::{EndLsn, Lsn};
use crate::pgoutput::ReplicaIdentity;

/// A table `public.table` whose columns are all text, the first one its key.
#[must_use]
pub fn text_table(table: &str, columns: &[&str]) -> Arc<Relation> {
    let text = Arc::new(Type::Text);
    let columns = columns.iter().enumerate();
    Arc::new(Relation {
        oid: 16_384,
        name: TableName { schema: "public".to_owned(), table: table.to_owned() },
        identity: ReplicaIdentity::Default,
        columns: columns
            .map(|(at, name)| Column {
                name: (*name).to_owned(),
                key: at == 0,
                r#type: Arc::clone(&text),
                before: None,
            })
            .collect(),
    })
}

/// Puts a batch together, as the reader does, on timeline 1.
#[derive(Debug, Default)]
pub struct HandMade {
    builder: BatchBuilder,
    wire: BytesMut,
    open: Option<Transaction>,
    ordinal: u64,
    units: u64,
}

impl HandMade {
    /// Later changes belong to the transaction with this commit LSN, the first of them with the ordinal `ordinal`:
    /// more than 0 where a batch goes on in the middle.
    pub fn begin(&mut self, commit_lsn: Lsn, ordinal: u64) {
        let transaction = Transaction {
            timeline: 1,
            commit_lsn,
            commit_timestamp: Some(Timestamp::UNIX_EPOCH),
            xid: u32::try_from(commit_lsn.0 % 1_000_000).ok(),
        };
        self.builder.begin(transaction);
        self.open = Some(transaction);
        self.ordinal = ordinal;
    }

    /// An INSERT of a row of text values.
    pub fn insert(&mut self, relation: &Arc<Relation>, values: &[&str]) {
        let start = self.wire.len();
        self.wire.extend_from_slice(b"I");
        self.wire.extend_from_slice(&relation.oid.to_be_bytes());
        self.wire.extend_from_slice(b"N");
        self.wire.extend_from_slice(&u16::try_from(values.len()).unwrap_or(u16::MAX).to_be_bytes());
        for value in values {
            self.wire.extend_from_slice(b"t");
            self.wire.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            self.wire.extend_from_slice(value.as_bytes());
        }
        let cursor = self.cursor(self.ordinal, None);
        self.builder.push(start, self.wire.len() - start, Some(relation), cursor);
        self.ordinal += 1;
    }

    /// A message outside of a transaction, while none is open.
    pub fn message(&mut self, lsn: Lsn) {
        let start = self.wire.len();
        self.wire.extend_from_slice(b"M\0");
        self.wire.extend_from_slice(&lsn.0.to_be_bytes());
        self.wire.extend_from_slice(b"beat\0\0\0\0\0");
        self.units += 1;
        let cursor = Cursor { timeline: 1, commit_lsn: lsn, ordinal: None, end_lsn: None };
        self.builder.begin(Transaction { timeline: 1, commit_lsn: lsn, commit_timestamp: None, xid: None });
        self.builder.push(start, self.wire.len() - start, None, cursor);
        self.builder.complete(cursor, self.units);
    }

    /// The open transaction ends at `end`.
    pub fn commit(&mut self, end: Lsn) {
        self.units += 1;
        let cursor = self.cursor(self.ordinal.saturating_sub(1), Some(EndLsn::of_commit(end)));
        self.builder.commit(cursor, self.units);
        self.open = None;
    }

    /// The batch so far; what is begun stays open.
    pub fn finish(&mut self) -> Batch {
        self.builder.finish(self.wire.split().freeze(), self.open)
    }

    fn cursor(&self, ordinal: u64, end_lsn: Option<EndLsn>) -> Cursor {
        let commit_lsn = self.open.map_or(Lsn::ZERO, |transaction| transaction.commit_lsn);
        Cursor { timeline: 1, commit_lsn, ordinal: Some(ordinal), end_lsn }
    }
}
