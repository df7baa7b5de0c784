//! The gateway's counts for prometheus, summed over the shards when they are asked for. Labels come from closed
//! sets (I12).

use std::sync::Arc;

use fanfare_protocol::FrameViolation;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::bad_request::BadRequest;
use crate::directory::Directory;
use crate::places::NoPlace;
use crate::rates::Excess;
use crate::shard::Recovery;
use crate::stats::{CLOSE_CODES, Cell, ERROR_CODE_MIN, ERROR_CODES, Judged, Stats};

/// Reads the shards' counts.
#[derive(Debug)]
pub struct Metrics {
    directory: Arc<Directory>,
    descriptions: Vec<Desc>,
}

type Read = fn(&Stats) -> u64;

const GAUGES: [(&str, &str, Read); 5] = [
    ("fanfare_gateway_sessions", "Sessions.", |stats| stats.sessions.get()),
    ("fanfare_gateway_subscriptions", "Subscriptions.", |stats| stats.subscriptions.get()),
    ("fanfare_gateway_shard_channels", "Channels with subscribers, once for each shard.", |stats| stats.channels.get()),
    ("fanfare_gateway_outbox_bytes", "Bytes queued for sockets.", |stats| stats.outbox_bytes.get()),
    ("fanfare_gateway_presence_changes_waiting", "Changes of presence that wait for the broker.", |stats| {
        stats.leaves_waiting.get()
    }),
];

const COUNTERS: [(&str, &str, Read); 15] = [
    ("fanfare_gateway_sessions_opened_total", "Sessions begun.", |stats| stats.sessions_opened.get()),
    ("fanfare_gateway_publications_total", "Publications taken by shards, once for each shard.", |stats| {
        stats.publications.get()
    }),
    ("fanfare_gateway_deliveries_total", "Events queued for a session.", |stats| stats.deliveries.get()),
    ("fanfare_gateway_received_bytes_total", "Bytes read from sockets.", |stats| stats.bytes_in.get()),
    ("fanfare_gateway_sent_bytes_total", "Bytes written to sockets.", |stats| stats.bytes_out.get()),
    ("fanfare_gateway_writes_total", "Writes to sockets that took something.", |stats| stats.writes.get()),
    ("fanfare_gateway_commands_total", "Commands of clients.", |stats| stats.commands.get()),
    ("fanfare_gateway_denials_total", "Commands denied for want of permission.", |stats| stats.denials.get()),
    (
        "fanfare_gateway_presence_cut_total",
        "Replies about presence that tell of a part of those who are present.",
        |stats| stats.presence_cut.get(),
    ),
    ("fanfare_gateway_gaps_total", "Gaps found in a channel on a shard.", |stats| stats.gaps.get()),
    ("fanfare_gateway_repairs_total", "Channels read again from history.", |stats| stats.repairs.get()),
    ("fanfare_gateway_outbox_overflows_total", "Sessions closed as slow.", |stats| stats.outbox_overflows.get()),
    ("fanfare_gateway_shed_total", "Sessions closed as slow since memory was short.", |stats| stats.shed.get()),
    ("fanfare_gateway_sockets_cut_total", "Sockets ended because the peer did not answer a close in time.", |stats| {
        stats.cuts.get()
    }),
    ("fanfare_gateway_panics_total", "Panics that ended a session or a task.", |stats| stats.panics.get()),
];

const CLOSES: (&str, &str) = ("fanfare_gateway_closes_total", "Sessions ended, by close code.");
const VIOLATIONS: (&str, &str) =
    ("fanfare_gateway_violations_total", "Sessions closed because the client broke the WebSocket protocol, by reason.");
const INSUFFICIENT: (&str, &str) = (
    "fanfare_gateway_insufficient_state_total",
    "Subscriptions told of a gap, by its cause: history did not cover it, or their client reads slowly.",
);
const DROPPED: (&str, &str) = (
    "fanfare_gateway_publications_dropped_total",
    "Publications that were queued for a session and not sent, by reason.",
);
const HEARTBEAT_AGE: (&str, &str) =
    ("fanfare_gateway_shard_heartbeat_age_seconds", "Since the shard that is longest silent has shown that it lives.");
const REFUSED: (&str, &str) = ("fanfare_gateway_refused_total", "WebSocket handshakes that got 503, by reason.");
const BARRED: (&str, &str) =
    ("fanfare_gateway_barred_total", "Sessions and subscriptions that a revocation refused or ended, by what it met.");
const EXCESSES: (&str, &str) = (
    "fanfare_gateway_rate_limited_total",
    "Commands refused, and reads put off, because a session or a user sends too much, by limit.",
);
const ERRORS: (&str, &str) = ("fanfare_gateway_errors_total", "Commands answered with an error, by its code.");
const BAD_REQUESTS: (&str, &str) =
    ("fanfare_gateway_bad_requests_total", "Sessions closed as a bad request (3501), by reason.");
const RECOVERIES: (&str, &str) = ("fanfare_gateway_recoveries_total", "Recoveries asked for, by result.");
const RING_DEPTH: (&str, &str) = ("fanfare_gateway_ring_entries", "Entries waiting on the shards' rings.");
const RING_OVERFLOWS: (&str, &str) =
    ("fanfare_gateway_ring_overflows_total", "Events that found no room on a ring: their channels are read again.");
const LATENCY: (&str, &str) = (
    "fanfare_gateway_publish_to_write_seconds",
    "From the acceptance of a publication to the last write of its batch on a shard.",
);
const LAG: (&str, &str) = ("fanfare_gateway_shard_loop_lag_seconds", "How late a shard's loop comes to its work.");

impl Metrics {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        let named = GAUGES.iter().chain(&COUNTERS).map(|(name, help, _)| (*name, *help));
        let others = [RING_DEPTH, RING_OVERFLOWS, LATENCY, LAG].into_iter();
        let mut descriptions: Vec<Desc> =
            named.chain(others).map(|(name, help)| description(name, help, &[])).collect();
        descriptions.push(description(CLOSES.0, CLOSES.1, &["code"]));
        descriptions.push(description(VIOLATIONS.0, VIOLATIONS.1, &["reason"]));
        descriptions.push(description(INSUFFICIENT.0, INSUFFICIENT.1, &["cause"]));
        descriptions.push(description(DROPPED.0, DROPPED.1, &["reason"]));
        descriptions.push(description(HEARTBEAT_AGE.0, HEARTBEAT_AGE.1, &[]));
        descriptions.push(description(REFUSED.0, REFUSED.1, &["reason"]));
        descriptions.push(description(BARRED.0, BARRED.1, &["met"]));
        descriptions.push(description(EXCESSES.0, EXCESSES.1, &["limit"]));
        descriptions.push(description(ERRORS.0, ERRORS.1, &["code"]));
        descriptions.push(description(BAD_REQUESTS.0, BAD_REQUESTS.1, &["reason"]));
        descriptions.push(description(RECOVERIES.0, RECOVERIES.1, &["result"]));
        Self { directory, descriptions }
    }

    fn sum(&self, read: Read) -> f64 {
        self.directory.stats().iter().map(|stats| read(stats)).sum::<u64>() as f64
    }

    /// The sum of one count of several that stand side by side.
    fn sum_at(&self, read: fn(&Stats) -> &[Cell], at: usize) -> f64 {
        self.directory.stats().iter().map(|stats| read(stats)[at].get()).sum::<u64>() as f64
    }

    fn closes(&self) -> MetricFamily {
        let rows = (0..=CLOSE_CODES.len()).map(|at| {
            let label = CLOSE_CODES.get(at).map_or_else(|| "other".to_owned(), u16::to_string);
            let count: u64 = self.directory.stats().iter().map(|stats| stats.closes[at].get()).sum();
            counter(count as f64, &[("code", &label)])
        });
        family(CLOSES, MetricType::COUNTER, rows.collect())
    }

    fn violations(&self) -> MetricFamily {
        let rows = FrameViolation::ALL.iter().map(|violation| {
            let at = *violation as usize;
            let count: u64 = self.directory.stats().iter().map(|stats| stats.violations[at].get()).sum();
            counter(count as f64, &[("reason", violation.label())])
        });
        family(VIOLATIONS, MetricType::COUNTER, rows.collect())
    }

    fn insufficient(&self) -> MetricFamily {
        let history = counter(self.sum(|stats| stats.insufficient.get()), &[("cause", "history")]);
        let slow = counter(self.sum(|stats| stats.insufficient_slow.get()), &[("cause", "slow_consumer")]);
        family(INSUFFICIENT, MetricType::COUNTER, vec![history, slow])
    }

    fn dropped(&self) -> MetricFamily {
        let dropped = self.sum(|stats| stats.dropped.get());
        family(DROPPED, MetricType::COUNTER, vec![counter(dropped, &[("reason", "slow_consumer")])])
    }

    fn heartbeat_age(&self) -> MetricFamily {
        let beats = self.directory.stats().iter().map(|stats| stats.heartbeat_millis.get());
        let now = u64::try_from(self.directory.uptime().as_millis()).unwrap_or(u64::MAX);
        let age = now.saturating_sub(beats.min().unwrap_or(now));
        family(HEARTBEAT_AGE, MetricType::GAUGE, vec![gauge(age as f64 / 1_000.0)])
    }

    fn refused(&self) -> MetricFamily {
        let row = |why: NoPlace| counter(self.directory.refused(why) as f64, &[("reason", why.label())]);
        family(REFUSED, MetricType::COUNTER, NoPlace::ALL.map(row).to_vec())
    }

    fn barred(&self) -> MetricFamily {
        let rows = Judged::ALL
            .iter()
            .map(|(judged, label)| counter(self.sum_at(|stats| &stats.barred, *judged as usize), &[("met", label)]));
        family(BARRED, MetricType::COUNTER, rows.collect())
    }

    fn excesses(&self) -> MetricFamily {
        let rows = Excess::ALL.iter().map(|excess| {
            let count = self.sum_at(|stats| &stats.excesses, *excess as usize);
            counter(count, &[("limit", excess.label())])
        });
        family(EXCESSES, MetricType::COUNTER, rows.collect())
    }

    fn recoveries(&self) -> MetricFamily {
        let rows = Recovery::ALL.iter().map(|recovery| {
            let count = self.sum_at(|stats| &stats.recoveries, *recovery as usize);
            counter(count, &[("result", recovery.label())])
        });
        family(RECOVERIES, MetricType::COUNTER, rows.collect())
    }

    fn errors(&self) -> MetricFamily {
        let rows = (0..=ERROR_CODES).map(|at| {
            let code = ERROR_CODE_MIN + at as u32;
            let label = if at < ERROR_CODES { code.to_string() } else { "other".to_owned() };
            counter(self.sum_at(|stats| &stats.errors, at), &[("code", &label)])
        });
        family(ERRORS, MetricType::COUNTER, rows.collect())
    }

    fn bad_requests(&self) -> MetricFamily {
        let rows = BadRequest::ALL.iter().map(|reason| {
            let count = self.sum_at(|stats| &stats.bad_requests, *reason as usize);
            counter(count, &[("reason", reason.label())])
        });
        family(BAD_REQUESTS, MetricType::COUNTER, rows.collect())
    }

    fn rings(&self) -> [MetricFamily; 2] {
        let rings = self.directory.rings();
        let depth: usize = rings.iter().map(|ring| ring.depth()).sum();
        let overflows: usize = rings.iter().map(|ring| ring.overflows()).sum();
        [
            family(RING_DEPTH, MetricType::GAUGE, vec![gauge(depth as f64)]),
            family(RING_OVERFLOWS, MetricType::COUNTER, vec![counter(overflows as f64, &[])]),
        ]
    }

    fn histogram(&self, named: (&str, &str), read: fn(&Stats) -> &prometheus::Histogram) -> MetricFamily {
        let shards = self.directory.stats().iter().flat_map(|stats| read(stats).collect());
        let metrics: Vec<Metric> = shards.flat_map(|family| family.get_metric().to_vec()).collect();
        family(named, MetricType::HISTOGRAM, vec![merged(&metrics)])
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families: Vec<MetricFamily> = Vec::new();
        for (name, help, read) in GAUGES {
            families.push(family((name, help), MetricType::GAUGE, vec![gauge(self.sum(read))]));
        }
        for (name, help, read) in COUNTERS {
            families.push(family((name, help), MetricType::COUNTER, vec![counter(self.sum(read), &[])]));
        }
        families.extend(self.rings());
        families.push(self.closes());
        families.push(self.violations());
        families.push(self.insufficient());
        families.push(self.dropped());
        families.push(self.heartbeat_age());
        families.push(self.refused());
        families.push(self.barred());
        families.push(self.excesses());
        families.push(self.errors());
        families.push(self.bad_requests());
        families.push(self.recoveries());
        families.push(self.histogram(LATENCY, |stats| &stats.latency));
        families.push(self.histogram(LAG, |stats| &stats.loop_lag));
        families
    }
}

fn description(name: &str, help: &str, labels: &[&str]) -> Desc {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, std::collections::HashMap::new())
        .expect("names and labels are constants that prometheus accepts")
}

fn family((name, help): (&str, &str), kind: MetricType, rows: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(rows);
    family
}

fn gauge(value: f64) -> Metric {
    let mut metric = Metric::default();
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn counter(value: f64, labels: &[(&str, &str)]) -> Metric {
    let mut metric = Metric::default();
    let mut counter = Counter::default();
    counter.set_value(value);
    metric.set_counter(counter);
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    metric.set_label(pairs.collect());
    metric
}

/// One histogram of several with the same buckets.
fn merged(shards: &[Metric]) -> Metric {
    let mut sum = prometheus::proto::Histogram::default();
    let histograms: Vec<_> = shards.iter().map(Metric::get_histogram).collect();
    sum.set_sample_count(histograms.iter().map(|histogram| histogram.get_sample_count()).sum());
    sum.set_sample_sum(histograms.iter().map(|histogram| histogram.get_sample_sum()).sum());
    let bounds = histograms.first().map_or(0, |histogram| histogram.get_bucket().len());
    let buckets = (0..bounds).map(|at| {
        let mut bucket = Bucket::default();
        let same = histograms.iter().filter_map(|histogram| histogram.get_bucket().get(at));
        bucket.set_cumulative_count(same.clone().map(|bucket| bucket.cumulative_count()).sum());
        bucket.set_upper_bound(same.clone().next().map_or(f64::INFINITY, |bucket| bucket.upper_bound()));
        bucket
    });
    sum.set_bucket(buckets.collect());
    let mut metric = Metric::default();
    metric.set_histogram(sum);
    metric
}
