//! From the commit to durable in the file, while transactions come at a rate.
//!
//! A transaction begins to count at the moment that its commit record carries, before the server's own fsync. It is
//! durable once a sidecar that covers its line is: the sidecar is looked at four times a millisecond, and a new one is
//! fsynced once more by the bench before the clock is read. So each figure is an upper bound.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use slotd::storage::sealed;

use crate::agent::Agent;
use crate::contender::{changes, entry};
use crate::load;
use crate::options::Options;
use crate::place::{BENCH, Place};
use crate::process::cpu;
use crate::results::{Latency, Load, Percentiles};
use crate::server::Failure;
use crate::tools::Tools;

/// How long transactions come in each round at `SCALE` 1.
const LENGTH: Duration = Duration::from_secs(10);
/// Between two looks at the sidecar.
const LOOK: Duration = Duration::from_micros(250);

/// How many bytes of the file were durable, and since when.
type Seen = Vec<(u64, Timestamp)>;

/// Measures at `rate` transactions a second.
pub(crate) async fn run(rate: u32, options: &Options, tools: &Tools) -> Result<Latency, Failure> {
    let length = LENGTH.mul_f64(options.scale).max(Duration::from_secs(2));
    let place = Place::start(18, &[("synchronous_commit", "on")])?;
    load::prepare(&place).await?;
    // The first second is that of warm caches and the first table.
    load::run(&place, tools, rate, Duration::from_secs(1)).await?;
    let alone = load::run(&place, tools, rate, length).await?;
    load::clear(&place).await?;
    let mut agent = Agent::new()?;
    let disk = tokio::task::block_in_place(|| disk(agent.folder()))?;
    // One file, so that a line's place in it says whether a sidecar covers it.
    let settings = "[sinks.changes]\ntype = \"file\"\nrotate_size = \"1TB\"";
    agent.start(tools, settings, &entry(BENCH, &place.server.port().to_string(), BENCH, "latency", "ssl = false"))?;
    agent.streams().await?;
    load::run(&place, tools, rate, Duration::from_secs(1)).await?;
    let (stop, sidecar) = (Arc::new(AtomicBool::new(false)), agent.folder().join("state/changes/bench.jsonl.cursor"));
    let watch = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || watch(&sidecar, &stop)
    });
    let (mut begins, mut reached) = (Vec::new(), Vec::new());
    let (cpu_before, clock) = (cpu(agent.pid()?)?, Instant::now());
    for _ in 0..options.rounds {
        begins.push(Timestamp::now());
        reached.push(load::run(&place, tools, rate, length).await?);
    }
    let elapsed = clock.elapsed();
    let cpu = cpu(agent.pid()?)? - cpu_before;
    // What was committed last is durable soon.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let seen = watch.await??;
    agent.stop().await?;
    let lines = lines(&changes(agent.folder())?[0])?;
    are_all(&lines, &place).await?;
    let mut rounds = vec![Vec::new(); begins.len()];
    for Line { end, committed, .. } in lines {
        // Before the first round it is still warming up.
        let Some(round) = begins.partition_point(|begun| *begun <= committed).checked_sub(1) else { continue };
        let durable = seen.partition_point(|(length, _)| *length < end);
        let (_, durable) = seen.get(durable).ok_or("a transaction was not durable after two seconds")?;
        rounds[round].push(durable.duration_since(committed).as_secs_f64() * 1e3);
    }
    let all: Vec<_> = rounds.iter().flatten().copied().collect();
    Ok(Latency {
        load: Load { wanted: rate, alone, reached },
        transactions: all.len(),
        delay: Percentiles::of(all).ok_or("no transaction came")?,
        p99: rounds.into_iter().filter_map(Percentiles::of).map(|round| round.p99).collect(),
        disk,
        cpu_percent: cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
    })
}

/// Notes what the sidecar says whenever it says something new.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, which looks more often than a runtime's clock ticks"
)]
fn watch(path: &Path, stop: &AtomicBool) -> Result<Seen, Failure> {
    let file = File::open(path)?;
    let mut seen: Seen = Vec::new();
    let mut bytes = [0; 8192];
    while !stop.load(Ordering::Relaxed) {
        file.read_exact_at(&mut bytes, 0)?;
        // The one that is being written at this moment is torn, and whole at the next look.
        let states = bytes.split(|byte| *byte == b'\n').filter_map(sealed::unseal);
        let states = states.filter_map(|state| serde_json::from_slice::<Value>(state).ok());
        let length = states.filter_map(|state| state["length"].as_u64()).max().unwrap_or_default();
        if seen.last().is_none_or(|(before, _)| *before < length) {
            file.sync_data()?;
            seen.push((length, Timestamp::now()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(seen)
}

/// One line of the file.
struct Line {
    /// Where it ends.
    end: u64,
    committed: Timestamp,
    /// The key of its row.
    id: i64,
}

/// Fails unless each row of the table has a line, and one alone.
async fn are_all(lines: &[Line], place: &Place) -> Result<(), Failure> {
    let rows = place.connect(BENCH).await?.query("SELECT id FROM events ORDER BY id", &[]).await?;
    let rows: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let mut ids: Vec<_> = lines.iter().map(|line| line.id).collect();
    ids.sort_unstable();
    if ids == rows {
        return Ok(());
    }
    let count = format!("{} rows were committed, and {} lines came", rows.len(), ids.len());
    let twice = ids.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| format!("row {} came twice", pair[0]));
    let missing = rows.iter().find(|id| ids.binary_search(id).is_err()).map(|id| format!("row {id} did not come"));
    let what = missing.or(twice).unwrap_or_else(|| "a row came that is not in the table".to_owned());
    Err(format!("{count}: {what}").into())
}

/// Its lines.
fn lines(path: &Path) -> Result<Vec<Line>, Failure> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut line, mut end, mut lines) = (String::new(), 0, Vec::new());
    loop {
        line.clear();
        let len = file.read_line(&mut line)?;
        if len == 0 {
            return Ok(lines);
        }
        end += len as u64;
        let (_, rest) = line.split_once("\"commit_timestamp\":\"").ok_or("a line without a time")?;
        let (time, _) = rest.split_once('"').ok_or("a line without a time")?;
        let id = line.strip_prefix("{\"record\":{\"id\":").and_then(|rest| rest.split_once(','));
        let (id, _) = id.ok_or("a line without a key")?;
        lines.push(Line { end, committed: time.parse()?, id: id.parse()? });
    }
}

/// What the disk itself needs to take 4 kB behind a file's end.
fn disk(folder: &Path) -> Result<Percentiles, Failure> {
    let path = folder.join("probe");
    let mut file = File::create(&path)?;
    let mut delays = Vec::new();
    for _ in 0..1000 {
        file.write_all(&[b'.'; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        delays.push(start.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&path)?;
    Percentiles::of(delays).ok_or_else(|| "no fdatasync".into())
}
