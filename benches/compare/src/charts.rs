//! The same as charts: SVG, one bar a contender, with the spread of the rounds.

use std::path::Path;

use plotters::prelude::*;

use crate::backlog::BACKLOGS;
use crate::results::{Backlog, Measured, Results, Run, Spread};
use crate::server::Failure;

/// One row of a chart.
struct Bar {
    label: String,
    spread: Spread,
    ours: bool,
}

const WIDTH: u32 = 900;
const ROW: u32 = 22;
const OURS: RGBColor = RGBColor(0x1b, 0x6e, 0xb8);
const THEIRS: RGBColor = RGBColor(0x9a, 0xa3, 0xad);

/// Draws all into `folder`.
pub(crate) fn write(folder: &Path, results: &Results) -> Result<(), Failure> {
    let wall = |backlog: &Backlog, name: &str| backlog.ratio(name, "pg_recvlogical", |run| run.wall);
    draw(
        &folder.join("wall.svg"),
        "Wall time, pg_recvlogical = 1 (least, median and most of the rounds)",
        bars(results, &wall),
    )?;
    let cpu = |backlog: &Backlog, name: &str| {
        Spread::of(backlog.runs(name)?.iter().map(|run: &Run| backlog.cpu_per_million(run)))
    };
    draw(&folder.join("cpu.svg"), "CPU-seconds of the client for a million changes", bars(results, &cpu))?;
    let mut delays = Vec::new();
    for name in ["latency-2000", "latency-10000"] {
        if let Some(Measured::Latency(latency)) = results.0.get(name).and_then(|part| part.measured.as_ref()) {
            for (label, of, ours) in [("slotd", latency.delay, true), ("the disk's fdatasync", latency.disk, false)] {
                let label = format!("{:.0}/s: {label}", latency.reached);
                delays.push(Bar { label, spread: Spread { min: of.p50, median: of.p99, max: of.p999 }, ours });
            }
        }
    }
    draw(&folder.join("latency.svg"), "Commit to durable, milliseconds: p99 (p50 and p99.9)", delays)
}

fn bars(results: &Results, figure: &dyn Fn(&Backlog, &str) -> Option<Spread>) -> Vec<Bar> {
    let mut bars = Vec::new();
    for known in &BACKLOGS {
        let Some(Measured::Backlog(backlog)) = results.0.get(known.name).and_then(|part| part.measured.as_ref()) else {
            continue;
        };
        // Debezium's is many times the others', and would leave nothing to be seen of them.
        for (name, _) in backlog.contenders.iter().filter(|(name, _)| name != "debezium") {
            let ours = name.starts_with("slotd");
            bars.extend(figure(backlog, name).map(|spread| Bar {
                label: format!("{}: {name}", known.name),
                spread,
                ours,
            }));
        }
    }
    bars
}

/// Draws `bars` from the top down; no file if there are none.
fn draw(path: &Path, title: &str, bars: Vec<Bar>) -> Result<(), Failure> {
    if bars.is_empty() {
        return Ok(());
    }
    let rows = u32::try_from(bars.len())?;
    let most = bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max) * 1.15;
    let drawing = SVGBackend::new(path, (WIDTH, rows * ROW + 80)).into_drawing_area();
    drawing.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&drawing)
        .caption(title, ("sans-serif", 17))
        .margin(8)
        .margin_left(220)
        .x_label_area_size(28)
        .build_cartesian_2d(0.0..most, 0.0..f64::from(rows))?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().light_line_style(WHITE).draw()?;
    for (row, bar) in (0..rows).rev().zip(&bars) {
        let (low, middle) = (f64::from(row), f64::from(row) + 0.5);
        let Spread { min, median, max } = bar.spread;
        let colour = if bar.ours { OURS } else { THEIRS };
        chart.draw_series([Rectangle::new([(0.0, low + 0.18), (median, low + 0.82)], colour.filled())])?;
        chart.draw_series([PathElement::new([(min, middle), (max, middle)], BLACK)])?;
        let at = chart.backend_coord(&(0.0, middle));
        let style = TextStyle::from(("sans-serif", 13)).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Right,
            plotters::style::text_anchor::VPos::Center,
        ));
        drawing.draw(&Text::new(bar.label.clone(), (at.0 - 6, at.1), style.clone()))?;
        let at = chart.backend_coord(&(max, middle));
        let style = TextStyle::from(("sans-serif", 12)).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Left,
            plotters::style::text_anchor::VPos::Center,
        ));
        drawing.draw(&Text::new(format!("{median:.2}"), (at.0 + 5, at.1), style))?;
    }
    drawing.present()?;
    Ok(())
}
