//! The highest rate that keeps an objective: twice as much until it fails, then half the way between.

use crate::objective::Objective;
use crate::plan::Plan;
use crate::report::{Report, Search, Step};
use crate::run::Error;

/// Rates that are tried at most.
const RATES_MAX: usize = 24;
/// Rates that are tried downwards, if not even the first keeps it.
const RATES_DOWN_MAX: usize = 8;
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
    for tried in 1..=RATES_MAX {
        let mut run = measure(rate);
        if let Ok(report) = run.as_ref()
            && !report.valid
        {
            // The machine may have been busy for a moment, which is no answer.
            steps.push(judge(objective, report, rate));
            run = measure(rate);
        }
        let step = match run {
            Ok(report) => {
                let step = judge(objective, &report, rate);
                if step.kept {
                    kept = Some(report);
                } else {
                    first.get_or_insert(report);
                }
                step
            }
            // The server has not got over the rate before. What was found until then is found.
            Err(error @ (Error::NotReady { .. } | Error::Publish { .. })) if kept.is_some() || first.is_some() => {
                refused(rate, error.to_string())
            }
            Err(error) => return Err(error),
        };
        if !step.kept {
            missed = Some(rate);
        }
        steps.push(step);
        rate = match (&kept, missed) {
            (Some(good), Some(bad)) if bad / good.asked.rate <= NEAR => break,
            (Some(good), Some(bad)) => (good.asked.rate * bad).sqrt(),
            (Some(good), None) => good.asked.rate * 2.0,
            // Down by halves, as long as it makes sense.
            (None, Some(bad)) if bad > 2.0 && tried < RATES_DOWN_MAX => bad / 2.0,
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

/// A rate at which there was nothing to judge.
fn refused(rate: f64, because: String) -> Step {
    Step { rate, deliveries_per_second: 0.0, p99_us: None, kept: false, because: vec![because] }
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
    if report.connections.closed_of_others(report.slow) > 0 {
        because.push("connections were closed".to_owned());
    }
    because.extend(report.not_done());
    Step {
        rate,
        deliveries_per_second: report.deliveries.map_or(0.0, |deliveries| deliveries.per_second),
        p99_us: report.latency_us.map(|latency| latency.p99),
        kept: because.is_empty(),
        because,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::plan::{Protocol, Scenario};
    use crate::report::{Away, Slow, Verdict, sample};

    /// Looks for the highest rate, beginning with 100, of a server whose runs are like this.
    fn searched(server: impl Fn(f64, &mut Report)) -> Report {
        highest_of(&|rate| Ok(run(rate, &server))).unwrap()
    }

    fn highest_of(measure: &dyn Fn(f64) -> Result<Report, Error>) -> Result<Report, Error> {
        let plan = Plan {
            rate: 100.0,
            ..Plan::new(Scenario::Fanout, Protocol::Fanfare, vec!["127.0.0.1:1".parse().unwrap()])
        };
        highest(&plan, &"p99<50ms".parse().unwrap(), measure)
    }

    fn run(rate: f64, server: impl Fn(f64, &mut Report)) -> Report {
        let mut report = sample::quiet();
        report.asked.rate = rate;
        server(rate, &mut report);
        report
    }

    fn found(report: &Report) -> Option<f64> {
        report.search.as_ref().unwrap().rate
    }

    /// Above this rate all comes too late.
    fn slow_above(limit: f64) -> impl Fn(f64, &mut Report) {
        move |rate, report| {
            report.latency_us.as_mut().unwrap().p99 = if rate > limit { 70_000.0 } else { 3_000.0 };
        }
    }

    #[test]
    fn the_highest_rate_is_found_within_5_percent_from_below_and_from_above() {
        for limit in [6.0, 97.0, 100.0, 131.0, 1_234.0, 80_000.0] {
            let report = searched(slow_above(limit));
            let rate = found(&report).unwrap();
            assert!(rate <= limit && rate * NEAR >= limit, "{rate} of {limit}");
            assert_eq!((report.asked.rate, report.verdict()), (rate, Verdict::Good));
        }
    }

    #[test]
    fn a_rate_at_which_the_server_fails_is_not_kept_however_fast_it_was() {
        let lossy = |report: &mut Report| report.deliveries.as_mut().unwrap().lost = 1;
        let closed = |report: &mut Report| *report.connections.closed.entry(3_008).or_default() += 1;
        let refusing = |report: &mut Report| report.publications.as_mut().unwrap().acknowledged -= 1;
        let invalid = |report: &mut Report| {
            (report.valid, report.invalid_because) = (false, vec!["the publisher was late".to_owned()]);
        };
        let idle = |report: &mut Report| report.away = Some(Away { asked: 100, ..Away::default() });
        for fail in [lossy as fn(&mut Report), closed, refusing, invalid, idle] {
            let report = searched(|rate, report| {
                if rate > 300.0 {
                    fail(report)
                }
            });
            let rate = found(&report).unwrap();
            assert!(rate <= 300.0 && rate * NEAR >= 300.0, "{rate}");
        }
    }

    #[test]
    fn defect_one_rate_that_the_server_did_not_get_over_ended_the_search_without_a_result() {
        let gone = |rate: f64| match rate {
            rate if rate > 300.0 => Err(Error::NotReady { ready: 9, asked: 10, why: Vec::new() }),
            rate => Ok(run(rate, slow_above(1_000.0))),
        };
        let report = highest_of(&gone).unwrap();
        let rate = found(&report).unwrap();
        assert!(rate <= 300.0 && rate * NEAR >= 300.0, "{rate}");
        let steps = &report.search.as_ref().unwrap().steps;
        assert!(steps.iter().any(|step| step.because == ["9 of 10 connections got ready"]), "{steps:?}");
        assert!(matches!(highest_of(&|_| Err(Error::Ended)), Err(Error::Ended)));
        let never = highest_of(&|_| Err(Error::NotReady { ready: 0, asked: 10, why: Vec::new() }));
        assert!(matches!(never, Err(Error::NotReady { .. })));
    }

    #[test]
    fn defect_slow_readers_that_were_closed_ended_every_search() {
        let report = searched(|rate, report| {
            slow_above(1_000.0)(rate, report);
            report.connections.closed.insert(3_008, 2);
            report.slow = Some(Slow { connections: 2, closed: 2, ..Slow::default() });
        });
        assert!(found(&report).is_some());
    }

    #[test]
    fn where_no_rate_keeps_it_the_run_has_failed() {
        let report = searched(slow_above(0.0));
        assert_eq!((found(&report), report.verdict()), (None, Verdict::Missed));
        assert_eq!(report.asked.rate, 100.0);
        assert!(report.reasons()[0].starts_with("missed: p99<50ms at every rate"), "{:?}", report.reasons());
    }

    #[test]
    fn a_run_that_is_not_valid_is_tried_once_more() {
        let seen = RefCell::new(Vec::new());
        let report = searched(|rate, report| {
            slow_above(1_000.0)(rate, report);
            // The first time at each rate something else is busy.
            (report.valid, report.invalid_because) =
                (seen.borrow().contains(&rate), vec!["a loader thread waited".to_owned()]);
            if report.valid {
                report.invalid_because.clear();
            }
            seen.borrow_mut().push(rate);
        });
        let rate = found(&report).unwrap();
        assert!(rate <= 1_000.0 && rate * NEAR >= 1_000.0, "{rate}");
        let steps = &report.search.as_ref().unwrap().steps;
        assert_eq!((steps[0].kept, steps[1].kept), (false, true));
        assert_eq!(steps[0].because, ["a loader thread waited"]);
    }
}
