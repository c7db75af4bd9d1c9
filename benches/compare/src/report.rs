//! What was measured, as tables: for the terminal, and for docs/bench/README.md between its two marks.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::backlog::{BACKLOGS, EMPTY};
use crate::charts;
use crate::figures::{Verdict, figures};
use crate::results::{Backlog, Load, Measured, Part, Percentiles, Results, Run, Spread, Starts, Step};
use crate::server::Failure;

/// What the tables stand between.
const MARKS: [&str; 2] = ["<!-- measured: written by `make bench` -->", "<!-- measured: end -->"];

/// Where the page's author says why a figure is missed; a test holds that each one stands there.
const WHY: &str = "[why](#what-misses-and-why)";

/// Writes the tables into `folder`: between the marks of its README, or into a new one.
pub(crate) fn write(folder: &Path, results: &Results) -> Result<(), Failure> {
    let path = folder.join("README.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|_| MARKS.join("\n"));
    let (before, rest) = text.split_once(MARKS[0]).ok_or("docs/bench/README.md has lost its first mark")?;
    let (_, after) = rest.split_once(MARKS[1]).ok_or("docs/bench/README.md has lost its second mark")?;
    fs::write(&path, format!("{before}{}\n\n{}{}{after}", MARKS[0], all(results), MARKS[1]))?;
    Ok(())
}

fn all(results: &Results) -> String {
    let mut text = "### Figures to reach\n\n| figure | bound | measured | reached |\n|---|---|---|---|\n".to_owned();
    for figure in figures(results) {
        let reached = match figure.verdict() {
            Verdict::Reached => "yes".to_owned(),
            Verdict::Missed => format!("**no**: {WHY}"),
            Verdict::Void(why) => format!("**does not count**, {why}: {WHY}"),
        };
        line(&mut text, &format!("| {} | {} | {} | {reached} |", figure.name, figure.bound(), figure.measured()));
    }
    text.push('\n');
    for (file, what) in charts::drawn(results) {
        line(&mut text, &format!("![{what}]({file})\n"));
    }
    if let Some(Measured::Backlog(empty)) = results.measured(EMPTY) {
        let of = |(contender, runs): &(String, Vec<Run>)| {
            format!("{contender} {} s", shown(runs.iter().map(|run| run.cpu), 3))
        };
        let each = empty.contenders.iter().map(of).collect::<Vec<_>>().join(", ");
        line(
            &mut text,
            &format!("CPU of a process that starts, finds nothing to drain and ends (`{EMPTY}`): {each}.\n"),
        );
    }
    // In the order in which they run.
    let backlogs = BACKLOGS.iter().map(|backlog| backlog.name);
    for name in backlogs.chain(crate::OTHERS) {
        if let Some(part) = results.0.get(name) {
            text.push_str(&of_part(name, part));
        }
    }
    text
}

/// One part.
pub(crate) fn of_part(name: &str, part: &Part) -> String {
    let mut text = format!("### {name}\n\n");
    match &part.measured {
        Some(Measured::Backlog(backlog)) => of_backlog(&mut text, name, backlog),
        Some(Measured::Latency(latency)) => {
            of_load(&mut text, &latency.load);
            line(
                &mut text,
                &format!(
                    "{} transactions, each once in the file. slotd took {:.0} % of a core.\n",
                    latency.transactions, latency.cpu_percent
                ),
            );
            line(&mut text, "| milliseconds | p50 | p99 | p99.9 | most |\n|---|---|---|---|---|");
            percentiles(&mut text, "commit to durable", &latency.delay);
            percentiles(&mut text, "the disk's own fdatasync", &latency.disk);
            text.push('\n');
        }
        Some(Measured::Idle(idle)) => {
            of_load(&mut text, &idle.load);
            line(
                &mut text,
                &format!(
                    "{} idle slots beside them: {} % of a core for slotd, and {} % for the server's walsenders, all together.\n",
                    idle.slots,
                    show(&idle.cpu_percent, 1),
                    show(&idle.server_cpu_percent, 0)
                ),
            );
        }
        Some(Measured::Memory(memory)) => line(
            &mut text,
            &format!(
                "PSS is {} kB with one slot and {} kB with {}: {:.0} kB for each further one.\n",
                memory.pss_of_1_kib,
                memory.pss_kib,
                memory.slots,
                memory.each_kib()
            ),
        ),
        Some(Measured::Starts(Starts { databases, from_nothing, after_restart })) => line(
            &mut text,
            &format!(
                "{databases} databases stream {} s after a start with nothing there, {} s after a restart.\n",
                show(from_nothing, 2),
                show(after_restart, 2)
            ),
        ),
        Some(Measured::Scale(steps)) => {
            line(
                &mut text,
                "| slots | all stream after a start with nothing there, s | after a restart, s | PSS, MiB | CPU at rest, % of a core |\n|---|---|---|---|---|",
            );
            for step in steps {
                let Step { slots, from_nothing, after_restart, cpu_percent, .. } = step;
                let mib = step.pss_mib();
                line(
                    &mut text,
                    &format!("| {slots} | {from_nothing:.2} | {after_restart:.2} | {mib:.1} | {cpu_percent:.1} |"),
                );
            }
            text.push('\n');
        }
        None => {}
    }
    let Part { day, commit, machine, scale, load, .. } = part;
    line(&mut text, &format!("{day}, commit {commit}, scale {scale}, load {load:.1} before it began; {machine}.\n"));
    text
}

/// What came of the transactions that were asked for.
fn of_load(text: &mut String, load: &Load) {
    let Load { wanted, alone, reached } = load;
    let came = show(reached, 0);
    let void = load.fell_short().map_or_else(String::new, |why| format!(" **What follows does not count, {why}.**"));
    line(
        text,
        &format!(
            "{wanted} transactions a second were asked for; {alone:.0} came before slotd ran, and {came} beside it.{void}\n"
        ),
    );
}

fn of_backlog(text: &mut String, name: &str, backlog: &Backlog) {
    let title = BACKLOGS.iter().find(|known| known.name == name).map_or("", |known| known.title);
    let counts = backlog.counts;
    line(
        text,
        &format!(
            "{title}. PostgreSQL {}; {} inserts, {} updates, {} deletes in {} transactions, which lead to {} rows with the \
             checksum {:016x}, in every file of every round.\n",
            backlog.major,
            counts.inserts,
            counts.updates,
            counts.deletes,
            backlog.transactions,
            backlog.rows,
            backlog.checksum
        ),
    );
    line(text, &format!("| {} |\n|{}", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len())));
    for (contender, runs) in &backlog.contenders {
        let spread = |figure: &dyn Fn(&Run) -> Option<f64>, digits| shown(runs.iter().filter_map(figure), digits);
        let ratio = backlog.ratio("slotd", contender, |run| run.wall).filter(|_| contender != "slotd");
        let cells = [
            contender.clone(),
            spread(&|run| Some(run.wall), 2),
            ratio.map_or_else(String::new, |ratio| ratio.show(2)),
            spread(&|run| Some(run.process), 2),
            spread(&|run| Some(run.cpu), 3),
            spread(&|run| run.cpu_per_million(counts.all()), 2),
            spread(&|run| run.cpu_per_million(backlog.messages()), 2),
            spread(&|run| Some(run.server_cpu), 2),
            spread(&Run::peak_rss_mib, 1),
            runs.last().map_or(0, |run| run.bytes).to_string(),
        ];
        line(text, &format!("| {} |", cells.join(" | ")));
    }
    text.push('\n');
    for (contender, runs) in &backlog.contenders {
        let from_first = shown(runs.iter().filter_map(|run| run.from_first), 2);
        if let Some(ratio) = backlog.ratio_from_first("slotd", contender) {
            let ratio = ratio.show(2);
            line(
                text,
                &format!("From its first event on {contender} took {from_first} s; slotd's wall / that is {ratio}.\n"),
            );
        }
    }
    for (_, sentence) in &backlog.left_out {
        line(text, &format!("* {sentence}"));
    }
    if !backlog.left_out.is_empty() {
        text.push('\n');
    }
}

/// Of a backlog's table.
const COLUMNS: [&str; 10] = [
    "contender",
    "wall from connecting, s",
    "slotd's wall / its",
    "whole process, s",
    "CPU, s",
    "CPU-s per million changes",
    "CPU-s per million messages",
    "server's CPU, s",
    "peak RSS, MiB",
    "bytes",
];

fn show(values: &[f64], digits: usize) -> String {
    shown(values.iter().copied(), digits)
}

/// The median, and what it lies between.
fn shown(values: impl Iterator<Item = f64>, digits: usize) -> String {
    Spread::of(values).map_or_else(String::new, |spread| spread.show(digits))
}

fn percentiles(text: &mut String, name: &str, of: &Percentiles) {
    line(text, &format!("| {name} | {:.2} | {:.2} | {:.2} | {:.2} |", of.p50, of.p99, of.p999, of.max));
}

/// Writing to a string does not fail.
fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}
