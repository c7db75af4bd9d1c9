//! The figures that slotd is to reach, beside what was measured.

use crate::backlog::BACKLOGS;
use crate::results::{Measured, Results, Spread};

/// One of them; less is better.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    unit: &'static str,
    bound: f64,
    measured: Spread,
    /// Why it does not count, if it does not.
    void: Option<String>,
}

/// Whether a figure is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reached,
    Missed,
    /// The load that it is to hold under did not come: this much did.
    Void(String),
}

/// A rate that falls short by more than this part of it is another one.
const SHORT: f64 = 0.02;

impl Figure {
    fn new(name: impl Into<String>, unit: &'static str, bound: f64, measured: Spread) -> Self {
        Self { name: name.into(), unit, bound, measured, void: None }
    }

    /// It holds under `wanted` transactions a second, of which `reached` came.
    fn under(mut self, wanted: u32, reached: f64) -> Self {
        if reached < f64::from(wanted) * (1.0 - SHORT) {
            self.void = Some(format!("{reached:.0} of {wanted} transactions a second came"));
        }
        self
    }

    /// Whether it is reached; the median counts.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.void {
            Some(why) => Verdict::Void(why.clone()),
            None if self.measured.median <= self.bound => Verdict::Reached,
            None => Verdict::Missed,
        }
    }

    pub(crate) fn bound(&self) -> String {
        format!("{}{}", self.bound, self.unit)
    }

    pub(crate) fn measured(&self) -> String {
        format!("{}{}", self.measured.show(2), self.unit)
    }
}

/// All for which something was measured.
pub(crate) fn figures(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    let measured = |name: &str| results.0.get(name).and_then(|part| part.measured.as_ref());
    for backlog in &BACKLOGS {
        let Some(Measured::Backlog(drained)) = measured(backlog.name) else { continue };
        let name = backlog.name;
        if let Some(ratio) = drained.ratio("slotd", "pg_recvlogical", |run| run.wall) {
            figures.push(Figure::new(format!("`{name}`: wall / `pg_recvlogical`'s"), "", backlog.bound, ratio));
        }
        // The start of a JVM is none of the connector's time.
        if let Some(ratio) = drained.ratio_from_first("slotd", "debezium") {
            figures.push(Figure::new(format!("`{name}`: wall / Debezium's from its first event on"), "", 0.2, ratio));
        }
        for (contender, runs) in drained.contenders.iter().filter(|(contender, _)| contender.starts_with("slotd")) {
            if let Some(cpu) = Spread::of(runs.iter().map(|run| drained.cpu_per_million(run))) {
                figures.push(Figure::new(format!("`{name}`: CPU of {contender} per million changes"), " s", 1.5, cpu));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
        let rss =
            drained.runs("slotd").and_then(|runs| Spread::of(runs.iter().map(|run| run.peak_rss_kib as f64 / 1024.0)));
        if let Some(rss) = rss {
            figures.push(Figure::new(format!("`{name}`: most memory"), " MiB", 16.0, rss));
        }
    }
    if let Some(Measured::Latency(latency)) = measured("latency-2000") {
        let name = "commit to durable at 2,000 transactions a second, p99";
        let figure = Figure::new(name, " ms", 10.0, Spread::of_one(latency.delay.p99));
        figures.push(figure.under(latency.wanted, latency.reached));
    }
    if let Some(Measured::Idle(idle)) = measured("idle") {
        let name = "idle slots beside 4,000 transactions a second";
        let figure = Figure::new(name, " % of a core", 5.0, Spread::of_one(idle.cpu_percent));
        figures.push(figure.under(idle.wanted, idle.reached));
    }
    if let Some(Measured::Memory(memory)) = measured("memory") {
        figures.push(Figure::new("each further idle slot", " KiB", 256.0, Spread::of_one(memory.each_kib())));
    }
    if let Some(Measured::Starts(starts)) = measured("starts") {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        let of = [
            ("after a restart", 1.0, spread(&starts.after_restart)),
            ("from nothing", 3.0, spread(&starts.from_nothing)),
        ];
        for (name, bound, measured) in of {
            figures.extend(
                measured.map(|measured| Figure::new(format!("all databases stream {name}"), " s", bound, measured)),
            );
        }
    }
    figures
}
