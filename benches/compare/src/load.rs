//! Transactions at a rate, by `pgbench`.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::place::{BENCH, Place};
use crate::process::Process;
use crate::server::{Failure, PATIENCE};
use crate::tools::Tools;

/// Makes the table that [`run`] writes to, in the database of the bench.
pub(crate) async fn prepare(place: &Place) -> Result<(), Failure> {
    place.connect("postgres").await?.batch_execute(&format!("CREATE DATABASE {BENCH}")).await?;
    let table =
        "CREATE TABLE events (id bigserial PRIMARY KEY, made timestamptz NOT NULL DEFAULT now(), t text NOT NULL)";
    place.connect(BENCH).await?.batch_execute(table).await?;
    Ok(())
}

/// Takes all rows out of that table.
pub(crate) async fn clear(place: &Place) -> Result<(), Failure> {
    Ok(place.connect(BENCH).await?.batch_execute("TRUNCATE events").await?)
}

/// Commits `rate` one-row transactions a second for `length`, or as many as the machine can. Gives how many a second came,
/// as pgbench counts them: without the time in which it connects.
pub(crate) async fn run(place: &Place, tools: &Tools, rate: u32, length: Duration) -> Result<f64, Failure> {
    let script = place.server.folder().join("load.sql");
    fs::write(&script, "INSERT INTO events (t) VALUES (repeat('an order of a shop, ', 5))\n")?;
    let sessions = (rate / 125).clamp(8, 64).to_string();
    let mut command = Command::new(tools.client("pgbench")?);
    command.arg("-h").arg(place.server.folder()).args(["-p", &place.server.port().to_string(), "-U", "postgres"]);
    command.args(["-n", "-M", "prepared", "-j", "2", "-c", &sessions, "-R", &rate.to_string()]);
    command.args(["-T", &length.as_secs().max(1).to_string()]).arg("-f").arg(&script).arg(BENCH);
    command.current_dir(place.server.folder()).stdin(Stdio::null()).process_group(0);
    let (said, log) = (place.server.folder().join("load.out"), place.server.folder().join("load.log"));
    command.stdout(fs::File::create(&said)?).stderr(fs::File::create(&log)?);
    let mut pgbench = Process::start(&mut command)?;
    loop {
        if let Some(spent) = pgbench.look()? {
            if !spent.status.success() {
                return Err(format!("pgbench: {}", fs::read_to_string(&log).unwrap_or_default()).into());
            }
            return rate_of(&fs::read_to_string(&said)?).ok_or_else(|| "pgbench tells no rate".into());
        }
        if pgbench.elapsed() > length + PATIENCE {
            return Err(format!("pgbench has not ended {PATIENCE:?} after its time").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What pgbench says of it: `tps = 1999.5 (without initial connection time)`.
fn rate_of(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.strip_prefix("tps = "))?.split(' ').next()?.parse().ok()
}
