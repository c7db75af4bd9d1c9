//! What a process costs: CPU and memory, of a contender and of the server.

use std::fs;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use wait4::Wait4 as _;

use crate::server::Failure;

/// How often the memory of a process is looked at.
const SAMPLE: Duration = Duration::from_millis(25);
/// How long one may take to end that was asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of a contender.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    started: Instant,
    began: Timestamp,
    sampled: Instant,
    peak_rss_kib: u64,
}

/// What one has cost that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) status: ExitStatus,
    /// User and system time.
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_kib: u64,
}

impl Process {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let (started, began) = (Instant::now(), Timestamp::now());
        let child = command
            .spawn()
            .map_err(|error| format!("{} can't be started: {error}", command.get_program().display()))?;
        Ok(Self { child, started, began, sampled: started, peak_rss_kib: 0 })
    }

    /// Since its start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// When it was started.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Looks at it; what it has cost if it has ended, and then it must not be asked again.
    pub(crate) fn look(&mut self) -> Result<Option<Spent>, Failure> {
        if self.sampled.elapsed() > SAMPLE {
            self.sample();
        }
        let ended = self.child.try_wait4()?;
        Ok(ended.map(|ended| Spent {
            status: ended.status,
            cpu: ended.rusage.utime + ended.rusage.stime,
            peak_rss_kib: self.peak_rss_kib,
        }))
    }

    fn sample(&mut self) {
        // Not what wait4 tells: that counts what this program had when it started the other one.
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        self.peak_rss_kib = kib(&status, "VmHWM:").unwrap_or(self.peak_rss_kib);
        self.sampled = Instant::now();
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(mut self) -> Result<Spent, Failure> {
        self.sample();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let asked = Instant::now();
        loop {
            if let Some(spent) = self.look()? {
                return Ok(spent);
            }
            if asked.elapsed() > PATIENCE {
                return Err(format!("process {} has not ended {PATIENCE:?} after SIGTERM", self.pid()).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The CPU time that the process `pid` has had.
pub(crate) fn cpu(pid: u32) -> Result<Duration, Failure> {
    Ok(times(pid)?[0])
}

/// The CPU time that those children of the process `pid` have had that have ended.
pub(crate) fn cpu_of_ended_children(pid: u32) -> Result<Duration, Failure> {
    Ok(times(pid)?[1])
}

/// How many children the process `pid` has.
pub(crate) fn children(pid: u32) -> Result<usize, Failure> {
    Ok(fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace().count())
}

/// Its own, and that of its children that have ended.
fn times(pid: u32) -> Result<[Duration; 2], Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the command's name, which may hold anything: the state, which is field 3.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(4).map(str::parse).collect::<Result<_, _>>()?;
    let [user, system, children_user, children_system] = ticks[..] else { return Err("no times".into()) };
    let duration = |ticks: u64| Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
    Ok([duration(user + system), duration(children_user + children_system)])
}

/// The memory that the process `pid` has, what it shares with others in parts.
pub(crate) fn pss_kib(pid: u32) -> Result<u64, Failure> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    kib(&rollup, "Pss:").ok_or_else(|| "no Pss".into())
}

fn kib(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}
