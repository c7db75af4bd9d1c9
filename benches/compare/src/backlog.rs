//! What is written before the clock runs: a table, and the SQL that fills it.

use crate::check::Counts;

/// How a column's text is compared, whatever a format makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Byte for byte.
    Plain,
    /// As a moment: formats differ in its text.
    Timestamp,
}

/// A table that the backlog changes. Its first columns are `id`, its key, and `version`, which counts the updates of a
/// row: so the order of a row's changes, a missing one and a second one show.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) definition: &'static str,
    pub(crate) columns: &'static [(&'static str, Kind)],
}

const ORDERS: Table = Table {
    name: "orders",
    definition: "CREATE TABLE orders (id bigint PRIMARY KEY, version int NOT NULL, customer int NOT NULL, \
                 note text NOT NULL, created timestamptz NOT NULL, price numeric(12,2) NOT NULL)",
    columns: &[
        ("id", Kind::Plain),
        ("version", Kind::Plain),
        ("customer", Kind::Plain),
        ("note", Kind::Plain),
        ("created", Kind::Timestamp),
        ("price", Kind::Plain),
    ],
};

/// An order of 200 bytes, with a character that JSON escapes.
const ORDER: &str = "n, 0, n % 10007, rpad(md5(n::text) || ' \"left\" with the neighbours, ', 150, md5(n::text)), \
                     timestamptz '2026-01-01 00:00:00.000001+00' + n * interval '1.000001 s', (n % 100000) / 100.0";

const DOCUMENTS: Table = Table {
    name: "documents",
    definition: "CREATE TABLE documents (id bigint PRIMARY KEY, version int NOT NULL, body jsonb NOT NULL);
        CREATE FUNCTION body(id bigint, version int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
            SELECT jsonb_build_object('order', id, 'state', version, 'note', E'by the \"front\" door\\n', 'items',
                (SELECT jsonb_agg(jsonb_build_object('sku', md5((id * 31 + n)::text), 'pieces', n, 'price', n * 1.25))
                 FROM generate_series(1, 26) AS n)) $$",
    columns: &[("id", Kind::Plain), ("version", Kind::Plain), ("body", Kind::Plain)],
};

/// A backlog.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) name: &'static str,
    /// What it is, in a few words.
    pub(crate) title: &'static str,
    /// The version of Postgres.
    pub(crate) major: u32,
    pub(crate) table: &'static Table,
    /// How many of what it counts in are written at `SCALE` 1.
    size: u64,
    /// Statements before the slot is made.
    before: fn(u64) -> Vec<String>,
    /// The backlog itself.
    write: fn(u64) -> Vec<String>,
    counts: fn(u64) -> Counts,
    transactions: fn(u64) -> u64,
    /// The most that slotd may take of `pg_recvlogical`'s time; `None` if its figures are held to no bound at all.
    pub(crate) bound: Option<f64>,
}

const OF_THE_FIRST_TWO: Option<f64> = Some(0.85);
const OF_THE_OTHERS: Option<f64> = Some(1.0);

/// What starts and ends a process, and nothing between.
pub(crate) const EMPTY: &str = "empty";

/// All of them, in the order in which they are measured and shown: the first two have a bound of their own.
pub(crate) const BACKLOGS: [Backlog; 7] = [
    Backlog {
        name: "rows",
        title: "1,000,000 rows of 200 bytes in 2 transactions",
        major: 18,
        table: &ORDERS,
        size: 1_000_000,
        before: none,
        write: in_two,
        counts: inserts,
        transactions: |_| 2,
        bound: OF_THE_FIRST_TWO,
    },
    Backlog {
        name: "transactions",
        title: "200,000 transactions of one row",
        major: 18,
        table: &ORDERS,
        size: 200_000,
        before: none,
        write: |size| {
            vec![format!(
                "DO $$ BEGIN FOR n IN 1..{size} LOOP INSERT INTO orders SELECT {ORDER}; COMMIT; END LOOP; END $$"
            )]
        },
        counts: inserts,
        transactions: |size| size,
        bound: OF_THE_FIRST_TWO,
    },
    Backlog {
        name: "documents",
        title: "100,000 inserts, updates and deletes of 2 kB of jsonb in 10,000 transactions",
        major: 18,
        table: &DOCUMENTS,
        size: 10_000,
        before: none,
        // Five new documents; of the five before them four are changed and one goes.
        write: |size| {
            vec![format!(
                "DO $$ BEGIN FOR t IN 1..{size} LOOP
                    INSERT INTO documents SELECT n, 0, body(n, 0) FROM generate_series(5 * t - 4, 5 * t) AS n;
                    UPDATE documents SET version = version + 1, body = body(id, version + 1)
                        WHERE id BETWEEN 5 * t - 8 AND 5 * t - 5;
                    DELETE FROM documents WHERE id = 5 * t - 9;
                    COMMIT;
                END LOOP; END $$"
            )]
        },
        counts: |size| Counts { inserts: 5 * size, updates: 4 * (size - 1), deletes: size - 1 },
        transactions: |size| size,
        bound: OF_THE_OTHERS,
    },
    Backlog {
        name: "identity-full",
        title: "300,000 updates under REPLICA IDENTITY FULL in 300 transactions",
        major: 18,
        table: &ORDERS,
        size: 300,
        before: |size| {
            let orders = format!("INSERT INTO orders SELECT {ORDER} FROM generate_series(1, {size} * 1000) AS n");
            vec!["ALTER TABLE orders REPLICA IDENTITY FULL".to_owned(), orders]
        },
        write: |size| {
            vec![format!(
                "DO $$ BEGIN FOR t IN 1..{size} LOOP
                    UPDATE orders SET version = version + 1, price = price + 1
                        WHERE id BETWEEN t * 1000 - 999 AND t * 1000;
                    COMMIT;
                END LOOP; END $$"
            )]
        },
        counts: |size| Counts { updates: size * 1000, ..Counts::default() },
        transactions: |size| size,
        bound: OF_THE_OTHERS,
    },
    Backlog {
        name: "one-transaction",
        title: "2,000,000 rows of 200 bytes in one transaction",
        major: 18,
        table: &ORDERS,
        size: 2_000_000,
        before: none,
        write: |size| vec![format!("INSERT INTO orders SELECT {ORDER} FROM generate_series(1, {size}) AS n")],
        counts: inserts,
        transactions: |_| 1,
        bound: OF_THE_OTHERS,
    },
    Backlog {
        name: "rows-15",
        title: "The rows of `rows` on PostgreSQL 15, for which there is wal2json",
        major: 15,
        table: &ORDERS,
        size: 1_000_000,
        before: none,
        write: in_two,
        counts: inserts,
        transactions: |_| 2,
        bound: OF_THE_OTHERS,
    },
    Backlog {
        name: EMPTY,
        title: "No change at all: what it costs to start, to connect and to end",
        major: 18,
        table: &ORDERS,
        size: 0,
        before: none,
        write: none,
        counts: |_| Counts::default(),
        transactions: |_| 0,
        bound: None,
    },
];

const fn none(_: u64) -> Vec<String> {
    Vec::new()
}

fn in_two(size: u64) -> Vec<String> {
    let half = size / 2;
    let insert = |from, to| format!("INSERT INTO orders SELECT {ORDER} FROM generate_series({from}, {to}) AS n");
    vec![insert(1, half), insert(half + 1, size)]
}

fn inserts(size: u64) -> Counts {
    Counts { inserts: size, ..Counts::default() }
}

impl Backlog {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    fn size(&self, scale: f64) -> u64 {
        ((self.size as f64 * scale) as u64).max(10)
    }

    /// Statements to run before the slot is made.
    pub(crate) fn before(&self, scale: f64) -> Vec<String> {
        (self.before)(self.size(scale))
    }

    /// The statements that write the backlog.
    pub(crate) fn write(&self, scale: f64) -> Vec<String> {
        (self.write)(self.size(scale))
    }

    /// How many changes those are.
    pub(crate) fn counts(&self, scale: f64) -> Counts {
        (self.counts)(self.size(scale))
    }

    /// In how many transactions.
    pub(crate) fn transactions(&self, scale: f64) -> u64 {
        (self.transactions)(self.size(scale))
    }
}
