//! How long one row takes from the wire's bytes to a line of the format `sequin`.
//!
//! Five columns, 200 bytes of text, in transactions of 1,000 rows and of one row. Each figure is the least of many
//! rounds over the same batch: what the machine does besides only ever adds.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use slotd::change::{Batch, BatchBuilder, Column, Cursor, Relation, StreamIdentity, Transaction, builtin};
use slotd::encode::Sequin;
use slotd::ident::{DatabaseName, NameError, PublicationName, SlotName, TableName};
use slotd::lsn::{Lsn, Timeline};
use slotd::pgoutput::ReplicaIdentity;

const ROWS: u32 = 20_000;
const ROUNDS: u32 = 200;

/// A column's name, the OID of its type, and a value: 200 bytes in all.
const COLUMNS: [(&str, u32, &str); 5] = [
    ("id", 20, "8675309"),
    ("customer", 25, "Grace Hopper, Arlington VA"),
    ("price", 1700, "1999.90"),
    ("created_at", 1184, "2026-01-01 12:34:56.789012+00"),
    (
        "note",
        25,
        "Leave it with the neighbours if nobody answers the \"front\" door; the bell is broken, so please knock and \
         wait for a minute. Thanks.",
    ),
];

fn main() -> Result<(), NameError> {
    let stream = Arc::new(StreamIdentity {
        system_identifier: 7_300_000_000_000_000_001,
        timeline: Timeline { id: 1, begin: Lsn::ZERO },
        standby: false,
        slot: SlotName::new("slotd_shop")?,
        publication: PublicationName::new("slotd_shop")?,
        database: DatabaseName::new("shop")?,
        dbname: "shop".to_owned(),
        hostname: "db.example.com".to_owned(),
    });
    let bytes: usize = COLUMNS.iter().map(|(_, _, value)| value.len()).sum();
    println!("{} columns, {bytes} bytes of values, best of {ROUNDS} rounds over {ROWS} rows:", COLUMNS.len());
    for per_transaction in [1_000, 1] {
        let batch = batch(per_transaction);
        let decode = best(|| batch.changes().map(|change| change.ordinal).max());
        let mut sequin = Sequin::new(Arc::clone(&stream));
        let mut out = Vec::new();
        let all = best(|| {
            out.clear();
            for change in batch.changes() {
                sequin.line(&change, &mut out);
            }
            out.len()
        });
        println!(
            "  {per_transaction:>5} rows a transaction: {all:>5} ns a row, of which {decode} ns decode; {} bytes a line",
            out.len() / ROWS as usize
        );
    }
    Ok(())
}

/// The least time of `round`, in nanoseconds a row.
fn best<T>(mut round: impl FnMut() -> T) -> u128 {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(round());
        least = least.min(start.elapsed());
    }
    least.as_nanos() / u128::from(ROWS)
}

fn batch(per_transaction: u32) -> Batch {
    let columns = COLUMNS.iter().map(|(name, oid, _)| Column {
        name: (*name).to_owned(),
        key: *name == "id",
        r#type: builtin(*oid).unwrap_or_else(|| unreachable!("{name} has a type that is built in")),
        before: None,
    });
    let relation = Arc::new(Relation {
        oid: 16_384,
        name: TableName { schema: "public".to_owned(), table: "orders".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: columns.collect(),
    });
    let mut message = b"I\0\0\x40\0N\0\x05".to_vec();
    for (_, _, value) in COLUMNS {
        message.push(b't');
        message.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend_from_slice(value.as_bytes());
    }
    let mut builder = BatchBuilder::default();
    let mut wire = Vec::new();
    for row in 0..ROWS {
        let commit_lsn = Lsn(u64::from(row / per_transaction) * 4096 + 23_456_789);
        if row % per_transaction == 0 {
            builder.begin(Transaction {
                timeline: 1,
                commit_lsn,
                commit_timestamp: Timestamp::from_microsecond(1_767_225_600_000_000 + i64::from(row)).ok(),
                xid: Some(row),
            });
        }
        let cursor = Cursor { timeline: 1, commit_lsn, ordinal: Some(u64::from(row % per_transaction)), end_lsn: None };
        builder.push(wire.len(), message.len(), Some(&relation), cursor);
        wire.extend_from_slice(&message);
    }
    builder.finish(Bytes::from(wire), None)
}
