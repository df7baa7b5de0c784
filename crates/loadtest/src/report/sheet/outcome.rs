//! What came, when it came, and over which connections.

use super::{Facts, Grid, Row};
use crate::latency::Percentiles;
use crate::report::units::{self, bytes, count, per_second, time};
use crate::report::{Connections, Report};

pub(super) fn deliveries(report: &Report) -> Facts {
    let Some(deliveries) = report.deliveries else { return Facts::default() };
    Facts::default()
        .count("expected", deliveries.expected)
        .count_some("excused while away", deliveries.excused)
        .count("received", deliveries.received)
        .say("rate", per_second(deliveries.per_second))
        .count_some("recovered", deliveries.recovered)
        .count("lost", deliveries.lost)
        .count("doubled", deliveries.doubled)
        .count("reordered", deliveries.reordered)
        .count_some("losses told by the server", deliveries.told_losses)
}

pub(super) fn slow(report: &Report) -> Facts {
    let Some(slow) = report.slow else { return Facts::default() };
    let lost = match slow.expected {
        0 => count(slow.lost),
        expected => format!("{} ({})", count(slow.lost), units::percent(slow.lost as f64 / expected as f64)),
    };
    Facts::default()
        .count("connections", slow.connections)
        .count("expected", slow.expected)
        .say("lost", lost)
        .count_some("closed", slow.closed)
}

pub(super) fn came_and_went(report: &Report) -> Facts {
    let Some((away, asked_per_second)) = report.away.and_then(|away| Some((away, away.asked_per_second?))) else {
        return Facts::default();
    };
    Facts::default()
        .count("asked", away.asked)
        .say("at", per_second(asked_per_second))
        .count("done", away.done)
        .say_some("at", away.per_second.map(per_second))
}

pub(super) fn cut(report: &Report) -> Facts {
    let Some(away) = report.away.filter(|away| away.asked_per_second.is_none()) else { return Facts::default() };
    Facts::default().count("asked", away.asked).count("done", away.done)
}

pub(super) fn latencies(report: &Report) -> Grid {
    let published = report.publications.as_ref();
    let all = [
        ("delivery", report.latency_us),
        ("last recipient", report.last_latency_us),
        ("recovery", report.recovered_latency_us),
        ("publish answer", published.and_then(|published| published.answer_us)),
        ("sent late by", published.and_then(|published| published.lateness_us)),
        ("connect", report.connections.connect_us),
        ("return", report.connections.return_us),
    ];
    let rows = all.into_iter().filter_map(|(label, read)| read.map(|read| percentiles(label, &read)));
    Grid { heading: vec!["p50", "p90", "p99", "p99.9", "max", "mean", "count"], rows: rows.collect() }
}

fn percentiles(label: &str, read: &Percentiles) -> Row {
    let times = [read.p50, read.p90, read.p99, read.p999, read.max, read.mean].map(time);
    Row { label: label.to_owned(), cells: times.into_iter().chain([count(read.count)]).collect(), note: String::new() }
}

pub(super) fn publications(report: &Report) -> Facts {
    let Some(published) = &report.publications else { return Facts::default() };
    Facts::default()
        .count("due", published.due)
        .count("sent", published.sent)
        .count("acknowledged", published.acknowledged)
        .say("rate", per_second(published.per_second))
        .count_some("refused", published.refused)
        .count_some("not sent, too many unanswered", published.over_bound)
        .count_some("not sent, connection broken", published.without_connection)
        .count_some("connections broken", published.connections_broken)
}

pub(super) fn connections(connections: &Connections) -> Facts {
    Facts::default()
        .count("ready", connections.ready as u64)
        .say("within", time(connections.seconds * 1e6))
        .say("sessions", per_second(connections.sessions_per_second))
        .say_some("came back", connections.return_us.map(|returns| count(returns.count)))
        .say_some("at", connections.returns_per_second.map(per_second))
}

pub(super) fn closes(connections: &Connections) -> Facts {
    connections.closed.iter().fold(Facts::default(), |facts, (code, times)| {
        let label = if *code == 0 { "without a code".to_owned() } else { format!("code {code}") };
        facts.say(label, units::times(*times))
    })
}

pub(super) fn wire(report: &Report) -> Facts {
    let messages = report.messages;
    let some = |value: Option<f64>| value.filter(|value| *value > 0.0).map(units::three_digits);
    let facts = Facts::default()
        .say_some("bytes per delivery", report.bytes_per_delivery.map(units::three_digits))
        .say_some("publications per read", some(report.messages_per_read))
        .say_some("messages per write", some(report.messages_per_write));
    if messages.count == 0 {
        return facts;
    }
    facts.say("messages", format!("{} ({})", count(messages.count), bytes(messages.bytes as f64)))
}
