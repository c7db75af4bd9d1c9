//! A slotd that runs for a while, to be looked at.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::contender::slotd;
use crate::guard::{Folder, User};
use crate::http;
use crate::process::{Process, Spent};
use crate::server::Failure;
use crate::tools::Tools;

/// How long its databases may take to stream.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A slotd, running or not; what it left on the disk stays until this is dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    process: Option<Process>,
    // Last: its guard ends what is left.
    folder: Folder,
}

impl Agent {
    /// One that is not started.
    pub(crate) fn new() -> Result<Self, Failure> {
        let user = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        Ok(Self { process: None, folder: Folder::new("agent", user)? })
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, with `settings` before the databases `entries`.
    pub(crate) fn start(&mut self, tools: &Tools, settings: &str, entries: &str) -> Result<(), Failure> {
        self.process = Some(Process::start(&mut slotd(&tools.slotd, self.folder.path(), settings, entries)?)?);
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        Ok(self.process.as_ref().ok_or("slotd does not run")?.pid())
    }

    /// Returns once all of its databases stream, with the time since its start.
    pub(crate) async fn streams(&mut self) -> Result<Duration, Failure> {
        let mut databases = Vec::new();
        loop {
            let process = self.process.as_mut().ok_or("slotd does not run")?;
            let elapsed = process.elapsed();
            let ended = process.look()?.is_some();
            let socket = self.folder.path().join("run/slotd.sock");
            // One that takes the question and never answers is told like one that does not listen.
            if let Ok(Ok((_, health))) = timeout(ANSWER, http::get(&socket, "/health")).await {
                let mut health: Value = serde_json::from_str(&health)?;
                databases = health["databases"].as_array_mut().map(std::mem::take).unwrap_or_default();
                if !databases.is_empty() && databases.iter().all(streams) {
                    return Ok(process.elapsed());
                }
            }
            if ended || elapsed > PATIENCE {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let what = if ended { "has ended".to_owned() } else { missing(&databases) };
                let log = log.lines().rev().take(20).collect::<Vec<_>>();
                let log = log.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(format!("slotd, {elapsed:.1?} after its start, {what}\nThe end of its log:\n{log}").into());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// A clean stop.
    pub(crate) async fn stop(&mut self) -> Result<Spent, Failure> {
        self.process.take().ok_or("slotd does not run")?.stop().await
    }
}

fn streams(database: &Value) -> bool {
    database["state"] == "streaming"
}

/// Which of `databases` do not stream, and what slotd says of them.
fn missing(databases: &[Value]) -> String {
    /// More of them are alike.
    const SHOWN: usize = 5;
    if databases.is_empty() {
        return "has not said what its databases do".to_owned();
    }
    let late: Vec<_> = databases.iter().filter(|database| !streams(database)).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let says = |database: &&Value| {
        let [name, state, sentence] = ["name", "state", "sentence"].map(|key| text(&database[key]));
        format!("\n  {name} is {state}: {sentence}")
    };
    let shown: String = late.iter().take(SHOWN).map(says).collect();
    format!("does not stream {} of {} databases:{shown}", late.len(), databases.len())
}
