//! Reports for tests, as runs make them.

use super::{
    Asked, Away, Connections, Deliveries, Loader, Messages, Moment, Outcome, Publications, Report, Search, Server,
    Slow, Step,
};
use crate::latency::Percentiles;
use crate::machine::Machine;

/// As they lie around a median, in microseconds.
fn percentiles(count: u64, p50: f64) -> Percentiles {
    Percentiles { count, mean: p50 * 1.08, p50, p90: p50 * 1.5, p99: p50 * 2.9, p999: p50 * 6.1, max: p50 * 9.3 }
}

/// A fan-out in which all went well.
pub(crate) fn quiet() -> Report {
    Report {
        asked: asked("fanout"),
        machine: machine(),
        began: 1_795_841_100,
        valid: true,
        invalid_because: Vec::new(),
        connections: Connections {
            ready: 1_000,
            ready_at_end: 1_000,
            seconds: 0.42,
            sessions_per_second: 2_380.95,
            connect_us: Some(percentiles(1_000, 21_300.0)),
            ..Connections::default()
        },
        publications: Some(publications()),
        deliveries: Some(Deliveries {
            expected: 550_000,
            received: 550_000,
            per_second: 50_000.0,
            ..Deliveries::default()
        }),
        slow: None,
        away: None,
        latency_us: Some(percentiles(500_000, 1_234.0)),
        last_latency_us: Some(percentiles(500, 2_480.0)),
        recovered_latency_us: None,
        bytes_per_delivery: Some(171.4),
        messages_per_read: Some(1.04),
        messages_per_write: Some(1.02),
        messages: Messages { count: 551_000, bytes: 94_300_000 },
        server: Some(server()),
        loader: Loader {
            cpu_s: Some(1.65),
            cpu_us_per_delivery: Some(0.3),
            share_of_server: Some(0.353),
            waited: Some(0.004),
            stolen: Some(0.0),
        },
        curve: curve(),
        timeline: (0..44).map(moment).collect(),
        objectives: Vec::new(),
        search: None,
    }
}

fn asked(scenario: &str) -> Asked {
    Asked {
        scenario: scenario.to_owned(),
        adapter: "fanfare".to_owned(),
        targets: vec!["ws://127.0.0.1:8000/connection/websocket".to_owned()],
        publish_by: "api".to_owned(),
        connections: 1_000,
        channels: 1,
        channels_each: 1,
        rate: 50.0,
        burst: 1,
        duration_s: 10.0,
        warm_up_s: 1.0,
        payload_bytes: 128,
        protobuf: false,
        connect_rate: None,
        recovery: true,
        threads: 1,
        loopback: true,
    }
}

fn machine() -> Machine {
    Machine {
        processor: "Fast Processor 9000 @ 2.45GHz".to_owned(),
        cores: 2,
        memory_bytes: 8_400_000_000,
        kernel: "6.12.9".to_owned(),
        congestion_control: "cubic".to_owned(),
        descriptors_max: 20_000,
    }
}

fn publications() -> Publications {
    Publications {
        due: 550,
        sent: 550,
        acknowledged: 550,
        lateness_us: Some(percentiles(550, 61.0)),
        answer_us: Some(percentiles(550, 842.0)),
        per_second: 50.0,
        ..Publications::default()
    }
}

fn server() -> Server {
    Server {
        processes: vec![4_711],
        resident_bytes_before: 21_000_000,
        resident_bytes_connected: 48_800_000,
        resident_bytes_after: 52_400_000,
        resident_bytes_per_connection: Some(27_800.0),
        cpu_us_per_connect: 212.0,
        cpu_s: 4.67,
        cores: 0.42,
        cpu_us_per_delivery: Some(0.85),
        idle_cpu_us_per_connection_second: None,
    }
}

fn curve() -> Vec<(f64, f64)> {
    let percentiles =
        [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999, 100.0];
    let times = [
        310.0, 640.0, 900.0, 1_234.0, 1_500.0, 1_850.0, 2_300.0, 2_900.0, 3_580.0, 4_600.0, 7_520.0, 8_100.0, 9_300.0,
        10_200.0, 11_100.0, 11_476.0,
    ];
    percentiles.into_iter().zip(times).collect()
}

fn moment(at: u32) -> Moment {
    let wave = 1.0 + (f64::from(at * 7 % 11) - 5.0) / 25.0;
    Moment {
        at_s: f64::from(at + 1) * 0.25,
        live_per_second: 50_000.0 * wave.min(1.04),
        recovered_per_second: 0.0,
        p50_us: 1_200.0 * wave,
        p99_us: 3_400.0 * wave * wave,
        max_us: 7_000.0 * wave * wave * wave,
    }
}

/// Nothing was published.
pub(super) fn idle() -> Report {
    let quiet = quiet();
    Report {
        asked: asked("connect"),
        publications: None,
        deliveries: None,
        latency_us: None,
        last_latency_us: None,
        bytes_per_delivery: None,
        messages_per_read: None,
        messages_per_write: None,
        messages: Messages { count: 400, bytes: 1_600 },
        server: Some(Server { cpu_us_per_delivery: None, idle_cpu_us_per_connection_second: Some(1.25), ..server() }),
        loader: Loader { cpu_us_per_delivery: None, share_of_server: None, ..quiet.loader },
        curve: Vec::new(),
        timeline: Vec::new(),
        ..quiet
    }
}

/// A storm in which everything happened.
pub(super) fn full() -> Report {
    let mut report = quiet();
    report.asked = Asked { channels: 20, channels_each: 2, burst: 10, ..asked("storm") };
    (report.valid, report.invalid_because) = (
        false,
        vec!["the publisher was late: 1 % of its publications by more than 3.4 ms, 1 ms is allowed".to_owned()],
    );
    report.connections.return_us = Some(percentiles(1_000, 412_000.0));
    report.connections.returns_per_second = Some(261.0);
    report.connections.closed = [(0, 3), (3_008, 12)].into();
    report.connections.failed = [("connection refused".to_owned(), 2), ("HTTP 503".to_owned(), 41)].into();
    if let Some(published) = &mut report.publications {
        (published.acknowledged, published.refused, published.connections_broken) = (548, 2, 1);
        published.refusals = [("108: limit exceeded".to_owned(), 2)].into();
    }
    report.deliveries = Some(Deliveries {
        expected: 548_000,
        excused: 0,
        received: 547_988,
        recovered: 61_200,
        lost: 12,
        doubled: 3,
        reordered: 1,
        told_losses: 1,
        per_second: 49_817.0,
    });
    report.slow = Some(Slow { connections: 50, expected: 27_500, lost: 1_200, closed: 0 });
    report.away = Some(Away { asked: 1_000, done: 998, ..Away::default() });
    report.recovered_latency_us = Some(percentiles(61_200, 388_000.0));
    report.objectives = vec![
        Outcome { objective: "p99<50ms".to_owned(), measured: Some(3_578.6), kept: true },
        Outcome { objective: "not memory_per_connection>20000".to_owned(), measured: Some(27_800.0), kept: false },
    ];
    report.search = Some(search());
    report.timeline = (0..44).map(storm_moment).collect();
    report
}

fn search() -> Search {
    let step = |rate: f64, p99_us: f64, because: &[&str]| Step {
        rate,
        deliveries_per_second: rate * 1_000.0,
        p99_us: Some(p99_us),
        kept: because.is_empty(),
        because: because.iter().map(|why| (*why).to_owned()).collect(),
    };
    Search {
        objective: "p99<50ms".to_owned(),
        rate: Some(70.71),
        steps: vec![
            step(50.0, 3_578.6, &[]),
            step(100.0, 61_900.0, &["p99<50ms was not kept", "connections were closed"]),
            step(70.71, 21_400.0, &[]),
        ],
    }
}

/// For two seconds nothing is live, and then much is recovered.
fn storm_moment(at: u32) -> Moment {
    let calm = moment(at);
    match at {
        20..=24 => Moment { live_per_second: 0.0, p50_us: 0.0, p99_us: 0.0, max_us: 0.0, ..calm },
        25..=27 => Moment {
            live_per_second: 20_000.0,
            recovered_per_second: 40_000.0,
            p99_us: 90_000.0,
            max_us: 320_000.0,
            ..calm
        },
        _ => calm,
    }
}

/// Text of a server that means harm, and numbers that are none.
pub(super) fn hostile() -> Report {
    const TEXT: &str = "\x1b[2J</script></details><script>alert(1)</script>\"'&\u{202e}\0\r\n";
    let mut report = full();
    report.asked.targets = vec![TEXT.to_owned()];
    report.asked.scenario = TEXT.to_owned();
    report.invalid_because = vec![TEXT.to_owned()];
    report.machine.processor = TEXT.to_owned();
    report.connections.failed = [(TEXT.repeat(50), 2)].into();
    report.connections.seconds = 0.0;
    report.connections.sessions_per_second = f64::INFINITY;
    report.objectives[0].objective = TEXT.to_owned();
    report.curve = vec![(0.0, f64::NAN), (50.0, 0.0), (90.0, -1.0), (99.0, 5.0), (100.0, f64::INFINITY)];
    report.timeline[3].live_per_second = f64::INFINITY;
    report.timeline[4].p50_us = f64::NAN;
    report.timeline[5].at_s = f64::NAN;
    report
}
