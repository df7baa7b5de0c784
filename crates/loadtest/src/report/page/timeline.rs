//! What happened when: deliveries a second, and below them how late they were.

use std::fmt::Write as _;

use super::axis::Axis;
use super::drawing::{ACROSS, Drawing};
use super::markup::element;
use crate::report::{Moment, Report, units};

const HEIGHT: f64 = 432.0;
/// From top to bottom: the rates, and the latencies.
const RATES: [f64; 2] = [38.0, 160.0];
const LATENCIES: [f64; 2] = [214.0, 382.0];
const MARKS_MAX: usize = 6;

/// What a line shows of a moment.
type Read = fn(&Moment) -> f64;

/// The lines of the latencies, the highest first: the lower ones are drawn over it.
const LINES: [(&str, Read); 3] =
    [("max", |moment| moment.max_us), ("p99", |moment| moment.p99_us), ("p50", |moment| moment.p50_us)];

/// Nothing if nothing was delivered.
pub(super) fn picture(report: &Report) -> Option<String> {
    let moments: Vec<Moment> = report.timeline.iter().copied().filter(can_be_drawn).collect();
    let end = moments.last()?.at_s;
    let highest = moments.iter().map(|moment| moment.live_per_second + moment.recovered_per_second).fold(0.0, f64::max);
    if highest <= 0.0 {
        return None;
    }
    let recovers = moments.iter().any(|moment| moment.recovered_per_second > 0.0);
    let across = Axis::until(end, ACROSS);
    let mut drawing = Drawing::new(HEIGHT);
    rates(&mut drawing, &across, &moments, highest);
    latencies(&mut drawing, &across, &moments);
    drawing.axis_across(&across, LATENCIES[1], "seconds since the first publication", units::shortest);
    let svg = drawing.finish("Deliveries a second and their latency over the time of the run");
    let caption = element("figcaption", "", &format!("Over time {}", legend(recovers)));
    Some(element("figure", "card", &(caption + &svg)))
}

fn can_be_drawn(moment: &Moment) -> bool {
    let rates = [moment.live_per_second, moment.recovered_per_second];
    moment.at_s.is_finite() && moment.at_s > 0.0 && rates.iter().all(|rate| rate.is_finite() && *rate >= 0.0)
}

fn legend(recovers: bool) -> String {
    let all = [("live", "live"), ("recovered", "recovered"), ("p50", "p50"), ("p99", "p99"), ("max", "max")];
    let shown = all.into_iter().filter(|(class, _)| recovers || *class != "recovered");
    let keys: String = shown.map(|(class, name)| element("span", &format!("key {class}"), name)).collect();
    element("span", "legend", &keys)
}

fn rates(drawing: &mut Drawing, across: &Axis, moments: &[Moment], highest: f64) {
    let [top, bottom] = RATES;
    let up = Axis::from_zero(highest, [bottom, top]);
    drawing.axis_up(&up, top, "deliveries a second", units::mark_count);
    let live = |moment: &Moment| moment.live_per_second;
    let both = |moment: &Moment| moment.live_per_second + moment.recovered_per_second;
    let recovered = stairs(across, &up, moments, both) + &stairs_back(across, &up, moments, live);
    let ground = format!("H{:.1}V{bottom}H{}Z", across.place(end(moments)), ACROSS[0]);
    drawing.path("area recovered", &format!("{recovered}Z"));
    drawing.path("area live", &(stairs(across, &up, moments, live) + &ground));
}

fn end(moments: &[Moment]) -> f64 {
    moments.last().map_or(0.0, |moment| moment.at_s)
}

/// The upper border of an area: each interval has its height.
fn stairs(across: &Axis, up: &Axis, moments: &[Moment], rate: impl Fn(&Moment) -> f64) -> String {
    let mut path = format!("M{:.1},{:.1}", across.place(0.0), up.place(0.0));
    for moment in moments {
        // Writing to a string cannot fail.
        write!(path, "V{:.1}H{:.1}", up.place(rate(moment)), across.place(moment.at_s)).unwrap_or_default();
    }
    path
}

/// The lower border of an area on top of another, from right to left.
fn stairs_back(across: &Axis, up: &Axis, moments: &[Moment], rate: impl Fn(&Moment) -> f64) -> String {
    let begins = std::iter::once(0.0).chain(moments.iter().map(|moment| moment.at_s));
    let mut intervals: Vec<(f64, &Moment)> = begins.zip(moments).collect();
    intervals.reverse();
    let step = |(begin, moment)| format!("V{:.1}H{:.1}", up.place(rate(moment)), across.place(begin));
    intervals.into_iter().map(step).collect()
}

fn latencies(drawing: &mut Drawing, across: &Axis, moments: &[Moment]) {
    let [top, bottom] = LATENCIES;
    let measured = LINES.iter().flat_map(|(_, read)| moments.iter().map(read)).filter(|value| is_measured(*value));
    let bounds = measured.fold([f64::INFINITY, 0.0], |[low, high], value| [low.min(value), high.max(value)]);
    if !is_measured(bounds[1]) {
        return;
    }
    let up = Axis::powers(bounds, [bottom, top], MARKS_MAX);
    drawing.axis_up(&up, top, "latency of live deliveries", units::round_time);
    for (class, read) in LINES {
        drawing.path(&format!("line {class}"), &line(across, &up, moments, read));
    }
}

/// An interval without live deliveries has no latency.
fn is_measured(microseconds: f64) -> bool {
    microseconds.is_finite() && microseconds > 0.0
}

/// Through the middles of the intervals, with a gap where nothing was measured.
fn line(across: &Axis, up: &Axis, moments: &[Moment], read: impl Fn(&Moment) -> f64) -> String {
    let (mut path, mut begin, mut is_drawing) = (String::new(), 0.0, false);
    for moment in moments {
        let (x, value) = (across.place((begin + moment.at_s) / 2.0), read(moment));
        begin = moment.at_s;
        if is_measured(value) {
            let y = up.place(value);
            // A stroke of no length is a dot: what stands alone is seen as well.
            let start = if is_drawing { String::new() } else { format!("M{x:.1},{y:.1}") };
            write!(path, "{start}L{x:.1},{y:.1}").unwrap_or_default();
        }
        is_drawing = is_measured(value);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at_s: f64, live: f64, recovered: f64, p50_us: f64) -> Moment {
        let max_us = p50_us * 2.0;
        Moment { at_s, live_per_second: live, recovered_per_second: recovered, p50_us, p99_us: max_us, max_us }
    }

    #[test]
    fn a_line_has_a_gap_where_nothing_was_measured() {
        let moments = [moment(1.0, 1.0, 0.0, 10.0), moment(2.0, 0.0, 1.0, 0.0), moment(3.0, 1.0, 0.0, 10.0)];
        let across = Axis::until(3.0, [0.0, 30.0]);
        let up = Axis::powers([10.0, 90.0], [10.0, 0.0], MARKS_MAX);
        let line = line(&across, &up, &moments, |moment| moment.p50_us);
        assert_eq!(line, "M5.0,10.0L5.0,10.0M25.0,10.0L25.0,10.0");
    }

    #[test]
    fn what_was_recovered_stands_on_what_was_live() {
        let moments = [moment(1.0, 2.0, 2.0, 1.0), moment(2.0, 4.0, 0.0, 1.0)];
        let (across, up) = (Axis::until(2.0, [0.0, 20.0]), Axis::from_zero(4.0, [4.0, 0.0]));
        let both = |moment: &Moment| moment.live_per_second + moment.recovered_per_second;
        assert_eq!(stairs(&across, &up, &moments, both), "M0.0,4.0V0.0H10.0V0.0H20.0");
        assert_eq!(stairs_back(&across, &up, &moments, |moment| moment.live_per_second), "V0.0H10.0V2.0H0.0");
    }
}
