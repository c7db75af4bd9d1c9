//! A slot that no longer leads on from where the sink stands: named for what it is, never made anew in silence, and left
//! by `slotd resume --accept-gap` behind a gap record.

use std::fmt::Write as _;

use serde_json::Value;

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

    /// What stands in the file: ids of rows, and gaps with their reason.
    fn told(&self) -> String {
        let mut told = String::new();
        for line in self.slotd.lines(&self.dbname) {
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
        let health = self.slotd.await_until(&self.dbname, |health| health["reason"] == reason).await;
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
        let (status, said) = self.slotd.command_output(&["resume", &self.dbname, "--accept-gap", "--yes"]).await;
        assert!(status.success(), "{said}\n{}", self.slotd.log());
        self.slotd.await_state(&self.dbname, "streaming").await;
        self.insert(900).await;
        self.delivered().await;
        assert!(self.told().ends_with(&format!("{reason} 900 ")), "{}", self.told());
    }
}

#[tokio::test]
async fn a_slot_that_is_dropped_while_it_streams_is_missing() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let slot = scene.slot();
    // slotd comes back within milliseconds; dropping goes on until it wins.
    let drop = format!(
        "DO $$ BEGIN LOOP
            PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active;
            BEGIN PERFORM pg_drop_replication_slot('{slot}'); EXIT; EXCEPTION WHEN object_in_use THEN NULL; END;
        END LOOP; END $$"
    );
    scene.sql(&drop).await;
    scene.insert(2).await;
    scene.is_lost("slot_missing").await;
    let exists = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}'");
    assert_eq!(scene.cluster.value("postgres", &exists).await, None, "made anew in silence");
    scene.resumes("slot_missing").await;
    assert_eq!(scene.told(), "1 slot_missing 900 ");
}

#[tokio::test]
async fn a_slot_that_the_server_invalidates_is_named_with_its_reason() {
    for major in [15, 18] {
        let options = Options::default()
            .set("max_slot_wal_keep_size", "16MB")
            .set("max_wal_size", "32MB")
            .set("min_wal_size", "32MB");
        let mut scene = Scene::begin(major, options).await;
        assert!(scene.slotd.sigterm().await.success());
        for _ in 0..6 {
            scene.sql("SELECT pg_switch_wal()").await;
            scene.sql("CREATE TABLE IF NOT EXISTS filler (t text); INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 10000); CHECKPOINT").await;
        }
        scene.slotd.start();
        let health = scene.is_lost("slot_invalidated").await;
        assert!(health["sentence"].as_str().unwrap().ends_with("wal_removed"), "{health:#}");
        scene.resumes("slot_invalidated").await;
    }
}

#[tokio::test]
async fn a_slot_that_was_advanced_behind_our_back_is_told() {
    let mut scene = Scene::begin(15, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    scene.insert(2).await;
    let slot = scene.slot();
    scene.sql(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")).await;
    scene.slotd.start();
    scene.is_lost("slot_advanced").await;
    scene.resumes("slot_advanced").await;
    assert_eq!(scene.told(), "1 slot_advanced 900 ");
}

#[tokio::test]
async fn a_slot_that_was_dropped_and_made_again_by_hand_is_told() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    scene.insert(2).await;
    let slot = scene.slot();
    scene.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    scene.sql(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    scene.slotd.start();
    scene.is_lost("slot_advanced").await;
    scene.resumes("slot_advanced").await;
}

#[tokio::test]
async fn another_cluster_at_the_same_address_is_told() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let other = Cluster::start(18, &Options { own_identifier: true, ..Options::default() });
    other.execute("postgres", &format!("CREATE DATABASE {}", scene.dbname)).await;
    other.execute(&scene.dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
    let create = format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", scene.slot());
    other.execute(&scene.dbname, &format!("CREATE PUBLICATION {} FOR ALL TABLES", scene.slot())).await;
    other.execute(&scene.dbname, &create).await;
    scene.slotd.configure(&other.entry(&scene.dbname));
    scene.slotd.sighup();
    scene.is_lost("other_cluster").await;
    scene.cluster = other;
    scene.resumes("other_cluster").await;
}

#[tokio::test]
async fn a_restored_snapshot_has_diverged() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let snapshot = scene.cluster.save();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    for id in 2..10 {
        scene.insert(id).await;
    }
    scene.delivered().await;
    scene.cluster.restore(&snapshot);
    scene.cluster.start_again();
    let health = scene.is_lost("diverged").await;
    assert!(health["sentence"].as_str().unwrap().contains("timeline 1"), "{health:#}");
    scene.resumes("diverged").await;
}

#[tokio::test]
async fn a_position_beyond_the_switch_of_a_promotion_has_diverged() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let snapshot = scene.cluster.save();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    for id in 2..10 {
        scene.insert(id).await;
    }
    scene.delivered().await;
    scene.cluster.restore(&snapshot);
    scene.cluster.make_standby();
    scene.cluster.start_again();
    scene.cluster.promote().await;
    scene.cluster.execute("postgres", "CHECKPOINT").await;
    let health = scene.is_lost("diverged").await;
    let sentence = health["sentence"].as_str().unwrap();
    assert_eq!(sentence.matches("0/").count(), 2, "both LSNs are named: {sentence}");
    scene.resumes("diverged").await;
}

#[tokio::test]
async fn a_promotion_behind_us_goes_on_without_a_gap() {
    let mut scene = Scene::begin(18, Options::default()).await;
    scene.cluster.restart();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    assert!(scene.slotd.sigterm().await.success());
    scene.cluster.stop_fast().unwrap();
    scene.cluster.make_standby();
    scene.cluster.start_again();
    scene.cluster.promote().await;
    scene.slotd.start();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(2).await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 ");
}

#[tokio::test]
async fn a_publication_that_was_made_anew_is_a_gap() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
        let publication = scene.slot();
        scene.sql(&format!("DROP PUBLICATION {publication}")).await;
        scene.insert(2).await;
        scene.is_lost("publication_gap").await;
        scene.sql(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES")).await;
        scene.insert(3).await;
        assert_eq!(scene.told(), "1 ", "PostgreSQL {major}");
        scene.resumes("publication_gap").await;
        assert_eq!(scene.told(), "1 publication_gap 900 ", "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn another_slot_into_the_same_file_begins_behind_a_gap_record() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let publication = scene.slot();
    scene.slotd.configure(&format!(
        "{}slot_name = \"another\"\npublication_name = \"{publication}\"\n",
        scene.cluster.entry(&scene.dbname)
    ));
    scene.slotd.sighup();
    scene
        .slotd
        .await_until(&scene.dbname, |health| health["slot"] == "another" && health["state"] == "streaming")
        .await;
    scene.insert(2).await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 another slot was streamed here before 2 ");
}

#[tokio::test]
async fn a_file_that_was_cut_is_told_and_the_rows_are_not_taken_for_delivered() {
    let mut scene = Scene::begin(18, Options::default()).await;
    scene.insert(2).await;
    scene.delivered().await;
    assert!(scene.slotd.sigterm().await.success());
    let path = scene.slotd.state_dir().join(format!("changes/{}.jsonl", scene.dbname));
    let text = std::fs::read_to_string(&path).unwrap();
    let first = text.find('\n').unwrap() + 1;
    std::fs::write(&path, &text[..first]).unwrap();
    scene.slotd.start();
    scene.is_lost("sink_behind").await;
    scene.resumes("sink_behind").await;
    assert_eq!(scene.told(), "1 sink_behind 900 ");
}

#[tokio::test]
async fn a_disabled_slot_is_kept_and_watched_and_goes_on_where_it_stood() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let disabled = format!("{}status = \"disabled\"\n", scene.cluster.entry(&scene.dbname));
    scene.slotd.configure(&disabled);
    scene.slotd.sighup();
    scene.slotd.await_state(&scene.dbname, "disabled").await;
    scene.insert(2).await;
    let pinned = |health: &Value| health["wal"]["ours_bytes"].as_u64().is_some_and(|bytes| bytes > 0);
    scene.slotd.await_until(&scene.dbname, pinned).await;
    scene.slotd.configure(&scene.cluster.entry(&scene.dbname));
    scene.slotd.sighup();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 ");

    scene.slotd.configure(&disabled);
    scene.slotd.sighup();
    scene.slotd.await_state(&scene.dbname, "disabled").await;
    scene.sql(&format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    scene.is_lost("slot_missing").await;
}

#[tokio::test]
async fn a_slot_that_is_disabled_from_the_start_is_not_made() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&format!("{}status = \"disabled\"\n", cluster.entry(&dbname)));
    slotd.await_until(&dbname, |health| health["state"] == "disabled" && health["observed"].is_string()).await;
    let exists = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'slotd_{dbname}'");
    assert_eq!(cluster.value("postgres", &exists).await, None);
    assert_eq!(cluster.value(&dbname, "SELECT pubname FROM pg_publication").await, None);
}
