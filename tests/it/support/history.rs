//! A workload that knows its own history, and the comparison of that history with what a sink holds.
//!
//! Each change to `events` and its row in `journal` are one statement, so whatever is rolled back, lost in a crash or in
//! doubt after a broken connection, the two agree: the journal *is* what was committed. A writer's transactions follow
//! one another, so the stamps it gives ascend in commit order; of several writers only each one's own order is known,
//! and that transactions are not mixed.
//!
//! Messages are part of it. One within a transaction is journalled like a change. One outside is sent whatever becomes
//! of the transaction around it, but it is certain to be durable only once a later commit of its session is: so it is
//! journalled in the transaction that ends behind it, and one without a row may be there or not, but not twice.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::server::Failure;
use super::session::connect;

/// Stamps of writer n lie from n times this on, and so do the ids of its messages.
const STAMPS: i64 = 1_000_000_000;

/// Of all messages. A stamp that was rolled back is given again; the id of a message outside of transactions must not be.
static MESSAGES: AtomicI64 = AtomicI64::new(1);

/// The tables. A wide `payload` is stored out of line, so that an update that leaves it alone does not send it.
const TABLES: &str = "
    CREATE TABLE events (id bigserial PRIMARY KEY, stamp bigint NOT NULL, payload text NOT NULL);
    ALTER TABLE events ALTER COLUMN payload SET STORAGE EXTERNAL;
    CREATE TABLE journal (
        stamp bigint PRIMARY KEY, xid text NOT NULL DEFAULT pg_current_xact_id()::text,
        action text NOT NULL, id bigint NOT NULL, payload text, kept boolean NOT NULL
    );";

/// A payload of more bytes than this is wide: Postgres moves it out of a row that has more than about 2 kB.
const WIDE: usize = 2000;

/// Writers at work.
#[derive(Debug)]
pub(crate) struct History {
    stop: CancellationToken,
    writers: JoinSet<()>,
}

/// A committed change or message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) stamp: i64,
    pub(crate) xid: String,
    /// `message` is one within its transaction, `outside` one that was sent before the transaction's end.
    pub(crate) action: String,
    /// That of the row or of the message.
    pub(crate) id: i64,
    /// That of the new row.
    pub(crate) payload: Option<String>,
    /// Whether an update left the payload alone.
    pub(crate) kept: bool,
}

/// A seed for a test: `SLOTD_SEED`, or a new one; printed, so that a failure can be had again.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("SLOTD_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SLOTD_SEED={seed}");
    seed
}

impl History {
    /// Makes the tables in `dbname`; before a publication that lists them.
    pub(crate) async fn create(cluster: &Cluster, dbname: &str) {
        cluster.execute(dbname, TABLES).await;
    }

    /// Lets so many writers work until [`History::stop`], through every crash of the server. Those of a second call go on
    /// where the first ones ended.
    pub(crate) fn begin(cluster: &Cluster, dbname: &str, writers: u32, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for number in 0..writers {
            let writer = Writer {
                socket: cluster.socket(),
                dbname: dbname.to_owned(),
                random: fastrand::Rng::with_seed(seed ^ u64::from(number)),
                stamp: i64::from(number) * STAMPS,
                highest: 1,
                flushes: false,
            };
            tasks.spawn(writer.run(stop.clone()));
        }
        Self { stop, writers: tasks }
    }

    /// Ends the writers, each after its running transaction.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
    }

    /// Waits until so many changes more are committed; for a workload that runs on a server that does.
    pub(crate) async fn await_more(cluster: &Cluster, dbname: &str, more: i64) {
        let enough = format!("SELECT count(*) + {more} FROM journal");
        let enough = cluster.value(dbname, &enough).await.unwrap();
        cluster.await_value(dbname, &format!("SELECT count(*) >= {enough} FROM journal"), "t").await;
    }

    /// What was committed, in the order of stamps.
    pub(crate) async fn expected(cluster: &Cluster, dbname: &str) -> Vec<Expected> {
        let sql = "SELECT stamp, xid, action, id, payload, kept FROM journal ORDER BY stamp";
        let rows = cluster.connect(dbname).await.query(sql, &[]).await.unwrap();
        let of_row = |row: &tokio_postgres::Row| Expected {
            stamp: row.get(0),
            xid: row.get(1),
            action: row.get(2),
            id: row.get(3),
            payload: row.get(4),
            kept: row.get(5),
        };
        rows.iter().map(of_row).collect()
    }
}

struct Writer {
    socket: PathBuf,
    dbname: String,
    random: fastrand::Rng,
    stamp: i64,
    /// About the highest id there is.
    highest: i64,
    /// Whether the server can send a message before its transaction ends.
    flushes: bool,
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Ok(client) = connect(&self.socket, &self.dbname).await
                && self.catch_up(&client).await.is_ok()
            {
                // An error is a crash of the server; the journal knows what became of the transaction.
                while !stop.is_cancelled() && self.transaction(&client).await.is_ok() {}
            }
            // The server is down: there is no state to wait for but its return.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Goes on behind the stamps of a writer of this number that worked before.
    async fn catch_up(&mut self, client: &Client) -> Result<(), Failure> {
        let sql = "SELECT coalesce(max(stamp), 0), coalesce(max(id) FILTER (WHERE payload IS NOT NULL), 1), \
                          current_setting('server_version_num')::int >= 170000 \
                     FROM journal WHERE stamp BETWEEN $1 AND $2";
        let first = self.stamp / STAMPS * STAMPS;
        let row = client.query_one(sql, &[&first, &(first + STAMPS - 1)]).await?;
        self.stamp = self.stamp.max(row.get(0));
        self.highest = self.highest.max(row.get(1));
        self.flushes = row.get(2);
        Ok(())
    }

    async fn transaction(&mut self, client: &Client) -> Result<(), Failure> {
        let before = (self.random.u32(0..10) == 0).then(|| self.next_message());
        if let Some(id) = before {
            self.emit(client, id).await?;
        }
        client.batch_execute("BEGIN").await?;
        if let Some(id) = before {
            self.journal(client, "outside", id).await?;
        }
        for _ in 0..self.random.u32(1..8) {
            if self.random.u32(0..10) == 0 {
                client.batch_execute("SAVEPOINT s").await?;
                self.change(client).await?;
                let end = if self.random.bool() { "ROLLBACK TO SAVEPOINT s" } else { "RELEASE SAVEPOINT s" };
                client.batch_execute(end).await?;
            }
            self.change(client).await?;
        }
        if self.random.u32(0..5) == 0 {
            let id = self.next_message();
            self.journal(client, "outside", id).await?;
            // Right before the end, and by itself: what is flushed is sent before it.
            self.emit(client, id).await?;
        }
        client.batch_execute(if self.random.u32(0..10) == 0 { "ROLLBACK" } else { "COMMIT" }).await?;
        Ok(())
    }

    fn next_message(&self) -> i64 {
        self.stamp / STAMPS * STAMPS + MESSAGES.fetch_add(1, Ordering::Relaxed)
    }

    /// Emits a message outside of transactions.
    async fn emit(&mut self, client: &Client, id: i64) -> Result<(), Failure> {
        let flush = if self.flushes && self.random.bool() { ", true" } else { "" };
        client.batch_execute(&format!("SELECT pg_logical_emit_message(false, 'history', '{id}'{flush})")).await?;
        Ok(())
    }

    /// Journals the message `id`.
    async fn journal(&mut self, client: &Client, action: &str, id: i64) -> Result<(), Failure> {
        self.stamp += 1;
        let values = format!("({}, '{action}', {id}, false)", self.stamp);
        client.batch_execute(&format!("INSERT INTO journal (stamp, action, id, kept) VALUES {values}")).await?;
        Ok(())
    }

    /// Emits a message within the transaction.
    async fn message(&mut self, client: &Client) -> Result<(), Failure> {
        let id = self.next_message();
        self.journal(client, "message", id).await?;
        client.batch_execute(&format!("SELECT pg_logical_emit_message(true, 'history', '{id}')")).await?;
        Ok(())
    }

    async fn change(&mut self, client: &Client) -> Result<(), Failure> {
        if self.random.u32(0..10) == 0 {
            return self.message(client).await;
        }
        // Now and then many rows, and now and then a wide one.
        let rows = if self.random.u32(0..100) == 0 { 500 } else { self.random.i64(1..4) };
        let width = if self.random.u32(0..20) == 0 { 300 } else { self.random.u32(0..5) };
        let first = self.stamp + 1;
        let from = self.random.i64(0..=self.highest);
        let picked = format!("(SELECT id FROM events WHERE id >= {from} ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)");
        let (change, action, kept) = match self.random.u32(0..10) {
            0..4 => {
                self.stamp += rows;
                self.highest += rows;
                let last = self.stamp;
                let change = format!(
                    "INSERT INTO events (stamp, payload) SELECT n, repeat(md5(n::text), {width}) \
                     FROM generate_series({first}, {last}) AS n RETURNING id, stamp, payload"
                );
                (change, "insert", false)
            }
            4..6 => {
                self.stamp += 1;
                let new = format!("payload = repeat(md5('{first}'), {width})");
                let set = format!("stamp = {first}, {new}");
                (format!("UPDATE events SET {set} WHERE id = {picked} RETURNING id, stamp, payload"), "update", false)
            }
            6..8 => {
                self.stamp += 1;
                let set = format!("stamp = {first}");
                (format!("UPDATE events SET {set} WHERE id = {picked} RETURNING id, stamp, payload"), "update", true)
            }
            _ => {
                self.stamp += 1;
                let gone = format!("RETURNING id, {first} AS stamp, NULL AS payload");
                (format!("DELETE FROM events WHERE id = {picked} {gone}"), "delete", false)
            }
        };
        let journal = format!(
            "INSERT INTO journal (stamp, action, id, payload, kept) SELECT stamp, '{action}', id, payload, {kept}"
        );
        client.batch_execute(&format!("WITH done AS ({change}) {journal} FROM done")).await?;
        Ok(())
    }
}

/// What differs between a history and a sink.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) expected: usize,
    pub(crate) lost: Vec<String>,
    pub(crate) repeated: Vec<String>,
    pub(crate) out_of_order: Vec<String>,
    /// Never committed, or with another content.
    pub(crate) wrong: Vec<String>,
}

impl Report {
    /// Whether nothing differs.
    pub(crate) fn is_exact(&self) -> bool {
        [&self.lost, &self.repeated, &self.out_of_order, &self.wrong].iter().all(|list| list.is_empty())
    }

    /// Panics unless nothing differs and there was something to compare.
    #[track_caller]
    pub(crate) fn assert_exact(&self) {
        assert!(self.expected > 0, "the history is empty");
        assert!(self.is_exact(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} changes", self.expected)?;
        let kinds = [
            ("lost", &self.lost),
            ("repeated", &self.repeated),
            ("out of order", &self.out_of_order),
            ("wrong", &self.wrong),
        ];
        for (kind, list) in kinds {
            write!(f, "; {} {kind}", list.len())?;
            for (index, item) in list.iter().take(5).enumerate() {
                write!(f, "{} {item}", if index == 0 { ":" } else { "," })?;
            }
        }
        Ok(())
    }
}

/// A change as both sides know it. An id is deleted once and sent in one message, so those need no stamp, which their
/// lines do not hold.
fn key(action: &str, stamp: i64, id: i64) -> (String, i64) {
    (action.to_owned(), if matches!(action, "delete" | "message" | "outside") { id } else { stamp })
}

/// The action, stamp and id of a line of the history; `None` for any other.
fn of_line(line: &Value) -> Option<(&str, i64, i64)> {
    let (action, record) = (line["action"].as_str()?, &line["record"]);
    if record["prefix"] == "history" {
        let action = if line["metadata"]["transactional"] == true { action } else { "outside" };
        return Some((action, -1, record["content"].as_str()?.parse().ok()?));
    }
    let of_events = line["metadata"]["table_name"] == "events";
    of_events.then(|| (action, record["stamp"].as_i64().unwrap_or(-1), record["id"].as_i64().unwrap_or(-1)))
}

/// Whether the line is of a change or message that is committed with its transaction.
pub(crate) fn is_committed(line: &Value) -> bool {
    of_line(line).is_some_and(|(action, ..)| action != "outside")
}

/// Whether the payload is the row's own, or was not sent and is named for that.
fn has_payload(line: &Value, change: &Expected) -> bool {
    let sent = change.payload.as_deref().filter(|payload| !(change.kept && payload.len() > WIDE));
    let unsent = change.payload.is_some() && sent.is_none();
    let named = line["metadata"].get("unchanged").map(|names| *names == json!(["payload"]));
    line["record"].get("payload") == sent.map(Value::from).as_ref() && named == unsent.then_some(true)
}

/// Compares the lines of a sink, of which those of `events` and the messages count, with what was committed.
pub(crate) fn compare(lines: &[Value], expected: &[Expected]) -> Report {
    let mut report = Report { expected: expected.len(), ..Report::default() };
    let places: HashMap<_, _> =
        expected.iter().map(|change| (key(&change.action, change.stamp, change.id), change)).collect();
    let mut seen = HashSet::new();
    let mut keys = HashSet::new();
    let mut newest: HashMap<i64, i64> = HashMap::new();
    let mut newest_outside: HashMap<i64, i64> = HashMap::new();
    let mut closed: HashSet<&str> = HashSet::new();
    let mut open: Option<(&str, u64)> = None;
    for line in lines {
        let new_key = keys.insert(line["metadata"]["idempotency_key"].as_str());
        let Some((action, stamp, id)) = of_line(line) else {
            if !new_key {
                report.repeated.push(format!("{} of another", line["action"]));
            }
            continue;
        };
        let found = key(action, stamp, id);
        let name = format!("{action} {}", found.1);
        let change = places.get(&found);
        if !seen.insert(found) || !new_key {
            report.repeated.push(name);
            continue;
        }
        if action == "outside" {
            // Journalled or not, it is sent when it is written: in the order of its writer.
            if newest_outside.insert(id / STAMPS, id).is_some_and(|last| last > id) {
                report.out_of_order.push(name);
            }
            continue;
        }
        let Some(change) = change else {
            report.wrong.push(name);
            continue;
        };
        if id != change.id || line["metadata"]["xid"].as_u64() != change.xid.parse().ok() || !has_payload(line, change)
        {
            report.wrong.push(name.clone());
        }
        // In the order of its writer; in one run of lines with its transaction's others; after all that committed before.
        let last = newest.entry(change.stamp / STAMPS).or_insert(-1);
        let commit_lsn = line["metadata"]["commit_lsn"].as_u64().unwrap_or(0);
        let torn = match open {
            Some((xid, lsn)) if xid == change.xid => lsn != commit_lsn,
            Some((xid, lsn)) => !closed.insert(xid) || closed.contains(change.xid.as_str()) || lsn >= commit_lsn,
            None => false,
        };
        if change.stamp < *last || torn {
            report.out_of_order.push(name);
        }
        *last = change.stamp.max(*last);
        open = Some((&change.xid, commit_lsn));
    }
    let missing = expected.iter().filter(|change| !seen.contains(&key(&change.action, change.stamp, change.id)));
    report.lost = missing.map(|change| format!("{} {}", change.action, change.stamp)).collect();
    report
}
