//! `make bench`: slotd beside what it is compared with, on this machine, from the same WAL.
//!
//! Each part runs on a server of its own and is kept in `results.json`; docs/bench/README.md tells how to read it.

mod agent;
mod backlog;
mod charts;
mod check;
mod contender;
mod drains;
mod figures;
mod fleet;
#[path = "../../../tests/it/support/guard.rs"]
mod guard;
#[path = "../../../tests/it/support/http.rs"]
mod http;
mod latency;
mod load;
mod machine;
mod options;
mod place;
mod process;
mod report;
mod results;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../../tests/it/support/server.rs"]
mod server;
#[path = "../../../tests/it/support/session.rs"]
mod session;
#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "../../../tests/it/support/tls.rs"]
mod tls;
mod tools;

use std::fs;
use std::process::ExitCode;

use backlog::BACKLOGS;
use figures::Verdict;
use options::Options;
use results::{Measured, Part, Results};
use server::Failure;
use tools::Tools;

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The parts that drain no backlog.
const OTHERS: [&str; 6] = ["latency-2000", "latency-10000", "idle", "memory", "starts", "scale"];

async fn bench() -> Result<(), Failure> {
    let options = Options::from_env()?;
    let known: Vec<_> = BACKLOGS.iter().map(|backlog| backlog.name).chain(OTHERS).collect();
    let unknown = options.unknown(&known);
    if !unknown.is_empty() {
        return Err(format!("ONLY has no part {}; there are {}", unknown.join(", "), known.join(", ")).into());
    }
    machine::check_disk()?;
    let tools = Tools::get(&options)?;
    let root = tools::root();
    // What is tried on the way does not stand in the documents.
    let folder = root.join(if options.is_full() { "docs/bench" } else { "target/bench" });
    fs::create_dir_all(&folder)?;
    let path = folder.join("results.json");
    let mut results = Results::read(&path)?;
    for name in known.into_iter().filter(|name| options.wants(name)) {
        let part = Part::begin(&options);
        eprintln!("{name}");
        let measured = measure(name, &options, &tools).await.map_err(|error| format!("{name}: {error}"))?;
        let part = Part { measured: Some(measured), ..part };
        eprint!("{}", report::of_part(name, &part));
        results.0.insert(name.to_owned(), part);
        results.write(&path)?;
    }
    report::write(&folder, &results)?;
    charts::write(&folder, &results)?;
    for figure in figures::figures(&results) {
        let (measured, bound) = (figure.measured(), figure.bound());
        match figure.verdict() {
            Verdict::Reached => {}
            Verdict::Missed => {
                eprintln!("bench: not reached: {}: {measured}, and at most {bound} is wanted", figure.name)
            }
            Verdict::Void(why) => eprintln!("bench: does not count: {}: {why}", figure.name),
        }
    }
    eprintln!("bench: all of it stands in {}", folder.canonicalize()?.display());
    Ok(())
}

async fn measure(name: &str, options: &Options, tools: &Tools) -> Result<Measured, Failure> {
    if let Some(backlog) = BACKLOGS.iter().find(|backlog| backlog.name == name) {
        return Ok(Measured::Backlog(drains::run(backlog, options, tools).await?));
    }
    Ok(match name {
        "latency-2000" => Measured::Latency(latency::run(2000, options, tools).await?),
        "latency-10000" => Measured::Latency(latency::run(10_000, options, tools).await?),
        "idle" => Measured::Idle(fleet::idle(options, tools).await?),
        "memory" => Measured::Memory(fleet::memory(options, tools).await?),
        "starts" => Measured::Starts(fleet::starts(options, tools).await?),
        _ => Measured::Scale(fleet::scale(options, tools).await?),
    })
}
