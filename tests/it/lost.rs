//! A slot that no longer leads on from where the sink stands: named for what it is within a period, never made anew in
//! silence, and left by `slotd resume --accept-gap` behind a gap record.
//!
//! On 15 and on 18 each: `slot_missing` (dropped while it streams), `slot_invalidated` (WAL removed; by the idle timeout of
//! 18 in `guard.rs`), `slot_advanced` (advanced, made again by hand), `other_cluster`, `diverged` (restored while nobody
//! looked), `sink_behind` (a file that was cut), `publication_gap` (made anew). `position_unknown` takes a sink that holds a
//! cursor and no record, which neither a file nor standard output is: `stream::resume` has its test.

mod history;
mod slot;

use std::fmt::Write as _;

use serde_json::Value;
use slotd::status::PERIOD;

use crate::support::{Cluster, Options, Slotd};

/// A cluster, a database with a table, and a slotd that has delivered its first row.
struct Scene {
    cluster: Cluster,
    dbname: String,
    slotd: Slotd,
}

impl Scene {
    async fn begin(major: u32, options: Options) -> Self {
        let cluster = Cluster::start(major, &options);
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
        let slotd = Slotd::run(&cluster.entry(&dbname));
        let mut scene = Self { cluster, dbname, slotd };
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.insert(1).await;
        scene.delivered().await;
        scene
    }

    async fn insert(&self, id: u32) {
        self.sql(&format!("INSERT INTO items VALUES ({id})")).await;
    }

    async fn sql(&self, sql: &str) {
        self.cluster.execute(&self.dbname, sql).await;
    }

    async fn delivered(&mut self) {
        self.slotd.await_acknowledged(&self.cluster, &self.dbname).await;
    }

    fn slot(&self) -> String {
        format!("slotd_{}", self.dbname)
    }

    fn lines(&self) -> Vec<Value> {
        self.slotd.lines(&self.dbname)
    }

    /// From where to where the last gap record goes.
    fn gap(&self) -> (u64, u64) {
        let lines = self.lines();
        let gap = lines.iter().rfind(|line| line["action"] == "gap").unwrap();
        (gap["metadata"]["from"].as_u64().unwrap(), gap["metadata"]["to"].as_u64().unwrap())
    }

    /// What stands in the file: ids of rows, and gaps with their reason.
    fn told(&self) -> String {
        let mut told = String::new();
        for line in self.lines() {
            let what = match line["action"].as_str().unwrap() {
                "gap" => line["metadata"]["reason"].as_str().unwrap().to_owned(),
                _ => line["record"]["id"].to_string(),
            };
            write!(told, "{what} ").unwrap();
        }
        told
    }

    /// Waits for `lost` with `reason`, holds the log and the command against the health answer, and sees that the slot is
    /// left as it is.
    async fn is_lost(&mut self, reason: &str) -> Value {
        let provoked = jiff::Timestamp::now();
        let health = self.slotd.await_until(&self.dbname, |health| health["reason"] == reason).await;
        let since: jiff::Timestamp = health["since"].as_str().unwrap().parse().unwrap();
        let within = std::time::Duration::try_from(since.duration_since(provoked)).unwrap_or_default();
        assert!(within <= PERIOD, "{within:?} until {health:#}");
        assert_eq!(health["state"], "lost", "{health:#}");
        let (code, _) = self.slotd.get(&format!("/health/{}", self.dbname)).await.unwrap();
        assert_eq!((code, health["verdict"].as_str()), (503, Some("fail")));
        let sentence = health["sentence"].as_str().unwrap();
        assert!(self.slotd.log().contains(sentence), "{sentence} is not in the log:\n{}", self.slotd.log());
        let (status, said) = self.slotd.command_output(&["resume", &self.dbname, "--accept-gap"]).await;
        assert_eq!(status.code(), Some(64), "without --yes nothing is done");
        assert!(said.contains("are never delivered"), "{said}");
        health
    }

    /// Accepts the gap, and sees that its record stands before the next row.
    async fn resumes(&mut self, reason: &str) {
        let before = self.told();
        let (status, said) = self.slotd.command_output(&["resume", &self.dbname, "--accept-gap", "--yes"]).await;
        assert!(status.success(), "{said}\n{}", self.slotd.log());
        self.slotd.await_state(&self.dbname, "streaming").await;
        self.insert(900).await;
        self.delivered().await;
        let told = self.told();
        assert!(told.starts_with(&format!("{before}{reason} ")) && told.ends_with(" 900 "), "{told}");
    }
}
