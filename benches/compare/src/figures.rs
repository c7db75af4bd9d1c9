//! The figures that slotd is to reach, beside what was measured.

use crate::backlog::BACKLOGS;
use crate::results::{Backlog, Load, Measured, Results, Run, Spread};

/// One of them; less is better.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    unit: &'static str,
    bound: f64,
    measured: Option<Spread>,
    /// Why it does not count, if it does not.
    void: Option<String>,
}

/// Whether a figure is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reached,
    Missed,
    /// It says nothing, and this is why.
    Void(String),
}

impl Figure {
    fn new(name: impl Into<String>, unit: &'static str, bound: f64, measured: Option<Spread>) -> Self {
        Self { name: name.into(), unit, bound, measured, void: None }
    }

    /// It holds under `load`, and says nothing if that did not come.
    fn under(mut self, load: &Load) -> Self {
        self.void = load.fell_short();
        self
    }

    /// Whether it is reached; the median counts.
    pub(crate) fn verdict(&self) -> Verdict {
        match (&self.void, self.measured) {
            (Some(why), _) => Verdict::Void(why.clone()),
            (None, None) => Verdict::Void("not measured".to_owned()),
            (None, Some(measured)) if measured.median <= self.bound => Verdict::Reached,
            (None, Some(_)) => Verdict::Missed,
        }
    }

    pub(crate) fn bound(&self) -> String {
        format!("{}{}", self.bound, self.unit)
    }

    pub(crate) fn measured(&self) -> String {
        self.measured.map_or_else(String::new, |measured| format!("{}{}", measured.show(2), self.unit))
    }
}

/// All of those parts that were run.
pub(crate) fn figures(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    let spread = |values: &[f64]| Spread::of(values.iter().copied());
    for backlog in &BACKLOGS {
        if let (Some(bound), Some(Measured::Backlog(drained))) = (backlog.bound, results.measured(backlog.name)) {
            figures.extend(of_backlog(backlog.name, bound, drained));
        }
    }
    if let Some(Measured::Latency(latency)) = results.measured("latency-2000") {
        let name = "commit to durable at 2,000 transactions a second, p99";
        figures.push(Figure::new(name, " ms", 10.0, spread(&latency.p99)).under(&latency.load));
    }
    if let Some(Measured::Idle(idle)) = results.measured("idle") {
        let name = format!("{} idle slots beside 4,000 transactions a second", idle.slots);
        figures.push(Figure::new(name, " % of a core", 5.0, spread(&idle.cpu_percent)).under(&idle.load));
    }
    if let Some(Measured::Memory(memory)) = results.measured("memory") {
        let name = format!("each further idle slot of {}, PSS", memory.slots);
        figures.push(Figure::new(name, " KiB", 256.0, Some(Spread::of_one(memory.each_kib()))));
    }
    if let Some(Measured::Starts(starts)) = results.measured("starts") {
        let name = |when| format!("{} databases stream {when}", starts.databases);
        figures.push(Figure::new(name("after a restart"), " s", 1.0, spread(&starts.after_restart)));
        figures.push(Figure::new(name("from nothing"), " s", 3.0, spread(&starts.from_nothing)));
    }
    figures
}

/// Those of the backlog `name`, for which slotd may take `bound` of the time of `pg_recvlogical`.
fn of_backlog(name: &str, bound: f64, drained: &Backlog) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (contender, bound) in [("pg_recvlogical", bound), ("debezium", 0.2)] {
        let ratio = drained.ratio("slotd", contender, |run| run.wall);
        let mut figure = Figure::new(format!("`{name}`: wall time / {contender}'s"), "", bound, ratio);
        figure.void = drained.why_left_out(contender).map(str::to_owned);
        if figure.measured.is_some() || figure.void.is_some() {
            figures.push(figure);
        }
    }
    for (contender, runs) in drained.contenders.iter().filter(|(contender, _)| contender.starts_with("slotd")) {
        let cpu = Spread::of(runs.iter().filter_map(|run| run.cpu_per_million(drained.counts.all())));
        figures.push(Figure::new(format!("`{name}`: CPU of {contender} per million changes"), " s", 1.5, cpu));
    }
    if let Some(runs) = drained.runs("slotd") {
        let rss = Spread::of(runs.iter().filter_map(Run::peak_rss_mib));
        figures.push(Figure::new(format!("`{name}`: peak RSS"), " MiB", 16.0, rss));
    }
    figures
}
