//! What was asked for, where, and with which aims.

use super::{Facts, Grid, Row};
use crate::report::units::{self, bytes, count, number, per_second, round_time, time};
use crate::report::{Outcome, Report, Step};

pub(super) fn asked(report: &Report) -> Facts {
    let asked = &report.asked;
    let facts = Facts::default()
        .say("scenario", &asked.scenario)
        .say("adapter", &asked.adapter)
        .count("connections", asked.connections as u64)
        .count("channels", asked.channels.into());
    let each = (asked.channels > 1).then(|| count(asked.channels_each.into()));
    let published = report.publications.is_some();
    let burst = (published && asked.burst > 1).then(|| count(asked.burst as u64));
    facts
        .say_some("each subscribes to", each)
        .say_some("publications", published.then(|| per_second(asked.rate)))
        .say_some("in bursts of", burst)
        .say_some("payload", published.then(|| bytes(asked.payload_bytes as f64)))
        .say("duration", round_time(asked.duration_s * 1e6))
}

/// Over what it was done.
pub(super) fn setup(report: &Report) -> Facts {
    let asked = &report.asked;
    let targets = asked.targets.iter().fold(Facts::default(), |facts, target| facts.say("target", target));
    targets
        .say_some("network", asked.loopback.then(|| "loopback".to_owned()))
        .say_some("published by", report.publications.is_some().then(|| asked.publish_by.clone()))
        .say_some("messages", asked.protobuf.then(|| "Protobuf".to_owned()))
        .say_some("new connections", asked.connect_rate.map(per_second))
        .say("recovery", if asked.recovery { "yes" } else { "no" })
        .count("receiving threads", asked.threads as u64)
        .say("began", units::date(report.began))
}

pub(super) fn objectives(report: &Report) -> Grid {
    Grid { heading: vec!["measured"], rows: report.objectives.iter().map(objective).collect() }
}

fn objective(outcome: &Outcome) -> Row {
    let measured = outcome.measured(number).unwrap_or_else(|| "nothing".to_owned());
    let note = if outcome.kept { "kept" } else { "missed" };
    Row { label: outcome.objective.clone(), cells: vec![measured], note: note.to_owned() }
}

pub(super) fn search(report: &Report) -> Facts {
    let Some(search) = &report.search else { return Facts::default() };
    let rate = search.rate.map_or_else(|| "none".to_owned(), |rate| format!("{} publications/s", number(rate)));
    Facts::default().say("objective", &search.objective).say("highest rate that keeps it", rate)
}

pub(super) fn steps(report: &Report) -> Grid {
    let steps = report.search.iter().flat_map(|search| &search.steps);
    Grid { heading: vec!["deliveries", "p99"], rows: steps.map(step).collect() }
}

fn step(step: &Step) -> Row {
    let p99 = step.p99_us.map(time).unwrap_or_default();
    Row {
        label: per_second(step.rate),
        cells: vec![per_second(step.deliveries_per_second), p99],
        note: if step.kept { "kept".to_owned() } else { step.because.join("; ") },
    }
}

pub(super) fn machine(report: &Report) -> Facts {
    let machine = &report.machine;
    // What the kernel did not say is empty.
    let told = |text: &String| (!text.is_empty()).then(|| text.clone());
    let some = |number: u64| (number > 0).then_some(number);
    Facts::default()
        .say_some("processor", told(&machine.processor))
        .say_some("cores", some(machine.cores as u64).map(count))
        .say_some("memory", some(machine.memory_bytes).map(|memory| bytes(memory as f64)))
        .say_some("kernel", told(&machine.kernel))
        .say_some("congestion control", told(&machine.congestion_control))
        .say_some("descriptors", some(machine.descriptors_max).map(count))
}
