//! What is the same for each change of a stream, and for each change of a transaction.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::{Out, json};
use crate::change::{Gap, StreamIdentity, Transaction};

/// A change's place: its transaction and its key.
///
/// The idempotency key is the base64 of `system identifier/timeline/slot/commit LSN/ordinal`, with `message` for the
/// ordinal that a non-transactional message does not have. All but the ordinal is encoded once for each transaction, in
/// whole groups of three bytes; what is left over goes before the ordinal.
pub(super) struct Place {
    stream: Arc<StreamIdentity>,
    transaction: Option<Transaction>,
    /// `"commit_timestamp":…,"commit_lsn":…,"xid":…,"idempotency_key":"` and the key's whole groups.
    head: Vec<u8>,
    /// The bytes of the key that make no whole group, at most two, and no ordinal yet.
    rest: Vec<u8>,
    /// `,"database":{…}`
    database: Vec<u8>,
}

/// Stands where the ordinal would in the key of a non-transactional message.
const MESSAGE: &[u8] = b"message";
/// The most digits of a `u64`.
const DIGITS: usize = 20;

impl Place {
    pub(super) fn new(stream: Arc<StreamIdentity>) -> Self {
        let mut database = Vec::new();
        database.put(br#","database":{"name":"#);
        json::string(stream.database.as_str().as_bytes(), &mut database);
        database.put(br#","database":"#);
        json::string(stream.dbname.as_bytes(), &mut database);
        database.put(br#","hostname":"#);
        json::string(stream.hostname.as_bytes(), &mut database);
        database.put(b"}");
        Self { stream, transaction: None, head: Vec::new(), rest: Vec::new(), database }
    }

    /// What follows belongs to `transaction`.
    pub(super) fn enter(&mut self, transaction: &Transaction) {
        if self.transaction.as_ref() == Some(transaction) {
            return;
        }
        self.transaction = Some(*transaction);
        self.key(transaction);
        self.head.clear();
        self.head.put(br#""commit_timestamp":"#);
        match transaction.commit_timestamp {
            // Writing to a vector does not fail.
            Some(timestamp) => drop(write!(self.head, "\"{timestamp:.6}\"")),
            None => self.head.put(b"null"),
        }
        self.head.put(br#","commit_lsn":"#);
        integer(transaction.commit_lsn.0, &mut self.head);
        self.head.put(br#","xid":"#);
        match transaction.xid {
            Some(xid) => integer(xid.into(), &mut self.head),
            None => self.head.put(b"null"),
        }
        self.head.put(br#","idempotency_key":""#);
        let whole = self.rest.len() / 3 * 3;
        json::base64(&self.rest[..whole], &mut self.head);
        self.rest.drain(..whole);
    }

    /// Puts the place of the change `ordinal` of the transaction entered last.
    pub(super) fn put(&self, ordinal: Option<u64>, out: &mut impl Out) {
        let mut digits = itoa::Buffer::new();
        let ordinal = ordinal.map(|ordinal| digits.format(ordinal).as_bytes());
        let end = ordinal.unwrap_or(MESSAGE);
        let mut tail = [0; 2 + DIGITS];
        let len = self.rest.len() + end.len();
        tail[..self.rest.len()].copy_from_slice(&self.rest);
        tail[self.rest.len()..len].copy_from_slice(end);
        let mut encoded = [0; (2 + DIGITS).div_ceil(3) * 4];
        let encoded_len = STANDARD.encode_slice(&tail[..len], &mut encoded).unwrap_or(0);
        out.put(&self.head);
        out.put(&encoded[..encoded_len]);
        out.put(br#"","commit_idx":"#);
        out.put(ordinal.unwrap_or(b"null"));
        out.put(&self.database);
    }

    /// Puts the key of a gap record, `system identifier/timeline/slot/from/gap/to`, with nothing behind the last slash
    /// while the gap is open: it can be the key of no change.
    pub(super) fn put_gap(&self, gap: &Gap, out: &mut impl Out) {
        let timeline = self.transaction.map_or(self.stream.timeline.id, |transaction| transaction.timeline);
        let to = gap.to.map(|to| to.0.to_string()).unwrap_or_default();
        let StreamIdentity { system_identifier, slot, .. } = &*self.stream;
        out.put(br#""idempotency_key":""#);
        json::base64(format!("{system_identifier}/{timeline}/{slot}/{}/gap/{to}", gap.from.0).as_bytes(), out);
        out.put(b"\"");
        out.put(&self.database);
    }

    /// Makes `rest` the key up to the ordinal.
    fn key(&mut self, transaction: &Transaction) {
        self.rest.clear();
        integer(self.stream.system_identifier, &mut self.rest);
        self.rest.put(b"/");
        integer(transaction.timeline.into(), &mut self.rest);
        self.rest.put(b"/");
        self.rest.put(self.stream.slot.as_str().as_bytes());
        self.rest.put(b"/");
        integer(transaction.commit_lsn.0, &mut self.rest);
        self.rest.put(b"/");
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("stream", &self.stream).field("transaction", &self.transaction).finish()
    }
}

/// Puts `number` in decimal.
pub(super) fn integer(number: u64, out: &mut impl Out) {
    out.put(itoa::Buffer::new().format(number).as_bytes());
}
