//! What it took: CPU and memory of the server, and the tester's own.

use super::Facts;
use crate::report::Report;
use crate::report::units::{bytes, number, percent, three_digits, time};

/// With more CPU for each delivery than this, against the server, the tester may not share the server's cores.
const SHARE_OF_SERVER_MAX: f64 = 0.5;

pub(super) fn server(report: &Report) -> Facts {
    let Some(server) = &report.server else { return Facts::default() };
    Facts::default()
        .say_some("CPU per million deliveries", server.cpu_us_per_delivery.map(for_a_million))
        .say("CPU", time(server.cpu_s * 1e6))
        .say("cores", number(server.cores))
        .say("CPU per connect", time(server.cpu_us_per_connect))
        .say_some("idle CPU per connection and second", server.idle_cpu_us_per_connection_second.map(time))
}

pub(super) fn memory(report: &Report) -> Facts {
    let Some(server) = &report.server else { return Facts::default() };
    let resident = |value: u64| bytes(value as f64);
    // A server that had as many connections before has their memory still.
    let each = server.resident_bytes_per_connection;
    Facts::default()
        .say_some("per connection", each.map(bytes))
        .say("before", resident(server.resident_bytes_before))
        .say("connected", resident(server.resident_bytes_connected))
        .say("at the end", resident(server.resident_bytes_after))
}

pub(super) fn loader(report: &Report) -> Facts {
    let loader = &report.loader;
    Facts::default()
        .say_some("CPU per million deliveries", loader.cpu_us_per_delivery.map(for_a_million))
        .say_some("against the server", loader.share_of_server.map(share))
        .say_some("CPU", loader.cpu_s.map(|cpu| time(cpu * 1e6)))
        .say_some("waited for a core", loader.waited.map(percent))
        .say_some("stolen by the host", loader.stolen.filter(|stolen| *stolen > 0.0).map(percent))
}

/// Microseconds for one are seconds for a million.
fn for_a_million(cpu_us_per_delivery: f64) -> String {
    format!("{} s", three_digits(cpu_us_per_delivery))
}

fn share(share: f64) -> String {
    let matters = if share > SHARE_OF_SERVER_MAX { ", over a half: it matters on shared cores" } else { "" };
    format!("{}{matters}", percent(share))
}
