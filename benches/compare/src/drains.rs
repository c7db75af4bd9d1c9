//! Backlogs: written once, and drained by each contender in turn from a slot of its own.

use std::fs;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::backlog::Backlog;
use crate::check::{Expected, Rows};
use crate::contender::{CONTENDERS, Contender, Job};
use crate::options::Options;
use crate::place::{BENCH, LOG_CONNECTIONS, Place, finish};
use crate::process::{children, cpu_of_ended_children};
use crate::results::{self, Run};
use crate::server::{Failure, PATIENCE};
use crate::tools::Tools;

/// Measures `backlog`.
pub(crate) async fn run(backlog: &Backlog, options: &Options, tools: &Tools) -> Result<results::Backlog, Failure> {
    let mut settings = LOG_CONNECTIONS.to_vec();
    let plugins = tools.wal2json.as_ref().map(|folder| format!("$libdir:{}", folder.display()));
    if let (15, Ok(plugins)) = (backlog.major, &plugins) {
        settings.push(("dynamic_library_path", plugins.as_str()));
    }
    let place = Place::start(backlog.major, &settings)?;
    place.connect("postgres").await?.batch_execute(&format!("CREATE DATABASE {BENCH}")).await?;
    let client = place.connect(BENCH).await?;
    let (expected, commit, end) = write(backlog, options.scale, &client).await?;

    let wanted =
        |contender: &Contender| contender.takes_part(backlog.name, backlog.major) && options.compares(contender.name());
    let asked: Vec<_> = CONTENDERS.into_iter().filter(wanted).collect();
    let (have, lack): (Vec<_>, Vec<_>) = asked.into_iter().partition(|contender| tools.lack(*contender).is_none());
    let lack = lack.into_iter().filter(|contender| *contender != Contender::Baseline);
    let why = |contender: Contender| Some((contender.name().to_owned(), tools.lack(contender)?));
    let left_out = lack.filter_map(why).collect();
    let mut runs = vec![Vec::new(); have.len()];
    for round in 0..options.rounds as usize {
        for turn in 0..have.len() {
            let at = (turn + round) % have.len();
            let slot = format!("round_{round}_{at}");
            let job = Job { place: &place, tools, slot, commit, end };
            let run = turn_of(have[at], &job, &client, &expected).await?;
            eprintln!(
                "  round {}: {:<15} {:>7.3} s, {:>7.3} s CPU, {:>7.3} s CPU of the server, {:>6} kB",
                round + 1,
                have[at].name(),
                run.wall,
                run.cpu,
                run.server_cpu,
                run.peak_rss_kib
            );
            runs[at].push(run);
        }
    }
    let (rows, checksum) = expected.after.checksum();
    let contenders = have.iter().map(|contender| contender.name().to_owned()).zip(runs).collect();
    Ok(results::Backlog {
        major: backlog.major,
        counts: expected.counts,
        transactions: backlog.transactions(options.scale),
        rows,
        checksum,
        contenders,
        left_out,
    })
}

/// Makes the slot `base`, then the backlog behind it. Gives what a drain has to lead to, where the last COMMIT ends, and
/// where the WAL ended after it.
async fn write(
    backlog: &Backlog,
    scale: f64,
    client: &Client,
) -> Result<(Expected, slotd::lsn::Lsn, slotd::lsn::Lsn), Failure> {
    let table = backlog.table;
    client.batch_execute("SET synchronous_commit = off").await?;
    client.batch_execute(&format!("{}; CREATE TABLE finish (id int PRIMARY KEY)", table.definition)).await?;
    for statement in backlog.before(scale) {
        client.batch_execute(&statement).await?;
    }
    let before = Rows::of_table(client, table).await?;
    client.batch_execute(&format!("CREATE PUBLICATION {BENCH} FOR TABLE {}, finish", table.name)).await?;
    client.batch_execute("SELECT pg_create_logical_replication_slot('base', 'pgoutput')").await?;
    for statement in backlog.write(scale) {
        client.batch_execute(&statement).await?;
    }
    let (commit, end) = finish(client).await?;
    let after = Rows::of_table(client, table).await?;
    Ok((Expected { table, before, after, counts: backlog.counts(scale) }, commit, end))
}

/// One contender's turn: a copy of the slot, the drain, and the proof that all of it came.
async fn turn_of(contender: Contender, job: &Job<'_>, client: &Client, expected: &Expected) -> Result<Run, Failure> {
    let (slot, plugin) = (&job.slot, contender.plugin());
    let copy = format!("SELECT pg_copy_logical_replication_slot('base', '{slot}', false, '{plugin}')");
    client.batch_execute(&copy).await?;
    // What the one before left to be written is not this one's to wait for.
    rustix::fs::sync();
    let postmaster = job.place.pid()?;
    let (processes, server_cpu) = (children(postmaster)?, cpu_of_ended_children(postmaster)?);
    let logged = job.place.server.log().len();
    let drained = contender.drain(job).await?;
    // Their time counts once the server has taken their end.
    let ended = Instant::now();
    while children(postmaster)? > processes {
        if ended.elapsed() > PATIENCE {
            return Err(format!("{} has ended, and the server serves it {PATIENCE:?} later", contender.name()).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let server_cpu = cpu_of_ended_children(postmaster)? - server_cpu;
    client.batch_execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await?;
    match contender.format() {
        Some(format) => expected.check(format, &drained.files),
        None => {
            let counts = expected.counts;
            let wanted = format!("{} {} {}\n", counts.inserts, counts.updates, counts.deletes);
            if drained.said == wanted { Ok(()) } else { Err(format!("it saw {}, not {wanted}", drained.said).into()) }
        }
    }
    .map_err(|error| format!("{}: not what was written: {error}", contender.name()))?;
    let sizes = drained.files.iter().map(|file| Ok(fs::metadata(file)?.len()));
    let bytes = sizes.sum::<Result<u64, Failure>>()?;
    drop(drained.folder);
    let connected = job.place.first_connection(logged)?;
    Ok(Run {
        wall: drained.wall.as_secs_f64() - connected.duration_since(drained.began).as_secs_f64(),
        process: drained.wall.as_secs_f64(),
        from_first: drained.from_first.map(|duration| duration.as_secs_f64()),
        cpu: drained.spent.cpu.as_secs_f64(),
        server_cpu: server_cpu.as_secs_f64(),
        peak_rss_kib: drained.spent.peak_rss_kib,
        bytes,
    })
}
