//! Files that are finished, taken away and given up; standard output and its reader.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Cluster, History, Slotd, compare, lines_have_their_place, seed};

/// A file of the default sink is finished at 64 kB.
const SMALL: &str = "[sinks.changes]\nrotate_size = \"64kB\"\n";
/// A sink that is standard output.
const SCREEN: &str = "[sinks.screen]\ntype = \"stdout\"\n";

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.300}"))).collect()
}

/// The finished files, the oldest first.
fn finished(state_dir: &Path, dbname: &str) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(state_dir.join("changes")) else { return Vec::new() };
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    let is_finished = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(&format!("{dbname}.0")) && name.ends_with(".jsonl")
    };
    paths.retain(is_finished);
    paths.sort();
    paths
}

/// Inserts so many rows of 1 kB, ten in a transaction.
async fn insert(cluster: &Cluster, dbname: &str, rows: u32) {
    let client = cluster.connect(dbname).await;
    for _ in 0..rows / 10 {
        let sql = "INSERT INTO t (t) SELECT repeat('x', 1000) FROM generate_series(1, 10)";
        client.batch_execute(sql).await.unwrap();
    }
}

const TABLE: &str = "CREATE TABLE t (id bigserial PRIMARY KEY, t text)";

#[tokio::test]
async fn finished_files_are_whole_and_may_be_taken_away_while_the_stream_runs() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let mut slotd = Slotd::run(&format!("{SMALL}{}", cluster.entry(&dbname)));
    slotd.await_state(&dbname, "streaming").await;
    let workload = History::begin(cluster, &dbname, 2, seed());
    let (mut taken, mut names, mut lines) = (0, BTreeSet::new(), Vec::new());
    while taken < 12 {
        for path in finished(&slotd.state_dir(), &dbname) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.ends_with('\n') && text.len() >= 64 << 10, "{} has {} bytes", path.display(), text.len());
            lines.extend(parsed(&text));
            fs::remove_file(&path).unwrap();
            assert!(names.insert(path), "a name comes twice");
            taken += 1;
            // In between, both ways of an end.
            match taken {
                4 => slotd.kill9().await,
                8 => assert!(slotd.sigterm().await.success()),
                _ => continue,
            }
            slotd.start();
            slotd.await_state(&dbname, "streaming").await;
        }
        let folder = slotd.state_dir();
        slotd.await_until(&dbname, |_| !finished(&folder, &dbname).is_empty()).await;
    }
    workload.stop().await;
    slotd.await_acknowledged(cluster, &dbname).await;
    lines.extend(slotd.lines(&dbname));
    lines_have_their_place(&lines, &dbname);
    compare(&lines, &History::expected(cluster, &dbname).await).assert_exact();
}

#[tokio::test]
async fn keep_gives_up_the_oldest_files_by_age() {
    let cluster = Cluster::shared(18);
    let ids = |paths: &[PathBuf]| -> Vec<i64> {
        let lines = paths.iter().flat_map(|path| parsed(&fs::read_to_string(path).unwrap()));
        lines.map(|line| line["record"]["id"].as_i64().unwrap()).collect()
    };
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, TABLE).await;
    let mut slotd = Slotd::run(&format!("{SMALL}keep = \"1s\"\n{}", cluster.entry(&dbname)));
    slotd.await_state(&dbname, "streaming").await;
    insert(cluster, &dbname, 1000).await;
    slotd.await_acknowledged(cluster, &dbname).await;
    // Their age is all that is waited for.
    let old = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap().elapsed().unwrap().as_secs() >= 1;
    let before = finished(&slotd.state_dir(), &dbname);
    assert!(!before.is_empty());
    while !before.iter().all(|path| !path.exists() || old(path)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    insert(cluster, &dbname, 200).await;
    slotd.await_acknowledged(cluster, &dbname).await;
    assert!(before.iter().all(|path| !path.exists()), "{before:?}");
    let current = slotd.state_dir().join(format!("changes/{dbname}.jsonl"));
    let ids = ids(&[finished(&slotd.state_dir(), &dbname), vec![current]].concat());
    let first = ids[0];
    assert!(first > 1, "nothing was given up");
    assert!(ids.iter().copied().eq(first..=1200), "a hole from {first} to 1200");
}

#[tokio::test]
async fn two_sinks_of_one_database_both_get_everything() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let config = format!("{SMALL}{SCREEN}{}sink = [\"changes\", \"screen\"]\n", cluster.entry(&dbname));
    let mut slotd = Slotd::run(&config);
    slotd.await_state(&dbname, "streaming").await;
    let workload = History::begin(cluster, &dbname, 2, seed());
    for _ in 0..3 {
        slotd.await_acknowledged(cluster, &dbname).await;
        assert!(slotd.sigterm().await.success());
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
    }
    workload.stop().await;
    slotd.await_acknowledged(cluster, &dbname).await;
    let expected = History::expected(cluster, &dbname).await;
    compare(&slotd.lines(&dbname), &expected).assert_exact();
    // Without a crash, the one that is at least once is exact too.
    compare(&parsed(&slotd.stdout()), &expected).assert_exact();
}

#[tokio::test]
async fn standard_output_loses_nothing_when_slotd_is_killed_and_may_repeat_whole_lines() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let mut slotd = Slotd::run(&format!("{SCREEN}{}sink = \"screen\"\n", cluster.entry(&dbname)));
    slotd.await_state(&dbname, "streaming").await;
    let workload = History::begin(cluster, &dbname, 2, seed());
    for _ in 0..5 {
        slotd.await_acknowledged(cluster, &dbname).await;
        slotd.kill9().await;
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
    }
    workload.stop().await;
    slotd.await_acknowledged(cluster, &dbname).await;
    // A torn line stands alone, and comes again whole.
    let stdout = slotd.stdout();
    let whole = |line: &&str| serde_json::from_str::<Value>(line).is_ok();
    assert!(stdout.lines().filter(|line| !line.is_empty() && !whole(line)).count() <= 5, "more than one for each kill");
    let whole: String = stdout.lines().filter(whole).flat_map(|line| [line, "\n"]).collect();
    let (mut lines, mut seen) = (parsed(&whole), BTreeSet::new());
    lines.retain(|line| seen.insert(line["metadata"]["idempotency_key"].as_str().unwrap().to_owned()));
    compare(&lines, &History::expected(cluster, &dbname).await).assert_exact();
}

#[tokio::test]
async fn a_reader_that_is_gone_is_told_and_nothing_is_acknowledged() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, TABLE).await;
    let config = format!("{SCREEN}{}sink = \"screen\"\n", cluster.entry(&dbname));
    let mut slotd = Slotd::new(&config);
    let mut reader = BufReader::new(slotd.start_piped()).lines();
    slotd.await_state(&dbname, "streaming").await;
    insert(cluster, &dbname, 10).await;
    for id in 1..=10 {
        let line: Value = serde_json::from_str(&reader.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(line["record"]["id"], id);
    }
    let before = slotd.await_acknowledged(cluster, &dbname).await;
    drop(reader);
    insert(cluster, &dbname, 10).await;
    let health = slotd.await_state(&dbname, "retrying").await;
    assert_eq!(health["reason"], "sink", "{health:#}");
    assert!(health["sentence"].as_str().unwrap().contains("standard output"), "{health:#}");
    // The guard sees the server's WAL end although nothing is streamed.
    let health = slotd.await_until(&dbname, |health| health["lag"]["bytes"].as_u64() > Some(10_000)).await;
    assert_eq!(health["positions"]["acknowledged"], before["positions"]["acknowledged"]);

    assert!(slotd.sigterm().await.success());
    slotd.start();
    slotd.await_acknowledged(cluster, &dbname).await;
    let stdout = slotd.stdout();
    // Behind an empty line, which ends what the process before may have left torn.
    let whole = stdout.strip_prefix('\n').unwrap();
    let ids: Vec<_> = parsed(whole).iter().map(|line| line["record"]["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (11..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_databases_never_mix_their_lines_on_standard_output() {
    let cluster = Cluster::shared(18);
    let names = [cluster.create_database().await, cluster.create_database().await];
    let mut config = SCREEN.to_owned();
    for name in &names {
        cluster.execute(name, TABLE).await;
        config.push_str(&format!("{}sink = \"screen\"\n", cluster.entry(name)));
    }
    let mut slotd = Slotd::run(&config);
    let long = "INSERT INTO t (t) SELECT repeat(md5(n::text), 10000) FROM generate_series(1, 10) AS n";
    for name in &names {
        slotd.await_state(name, "streaming").await;
    }
    let write = async |name: &str| {
        let client = cluster.connect(name).await;
        for _ in 0..5 {
            client.batch_execute(long).await.unwrap();
        }
    };
    tokio::join!(write(&names[0]), write(&names[1]));
    for name in &names {
        slotd.await_acknowledged(cluster, name).await;
    }
    let lines = parsed(&slotd.stdout());
    for name in &names {
        let of_name = |line: &&Value| line["metadata"]["database"]["name"] == **name;
        let ids: Vec<_> = lines.iter().filter(of_name).map(|line| line["record"]["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, (1..=50).collect::<Vec<_>>(), "{name}");
    }
}
