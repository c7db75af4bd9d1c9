//! Memory stays within its bound, however large a transaction or a row is.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

use crate::support::{Cluster, Flow, Options, Slotd};

/// The bound for a slot, in kB.
const BOUND: u64 = 16 << 10;

/// How much of its own code and constants the release binary keeps in memory, in kB. A test build keeps half as much again,
/// which says nothing of what slotd takes.
const CODE: u64 = 7_680;

/// The most memory that the process has had at a time (`VmHWM`), or has now (`VmRSS`), in kB, as if it were the release
/// binary.
fn memory(slotd: &Slotd, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", slotd.pid().unwrap())).unwrap();
    let kilobytes = |field: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    kilobytes(field) - kilobytes("RssFile") + CODE
}

/// The files of the default sink, the oldest first. They are too large for [`crate::support::Slotd::lines`].
fn files(flow: &Flow<'_>) -> impl Iterator<Item = File> {
    let folder = fs::read_dir(flow.slotd.state_dir().join("changes")).unwrap();
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    // `x.000001.jsonl` is before `x.jsonl`.
    paths.sort();
    paths.into_iter().map(|path| File::open(path).unwrap())
}

#[tokio::test]
async fn a_transaction_of_two_million_rows_stays_within_16_mib() {
    let cluster = Cluster::start(18, &Options::default());
    let table = "CREATE TABLE t (id bigint PRIMARY KEY, t text)";
    let mut flow = Flow::start(&cluster, table, "").await;
    let idle = memory(&flow.slotd, "VmRSS");
    flow.run(&["INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 2000000) AS n"]).await;
    flow.slotd.await_acknowledged(&cluster, &flow.dbname).await;
    let most = memory(&flow.slotd, "VmHWM");
    println!("idle {idle} kB, at most {most} kB, then {} kB", memory(&flow.slotd, "VmRSS"));

    let mut expected = 0_u64;
    for line in files(&flow).flat_map(|file| BufReader::new(file).lines()) {
        let line = line.unwrap();
        expected += 1;
        let start = format!("{{\"record\":{{\"id\":{expected},\"t\":\"row {expected}\"}},");
        let place = format!("\"commit_idx\":{},", expected - 1);
        assert!(line.starts_with(&start) && line.contains(&place), "line {expected} is {line}");
    }
    assert_eq!(expected, 2_000_000);
    assert!(most <= BOUND, "{most} kB at most, {idle} kB while idle");
}

#[tokio::test]
async fn rows_of_100_mb_stay_within_three_times_the_largest() {
    let cluster = Cluster::start(18, &Options::default());
    let table = "CREATE TABLE t (id int PRIMARY KEY, t text); ALTER TABLE t ALTER t SET STORAGE EXTERNAL";
    let mut flow = Flow::start(&cluster, table, "").await;
    // Two of ten characters are escaped, so that the line is longer than the row.
    let largest: u64 = 100_000_000;
    flow.run(&["BEGIN; INSERT INTO t SELECT n, repeat('123456\n8' || n || '\"', 10000000) FROM generate_series(1, 3) AS n; COMMIT"])
        .await;
    flow.slotd.await_acknowledged(&cluster, &flow.dbname).await;
    let most = memory(&flow.slotd, "VmHWM");
    println!("at most {most} kB, then {} kB", memory(&flow.slotd, "VmRSS"));

    let mut lines = files(&flow).flat_map(|file| BufReader::new(file).lines());
    for number in 1..=3 {
        let line = lines.next().unwrap().unwrap();
        let rest = line.strip_prefix(&format!("{{\"record\":{{\"id\":{number},\"t\":\"")).unwrap();
        let (value, rest) = rest.split_at(120_000_000);
        let unit = format!("123456\\n8{number}\\\"");
        assert!(value.as_bytes().chunks(unit.len()).all(|chunk| chunk == unit.as_bytes()), "row {number}");
        assert!(rest.starts_with("\"},\"changes\":null,\"action\":\"insert\""), "row {number}: {rest:.100}");
    }
    assert!(lines.next().is_none());
    assert!(most <= BOUND + 3 * largest / 1024, "{most} kB at most");
    let after = memory(&flow.slotd, "VmRSS");
    assert!(after <= BOUND, "{after} kB are kept");
}

/// A batch is held once, however many sinks it goes to, and no more is read than one batch while a sink takes nothing.
/// What each further sink may cost is its own buffer.
#[tokio::test]
async fn a_sink_that_is_blocked_beside_another_one_takes_no_more_memory() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE t (id bigint PRIMARY KEY, t text)").await;
    let config = format!(
        "[agent]\nsink_stall_timeout = \"3s\"\n[sinks.screen]\ntype = \"stdout\"\n[sinks.changes]\n{}\
         sink = [\"changes\", \"screen\"]\n",
        cluster.entry(&dbname)
    );
    let mut slotd = Slotd::new(&config);
    let mut stdout = slotd.start_piped();
    slotd.await_state(&dbname, "streaming").await;
    // 100 MB, and a pipe that holds 64 kB.
    cluster.execute(&dbname, "INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 500000) AS n").await;
    let health = slotd.await_until(&dbname, |health| health["reason"] == "sink").await;
    let blocked = memory(&slotd, "VmHWM");
    assert!(blocked <= BOUND, "{blocked} kB while blocked: {health:#}");
    let reader = tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await });
    slotd.await_acknowledged(&cluster, &dbname).await;
    let most = memory(&slotd, "VmHWM");
    println!("{blocked} kB while blocked, at most {most} kB");
    let lines = slotd.files(&dbname).into_iter().map(|path| BufReader::new(File::open(path).unwrap()).lines().count());
    assert_eq!(lines.sum::<usize>(), 500_000);
    assert!(slotd.sigterm().await.success(), "{}", slotd.log());
    assert!(reader.await.unwrap().unwrap() > 100 << 20, "the other sink has not had all");
    assert!(most <= BOUND + (1 << 10), "{most} kB at most");
}
