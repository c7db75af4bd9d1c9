//! A slot that no longer leads on from where the sink stands: named for what it is, never made anew in silence, and left
//! by `slotd resume --accept-gap` behind a gap record.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Cluster, Options, Slotd, lines_of, lsn_of};

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

    // The restored server's own WAL passes our position: it is no more ours for that, also after a start.
    let position = health["positions"]["durable"].as_str().and_then(lsn_of).unwrap();
    for id in 1000.. {
        scene.insert(id).await;
        let end = scene.cluster.value("postgres", "SELECT pg_current_wal_flush_lsn()").await.unwrap();
        if lsn_of(&end).unwrap() > position + 1000 {
            break;
        }
    }
    assert!(scene.slotd.sigterm().await.success());
    scene.slotd.start();
    scene.is_lost("diverged").await;
    assert_eq!(scene.told(), "1 2 3 4 5 6 7 8 9 ");
    scene.resumes("diverged").await;
    assert!(
        scene.told().starts_with("1 2 3 4 5 6 7 8 9 diverged 1000 "),
        "what came after the restore: {}",
        scene.told()
    );
}

/// Nobody has seen where its WAL ended, and by now it reaches past our position: only what it sends there tells.
#[tokio::test]
async fn a_snapshot_that_was_restored_while_no_one_looked_has_diverged() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
        let snapshot = scene.cluster.save();
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.insert(2).await;
        scene.delivered().await;
        assert!(scene.slotd.sigterm().await.success());
        scene.cluster.restore(&snapshot);
        scene.cluster.start_again();
        scene.sql("INSERT INTO items SELECT generate_series(1000, 1999)").await;
        scene.slotd.start();
        let told = scene.is_lost("diverged").await;
        assert_eq!(scene.told(), "1 2 ", "PostgreSQL {major}");
        // Also after a start, without another look at the stream.
        assert!(scene.slotd.sigterm().await.success());
        scene.slotd.start();
        assert_eq!(scene.is_lost("diverged").await["sentence"], told["sentence"]);
        scene.resumes("diverged").await;
        // Before 17 a server that is stopped does not keep what was acknowledged last, so the first row may come again.
        assert!(scene.told().contains(" 1000 "), "PostgreSQL {major}: {}", scene.told());
    }
}

/// What the server sends again after its crash is what we hold, and proves that it is the same history.
#[tokio::test]
async fn a_server_that_crashed_proves_itself_and_repeats_nothing() {
    let mut scene = Scene::begin(18, Options { fsync: true, ..Options::default() }).await;
    scene.insert(2).await;
    scene.delivered().await;
    scene.cluster.stop_immediate().unwrap();
    scene.cluster.start_again();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(3).await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 3 ");
    assert!(scene.slotd.log().contains("sends the last transaction once more"), "{}", scene.slotd.log());
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
    let last = scene.lines()[0]["metadata"]["commit_lsn"].as_u64().unwrap();
    scene.is_lost("sink_behind").await;
    scene.resumes("sink_behind").await;
    assert_eq!(scene.told(), "1 sink_behind 900 ");
    let (from, to) = scene.gap();
    assert!(from == last && to > from, "{from} to {to}, and the file ends at {last}");
}

#[tokio::test]
async fn files_that_were_removed_with_their_sidecar_are_told() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    std::fs::remove_dir_all(scene.slotd.state_dir().join("changes")).unwrap();
    scene.slotd.start();
    scene.is_lost("sink_behind").await;
    scene.resumes("sink_behind").await;
    assert_eq!(scene.told(), "sink_behind 900 ");
}

/// Files that were restored from a backup, sidecar and all, agree with themselves; only what is recorded beside them
/// tells.
#[tokio::test]
async fn files_that_were_restored_from_a_backup_are_told() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    let (changes, backup) = (scene.slotd.state_dir().join("changes"), scene.slotd.state_dir().join("backup"));
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&changes, &backup);
    scene.slotd.start();
    scene.insert(2).await;
    scene.delivered().await;
    // An idle position behind the row: it is this that the slot stands at.
    scene.cluster.execute("postgres", "CREATE TABLE elsewhere (); SELECT pg_switch_wal()").await;
    scene.delivered().await;
    assert!(scene.slotd.sigterm().await.success());
    copy(&backup, &changes);
    scene.slotd.start();
    scene.is_lost("sink_behind").await;
    scene.resumes("sink_behind").await;
    assert_eq!(scene.told(), "1 sink_behind 900 ");
}

#[tokio::test]
async fn a_file_that_was_cut_goes_on_where_it_ends_while_the_slot_has_what_is_missing() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    // Two more rows come into the file, and no acknowledgement goes out.
    scene.slotd.set_env("SLOTD_STALL_AT", "AckEncoded");
    scene.slotd.start();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(2).await;
    scene.insert(3).await;
    scene.slotd.await_lines(&scene.dbname, 3).await;
    scene.slotd.kill9().await;
    scene.slotd.unset_env("SLOTD_STALL_AT");
    let path = scene.slotd.state_dir().join(format!("changes/{}.jsonl", scene.dbname));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..=text.trim_end().rfind('\n').unwrap()]).unwrap();
    assert_eq!(scene.told(), "1 2 ");
    scene.slotd.start();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 3 ");
}

/// What a sink and a database are called is the file's business; the changes know their position by themselves.
#[tokio::test]
async fn a_sink_or_a_database_that_is_renamed_goes_on_where_it_stood() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let (old, slot) = (scene.dbname.clone(), scene.slot());
    // An idle position behind the row: no file has it.
    scene.cluster.execute("postgres", "CREATE TABLE elsewhere ()").await;
    scene.delivered().await;
    assert!(scene.slotd.sigterm().await.success());
    let entry = scene.cluster.entry(&old).replacen(&format!("\"{old}\""), "\"renamed\"", 1);
    let path = scene.slotd.state_dir().join(format!("changes/{old}.jsonl"));
    scene.slotd.configure(&format!(
        "[sinks.other]\ntype = \"file\"\npath = \"{}\"\n{entry}slot_name = \"{slot}\"\nsink = \"other\"\n",
        path.display()
    ));
    scene.slotd.start();
    scene.slotd.await_state("renamed", "streaming").await;
    scene.insert(2).await;
    scene.slotd.await_acknowledged(&scene.cluster, "renamed").await;
    assert_eq!(scene.told(), "1 2 ");
}

#[tokio::test]
async fn a_sink_that_is_sent_to_another_path_begins_there_without_a_hole() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    scene.insert(2).await;
    let elsewhere = scene.slotd.state_dir().join("elsewhere/{database}.jsonl");
    scene.slotd.configure(&format!(
        "[sinks.changes]\ntype = \"file\"\npath = \"{}\"\n{}",
        elsewhere.display(),
        scene.cluster.entry(&scene.dbname)
    ));
    scene.slotd.start();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    let ids = |folder: &Path| -> Vec<Value> {
        lines_of(folder, &scene.dbname).iter().map(|line| line["record"]["id"].clone()).collect()
    };
    assert_eq!((scene.told().as_str(), ids(elsewhere.parent().unwrap())), ("1 ", vec![Value::from(2)]));
}

/// What the other agent has delivered is in its files; taking its slot over would leave a hole in ours.
#[tokio::test]
async fn a_slot_that_another_agent_held_is_not_taken_over_until_a_restart() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let mut other = Slotd::run(&format!("agent.grace = \"1s\"\n{}", scene.cluster.entry(&scene.dbname)));
    let behind = other.await_state(&scene.dbname, "waiting").await;
    assert!(behind["holder"]["application_name"].as_str().unwrap().starts_with("slotd/"), "{behind:#}");
    assert_eq!(behind["verdict"], "warn", "{behind:#}");
    scene.insert(2).await;
    scene.delivered().await;
    assert!(scene.slotd.sigterm().await.success());
    scene.insert(3).await;
    let free = |health: &Value| health["holder"].is_null() && health["verdict"] == "fail";
    let alone = other.await_until(&scene.dbname, free).await;
    assert_eq!((&alone["state"], &alone["reason"]), (&"waiting".into(), &"slot_held".into()), "{alone:#}");
    assert!(other.log().contains(alone["sentence"].as_str().unwrap()), "{}", other.log());
    assert_eq!(other.lines(&scene.dbname), [Value::Null; 0]);

    // A reload is no restart.
    other.configure(&format!("agent.grace = \"1s\"\n{}publish = \"insert\"\n", scene.cluster.entry(&scene.dbname)));
    other.sighup();
    let again = |health: &Value| health["since"] != alone["since"] && health["state"] == "waiting";
    other.await_until(&scene.dbname, again).await;

    // The agent that comes back goes on; after it is gone for good, this one is restarted.
    scene.slotd.start();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 3 ");
    assert!(scene.slotd.sigterm().await.success());
    assert!(other.sigterm().await.success());
    other.start();
    other.await_state(&scene.dbname, "streaming").await;
    scene.insert(4).await;
    other.await_acknowledged(&scene.cluster, &scene.dbname).await;
    let ids: Vec<_> = other.lines(&scene.dbname).iter().map(|line| line["record"]["id"].clone()).collect();
    assert_eq!(ids, [4]);
}

#[tokio::test]
async fn a_slot_that_was_dropped_is_missing_for_another_sink_too() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    scene.insert(2).await;
    scene.sql(&format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    let elsewhere = scene.slotd.state_dir().join("elsewhere/{database}.jsonl");
    scene.slotd.configure(&format!(
        "[sinks.other]\ntype = \"file\"\npath = \"{}\"\n{}sink = \"other\"\n",
        elsewhere.display(),
        scene.cluster.entry(&scene.dbname)
    ));
    scene.slotd.start();
    scene.is_lost("slot_missing").await;
    let (status, said) = scene.slotd.command_output(&["resume", &scene.dbname, "--accept-gap", "--yes"]).await;
    assert!(status.success(), "{said}");
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    let lines = lines_of(elsewhere.parent().unwrap(), &scene.dbname);
    assert_eq!(lines[0]["metadata"]["reason"], "slot_missing", "{lines:?}");
}

/// The slot and its record speak of the same stretch, so its WAL was somewhere; what lies in it is named before the first
/// change.
#[tokio::test]
async fn a_slot_that_is_lost_when_it_is_first_seen_is_left_behind_a_gap_record_too() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
    let slot = format!("slotd_{dbname}");
    let made = format!("SELECT lsn FROM pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    let made = cluster.value(&dbname, &made).await.as_deref().and_then(lsn_of).unwrap();
    cluster.execute(&dbname, "INSERT INTO items VALUES (1)").await;
    let slotd = Slotd::run(&cluster.entry(&dbname));
    let mut scene = Scene { cluster, dbname, slotd };
    scene.is_lost("publication_gap").await;
    scene.resumes("publication_gap").await;
    assert_eq!(scene.told(), "publication_gap 900 ");
    let (from, to) = scene.gap();
    assert!(from == made && to > from, "{from} to {to}, and the slot was made at {made}");
}

/// The rows between are of both slots; a record of a hole that is none would only mislead.
#[tokio::test]
async fn a_slot_that_comes_back_behind_another_one_makes_no_gap_backwards() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let (publication, entry) = (scene.slot(), scene.cluster.entry(&scene.dbname));
    let another = format!("{entry}slot_name = \"another\"\npublication_name = \"{publication}\"\n");
    for (id, config) in [(2, &another), (3, &entry)] {
        assert!(scene.slotd.sigterm().await.success());
        scene.slotd.configure(config);
        scene.slotd.start();
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.insert(id).await;
        scene.delivered().await;
    }
    assert_eq!(scene.told(), "1 another slot was streamed here before 2 2 3 ");
}

#[tokio::test]
async fn an_older_timeline_has_diverged_and_one_of_the_same_number_that_forked_elsewhere_too() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let snapshot = scene.cluster.save();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    assert!(scene.slotd.sigterm().await.success());
    let promoted = async |scene: &mut Scene| {
        scene.cluster.stop_immediate().unwrap();
        scene.cluster.make_standby();
        scene.cluster.start_again();
        scene.cluster.promote().await;
    };
    // A row before the promotion, so that the other history forks elsewhere.
    scene.insert(2).await;
    promoted(&mut scene).await;
    scene.slotd.start();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 ");

    scene.cluster.restore(&snapshot);
    scene.cluster.start_again();
    let health = scene.is_lost("diverged").await;
    assert!(health["sentence"].as_str().unwrap().contains("timeline 1"), "{health:#}");
    promoted(&mut scene).await;
    for id in 3..100 {
        scene.insert(id).await;
    }
    assert!(scene.slotd.sigterm().await.success());
    scene.slotd.start();
    let health = scene.is_lost("diverged").await;
    assert!(health["sentence"].as_str().unwrap().contains("timeline 2"), "{health:#}");
    scene.resumes("diverged").await;
    assert!(scene.told().starts_with("1 2 diverged 3 4 "), "{}", scene.told());
}

/// The slot is looked for although the sink can't be opened: whoever mends the sink wants to know the rest.
#[tokio::test]
async fn a_slot_that_is_dropped_while_the_sink_is_in_trouble_is_missing_all_the_same() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    let path = scene.slotd.state_dir().join(format!("changes/{}.jsonl", scene.dbname));
    let own = scene.slotd.state_dir().join("own");
    std::fs::rename(&path, &own).unwrap();
    std::fs::create_dir(&path).unwrap();
    scene.slotd.start();
    scene.slotd.await_until(&scene.dbname, |health| health["reason"] == "sink").await;
    scene.sql(&format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    scene.insert(2).await;
    scene.is_lost("slot_missing").await;
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&own, &path).unwrap();
    scene.resumes("slot_missing").await;
    assert_eq!(scene.told(), "1 slot_missing 900 ");
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
