//! The few numbers that are looked at first.

use super::markup::{element, escape};
use crate::report::units::{bytes, count, counted, per_second, three_digits, time};
use crate::report::{Report, Server};

/// A number, what it is, and what goes with it.
struct Tile {
    name: &'static str,
    value: String,
    note: String,
}

pub(super) fn tiles(report: &Report) -> String {
    let all = [searched(report), deliveries(report), damage(report), latency(report), last(report)];
    let more = [recovery(report), back(report), sessions(report), cpu(report), idle(report), memory(report)];
    let shown: String = all.into_iter().chain(more).flatten().map(|tile| markup(&tile)).collect();
    element("div", "tiles", &shown)
}

fn markup(tile: &Tile) -> String {
    let parts = [("name", tile.name), ("value", &tile.value), ("note", &tile.note)];
    let parts: String = parts.into_iter().map(|(class, text)| element("p", class, &escape(text))).collect();
    element("div", "tile card", &parts)
}

fn searched(report: &Report) -> Option<Tile> {
    let search = report.search.as_ref()?;
    let value = search.rate.map_or_else(|| "none".to_owned(), per_second);
    Some(Tile { name: "highest rate", value, note: format!("publications with {}", search.objective) })
}

fn deliveries(report: &Report) -> Option<Tile> {
    let deliveries = report.deliveries?;
    let note = format!("{} of {}", count(deliveries.received), count(deliveries.expected));
    Some(Tile { name: "deliveries", value: per_second(deliveries.per_second), note })
}

fn damage(report: &Report) -> Option<Tile> {
    report.deliveries?;
    let note = "lost, doubled, reordered".to_owned();
    Some(Tile { name: "damage", value: count(report.damage()), note })
}

fn latency(report: &Report) -> Option<Tile> {
    let read = report.latency_us?;
    let note = format!("p50 {}, max {}", time(read.p50), time(read.max));
    Some(Tile { name: "latency p99", value: time(read.p99), note })
}

fn last(report: &Report) -> Option<Tile> {
    let read = report.last_latency_us?;
    let note = format!("p50 {}, max {}", time(read.p50), time(read.max));
    Some(Tile { name: "last recipient p99", value: time(read.p99), note })
}

fn recovery(report: &Report) -> Option<Tile> {
    let read = report.recovered_latency_us?;
    Some(Tile { name: "recovery p99", value: time(read.p99), note: format!("{} recovered", count(read.count)) })
}

fn back(report: &Report) -> Option<Tile> {
    let read = report.connections.return_us?;
    Some(Tile { name: "return p99", value: time(read.p99), note: format!("{} came back", count(read.count)) })
}

/// How fast sessions come is the result where nothing is published.
fn sessions(report: &Report) -> Option<Tile> {
    let connections = &report.connections;
    let note = connections.connect_us.map_or_else(String::new, |read| format!("connect p99 {}", time(read.p99)));
    let tile = Tile { name: "sessions", value: per_second(connections.sessions_per_second), note };
    report.deliveries.is_none().then_some(tile)
}

fn cpu(report: &Report) -> Option<Tile> {
    let server = report.server.as_ref()?;
    let value = format!("{} s", three_digits(server.cpu_us_per_delivery?));
    Some(Tile { name: "CPU per million deliveries", value, note: cores(server) })
}

fn idle(report: &Report) -> Option<Tile> {
    let server = report.server.as_ref()?;
    let value = time(server.idle_cpu_us_per_connection_second?);
    Some(Tile { name: "idle CPU", value, note: "per connection and second".to_owned() })
}

fn cores(server: &Server) -> String {
    format!("{} cores", three_digits(server.cores))
}

fn memory(report: &Report) -> Option<Tile> {
    let server = report.server.as_ref()?;
    let note = counted(report.connections.ready as u64, "connection");
    let each = server.resident_bytes_per_connection?;
    Some(Tile { name: "memory per connection", value: bytes(each), note })
}
