//! Many slots: what idle ones cost, and how soon all stream.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;

use crate::agent::Agent;
use crate::contender::entry;
use crate::load;
use crate::options::Options;
use crate::place::{BENCH, Place, value};
use crate::process::{cpu, pss_kib};
use crate::results::{Idle, Load, Memory, Starts, Step};
use crate::server::{Failure, PATIENCE};
use crate::tools::Tools;

/// What a server needs for hundreds of walsenders.
const SETTINGS: [(&str, &str); 4] = [
    ("max_wal_senders", "1100"),
    ("max_replication_slots", "1100"),
    ("max_connections", "200"),
    // Each has a backend, and none has much to decode.
    ("logical_decoding_work_mem", "1MB"),
];

/// Databases of [`idle`] and [`memory`]; each has several slots.
const DATABASES: usize = 20;
/// The steps of [`scale`].
const SCALE: [usize; 6] = [1, 100, 250, 500, 750, 1000];
/// Past the first looks at publications and slots, and what they left to be freed.
const REST: Duration = Duration::from_secs(15);
/// What is busy beside the idle slots, in transactions a second.
const RATE: u32 = 4000;

/// A server with `databases` databases.
async fn place(databases: usize) -> Result<Place, Failure> {
    let place = Place::start(18, &SETTINGS)?;
    let client = place.connect("postgres").await?;
    for number in 0..databases {
        client.batch_execute(&format!("CREATE DATABASE d{number}")).await?;
    }
    client.batch_execute("CHECKPOINT").await?;
    Ok(place)
}

/// Entries of so many slots, in turn over the databases.
fn entries(place: &Place, slots: usize, databases: usize) -> String {
    let port = place.server.port().to_string();
    let entry = |number: usize| {
        entry(&format!("e{number}"), &port, &format!("d{}", number % databases), &format!("s{number}"), "ssl = false")
    };
    (0..slots).map(entry).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "hundreds")]
fn scaled(number: usize, options: &Options) -> usize {
    ((number as f64 * options.scale).ceil() as usize).max(2)
}

/// CPU of slots that have nothing to do, beside a database that is busy and not streamed.
pub(crate) async fn idle(options: &Options, tools: &Tools) -> Result<Idle, Failure> {
    let slots = scaled(100, options);
    let length = Duration::from_secs(10).mul_f64(options.scale).max(Duration::from_secs(4));
    let place = place(DATABASES).await?;
    load::prepare(&place).await?;
    // The first seconds are those of warm caches and the first table.
    load::run(&place, tools, RATE, Duration::from_secs(2)).await?;
    let alone = load::run(&place, tools, RATE, length).await?;
    let mut agent = Agent::new()?;
    agent.start(tools, "", &entries(&place, slots, DATABASES))?;
    agent.streams().await?;
    load::run(&place, tools, RATE, Duration::from_secs(2)).await?;
    let walsenders = walsenders(&place.connect(BENCH).await?).await?;
    let costs = || -> Result<_, Failure> {
        let server = walsenders.iter().map(|pid| cpu(*pid)).sum::<Result<Duration, Failure>>()?;
        Ok((cpu(agent.pid()?)?, server))
    };
    let (mut reached, mut cpu_percent, mut server_cpu_percent) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let ((cpu, server), clock) = (costs()?, Instant::now());
        reached.push(load::run(&place, tools, RATE, length).await?);
        let ((cpu_after, server_after), elapsed) = (costs()?, clock.elapsed().as_secs_f64());
        let percent = |cpu: Duration| cpu.as_secs_f64() / elapsed * 100.0;
        cpu_percent.push(percent(cpu_after - cpu));
        server_cpu_percent.push(percent(server_after - server));
    }
    agent.stop().await?;
    Ok(Idle { slots, load: Load { wanted: RATE, alone, reached }, cpu_percent, server_cpu_percent })
}

/// The processes that serve the slots.
async fn walsenders(client: &Client) -> Result<Vec<u32>, Failure> {
    let pids = "SELECT string_agg(pid::text, ' ') FROM pg_stat_replication";
    Ok(value(client, pids).await?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// Memory of slots that have nothing to do.
pub(crate) async fn memory(options: &Options, tools: &Tools) -> Result<Memory, Failure> {
    let slots = scaled(500, options);
    let place = place(DATABASES).await?;
    let pss = async |slots| -> Result<u64, Failure> {
        let mut agent = Agent::new()?;
        agent.start(tools, "", &entries(&place, slots, DATABASES))?;
        agent.streams().await?;
        sleep(REST).await;
        let pss = pss_kib(agent.pid()?)?;
        agent.stop().await?;
        Ok(pss)
    };
    Ok(Memory { pss_of_1_kib: pss(1).await?, slots, pss_kib: pss(slots).await? })
}

/// How soon databases stream: first with nothing there, then after a restart.
pub(crate) async fn starts(options: &Options, tools: &Tools) -> Result<Starts, Failure> {
    let databases = scaled(100, options);
    let place = place(databases).await?;
    let entries = entries(&place, databases, databases);
    let (mut from_nothing, mut after_restart) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let mut agent = Agent::new()?;
        agent.start(tools, "", &entries)?;
        from_nothing.push(agent.streams().await?.as_secs_f64());
        settle(&place).await?;
        agent.stop().await?;
        agent.start(tools, "", &entries)?;
        after_restart.push(agent.streams().await?.as_secs_f64());
        agent.stop().await?;
        clear(&place, databases).await?;
    }
    Ok(Starts { databases, from_nothing, after_restart })
}

/// What slots cost as they grow in number: to start, in memory, and at rest.
pub(crate) async fn scale(options: &Options, tools: &Tools) -> Result<Vec<Step>, Failure> {
    let place = place(DATABASES).await?;
    let mut steps = Vec::new();
    for slots in SCALE {
        let slots = scaled(slots, options);
        let entries = entries(&place, slots, DATABASES);
        let mut agent = Agent::new()?;
        agent.start(tools, "", &entries)?;
        let from_nothing = agent.streams().await?.as_secs_f64();
        settle(&place).await?;
        agent.stop().await?;
        agent.start(tools, "", &entries)?;
        let after_restart = agent.streams().await?.as_secs_f64();
        sleep(REST).await;
        let (cpu_before, clock) = (cpu(agent.pid()?)?, Instant::now());
        // A whole period of all that is done every so often.
        sleep(Duration::from_secs(60).mul_f64(options.scale).max(Duration::from_secs(10))).await;
        let cpu_percent = (cpu(agent.pid()?)? - cpu_before).as_secs_f64() / clock.elapsed().as_secs_f64() * 100.0;
        steps.push(Step { slots, from_nothing, after_restart, pss_kib: pss_kib(agent.pid()?)?, cpu_percent });
        agent.stop().await?;
        clear(&place, slots.min(DATABASES)).await?;
    }
    Ok(steps)
}

/// Waits until no slot needs the WAL any more in which they were made. Else each walsender would have to decode the making of
/// all publications once more, which no restart has to do that comes later than a checkpoint.
async fn settle(place: &Place) -> Result<(), Failure> {
    let client = place.connect("postgres").await?;
    let (end, clock) = (value(&client, "SELECT pg_current_wal_lsn()").await?, Instant::now());
    let behind = format!("SELECT count(*) FROM pg_replication_slots WHERE restart_lsn < '{end}'");
    loop {
        // With it comes the record that lets a slot go on from there.
        client.batch_execute("CHECKPOINT").await?;
        if value(&client, &behind).await? == "0" {
            return Ok(());
        }
        if clock.elapsed() > PATIENCE {
            return Err(format!("slots still need the WAL in which they were made, {PATIENCE:?} later").into());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Drops all slots and publications.
async fn clear(place: &Place, databases: usize) -> Result<(), Failure> {
    let client = place.connect("postgres").await?;
    let (active, clock) = ("SELECT count(*) FROM pg_replication_slots WHERE active", Instant::now());
    while value(&client, active).await? != "0" {
        if clock.elapsed() > PATIENCE {
            return Err(format!("slotd has ended, and slots are active {PATIENCE:?} later").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
    client.batch_execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await?;
    for number in 0..databases {
        place.connect(&format!("d{number}")).await?.batch_execute(&format!("DROP PUBLICATION {BENCH}")).await?;
    }
    Ok(())
}
