//! Fanfare beside its peers: the same scenarios against each, and against a bare loop that does nothing but write.
//!
//! ```text
//! benches/peers/build.sh                                   # once
//! cargo build --release --bin fanfare
//! cargo run --release -p fanfare-benches -- peers [--rounds N] [--only NAME,…] [--quick]
//! ```
//!
//! Each server has one core and the load tester the other. Rounds alternate their order, and Fanfare runs twice in each:
//! what those equal runs differ by is the noise floor, inside which nothing is said to be a difference. It ends by writing
//! docs/benchmarks.md, unless `--only` or `--quick` made it incomplete; then the page goes to standard output.

mod capture;
mod contest;
mod machine;
mod memory;
mod page;
mod part;
mod peer;
mod result;
mod saturation;
mod server;
mod statistics;
mod tester;

use std::path::Path;

use self::contest::{Answer, Contest, Entrant};
use self::page::Comparison;
use self::part::Part;
use self::peer::{History, Peer};
use self::result::Measured;
use self::server::Server;
use self::tester::Run;
use crate::bare_loop::paced::Load;
use crate::{Outcome, say};

/// Pings as a node has them by default.
const PING_INTERVAL_S: u32 = 25;

/// A run that does not count, because the load tester was held up, is made again so often.
const ATTEMPTS: usize = 3;

/// Seconds of a run that only looks for a rate to begin with.
const SEARCH_S: u64 = 3;

/// So many servers hold idle connections at once: their memory does not depend on who else is there.
const MEMORIES_AT_ONCE: usize = 4;

/// The share of its messages that the bare loop has to have written in time.
const LOOP_PACE_MIN: f64 = 0.98;

/// A server whose outboxes grow by a twentieth of what it is given is half a second late after ten seconds. One of which
/// the slowest hundredth is this late does not hold its rate.
const HELD_P99_US_MAX: f64 = 250_000.0;

/// What is measured, how often, and of whom.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    rounds: usize,
    memory_rounds: usize,
    only: Option<Vec<String>>,
    subscribers: usize,
    publications_per_second: u32,
    duration_s: u64,
    sessions: usize,
    held: [usize; 2],
    quick: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 5,
            memory_rounds: 5,
            only: None,
            subscribers: 1_000,
            publications_per_second: 50,
            duration_s: 10,
            sessions: 5_000,
            held: [5_000, 15_000],
            quick: false,
        }
    }
}

impl Plan {
    fn parse(arguments: &[String]) -> Answer<Self> {
        let mut plan = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => plan = Self { rounds: 2, memory_rounds: 1, duration_s: 3, quick: true, ..plan },
                "--rounds" => {
                    plan.rounds =
                        words.next().and_then(|number| number.parse().ok()).ok_or("--rounds takes a number")?;
                }
                "--only" => {
                    let names = words.next().ok_or("--only takes names, with commas between them")?;
                    plan.only = Some(names.split(',').map(str::to_owned).collect());
                }
                _ => return Err(format!("{word} is not known: --rounds N, --only NAME,…, --quick").into()),
            }
        }
        Ok(plan)
    }

    fn wants(&self, peer: Peer) -> bool {
        // Everything is measured against Fanfare.
        peer.is_fanfare() || self.only.as_ref().is_none_or(|names| names.iter().any(|name| name == peer.name()))
    }

    fn is_whole(&self) -> bool {
        !self.quick && self.only.is_none() && self.rounds >= 5
    }

    fn fanout(&self, publications_per_second: u32) -> Run {
        Run { scenario: "fanout", connections: self.subscribers, publications_per_second, duration_s: self.duration_s }
    }
}

/// Runs everything and writes the page.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let plan = Plan::parse(arguments)?;
    if fanfare_loadtest::Machine::this().cores < 2 {
        return Err("this needs two cores: one for the server, one for the load tester".into());
    }
    let (present, missing): (Vec<_>, Vec<_>) = Peer::ALL
        .into_iter()
        .filter(|peer| plan.wants(*peer))
        .map(|peer| (peer, peer.missing()))
        .partition(|(_, why)| why.is_none());
    for (peer, why) in &missing {
        say(&format!("skipped: {}: {}", peer.title(), why.as_deref().unwrap_or_default()))?;
    }
    let peers: Vec<Peer> = present.into_iter().map(|(peer, _)| peer).collect();
    if !peers.contains(&Peer::Fanfare(History::Kept)) {
        return Err("build the program first: cargo build --release --bin fanfare".into());
    }
    let comparison =
        measure(plan, peers, missing.into_iter().map(|(peer, why)| (peer, why.unwrap_or_default())).collect())?;
    let page = page::write(&comparison, &machine::rows());
    if !comparison.plan.is_whole() {
        return say(&page);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    std::fs::write(&file, page)?;
    say("docs/benchmarks.md is written")
}

fn measure(plan: Plan, peers: Vec<Peer>, missing: Vec<(Peer, String)>) -> Answer<Comparison> {
    let every = || Entrant::with_a_pair(peers.iter().copied().map(Entrant::Peer));
    let memory = memories(&plan, every())?;
    let connect = connects(&plan, every())?;
    let with_loop = peers.iter().copied().map(Entrant::Peer).chain([Entrant::Loop(1)]);
    let fixed = fixed_rate(&plan, Entrant::with_a_pair(with_loop))?;
    let saturation = saturations(&plan, every())?;
    let busy_rate = measurable(&plan, (held(&saturation, Entrant::FANFARE) * 0.75) as u32)?;
    let busy = busy(&plan, busy_rate)?;
    let half_rate = (best_of_the_others(&saturation) / 2.0) as u32;
    let latency_rate = measurable(&plan, half_rate)?;
    let able = every().into_iter().filter(|entrant| held(&saturation, *entrant) >= f64::from(latency_rate)).collect();
    let latency = latency(&plan, able, latency_rate)?;
    Ok(Comparison {
        plan,
        peers,
        missing,
        fixed,
        saturation,
        busy_rate,
        busy,
        half_rate,
        latency_rate,
        latency,
        connect,
        memory,
    })
}

/// CPU of a delivery at a rate that saturates nobody.
fn fixed_rate(plan: &Plan, entrants: Vec<Entrant>) -> Answer<Contest<Measured>> {
    let run = plan.fanout(plan.publications_per_second);
    let frames = frames_of(plan.rounds)?;
    contest("CPU of a delivery at a fixed rate", entrants, plan.rounds, cpu, |entrant, round| {
        repeated(|| once(entrant, &run, &frames[round]))
    })
}

/// The highest rate, halved as often as it takes, at which the load tester is not held up by its own receiving: it has one
/// core.
fn measurable(plan: &Plan, rate: u32) -> Answer<u32> {
    let mut rate = rate.max(1);
    while rate > plan.publications_per_second && !once(Entrant::FANFARE, &plan.fanout(rate), &[])?.is_valid() {
        rate /= 2;
    }
    Ok(rate)
}

/// The same where Fanfare is busy enough to put several messages into a write, beside a loop that does the same.
fn busy(plan: &Plan, rate: u32) -> Answer<Contest<Measured>> {
    let run = plan.fanout(rate);
    let frames = frames_of(plan.rounds)?;
    let reached = messages_per_write(&run)?;
    let mut entrants = vec![Entrant::Loop(1)];
    if reached > 1 {
        entrants.push(Entrant::Loop(reached));
    }
    let title = format!("CPU of a delivery at {rate} publications a second");
    contest(&title, Entrant::with_a_pair(entrants), plan.rounds, cpu, |entrant, round| {
        repeated(|| once(entrant, &run, &frames[round]))
    })
}

/// What Fanfare puts into a write, of messages, in such a run.
fn messages_per_write(run: &Run) -> Answer<usize> {
    let peer = Peer::Fanfare(History::Kept);
    let server = Server::start(peer, PING_INTERVAL_S)?;
    run.against(&server, &peer.target())?;
    let deliveries = server.metric("fanfare_gateway_deliveries_total")?;
    let writes = server.metric("fanfare_gateway_writes_total")?;
    Ok((deliveries / writes.max(1.0)).round().max(1.0) as usize)
}

/// The highest rate that each holds, in publications a second.
fn saturations(plan: &Plan, entrants: Vec<Entrant>) -> Answer<Contest<Option<f64>>> {
    // The first round looks in short runs where to begin.
    let shorter = Plan { duration_s: plan.duration_s.min(SEARCH_S), ..plan.clone() };
    let mut found: Vec<(Entrant, u32)> = Vec::new();
    let shown = |rate: &Option<f64>| rate.map_or("none".to_owned(), |rate| format!("{rate} publications a second"));
    contest("the highest rate that is held", entrants, plan.rounds, shown, |entrant, _| {
        let before = found.iter().find(|(one, _)| *one == entrant).map(|(_, rate)| *rate);
        let near = match before {
            Some(before) => Some(before),
            None => saturation::search(plan.publications_per_second, |rate| holds(&shorter, entrant, rate))?,
        };
        let rate = near.map_or(Ok(None), |near| saturation::search_near(near, |rate| holds(plan, entrant, rate)))?;
        found.retain(|(one, _)| *one != entrant);
        found.extend(rate.map(|rate| (entrant, rate)));
        Ok(rate.map(f64::from))
    })
}

fn holds(plan: &Plan, entrant: Entrant, rate: u32) -> Answer<bool> {
    let measured = once(entrant, &plan.fanout(rate), &[])?;
    Ok(measured.is_whole() && measured.p99_us < HELD_P99_US_MAX)
}

/// What one holds, in publications a second; 0 where that could not be found.
fn held(saturation: &Contest<Option<f64>>, entrant: Entrant) -> f64 {
    saturation.spread(entrant, |rate| *rate).map_or(0.0, |rate| rate.median)
}

fn best_of_the_others(saturation: &Contest<Option<f64>>) -> f64 {
    let others = saturation.entrants.iter().filter(|entrant| !entrant.peer().is_some_and(Peer::is_fanfare));
    others.map(|entrant| held(saturation, *entrant)).fold(0.0, f64::max)
}

/// How late publications are at one rate for all.
fn latency(plan: &Plan, entrants: Vec<Entrant>, rate: u32) -> Answer<Contest<Measured>> {
    let run = plan.fanout(rate);
    let shown = |run: &Measured| noted(run, &format!("p50 {} µs, p99 {} µs", run.p50_us, run.p99_us));
    contest(&format!("latency at {rate} publications a second"), entrants, plan.rounds, shown, |entrant, _| {
        repeated(|| once(entrant, &run, &[]))
    })
}

/// Sessions a second that connect and subscribe.
fn connects(plan: &Plan, entrants: Vec<Entrant>) -> Answer<Contest<Measured>> {
    let run = Run { scenario: "connect", connections: plan.sessions, publications_per_second: 1, duration_s: 1 };
    let shown = |run: &Measured| noted(run, &format!("{:.0} a second", run.sessions_per_second));
    contest("sessions a second", entrants, plan.rounds, shown, |entrant, _| repeated(|| once(entrant, &run, &[])))
}

/// Resident bytes of an idle connection.
fn memories(plan: &Plan, entrants: Vec<Entrant>) -> Answer<Contest<f64>> {
    let slope = |entrant: Entrant| memory::slope(entrant.peer().ok_or("the bare loop holds none")?, plan.held);
    let mut part = begin("memory of an idle connection", entrants.len() * plan.memory_rounds)?;
    let told = |entrant, round, bytes: &Result<f64, String>| {
        tell(&mut part, entrant, round, bytes, |bytes| format!("{bytes:.0} bytes"))
    };
    Ok(Contest::run_together(entrants, plan.memory_rounds, MEMORIES_AT_ONCE, slope, told))
}

/// One run against a server of its own.
fn once(entrant: Entrant, run: &Run, frame: &[u8]) -> Answer<Measured> {
    let Entrant::Loop(messages_per_write) = entrant else {
        let peer = entrant.peer().ok_or("nobody to start")?;
        return run.against(&Server::start(peer, PING_INTERVAL_S)?, &peer.target());
    };
    let load = Load {
        port: 0,
        sockets: run.connections,
        messages_per_second: run.publications_per_second,
        messages_per_write,
        frame: frame.to_vec(),
    };
    let run = Run { scenario: "listen", ..run.clone() };
    let measured = run.against(&Server::start_loop(load)?, &Peer::Ws.target())?;
    // A loop that did not keep its pace is no yardstick for it.
    let due = run.connections as f64 * f64::from(run.publications_per_second) * run.duration_s as f64;
    Ok(Measured { expected: due * LOOP_PACE_MIN, ..measured })
}

/// Again while the load tester says that it was held up, so many times; the last one stands, and says so.
fn repeated(mut once: impl FnMut() -> Answer<Measured>) -> Answer<Measured> {
    let mut measured = once()?;
    for _ in 1..ATTEMPTS {
        if measured.is_valid() {
            break;
        }
        measured = once()?;
    }
    Ok(measured)
}

/// A frame for the bare loop from a node of each round.
fn frames_of(rounds: usize) -> Answer<Vec<Vec<u8>>> {
    let frame = |_| {
        let server = Server::start(Peer::Fanfare(History::Kept), PING_INTERVAL_S)?;
        Ok(capture::frame(server.port())?)
    };
    (0..rounds).map(frame).collect()
}

/// What is told of a run whose CPU is measured.
fn cpu(run: &Measured) -> String {
    noted(run, &format!("{:.2} µs a delivery", run.server_cpu_us))
}

/// A figure, and what keeps it from counting.
fn noted(run: &Measured, figure: &str) -> String {
    if run.is_valid() { figure.to_owned() } else { format!("{figure}, invalid: {}", run.invalid_because.join(", ")) }
}

fn contest<T>(
    title: &str,
    entrants: Vec<Entrant>,
    rounds: usize,
    shown: impl Fn(&T) -> String,
    measure: impl FnMut(Entrant, usize) -> Answer<T>,
) -> Answer<Contest<T>> {
    let mut part = begin(title, entrants.len() * rounds)?;
    Ok(Contest::run(entrants, rounds, measure, |entrant, round, measured| {
        tell(&mut part, entrant, round, measured, &shown)
    }))
}

fn begin(title: &str, measurements: usize) -> Answer<Part> {
    say(title)?;
    Ok(Part::begin(measurements))
}

fn tell<T>(
    part: &mut Part,
    entrant: Entrant,
    round: usize,
    measured: &Result<T, String>,
    shown: impl Fn(&T) -> String,
) {
    let outcome = measured.as_ref().map_or_else(|error| format!("failed: {error}"), shown);
    // What is told here is lost without a terminal, and that is all: the figures are in the page.
    let _ = say(&part.line(round, &entrant.title(), &outcome));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Answer<Plan> {
        Plan::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_left_out_makes_no_page() {
        assert!(plan("").unwrap().is_whole() && plan("--rounds 7").unwrap().is_whole());
        assert!(["--quick", "--only ws", "--rounds 3"].iter().all(|line| !plan(line).unwrap().is_whole()));
        assert!(["--rounds", "--only", "--fast"].iter().all(|line| plan(line).is_err()));
    }

    #[test]
    fn fanfare_is_always_among_them() {
        let plan = plan("--only ws,sockudo").unwrap();
        let wanted: Vec<&str> = Peer::ALL.into_iter().filter(|peer| plan.wants(*peer)).map(Peer::name).collect();
        assert_eq!(wanted, ["fanfare", "fanfare-live", "ws", "sockudo"]);
    }

    #[test]
    fn an_invalid_run_is_made_again_and_the_last_one_stands() {
        let late = || Measured { invalid_because: vec!["late".to_owned()], ..Measured::default() };
        let mut runs = vec![late(), Measured { due: 2.0, ..Measured::default() }, late()].into_iter();
        assert_eq!(repeated(|| Ok(runs.next().unwrap())).unwrap().due, 2.0);
        let mut count = 0;
        let last = repeated(|| {
            count += 1;
            Ok(late())
        });
        assert!(count == ATTEMPTS && !last.unwrap().is_valid());
    }
}
