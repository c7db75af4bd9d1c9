//! One database of a server that slotd streams to a file: statements in, changes out.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{Cluster, Slotd};

/// A database of its own, and a slotd that streams it.
pub(crate) struct Flow<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) dbname: String,
    pub(crate) client: Client,
    pub(crate) slotd: Slotd,
    /// How many lines were taken already.
    taken: usize,
}

impl<'c> Flow<'c> {
    /// Runs `setup` in a new database, then starts slotd on it with `keys` in its entry, and waits for the stream.
    pub(crate) async fn start(cluster: &'c Cluster, setup: &str, keys: &str) -> Self {
        let dbname = cluster.create_database().await;
        let client = cluster.connect(&dbname).await;
        client.batch_execute(setup).await.unwrap();
        let mut slotd = Slotd::run(&format!("{}{keys}\n", cluster.entry(&dbname)));
        slotd.await_state(&dbname, "streaming").await;
        Self { cluster, dbname, client, slotd, taken: 0 }
    }

    /// Runs statements, each by itself.
    pub(crate) async fn run(&self, statements: &[&str]) {
        for statement in statements {
            let done = self.client.batch_execute(statement).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    }

    /// The lines since the last call, once all that was committed is acknowledged.
    pub(crate) async fn take(&mut self) -> Vec<Value> {
        self.slotd.await_acknowledged(self.cluster, &self.dbname).await;
        let lines = self.slotd.lines(&self.dbname);
        lines_have_their_place(&lines, &self.dbname);
        let new = lines[self.taken..].to_vec();
        self.taken = lines.len();
        new
    }

    /// Runs statements and gives what they became, each change as `[action, table, record, changes]`.
    pub(crate) async fn brief(&mut self, statements: &[&str]) -> Value {
        self.run(statements).await;
        self.take().await.iter().map(brief).collect()
    }
}

/// `[action, table, record, changes]`.
fn brief(line: &Value) -> Value {
    json!([line["action"], line["metadata"]["table_name"], line["record"], line["changes"]])
}

/// What holds for the lines of every stream without a gap: places ascend, keys are unique, metadata is complete.
pub(crate) fn lines_have_their_place(lines: &[Value], name: &str) {
    let mut keys = HashSet::new();
    let mut last = (0, None);
    for (at, line) in lines.iter().enumerate() {
        let metadata = &line["metadata"];
        let outside = metadata["transactional"] == false;
        let place = (metadata["commit_lsn"].as_u64().unwrap(), metadata["commit_idx"].as_u64());
        assert_eq!(place.1.is_none(), outside, "{line}");
        assert!(at == 0 || place > last, "line {at} is at {place:?} behind {last:?}: {line}");
        last = place;
        assert!(keys.insert(metadata["idempotency_key"].as_str().unwrap()), "a key comes twice: {line}");
        assert_eq!(metadata["xid"].is_u64(), !outside, "{line}");
        assert_eq!(metadata["commit_timestamp"].is_string(), !outside, "{line}");
        assert_eq!(metadata["database"], json!({ "name": name, "database": name, "hostname": "127.0.0.1" }), "{line}");
        assert_eq!(metadata["table_schema"].is_string(), line["action"] != "message", "{line}");
        assert_eq!(metadata["table_name"].is_string(), line["action"] != "message", "{line}");
        let members: Vec<_> = line.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 4, "{line}");
    }
}

/// The places inside their transactions, a list for each transaction, and for each message outside of one.
pub(crate) fn ordinals(lines: &[Value]) -> Vec<Vec<Value>> {
    let place = |line: &Value| line["metadata"]["commit_lsn"].as_u64();
    lines
        .chunk_by(|one, next| place(one) == place(next))
        .map(|lines| lines.iter().map(|line| line["metadata"]["commit_idx"].clone()).collect())
        .collect()
}
