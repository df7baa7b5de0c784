//! From what was seen to what is reported.

use std::time::Duration;

use crate::machine::Machine;
use crate::measure::{Measured, owed};
use crate::meter::Spent;
use crate::plan::{Plan, Scenario};
use crate::publisher::{Published, State};
use crate::record::{Record, Window};
use crate::report::{
    Asked, Away, Connections, Deliveries, Loader, Messages, Moment, Publications, Report, Server, Slow,
};
use crate::usage::Processes;
use crate::validity::{Evidence, Phase, doubts};

/// What was so before the run.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    pub(crate) plan: Plan,
    pub(crate) machine: Machine,
    pub(crate) began: u64,
    pub(crate) resident_before: Option<u64>,
    pub(crate) resident_connected: Option<u64>,
    pub(crate) connections: Connections,
    /// What was used until all connections were ready.
    pub(crate) opening: Spent,
    pub(crate) processes: Processes,
}

/// What was seen.
pub(crate) enum Evaluation {
    /// Publications went out.
    Published(Box<Measured>),
    /// Nothing was published.
    Watched { record: Box<Record>, spent: Spent, ready_at_end: usize },
}

/// Puts the report together.
pub(crate) fn evaluate(background: &Background, evaluation: Evaluation) -> Report {
    match evaluation {
        Evaluation::Published(measured) => published(background, &measured),
        Evaluation::Watched { record, spent, ready_at_end } => {
            let mut report = blank(background, &record, &spent, 0);
            if let (Some(server), Some(cpu)) = (report.server.as_mut(), spent.server) {
                let seconds = spent.took.as_secs_f64() * background.plan.connections as f64;
                server.idle_cpu_us_per_connection_second = Some(cpu.as_secs_f64() * 1e6 / seconds);
            }
            let reads = record.counts.reads;
            report.messages_per_read = (reads > 0).then(|| record.counts.messages as f64 / reads as f64);
            report.connections.ready_at_end = ready_at_end;
            let mut phases = vec![(Phase::Whole, spent)];
            // Where connecting is what is measured; elsewhere it may be too short to tell.
            phases.extend(
                (background.plan.scenario == Scenario::Connect).then_some((Phase::Connecting, background.opening)),
            );
            report.set_doubts(&Evidence { phases, ..Evidence::default() });
            report
        }
    }
}

fn published(background: &Background, measured: &Measured) -> Report {
    let Measured { record, window, recipients, .. } = measured;
    let deliveries = deliveries(measured);
    let all = record.counts.live + record.counts.recovered + record.counts.slow;
    let mut report = blank(background, record, &measured.all, all);
    let publications = publications(measured);
    let channels = background.plan.channels as usize;
    let last = record.last_recipients(|index| window.due(index), |index| recipients.ordinary[index % channels]);
    report.latency_us = record.live.percentiles();
    report.recovered_latency_us = record.recovered.percentiles();
    report.last_latency_us = last.percentiles();
    report.curve = record.live.curve();
    report.timeline = timeline(record);
    report.bytes_per_delivery = (all > 0).then(|| record.counts.bytes as f64 / all as f64);
    report.messages_per_read = (record.counts.reads > 0).then(|| all as f64 / record.counts.reads as f64);
    report.messages_per_write = measured.messages_per_write;
    report.slow = slow(background, measured);
    report.away = away(&background.plan, measured);
    report.connections.ready_at_end = measured.ready_at_end;
    if matches!(background.plan.scenario, Scenario::Storm | Scenario::Recover) {
        let returns = report.connections.return_us.filter(|returns| returns.max > 0.0);
        report.connections.returns_per_second = returns.map(|returns| returns.count as f64 * 1e6 / returns.max);
    }
    let lateness_p99_us = publications.lateness_us.map_or(0.0, |lateness| lateness.p99);
    // In the drain little happens, unless it is then that all come back.
    let mut phases = vec![(Phase::Whole, measured.publishing)];
    phases.extend((background.plan.scenario == Scenario::Recover).then_some((Phase::Returning, measured.returning)));
    report.set_doubts(&Evidence { lateness_p99_us, over_bound: publications.over_bound, phases });
    report.publications = Some(publications);
    report.deliveries = Some(deliveries);
    report
}

/// A report with what every run has.
fn blank(background: &Background, record: &Record, spent: &Spent, deliveries: u64) -> Report {
    let connections = Connections {
        connect_us: record.connects.percentiles(),
        return_us: record.returns.percentiles(),
        closed: record.counts.closes.clone(),
        closed_without_position: record.counts.closes_without_position,
        failed: record.counts.failures.clone(),
        ..background.connections.clone()
    };
    let server = server(background, spent, deliveries);
    Report {
        asked: asked(&background.plan),
        machine: background.machine.clone(),
        began: background.began,
        valid: true,
        invalid_because: Vec::new(),
        connections,
        publications: None,
        deliveries: None,
        slow: None,
        away: None,
        latency_us: None,
        last_latency_us: None,
        recovered_latency_us: None,
        bytes_per_delivery: None,
        messages_per_read: None,
        messages_per_write: None,
        messages: Messages { count: record.counts.messages, bytes: record.counts.message_bytes },
        loader: loader(spent, server.as_ref(), deliveries),
        server,
        curve: Vec::new(),
        timeline: Vec::new(),
        objectives: Vec::new(),
        search: None,
    }
}

impl Report {
    fn set_doubts(&mut self, evidence: &Evidence) {
        let worst = |share: fn(&Spent) -> Option<f64>| {
            let shares = evidence.phases.iter().map(|(_, spent)| share(spent)).collect::<Option<Vec<_>>>();
            shares.map(|shares| shares.into_iter().fold(0.0, f64::max))
        };
        (self.loader.waited, self.loader.stolen) = (worst(|spent| spent.waited), worst(|spent| spent.stolen));
        self.invalid_because = doubts(evidence);
        self.valid = self.invalid_because.is_empty();
    }
}

fn asked(plan: &Plan) -> Asked {
    Asked {
        scenario: plan.scenario.to_string(),
        adapter: plan.protocol.to_string(),
        targets: plan.subscribe_at().iter().map(ToString::to_string).collect(),
        publish_by: plan.publish_by.to_string(),
        connections: plan.connections,
        channels: plan.channels,
        channels_each: plan.channels_each,
        rate: plan.rate,
        burst: plan.burst,
        duration_s: plan.duration.as_secs_f64(),
        warm_up_s: plan.warm_up.as_secs_f64(),
        payload_bytes: plan.payload_bytes,
        protobuf: plan.protobuf,
        connect_rate: plan.connect_rate,
        recovery: plan.recovers(),
        threads: plan.threads,
        loopback: plan.targets.iter().all(crate::target::Target::is_loopback),
    }
}

fn deliveries(measured: &Measured) -> Deliveries {
    let counts = &measured.record.counts;
    let [lost, excused] =
        [&measured.missing.ordinary, &measured.record.excused].map(|each| acknowledged(&measured.published, each));
    let received = counts.live + counts.recovered;
    Deliveries {
        expected: owed(&measured.published, &[State::Acknowledged], &measured.recipients.ordinary)
            .saturating_sub(excused),
        excused,
        received,
        recovered: counts.recovered,
        lost,
        doubled: counts.doubled,
        reordered: counts.reordered,
        told_losses: counts.told_losses,
        per_second: received as f64 / seconds_until(&measured.window, measured.record.last_arrival),
    }
}

fn slow(background: &Background, measured: &Measured) -> Option<Slow> {
    let connections = (0..background.plan.connections).filter(|number| background.plan.is_slow(*number)).count();
    (connections > 0).then(|| Slow {
        connections: connections as u64,
        expected: owed(&measured.published, &[State::Acknowledged], &measured.recipients.slow),
        lost: acknowledged(&measured.published, &measured.missing.slow),
        closed: measured.record.counts.slow_closes,
    })
}

fn away(plan: &Plan, measured: &Measured) -> Option<Away> {
    let counts = &measured.record.counts;
    match plan.scenario {
        Scenario::Churn => {
            let seconds = measured.publishing.took.as_secs_f64().max(1e-9);
            Some(Away {
                asked: counts.goings_due,
                done: counts.comings,
                asked_per_second: Some(plan.churn_rate),
                per_second: Some(counts.comings as f64 / seconds),
            })
        }
        Scenario::Storm | Scenario::Recover => {
            Some(Away { asked: plan.connections as u64, done: counts.cuts, ..Away::default() })
        }
        _ => None,
    }
}

/// Seconds from the first publication to the last answer or arrival, and to the end of the plan at least: what comes later
/// was not done in the time that it was asked for.
fn seconds_until(window: &Window, last: u64) -> f64 {
    Duration::from_nanos(last.max(window.end) - window.start).as_secs_f64()
}

/// The sum of what was counted for each publication, over those that the server had acknowledged.
fn acknowledged(published: &Published, each: &[u32]) -> u64 {
    let acknowledged = |index: &usize| published.states.is(*index, State::Acknowledged);
    (0..each.len()).filter(acknowledged).map(|index| u64::from(each[index])).sum()
}

fn publications(measured: &Measured) -> Publications {
    let published = &measured.published;
    let [not_sent, unanswered, acknowledged, refused] =
        [State::NotSent, State::Sent, State::Acknowledged, State::Refused].map(|state| published.states.count(state));
    Publications {
        due: not_sent + unanswered + acknowledged + refused,
        sent: unanswered + acknowledged + refused,
        acknowledged,
        refused,
        over_bound: published.over_bound,
        without_connection: published.without_line,
        connections_broken: published.answered.broken,
        refusals: published.answered.refusals.clone(),
        lateness_us: published.lateness.percentiles(),
        answer_us: published.answered.latencies.percentiles(),
        per_second: acknowledged as f64 / seconds_until(&measured.window, published.answered.last),
    }
}

fn timeline(record: &Record) -> Vec<Moment> {
    let seconds = Duration::from_nanos(record.window.interval()).as_secs_f64();
    let moments = record.timeline.iter().enumerate().map(|(at, interval)| {
        let read = interval.latencies.percentiles();
        Moment {
            at_s: (at + 1) as f64 * seconds,
            live_per_second: interval.live as f64 / seconds,
            recovered_per_second: interval.recovered as f64 / seconds,
            p50_us: read.map_or(0.0, |read| read.p50),
            p99_us: read.map_or(0.0, |read| read.p99),
            max_us: read.map_or(0.0, |read| read.max),
        }
    });
    moments.collect()
}

fn server(background: &Background, spent: &Spent, deliveries: u64) -> Option<Server> {
    let cpu = spent.server?;
    let (before, connected) = (background.resident_before?, background.resident_connected?);
    let connections = background.connections.ready.max(1) as f64;
    Some(Server {
        processes: background.processes.0.iter().map(|process| process.id()).collect(),
        resident_bytes_before: before,
        resident_bytes_connected: connected,
        resident_bytes_after: background.processes.resident_bytes().unwrap_or_default(),
        resident_bytes_per_connection: (connected > before).then(|| (connected - before) as f64 / connections),
        cpu_us_per_connect: background.opening.server.unwrap_or_default().as_secs_f64() * 1e6 / connections,
        cpu_s: cpu.as_secs_f64(),
        cores: cpu.as_secs_f64() / spent.took.as_secs_f64(),
        cpu_us_per_delivery: per_delivery(cpu, deliveries),
        idle_cpu_us_per_connection_second: None,
    })
}

fn loader(spent: &Spent, server: Option<&Server>, deliveries: u64) -> Loader {
    let each = spent.loaders.and_then(|cpu| per_delivery(cpu, deliveries));
    let servers = server.and_then(|server| server.cpu_us_per_delivery);
    Loader {
        cpu_s: spent.loaders.map(|cpu| cpu.as_secs_f64()),
        cpu_us_per_delivery: each,
        share_of_server: each.zip(servers).filter(|(_, servers)| *servers > 0.0).map(|(ours, servers)| ours / servers),
        waited: spent.waited,
        stolen: spent.stolen,
    }
}

fn per_delivery(cpu: Duration, deliveries: u64) -> Option<f64> {
    (deliveries > 0).then(|| cpu.as_secs_f64() * 1e6 / deliveries as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::loader::{Missing, Recipients};
    use crate::plan::Protocol;
    use crate::publisher::{Answered, States};

    const WINDOW: Window = Window {
        run: 1,
        start: 0,
        timed_from: 0,
        end: 1_000_000_000,
        publications: 4,
        channels: 1,
        gap: 250e6,
        burst: 1,
    };

    const CALM: Spent = Spent {
        took: Duration::from_secs(1),
        server: None,
        loaders: Some(Duration::ZERO),
        waited: Some(0.01),
        stolen: Some(0.0),
    };
    const CROWDED: Spent = Spent { waited: Some(0.4), ..CALM };

    fn background(scenario: Scenario, opening: Spent) -> Background {
        Background {
            plan: Plan::new(scenario, Protocol::Fanfare, vec!["127.0.0.1:1".parse().unwrap()]),
            machine: Machine::default(),
            began: 0,
            resident_before: None,
            resident_connected: None,
            connections: Connections::default(),
            opening,
            processes: Processes::default(),
        }
    }

    fn watched(scenario: Scenario, opening: Spent) -> Report {
        let record = Box::new(Record::new(WINDOW));
        evaluate(&background(scenario, opening), Evaluation::Watched { record, spent: CALM, ready_at_end: 0 })
    }

    #[test]
    fn defect_a_tester_that_was_crowded_while_the_connections_came_was_not_seen() {
        let report = watched(Scenario::Connect, CROWDED);
        assert!(!report.valid && report.invalid_because[0].contains("40.0 % of the time of connecting"), "{report:?}");
        assert!(watched(Scenario::Connect, CALM).valid);
        assert!(watched(Scenario::Listen, CROWDED).valid);
    }

    fn measured(scenario: Scenario, returning: Spent) -> Report {
        let published = Published {
            states: Arc::new(States::new(WINDOW.publications)),
            lateness: crate::latency::Latencies::default(),
            over_bound: 0,
            without_line: 0,
            answered: Answered::default(),
        };
        let measured = Measured {
            window: WINDOW,
            record: Record::new(WINDOW),
            published,
            recipients: Recipients::of(1),
            missing: Missing::default(),
            publishing: CALM,
            returning,
            all: CALM,
            messages_per_write: None,
            ready_at_end: 0,
        };
        evaluate(&background(scenario, CALM), Evaluation::Published(Box::new(measured)))
    }

    #[test]
    fn defect_a_tester_that_was_crowded_while_all_came_back_was_not_seen() {
        let report = measured(Scenario::Recover, CROWDED);
        assert!(!report.valid && report.invalid_because[0].contains("40.0 % of the time of coming back"), "{report:?}");
        assert!(measured(Scenario::Recover, CALM).valid);
        assert!(measured(Scenario::Fanout, CROWDED).valid);
    }
}
