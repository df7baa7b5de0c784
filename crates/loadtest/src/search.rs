//! The highest rate that keeps an objective: twice as much until it fails, then half the way between.

use crate::objective::Objective;
use crate::plan::Plan;
use crate::report::{Report, Search, Step};
use crate::run::Error;

/// Runs that are tried at most.
const STEPS_MAX: usize = 24;
/// The search ends when the highest rate that kept it and the lowest that did not are as near as that.
const NEAR: f64 = 1.05;

/// Looks for it from the plan's rate on; returns the report of the best run, or of the first if none was good.
pub(crate) fn highest(
    plan: &Plan,
    objective: &Objective,
    measure: &dyn Fn(f64) -> Result<Report, Error>,
) -> Result<Report, Error> {
    let mut steps = Vec::new();
    let (mut kept, mut missed): (Option<Report>, Option<f64>) = (None, None);
    let mut first = None;
    let mut rate = plan.rate;
    while steps.len() < STEPS_MAX {
        let report = measure(rate)?;
        let step = judge(objective, &report, rate);
        if step.kept {
            kept = Some(report);
        } else {
            missed = Some(rate);
            first.get_or_insert(report);
        }
        steps.push(step);
        rate = match (&kept, missed) {
            (Some(good), Some(bad)) if bad / good.asked.rate <= NEAR => break,
            (Some(good), Some(bad)) => (good.asked.rate * bad).sqrt(),
            (Some(good), None) => good.asked.rate * 2.0,
            // Down by halves, as long as it makes sense.
            (None, Some(bad)) if bad > 2.0 && steps.len() < 8 => bad / 2.0,
            (None, _) => break,
        };
        if (Plan { rate, ..plan.clone() }).check().is_err() {
            break;
        }
    }
    let best = kept.as_ref().map(|report| report.asked.rate);
    let mut report = kept.or(first).ok_or(Error::Ended)?;
    report.search = Some(Search { objective: objective.to_string(), rate: best, steps });
    Ok(report)
}

fn judge(objective: &Objective, report: &Report, rate: f64) -> Step {
    let outcome = objective.judge(report);
    let mut because = report.invalid_because.clone();
    if !outcome.kept {
        because.push(format!("{objective} was not kept"));
    }
    if report.damage() > 0 {
        because.push(format!("{} publications were lost, doubled or reordered", report.damage()));
    }
    let unfinished = report.publications.as_ref().is_some_and(|published| published.acknowledged < published.due);
    if unfinished {
        because.push("not all publications were acknowledged".to_owned());
    }
    if !report.connections.closed.is_empty() {
        because.push("connections were closed".to_owned());
    }
    Step {
        rate,
        deliveries_per_second: report.deliveries.map_or(0.0, |deliveries| deliveries.per_second),
        p99_us: report.latency_us.map(|latency| latency.p99),
        kept: because.is_empty(),
        because,
    }
}
