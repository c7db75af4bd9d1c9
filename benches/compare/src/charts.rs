//! The same as charts: SVG, one bar a contender, with the spread of the rounds.
//!
//! Their ground is white whatever the page's is: a picture in a page does not learn whether the page is dark.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::backlog::BACKLOGS;
use crate::results::{Backlog, Measured, Results, Spread, Step};
use crate::server::Failure;

/// A chart, as far as there is something to draw.
struct Chart {
    file: &'static str,
    title: &'static str,
    /// What its axis counts, and in what.
    axis: &'static str,
    bars: Vec<Bar>,
    /// The parts that it is drawn from.
    parts: Vec<&'static str>,
}

/// One row of a chart.
struct Bar {
    label: String,
    spread: Spread,
    ours: bool,
}

const LATENCIES: [&str; 2] = ["latency-2000", "latency-10000"];
const WIDTH: u32 = 900;
const ROW: u32 = 22;
// Light enough for the black line of the spread.
const OURS: RGBColor = RGBColor(0x5b, 0xa3, 0xe6);
const THEIRS: RGBColor = RGBColor(0xb4, 0xbb, 0xc4);
const GREY: RGBColor = RGBColor(0x55, 0x5c, 0x66);

/// Draws all into `folder`.
pub(crate) fn write(folder: &Path, results: &Results) -> Result<(), Failure> {
    let draw = |chart: &Chart| draw(&folder.join(chart.file), chart, &source(results, &chart.parts));
    charts(results).iter().try_for_each(draw)
}

/// The files that [`write`] makes, and what they show.
pub(crate) fn drawn(results: &Results) -> Vec<(&'static str, &'static str)> {
    charts(results).iter().map(|chart| (chart.file, chart.title)).collect()
}

fn charts(results: &Results) -> Vec<Chart> {
    let wall = |backlog: &Backlog, name: &str| backlog.ratio(name, "pg_recvlogical", |run| run.wall);
    let cpu = |backlog: &Backlog, name: &str| {
        Spread::of(backlog.runs(name)?.iter().filter_map(|run| run.cpu_per_million(backlog.counts.all())))
    };
    let backlogs = || BACKLOGS.iter().filter(|backlog| backlog.bound.is_some()).map(|backlog| backlog.name).collect();
    let mut charts = vec![
        Chart {
            file: "wall.svg",
            title: "Wall time from connecting to durable, beside pg_recvlogical's",
            axis: "wall time / pg_recvlogical's of the same round; bar: median, line: least to most; less is better",
            bars: bars(results, &wall),
            parts: backlogs(),
        },
        Chart {
            file: "cpu.svg",
            title: "CPU of the client",
            axis: "CPU-seconds per million changes; bar: median, line: least to most of the rounds; less is better",
            bars: bars(results, &cpu),
            parts: backlogs(),
        },
        Chart {
            file: "latency.svg",
            title: "From commit to durable in the file",
            axis: "milliseconds; bar: p99, line: p50 to p99.9; less is better",
            bars: delays(results),
            parts: LATENCIES.to_vec(),
        },
        Chart {
            file: "scale-start.svg",
            title: "From a start until all slots stream",
            axis: "seconds; after a restart, and with nothing there (grey); less is better",
            bars: scale(
                results,
                &[
                    ("after a restart", |step| step.after_restart, true),
                    ("from nothing", |step| step.from_nothing, false),
                ],
            ),
            parts: vec!["scale"],
        },
        Chart {
            file: "scale-memory.svg",
            title: "Memory of slots at rest",
            axis: "MiB of PSS; less is better",
            bars: scale(results, &[("PSS", Step::pss_mib, true)]),
            parts: vec!["scale"],
        },
    ];
    charts.retain(|chart| !chart.bars.is_empty());
    charts
}

/// Debezium's are many times the others', and would leave nothing to be seen of them.
fn bars(results: &Results, figure: &dyn Fn(&Backlog, &str) -> Option<Spread>) -> Vec<Bar> {
    let mut bars = Vec::new();
    for known in BACKLOGS.iter().filter(|backlog| backlog.bound.is_some()) {
        let Some(Measured::Backlog(backlog)) = results.measured(known.name) else { continue };
        for (name, _) in backlog.contenders.iter().filter(|(name, _)| name != "debezium") {
            let label = format!("{}: {name}", known.name);
            bars.extend(figure(backlog, name).map(|spread| Bar { label, spread, ours: name.starts_with("slotd") }));
        }
    }
    bars
}

fn delays(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    for name in LATENCIES {
        let Some(Measured::Latency(latency)) = results.measured(name) else { continue };
        let void = if latency.load.fell_short().is_some() { " (rate not reached)" } else { "" };
        let rate = latency.load.wanted;
        for (what, of, ours) in [("slotd", latency.delay, true), ("the disk's fdatasync", latency.disk, false)] {
            let label = format!("{rate}/s{void}: {what}");
            bars.push(Bar { label, spread: Spread { min: of.p50, median: of.p99, max: of.p999 }, ours });
        }
    }
    bars
}

/// What is drawn of a step: its label, its value, and whether it is in our colour.
type Figure = (&'static str, fn(&Step) -> f64, bool);

/// Bars of each step.
fn scale(results: &Results, figures: &[Figure]) -> Vec<Bar> {
    let Some(Measured::Scale(steps)) = results.measured("scale") else { return Vec::new() };
    let bar = |step: &Step, (what, value, ours): &Figure| Bar {
        label: format!("{} slots: {what}", step.slots),
        spread: Spread::of_one(value(step)),
        ours: *ours,
    };
    steps.iter().flat_map(|step| figures.iter().map(|figure| bar(step, figure)).collect::<Vec<_>>()).collect()
}

/// Where the figures of the parts `names` are from.
fn source(results: &Results, names: &[&str]) -> String {
    let parts = || names.iter().filter_map(|name| results.0.get(*name));
    let mut runs: Vec<_> =
        parts().map(|part| format!("{}, commit {}, scale {}", part.day, part.commit, part.scale)).collect();
    runs.sort();
    runs.dedup();
    let machine = parts().next().map_or("", |part| &part.machine);
    format!("Source: make bench, {}; {machine}", runs.join(" and "))
}

/// Draws the bars from the top down.
fn draw(path: &Path, chart: &Chart, source: &str) -> Result<(), Failure> {
    let rows = u32::try_from(chart.bars.len())?;
    let most = chart.bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max) * 1.15;
    let drawing = SVGBackend::new(path, (WIDTH, rows * ROW + 120)).into_drawing_area();
    drawing.fill(&WHITE)?;
    let (plot, foot) = drawing.split_vertically(rows * ROW + 96);
    let mut area = ChartBuilder::on(&plot)
        .caption(chart.title, ("sans-serif", 17).with_color(BLACK))
        .margin(8)
        .margin_left(250)
        .x_label_area_size(44)
        .build_cartesian_2d(0.0..most, 0.0..f64::from(rows))?;
    let mut mesh = area.configure_mesh();
    mesh.disable_y_mesh().disable_y_axis().light_line_style(WHITE).bold_line_style(GREY.mix(0.25));
    mesh.x_desc(chart.axis).axis_desc_style(("sans-serif", 13).with_color(BLACK));
    mesh.x_label_style(("sans-serif", 12).with_color(BLACK)).draw()?;
    let style = |size: u32, horizontal| {
        TextStyle::from(("sans-serif", size)).pos(Pos::new(horizontal, VPos::Center)).color(&BLACK)
    };
    for (row, bar) in (0..rows).rev().zip(&chart.bars) {
        let (low, middle) = (f64::from(row), f64::from(row) + 0.5);
        let Spread { min, median, max } = bar.spread;
        let colour = if bar.ours { OURS } else { THEIRS };
        area.draw_series([Rectangle::new([(0.0, low + 0.18), (median, low + 0.82)], colour.filled())])?;
        area.draw_series([PathElement::new([(min, middle), (max, middle)], BLACK)])?;
        let at = area.backend_coord(&(0.0, middle));
        drawing.draw(&Text::new(bar.label.clone(), (at.0 - 6, at.1), style(13, HPos::Right)))?;
        let at = area.backend_coord(&(max, middle));
        drawing.draw(&Text::new(format!("{median:.2}"), (at.0 + 5, at.1), style(12, HPos::Left)))?;
    }
    foot.draw(&Text::new(source.to_owned(), (8, 10), style(11, HPos::Left).color(&GREY)))?;
    drawing.present()?;
    Ok(())
}
