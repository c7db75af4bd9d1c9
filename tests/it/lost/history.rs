//! The history: a server that was restored, promoted or exchanged, and files that were cut, taken away or taken back.

use std::path::Path;

use serde_json::Value;

use super::Scene;
use crate::support::{Cluster, Options, Slotd, lines_of, lsn_of};

#[tokio::test]
async fn another_cluster_at_the_same_address_is_told() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
        let other = Cluster::start(major, &Options { own_identifier: true, ..Options::default() });
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
async fn a_file_that_was_cut_is_told_and_the_rows_are_not_taken_for_delivered() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
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

#[tokio::test]
async fn files_that_are_removed_before_they_held_anything_are_begun_anew() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    assert!(slotd.sigterm().await.success());
    std::fs::remove_dir_all(slotd.state_dir().join("changes")).unwrap();
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO t VALUES (1)").await;
    slotd.await_lines(&dbname, 1).await;
    slotd.await_state(&dbname, "streaming").await;
}
