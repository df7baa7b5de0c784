//! The percentile curve: how late the latest one in ten, in a hundred, in a thousand was.

use super::axis::Axis;
use super::drawing::{ACROSS, Anchor, Drawing};
use super::markup::element;
use crate::report::{Report, units};

const HEIGHT: f64 = 452.0;
const TOP: f64 = 38.0;
const BOTTOM: f64 = 402.0;
const MARKS_MAX: usize = 7;
/// Percentiles that are marked, with their names.
const PERCENTILES: [(f64, &str); 6] =
    [(50.0, "50 %"), (90.0, "90 %"), (99.0, "99 %"), (99.9, "99.9 %"), (99.99, "99.99 %"), (99.999, "99.999 %")];
/// Percentiles whose latency is written beside the curve.
const WRITTEN: [(f64, &str); 3] = [(50.0, "p50"), (99.0, "p99"), (99.9, "p99.9")];
/// Room for that to the right of a point.
const WRITTEN_WIDTH: f64 = 120.0;

/// A percentile, where it lies across, and its latency.
struct Point {
    percentile: f64,
    nines: f64,
    microseconds: f64,
}

/// Nothing if there are not two points to draw a line between.
pub(super) fn picture(report: &Report) -> Option<String> {
    let points = points(report);
    let (first, last) = (points.first()?, points.last()?);
    if last.nines <= first.nines {
        return None;
    }
    let latencies = points.iter().map(|point| point.microseconds);
    let bounds = [latencies.clone().fold(f64::INFINITY, f64::min), latencies.fold(0.0, f64::max)];
    let across = across(last.nines);
    let up = Axis::powers(bounds, [BOTTOM, TOP], MARKS_MAX);
    let mut drawing = Drawing::new(HEIGHT);
    drawing.axis_up(&up, TOP, "latency", units::round_time);
    drawing.axis_across(&across, BOTTOM, "of the deliveries were no later", mark_name);
    let places: Vec<[f64; 2]> =
        points.iter().map(|point| [across.place(point.nines), up.place(point.microseconds)]).collect();
    let line = places.iter().map(|[x, y]| format!("L{x:.1},{y:.1}")).collect::<String>().replacen('L', "M", 1);
    drawing.path("area live", &format!("{line}L{:.1},{BOTTOM}L{:.1},{BOTTOM}Z", across.place(last.nines), ACROSS[0]));
    drawing.path("line p99", &line);
    points.iter().zip(&places).for_each(|(point, place)| write(&mut drawing, point, *place));
    let svg = drawing.finish("How late deliveries were, by percentile; the table of latencies has the numbers");
    Some(element("figure", "card", &(element("figcaption", "", "Latency by percentile") + &svg)))
}

/// The curve's points that can be drawn by powers of ten. The latest of all lies where one in all of them does.
fn points(report: &Report) -> Vec<Point> {
    let count = report.latency_us.map_or(1, |latency| latency.count.max(1));
    let mut points: Vec<Point> = Vec::new();
    for (percentile, microseconds) in report.curve.iter().copied() {
        if !(microseconds.is_finite() && microseconds > 0.0 && (0.0..=100.0).contains(&percentile)) {
            continue;
        }
        let before = points.last().map_or(0.0, |point| point.nines);
        let nines = if percentile < 100.0 { nines(percentile) } else { (count as f64).log10() };
        points.push(Point { percentile, nines: nines.max(before), microseconds });
    }
    points
}

/// 1 for 90 %, 2 for 99 %, and so on.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

fn across(end: f64) -> Axis {
    let marks = PERCENTILES.iter().map(|(percentile, _)| nines(*percentile)).filter(|nines| *nines <= end);
    Axis::even([0.0, end], ACROSS, marks.collect())
}

fn mark_name(mark: f64) -> String {
    let name = PERCENTILES.iter().find(|(percentile, _)| (nines(*percentile) - mark).abs() < 1e-6);
    name.map_or("", |(_, name)| name).to_owned()
}

/// A point, and what it stands for where there is room: below the curve, which rises.
fn write(drawing: &mut Drawing, point: &Point, [x, y]: [f64; 2]) {
    let time = units::time(point.microseconds);
    let is_max = point.percentile >= 100.0;
    let name = if is_max { "max".to_owned() } else { format!("p{}", point.percentile) };
    drawing.point([x, y], &format!("{name} {time}"));
    if is_max {
        drawing.text("written", [x, y - 10.0], Anchor::End, &format!("max {time}"));
    }
    let written = WRITTEN.iter().find(|(percentile, _)| (percentile - point.percentile).abs() < 1e-9);
    if let Some((_, name)) = written.filter(|_| x + WRITTEN_WIDTH < ACROSS[1]) {
        drawing.text("written", [x + 6.0, y + 20.0], Anchor::Start, &format!("{name} {time}"));
    }
}
