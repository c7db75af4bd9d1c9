//! What was measured, as it is kept: `results.json`, one entry a part.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::check::Counts;
use crate::options::Options;
use crate::server::Failure;

/// All parts that were run, each in one run of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results(pub(crate) BTreeMap<String, Part>);

/// One part, and under what it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The day.
    pub(crate) day: String,
    /// The commit of the checkout.
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) scale: f64,
    /// How many processes wanted a core before it began, over a minute; 0 on a machine that does nothing else.
    pub(crate) load: f64,
    /// What came of it; `None` until it is through.
    pub(crate) measured: Option<Measured>,
}

/// What was measured.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measured {
    Backlog(Backlog),
    Latency(Latency),
    Idle(Idle),
    Memory(Memory),
    Starts(Starts),
    Scale(Vec<Step>),
}

/// A backlog that was drained in turn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Backlog {
    pub(crate) major: u32,
    pub(crate) counts: Counts,
    /// In how many transactions.
    pub(crate) transactions: u64,
    /// The rows that every drained file led to, and the sum of their hashes.
    pub(crate) rows: usize,
    pub(crate) checksum: u64,
    /// By contender, a run for each round.
    pub(crate) contenders: Vec<(String, Vec<Run>)>,
    /// Who is missing, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

/// One drain.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Seconds from its first connection until all was durable.
    pub(crate) wall: f64,
    /// The same from the start of its process.
    pub(crate) process: f64,
    /// The same from its first event on, where it tells.
    pub(crate) from_first: Option<f64>,
    /// Seconds of user and system time of the client.
    pub(crate) cpu: f64,
    /// The same of the server's processes that served it.
    pub(crate) server_cpu: f64,
    pub(crate) peak_rss_kib: u64,
    pub(crate) bytes: u64,
}

/// Commit to durable, in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) load: Load,
    pub(crate) transactions: usize,
    /// Of all rounds together, and the p99 of each.
    pub(crate) delay: Percentiles,
    pub(crate) p99: Vec<f64>,
    /// Of the disk's own fdatasync of 4 kB behind a file's end, just before.
    pub(crate) disk: Percentiles,
    pub(crate) cpu_percent: f64,
}

/// Transactions that were written while something was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// A second, as asked for.
    pub(crate) wanted: u32,
    /// What came on the same server before slotd was started.
    pub(crate) alone: f64,
    /// What came beside slotd, in each round.
    pub(crate) reached: Vec<f64>,
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Idle slots beside a busy database.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) slots: usize,
    pub(crate) load: Load,
    /// Of a core, in each round.
    pub(crate) cpu_percent: Vec<f64>,
    /// The same of the server's processes that serve the slots, all together.
    pub(crate) server_cpu_percent: Vec<f64>,
}

/// What a slot costs in memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) pss_of_1_kib: u64,
    pub(crate) slots: usize,
    pub(crate) pss_kib: u64,
}

/// Seconds until all databases stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Starts {
    pub(crate) databases: usize,
    /// Nothing is there: publications and slots are made.
    pub(crate) from_nothing: Vec<f64>,
    pub(crate) after_restart: Vec<f64>,
}

/// What so many slots cost, each step with a slotd of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) slots: usize,
    /// Seconds until all stream, with nothing there.
    pub(crate) from_nothing: f64,
    pub(crate) after_restart: f64,
    /// While nothing happens.
    pub(crate) pss_kib: u64,
    /// Of a core, while nothing happens.
    pub(crate) cpu_percent: f64,
}

impl Results {
    /// Those kept in `path`, if there are any.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_err(|error| {
                format!(
                    "{} is of another version of the bench ({error}): remove it, and measure all parts",
                    path.display()
                )
            })?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the part `name` measured, if it was run.
    pub(crate) fn measured(&self, name: &str) -> Option<&Measured> {
        self.0.get(name)?.measured.as_ref()
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

impl Part {
    /// One that begins now.
    pub(crate) fn begin(options: &Options) -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN);
        Self {
            day: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            commit: crate::machine::commit(),
            machine: crate::machine::describe(),
            scale: options.scale,
            load,
            measured: None,
        }
    }
}

impl Backlog {
    /// The runs of `contender`.
    pub(crate) fn runs(&self, contender: &str) -> Option<&[Run]> {
        self.contenders.iter().find(|(name, _)| name == contender).map(|(_, runs)| &runs[..])
    }

    /// Why `contender` is missing, if it is.
    pub(crate) fn why_left_out(&self, contender: &str) -> Option<&str> {
        self.left_out.iter().find(|(name, _)| name == contender).map(|(_, why)| &why[..])
    }

    /// How `figure` of `contender` stands to that of `other`, round by round.
    pub(crate) fn ratio(&self, contender: &str, other: &str, figure: impl Fn(&Run) -> f64) -> Option<Spread> {
        let pairs = self.runs(contender)?.iter().zip(self.runs(other)?);
        Spread::of(pairs.map(|(run, other)| figure(run) / figure(other)))
    }

    /// How the wall time of `contender` stands to that of `other` from that one's first event on, round by round.
    pub(crate) fn ratio_from_first(&self, contender: &str, other: &str) -> Option<Spread> {
        let pairs = self.runs(contender)?.iter().zip(self.runs(other)?);
        Spread::of(pairs.filter_map(|(run, other)| Some(run.wall / other.from_first?)))
    }

    /// Changes, and what begins and ends their transactions: each is a message of the protocol.
    pub(crate) const fn messages(&self) -> u64 {
        self.counts.all() + 2 * self.transactions
    }
}

impl Run {
    /// CPU-seconds of the client for a million of `number`; `None` if that is 0.
    #[expect(clippy::cast_precision_loss, reason = "millions")]
    pub(crate) fn cpu_per_million(&self, number: u64) -> Option<f64> {
        (number > 0).then(|| self.cpu * 1e6 / number as f64)
    }

    /// `None` of a process that had ended before anybody looked.
    #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
    pub(crate) fn peak_rss_mib(&self) -> Option<f64> {
        (self.peak_rss_kib > 0).then(|| self.peak_rss_kib as f64 / 1024.0)
    }
}

/// A rate that falls short by more than this part of it is another one.
const SHORT: f64 = 0.02;

impl Load {
    /// What came instead, if what was asked for did not: then what was measured beside it counts for nothing.
    pub(crate) fn fell_short(&self) -> Option<String> {
        let reached = Spread::of(self.reached.iter().copied())?;
        let least = f64::from(self.wanted) * (1.0 - SHORT);
        let alone = if self.alone < least { "no more than" } else { "and" };
        (reached.median < least).then(|| {
            format!(
                "rate not reached: {} a second, {alone} {:.0} with nothing else running",
                reached.show(0),
                self.alone
            )
        })
    }
}

/// The least, the middle and the most of several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// What was measured once.
    pub(crate) const fn of_one(value: f64) -> Self {
        Self { min: value, median: value, max: value }
    }

    /// The median, and around it what it lies between.
    #[expect(clippy::float_cmp, reason = "the same value, copied")]
    pub(crate) fn show(&self, digits: usize) -> String {
        let Self { min, median, max } = self;
        if min == max {
            format!("{median:.digits$}")
        } else {
            format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
        }
    }

    /// `None` of none.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 };
        Some(Self { min, median, max })
    }
}

impl Memory {
    /// For each slot but the first.
    #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
    pub(crate) fn each_kib(&self) -> f64 {
        self.pss_kib.saturating_sub(self.pss_of_1_kib) as f64 / (self.slots.max(2) - 1) as f64
    }
}

impl Step {
    #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
    pub(crate) fn pss_mib(&self) -> f64 {
        self.pss_kib as f64 / 1024.0
    }
}

impl Percentiles {
    /// Of durations in milliseconds; `None` of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = |part: f64| values.get(((values.len() as f64 * part).ceil() as usize).saturating_sub(1)).copied();
        Some(Self { p50: at(0.5)?, p99: at(0.99)?, p999: at(0.999)?, max: at(1.0)? })
    }
}
