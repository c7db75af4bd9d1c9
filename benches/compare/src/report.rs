//! What was measured, as tables: for the terminal, and for docs/bench/README.md between its two marks.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::backlog::BACKLOGS;
use crate::figures::{Verdict, figures};
use crate::results::{Backlog, Measured, Part, Percentiles, Results, Run, Spread, Starts};
use crate::server::Failure;

/// What the tables stand between.
const MARKS: [&str; 2] = ["<!-- measured: written by `make bench` -->", "<!-- measured: end -->"];

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
    let mut text = "### The figures\n\n| figure | bound | measured | reached |\n|---|---|---|---|\n".to_owned();
    for figure in figures(results) {
        let reached = match figure.verdict() {
            Verdict::Reached => "yes".to_owned(),
            Verdict::Missed => "**no**".to_owned(),
            Verdict::Void(why) => format!("does not count: {why}"),
        };
        line(&mut text, &format!("| {} | {} | {} | {reached} |", figure.name, figure.bound(), figure.measured()));
    }
    text.push('\n');
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
            line(
                &mut text,
                &format!(
                    "{} transactions a second were asked for, {:.0} came; {} transactions. slotd took {:.0} % of a core.\n",
                    latency.wanted, latency.reached, latency.transactions, latency.cpu_percent
                ),
            );
            line(&mut text, "| milliseconds | p50 | p99 | p99.9 | most |\n|---|---|---|---|---|");
            percentiles(&mut text, "commit to durable", &latency.delay);
            percentiles(&mut text, "the disk's own fdatasync", &latency.disk);
            text.push('\n');
        }
        Some(Measured::Idle(idle)) => line(
            &mut text,
            &format!(
                "{} idle slots beside a database that writes {:.0} transactions a second ({} were asked for, and {:.0} came \
                 without the slots): {:.1} % of a core, and {:.0} % for the server's walsenders.\n",
                idle.slots, idle.reached, idle.wanted, idle.alone, idle.cpu_percent, idle.server_cpu_percent
            ),
        ),
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
        Some(Measured::Starts(Starts { databases, from_nothing, after_restart })) => {
            let seconds = |values: &[f64]| Spread::of(values.iter().copied()).map(|spread| spread.show(2));
            line(
                &mut text,
                &format!(
                    "{databases} databases stream {} s after a start with nothing there, {} s after a restart.\n",
                    seconds(from_nothing).unwrap_or_default(),
                    seconds(after_restart).unwrap_or_default()
                ),
            );
        }
        None => {}
    }
    let Part { day, commit, machine, scale, load, .. } = part;
    line(&mut text, &format!("{day}, commit {commit}, scale {scale}, load {load:.1} before it began; {machine}.\n"));
    text
}

fn of_backlog(text: &mut String, name: &str, backlog: &Backlog) {
    let title = BACKLOGS.iter().find(|known| known.name == name).map_or("", |known| known.title);
    let counts = backlog.counts;
    line(
        text,
        &format!(
            "{title}. PostgreSQL {}; {} inserts, {} updates, {} deletes, which lead to {} rows with the checksum \
             {:016x}, in every file of every round.\n",
            backlog.major, counts.inserts, counts.updates, counts.deletes, backlog.rows, backlog.checksum
        ),
    );
    let head =
        "| contender | wall, s | slotd's wall / its | CPU-s per million | server's CPU, s | peak RSS, MiB | bytes |";
    line(text, head);
    line(text, "|---|---|---|---|---|---|---|");
    for (contender, runs) in &backlog.contenders {
        let show = |figure: &dyn Fn(&Run) -> f64, digits| {
            Spread::of(runs.iter().map(figure)).map_or_else(String::new, |spread| spread.show(digits))
        };
        let ratio = backlog.ratio("slotd", contender, |run| run.wall).filter(|_| contender != "slotd");
        #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
        let rss = show(&|run| run.peak_rss_kib as f64 / 1024.0, 1);
        line(
            text,
            &format!(
                "| {contender} | {} | {} | {} | {} | {rss} | {} |",
                show(&|run| run.wall, 2),
                ratio.map_or_else(String::new, |ratio| ratio.show(2)),
                show(&|run| backlog.cpu_per_million(run), 2),
                show(&|run| run.server_cpu, 2),
                runs.last().map_or(0, |run| run.bytes)
            ),
        );
        if let Some(from_first) = Spread::of(runs.iter().filter_map(|run| run.from_first)) {
            let ratio = backlog.ratio_from_first("slotd", contender);
            let ratio = ratio.map_or_else(String::new, |ratio| ratio.show(2));
            line(text, &format!("| {contender}, from its first event | {} | {ratio} | | | | |", from_first.show(2)));
        }
    }
    text.push('\n');
    for sentence in &backlog.left_out {
        line(text, &format!("* {sentence}"));
    }
    if !backlog.left_out.is_empty() {
        text.push('\n');
    }
}

fn percentiles(text: &mut String, name: &str, of: &Percentiles) {
    line(text, &format!("| {name} | {:.2} | {:.2} | {:.2} | {:.2} |", of.p50, of.p99, of.p999, of.max));
}

/// Writing to a string does not fail.
fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}
