//! The page that says what came of it: docs/benchmarks.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Plan;
use super::contest::{Contest, Entrant};
use super::goals;
use super::machine;
use super::memory::Idle;
use super::peer::Peer;
use super::result::Measured;
use super::results::When;
use super::saturation::{BUSY_CORES_MIN, Held, RUNS_MAX};
use super::statistics::{NoiseFloor, Spread, Verdict};
use super::tester::PAYLOAD_BYTES;

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) plan: Plan,
    pub(crate) peers: Vec<Peer>,
    pub(crate) missing: Vec<(Peer, String)>,
    pub(crate) fixed: Contest<Measured>,
    pub(crate) saturation: Contest<Held>,
    pub(crate) bursts: Contest<Measured>,
    /// Half of what the best peer holds, and the rate at which latency was measured.
    pub(crate) half_rate: u32,
    pub(crate) latency_rate: u32,
    pub(crate) latency: Contest<Measured>,
    pub(crate) connect: Contest<Measured>,
    pub(crate) far: Contest<Measured>,
    pub(crate) memory: Contest<Idle>,
}

/// A column of figures: how it is got, and with how many digits it is shown.
struct Column<F> {
    head: &'static str,
    digits: usize,
    figure: F,
}

/// The page's text.
pub(crate) fn write(comparison: &Comparison, machine: &[[String; 2]]) -> String {
    let plan = &comparison.plan;
    let sections = [
        opening(plan),
        table(&["the machine", ""], machine.iter().map(|row| row.to_vec())),
        peers(comparison),
        goals(comparison),
        cpu(comparison),
        bursts(comparison),
        saturation(comparison),
        latency(comparison),
        far(comparison),
        connect(comparison),
        memory(comparison),
        times_of_day(comparison),
        again(plan),
    ];
    sections.join("\n")
}

fn opening(plan: &Plan) -> String {
    format!(
        "# Benchmarks\n\n\
        Fanfare beside servers that do a comparable thing, and beside a bare loop that does nothing but write the same bytes to as\n\
        many sockets. This page is written by the comparison itself; `cargo run --release -p fanfare-benches -- peers` makes it again.\n\n\
        **How to read it.** Every server has one core and the load tester, `fanfare bench`, has the other: some of the servers use\n\
        only one thread. Both are on one machine, so a send also pays for the receiver's part of TCP, and absolute figures are upper\n\
        bounds. Ratios carry over better than figures: each is taken within a round. There were {rounds} rounds, every second one in\n\
        the opposite order; tables give the median and, in brackets, the range. In every round Fanfare runs twice. The largest ratio\n\
        between those equal runs is the **noise floor**: a ratio inside it is *no difference*.\n\n\
        A server is compared with Fanfare as it has the same features on: with history and recovery where the peer has a history, live\n\
        only where it has none. Who has what on is in the table of the peers. A run in which the load tester was held up does not\n\
        count and is made again; where that did not help, the row counts such runs, the reasons stand below its table, and their\n\
        figures are left out.\n",
        rounds = plan.rounds,
    )
}

fn peers(comparison: &Comparison) -> String {
    let row = |peer: &Peer| {
        let [history, recovery] = peer.features();
        let published = if peer.target().publish == "api" { "HTTP" } else { "WebSocket" };
        [peer.title(), &peer.version(), history, recovery, published].map(str::to_owned).to_vec()
    };
    let mut text = String::from("## The peers\n\n");
    text += &table(&["server", "version", "history", "recovery", "published over"], comparison.peers.iter().map(row));
    text += "\nTheir configurations are in `benches/peers/`. permessage-deflate is off everywhere.\n";
    for (peer, why) in &comparison.missing {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\nNot measured: {}: {}.", peer.title(), nameless(why));
    }
    text
}

/// Without folders of the machine that it ran on.
fn nameless(reason: &str) -> String {
    let words =
        reason.split(' ').map(|word| word.strip_prefix('/').and_then(|path| path.rsplit('/').next()).unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}

fn goals(comparison: &Comparison) -> String {
    let text = "## Goals\n\nWhat Fanfare is built to, against what was measured in this run. Against a peer it is the Fanfare with the same features.\n\
        Every goal is for one core; *noise* is the noise floor of the part.\n\n";
    text.to_owned() + &table(&["goal", "", "aimed at", "measured", "outcome"], goals::rows(comparison).into_iter())
}

fn cpu(comparison: &Comparison) -> String {
    let plan = &comparison.plan;
    let contest = &comparison.fixed;
    let column = Column { head: "µs of CPU", digits: 2, figure: server_cpu };
    let mut text = format!(
        "## CPU of a delivery\n\nThe verdict. {} subscribers of one channel, {} publications a second of {PAYLOAD_BYTES} bytes for {} s, \
         so that nobody is saturated.\nWhere a read brings more than \
         one message the server was held up and wrote several at once, which costs it less. What the\nload tester used for a \
         delivery stands beside it: over a half of the server's it is too much of the machine. The loop writes a frame\nof a \
         Fanfare of its round, with a stamp and an offset as long as those of a run. The load tester finds and reads that\n\
         stamp too, but takes no latency of it and does not count who got it, so for the loop it has a little less to do.\n\
         Noise floor {}.\n\n",
        plan.subscribers,
        plan.publications_per_second,
        plan.duration_s,
        floor(contest.floor(server_cpu)),
    );
    let rows = contest.entrants.iter().map(|entrant| {
        let mut row = compared(contest, *entrant, &column);
        let of_loop = contest.ratio(*entrant, Entrant::Loop(1), server_cpu);
        row.insert(2, spread(contest.spread(*entrant, |run| counted(run, run.loader_cpu_us)), 2));
        row.insert(3, spread(contest.spread(*entrant, testers_share), 2));
        row.insert(4, judged(of_loop, contest.floor(server_cpu)));
        row.push(spread(contest.spread(*entrant, |run| counted(run, run.bytes_per_delivery)), 0));
        row.push(spread(contest.spread(*entrant, |run| counted(run, run.messages_per_read)), 2));
        row.push(invalid(contest.of(*entrant)));
        row
    });
    let heads = [
        "server",
        column.head,
        "load tester's µs",
        "of the server's",
        "× bare loop",
        "× Fanfare",
        "bytes a delivery",
        "messages a read",
        "invalid runs",
    ];
    text += &table(&heads, rows);
    text + &reasons(contest)
}

fn bursts(comparison: &Comparison) -> String {
    let contest = &comparison.bursts;
    let run = comparison.plan.bursts();
    let mut text = format!(
        "## CPU of a delivery in bursts\n\nThe same where {} publications are due at once, {} a second in all: Fanfare puts several messages into a write, and \
         has\nnothing to do between the bursts. The loop puts in as many. Noise floor {}.\n\n",
        run.burst,
        run.publications_per_second,
        floor(contest.floor(server_cpu)),
    );
    let rows = contest.entrants.iter().map(|entrant| {
        let packed = match entrant {
            Entrant::Loop(messages) => messages.to_string(),
            _ => spread(contest.spread(*entrant, messages_per_write), 1),
        };
        vec![
            entrant.title(),
            spread(contest.spread(*entrant, server_cpu), 2),
            spread(contest.spread(*entrant, |run| counted(run, run.loader_cpu_us)), 2),
            spread(contest.spread(*entrant, testers_share), 2),
            judged(contest.ratio(*entrant, Entrant::FANFARE, server_cpu), contest.floor(server_cpu)),
            packed,
            spread(contest.spread(*entrant, |run| counted(run, run.messages_per_read)), 1),
            spread(contest.spread(*entrant, |run| counted(run, run.server_cores)), 2),
            invalid(contest.of(*entrant)),
        ]
    });
    let heads = [
        "server",
        "µs of CPU",
        "load tester's µs",
        "of the server's",
        "× Fanfare",
        "messages a write",
        "messages a read",
        "the server's core",
        "invalid runs",
    ];
    text += &table(&heads, rows);
    text + &reasons(contest)
}

/// By the server's own count.
pub(super) fn messages_per_write(run: &Measured) -> Option<f64> {
    counted(run, run.messages_per_write)
}

fn saturation(comparison: &Comparison) -> String {
    let plan = &comparison.plan;
    let contest = &comparison.saturation;
    let mut text = format!(
        "## Saturation\n\nThe highest rate of publications that was held for {} s with {} subscribers: nothing lost, nobody closed, and \
         no outbox that\ngrows, which shows as a p99 over 250 ms. It is first looked for in runs of three seconds, doubling and then \
         halving; each round then\nmakes whole runs from where the last one ended: a twentieth up as long as it is held, in at most {RUNS_MAX} runs, or down \
         until it is, by\nlonger steps after the first. A server goes on after a rate that it held and is started anew after one that it did not.\n\
         *At least* means that a round at or below the median found no end, for the reason that is named: the load tester was held\n\
         up when the next rate was refused, or the server then used under {BUSY_CORES_MIN} of its core, or none was refused. A load tester counts\n\
         as held up only where it may have needed over {TESTERS_ROOM} of its core, by what a delivery of that server costs it at the fixed\n\
         rate above: with the rate that only falls. What a bound cannot tell is *not known*. Noise floor {}.\n\n",
        plan.duration_s,
        plan.subscribers,
        floor(contest.floor(held_rate)),
    );
    let rows = contest.entrants.iter().map(|entrant| {
        vec![
            entrant.title(),
            deliveries(comparison, *entrant),
            compared_rate(comparison, *entrant),
            causes(contest.of(*entrant)),
            spread(contest.spread(*entrant, |held| held.refusal.as_ref().map(|refusal| refusal.server_cores)), 2),
        ]
    });
    let heads = ["server", "deliveries a second", "× Fanfare", "refused because, runs", "the server's core then"];
    text += &table(&heads, rows);
    text
}

pub(super) fn held_rate(held: &Held) -> Option<f64> {
    held.rate.map(f64::from)
}

/// Deliveries of a second, which are those of a core.
fn held_deliveries(comparison: &Comparison) -> impl Fn(&Held) -> Option<f64> + Copy {
    let subscribers = comparison.plan.subscribers as f64;
    move |held| held_rate(held).map(|rate| rate * subscribers)
}

/// Whether the median is only a lower bound.
pub(super) fn is_a_bound(comparison: &Comparison, entrant: Entrant) -> bool {
    !why_a_bound(comparison, entrant).is_empty()
}

/// Why the median would rise: rounds at or below it have found no end. A round in which nothing was held is below it.
fn why_a_bound(comparison: &Comparison, entrant: Entrant) -> BTreeSet<&'static str> {
    let contest = &comparison.saturation;
    let median = contest.spread(entrant, held_rate).map_or(0.0, |rate| rate.median);
    let figures = contest.of(entrant).iter().flatten().filter(|held| held.is_a_bound());
    let figures = figures.filter(|held| !is_of_the_server(comparison, entrant, held));
    let figures = figures.filter(|held| held_rate(held).is_none_or(|rate| rate <= median));
    let why = |held: &Held| match &held.refusal {
        None => "nothing was refused",
        Some(refusal) if refusal.server_cores < BUSY_CORES_MIN => "the server had room",
        Some(_) => "the load tester's limit",
    };
    figures.map(why).collect()
}

/// Whether the server was busy and the load tester, however it was held up, had room left when a rate was refused.
fn is_of_the_server(comparison: &Comparison, entrant: Entrant, held: &Held) -> bool {
    held.refusal.as_ref().is_some_and(|refusal| {
        let testers_cores = testers_cores_at_most(comparison, entrant, refusal.rate);
        refusal.server_cores >= BUSY_CORES_MIN && testers_cores.is_some_and(|cores| cores <= TESTERS_ROOM)
    })
}

/// What the load tester has of its core without being short of it.
const TESTERS_ROOM: f64 = 0.8;

/// The most of its core that the load tester needed at a rate: what a delivery costs it does not rise with that.
fn testers_cores_at_most(comparison: &Comparison, entrant: Entrant, rate: u32) -> Option<f64> {
    let each_us = comparison.fixed.spread(entrant, |run| counted(run, run.loader_cpu_us))?.most;
    Some(each_us / 1e6 * f64::from(rate) * comparison.plan.subscribers as f64)
}

fn deliveries(comparison: &Comparison, entrant: Entrant) -> String {
    let contest = &comparison.saturation;
    let Some(found) = contest.spread(entrant, held_deliveries(comparison)) else { return spread(None, 0) };
    let mut found = spread(Some(found), 0);
    let why = why_a_bound(comparison, entrant);
    if !why.is_empty() {
        found = format!("at least {found}: {}", why.into_iter().collect::<Vec<_>>().join(", "));
    }
    let rounds = contest.of(entrant);
    match rounds.iter().flatten().filter(|held| held.rate.is_none()).count() {
        0 => found,
        none => format!("{found}; none held in {none} of {}", rounds.len()),
    }
}

fn compared_rate(comparison: &Comparison, entrant: Entrant) -> String {
    let contest = &comparison.saturation;
    let against = measured_against(entrant);
    let ratio = contest.ratio(entrant, against, held_rate).filter(|_| entrant != against);
    let [one, other] = [entrant, against].map(|entrant| is_a_bound(comparison, entrant));
    let verdict = |ratio: Spread| Verdict::of(ratio.median, contest.floor(held_rate)).bounded(one, other);
    ratio.map_or_else(String::new, |ratio| told(ratio, verdict(ratio)))
}

/// What was wrong with the first rate that was refused, in how many rounds.
fn causes(rounds: &[Option<Held>]) -> String {
    let mut counts = BTreeMap::new();
    for refusal in rounds.iter().flatten().filter_map(|held| held.refusal.as_ref()) {
        *counts.entry(refusal.cause).or_insert(0) += 1;
    }
    let counted: Vec<String> = counts.iter().map(|(cause, count)| format!("{} {count}", cause.words())).collect();
    if counted.is_empty() { "—".to_owned() } else { counted.join(", ") }
}

fn latency(comparison: &Comparison) -> String {
    let contest = &comparison.latency;
    let millis = |figure: fn(&Measured) -> f64| move |run: &Measured| counting(run).map(|run| figure(run) / 1_000.0);
    let p99 = Column { head: "p99, ms", digits: 2, figure: millis(|run| run.p99_us) };
    let mut text = format!(
        "## Latency\n\nFrom the moment that a publication was due, at {} a second to {} subscribers. The best peer holds twice {}; the rate\n\
         is that, or half of it and so on, so that the load tester with its one core keeps up. Who does not hold it is not\n\
         here. A server that fills its core packs more into a write and is not saturated by that alone: its outboxes do not\n\
         grow. Noise floor {}.\n\n",
        comparison.latency_rate,
        comparison.plan.subscribers,
        comparison.half_rate,
        floor(contest.floor(p99.figure)),
    );
    let rows = contest.entrants.iter().map(|entrant| {
        let mut row = compared(contest, *entrant, &p99);
        row.insert(1, spread(contest.spread(*entrant, millis(|run| run.p50_us)), 2));
        row.insert(3, spread(contest.spread(*entrant, millis(|run| run.p999_us)), 2));
        row.push(spread(contest.spread(*entrant, |run| counted(run, run.server_cores)), 2));
        row.push(invalid(contest.of(*entrant)));
        row
    });
    let heads = ["server", "p50, ms", p99.head, "p99.9, ms", "p99 × Fanfare", "the server's core", "invalid runs"];
    text += &table(&heads, rows);
    text + &reasons(contest)
}

fn connect(comparison: &Comparison) -> String {
    let contest = &comparison.connect;
    let column = Column { head: "sessions a second", digits: 0, figure: sessions };
    let mut text = format!(
        "## Sessions a second\n\n{} clients that connect and subscribe, as fast as they can. Where a server has tokens they are checked. \
         Noise floor {}.\n\n",
        comparison.plan.sessions,
        floor(contest.floor(column.figure)),
    );
    let rows = contest.entrants.iter().map(|entrant| {
        let mut row = compared(contest, *entrant, &column);
        row.push(invalid(contest.of(*entrant)));
        row
    });
    text += &table(&["server", column.head, "× Fanfare", "invalid runs"], rows);
    text + &reasons(contest)
}

fn far(comparison: &Comparison) -> String {
    let contest = &comparison.far;
    let column = Column { head: "ms", digits: 1, figure: last_ms };
    let run = comparison.plan.far();
    let mut text = format!(
        "## Time to the last subscriber\n\nFrom the moment that a publication was due until the last of {} subscribers had it, at {} \
         a second. The median of {} s.\nNoise floor {}.\n\n",
        run.connections,
        run.publications_per_second,
        run.duration_s,
        floor(contest.floor(last_ms)),
    );
    let rows = contest.entrants.iter().map(|entrant| {
        let mut row = compared(contest, *entrant, &column);
        row.push(invalid(contest.of(*entrant)));
        row
    });
    text += &table(&["server", column.head, "× Fanfare", "invalid runs"], rows);
    text + &reasons(contest)
}

fn memory(comparison: &Comparison) -> String {
    let contest = &comparison.memory;
    let [few, many] = comparison.plan.held;
    let bytes = Column { head: "bytes", digits: 0, figure: |idle: &Idle| positive(idle.bytes) };
    let cpu = Column { head: "µs of CPU a second", digits: 2, figure: |idle: &Idle| positive(idle.cpu_us_per_second) };
    let mut text = format!(
        "## An idle connection\n\nResident memory between {few} and {many} connections, for each, after two rounds of pings; without \
         what the kernel holds.\nCPU while {many} are pinged for twenty seconds, which is more often than by default. Several servers \
         are looked at together.\n{} rounds. Noise floor of the memory {}, of the CPU {}.\n\n",
        comparison.plan.memory_rounds,
        floor(contest.floor(bytes.figure)),
        floor(contest.floor(cpu.figure)),
    );
    let rows = contest.entrants.iter().map(|entrant| {
        let mut row = compared(contest, *entrant, &bytes);
        row.extend(compared(contest, *entrant, &cpu).into_iter().skip(1));
        row.push(entrant.peer().map_or("", Peer::often).to_owned());
        row
    });
    text += &table(&["server", bytes.head, "× Fanfare", cpu.head, "× Fanfare", "pinged by"], rows);
    text
}

fn times_of_day(comparison: &Comparison) -> String {
    let parts = [
        ("an idle connection", comparison.memory.measured()),
        ("sessions a second", comparison.connect.measured()),
        ("time to the last subscriber", comparison.far.measured()),
        ("CPU of a delivery", comparison.fixed.measured()),
        ("saturation", comparison.saturation.measured()),
        ("CPU of a delivery in bursts", comparison.bursts.measured()),
        ("latency", comparison.latency.measured()),
    ];
    let row = |(part, (When { begun_s, ended_s }, commit)): (&str, (When, &str))| {
        vec![part.to_owned(), machine::time(begun_s), machine::time(ended_s), commit.to_owned()]
    };
    let text = "## When it was measured\n\nIn UTC, on the same machine, each part with the programs of one commit. Who was interrupted went on later.\n\n";
    text.to_owned() + &table(&["part", "from", "to", "commit"], parts.into_iter().map(row))
}

fn again(plan: &Plan) -> String {
    format!(
        "## Once more\n\n\
        ```sh\n\
        benches/peers/build.sh                                   # once: the peers, in the versions above\n\
        cargo run --release -p fanfare-benches -- peers{}\n\
        ```\n\n\
        Two cores and Linux are needed, `taskset`, `setpriv` and Node 20; what is missing is skipped and named. `--quick` takes minutes and\n\
        shows the page without writing it, `--only uwebsockets,nchan` leaves the others out. What was measured is kept below\n\
        `target/peers/results`: after an interruption the same command goes on where it was, and `--again` begins anew. With\n\
        `--or-of` and a folder of those, only the parts are measured that are not in there.\n",
        if plan.rounds == 5 { String::new() } else { format!(" --rounds {}", plan.rounds) },
    )
}

/// A row: title, figure, ratio to the Fanfare with the same features.
fn compared<T>(
    contest: &Contest<T>,
    entrant: Entrant,
    column: &Column<impl Fn(&T) -> Option<f64> + Copy>,
) -> Vec<String> {
    let against = measured_against(entrant);
    let ratio = contest.ratio(entrant, against, column.figure).filter(|_| entrant != against);
    vec![
        entrant.title(),
        spread(contest.spread(entrant, column.figure), column.digits),
        judged(ratio, contest.floor(column.figure)),
    ]
}

/// The row of Fanfare that has the same features.
fn measured_against(entrant: Entrant) -> Entrant {
    entrant.peer().map_or(Entrant::FANFARE, |peer| Entrant::Peer(peer.measured_against()))
}

/// No ratio is shown without a word on whether it is more than noise.
fn judged(ratio: Option<Spread>, floor: Option<NoiseFloor>) -> String {
    ratio.map_or_else(String::new, |ratio| told(ratio, Verdict::of(ratio.median, floor)))
}

fn told(ratio: Spread, verdict: Verdict) -> String {
    format!("{}, {}", spread(Some(ratio), 2), verdict.words())
}

pub(super) fn server_cpu(run: &Measured) -> Option<f64> {
    counted(run, run.server_cpu_us)
}

/// Nothing is published there, so that a run can only be invalid.
pub(super) fn sessions(run: &Measured) -> Option<f64> {
    Some(run).filter(|run| run.is_valid()).and_then(|run| positive(run.sessions_per_second))
}

/// Until the last subscriber had a publication.
pub(super) fn last_ms(run: &Measured) -> Option<f64> {
    counted(run, run.last_p50_us / 1_000.0)
}

/// What the load tester used, as a share of what the server did.
fn testers_share(run: &Measured) -> Option<f64> {
    server_cpu(run).and_then(|server| positive(run.loader_cpu_us / server))
}

pub(super) fn p99_us(run: &Measured) -> Option<f64> {
    counting(run).map(|run| run.p99_us)
}

/// A run that lost something or is not valid has no figures.
fn counting(run: &Measured) -> Option<&Measured> {
    whole(run).filter(|run| run.is_valid())
}

fn whole(run: &Measured) -> Option<&Measured> {
    Some(run).filter(|run| run.is_whole())
}

/// A figure of a run that counts.
fn counted(run: &Measured, figure: f64) -> Option<f64> {
    counting(run).and_then(|_| positive(figure))
}

fn positive(figure: f64) -> Option<f64> {
    Some(figure).filter(|figure| *figure > 0.0)
}

pub(super) fn spread(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { median, least, most }) = spread else { return "—".to_owned() };
    let [median, least, most] = [median, least, most].map(|figure| format!("{figure:.digits$}"));
    if least == most { median } else { format!("{median} ({least} to {most})") }
}

fn floor(floor: Option<NoiseFloor>) -> String {
    floor.map_or_else(|| "unknown".to_owned(), |floor| format!("{:.2}", floor.0))
}

fn invalid(runs: &[Option<Measured>]) -> String {
    let count = runs.iter().flatten().filter(|run| !run.is_valid()).count();
    // Where nothing is published nothing can be lost, but the bare loop may have written less than it was to.
    let not_whole = |run: &&Measured| run.expected > 0.0 && whole(run).is_none();
    let (late, lost): (Vec<_>, Vec<_>) = runs.iter().flatten().filter(not_whole).partition(|run| run.due == 0.0);
    let failed = runs.iter().filter(|run| run.is_none()).count();
    let named = [(count, ""), (lost.len(), " not whole"), (late.len(), " behind its pace"), (failed, " failed")];
    let named: Vec<String> =
        named.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count}{what}")).collect();
    if named.is_empty() { "0".to_owned() } else { named.join(", ") }
}

fn reasons(contest: &Contest<Measured>) -> String {
    let runs = contest.figures.iter().flatten().flatten();
    // Figures in a reason differ from run to run; the words are what is wanted.
    let reasons: BTreeSet<String> =
        runs.flat_map(|run| &run.invalid_because).map(|reason| without_figures(reason)).collect();
    if reasons.is_empty() {
        return String::new();
    }
    format!("\nInvalid because: {}.\n", reasons.into_iter().collect::<Vec<_>>().join("; "))
}

fn without_figures(reason: &str) -> String {
    let words =
        reason.split(' ').map(|word| if word.starts_with(|first: char| first.is_ascii_digit()) { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(heads.len()));
    line(&heads) + &rule + &rows.map(|row| line(&row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::super::peer::History;
    use super::super::saturation::{Cause, Refusal};
    use super::*;

    fn run(server_cpu_us: f64) -> Measured {
        Measured {
            expected: 10.0,
            received: 10.0,
            server_cpu_us,
            bytes_per_delivery: 190.0,
            p50_us: server_cpu_us * 100.0,
            p99_us: server_cpu_us * 1_000.0,
            last_p50_us: server_cpu_us * 5_000.0,
            loader_cpu_us: 2.0,
            sessions_per_second: 5_000.0,
            ..Measured::default()
        }
    }

    fn contest<T>(figure: impl Fn(f64) -> T) -> Contest<T> {
        let peers = [Peer::Fanfare(History::Off), Peer::UWebSockets].map(Entrant::Peer);
        let entrants = Entrant::with_a_pair(peers.into_iter().chain([Entrant::Loop(1)]));
        let figures = [4.0, 3.8, 8.0, 3.5, 4.2].map(|cpu| vec![Some(figure(cpu)), Some(figure(cpu))]).into();
        Contest { entrants, figures, when: When { begun_s: 0, ended_s: 600 }, commit: "93c123c".to_owned() }
    }

    fn held(cpu: f64) -> Held {
        Held { rate: Some((cpu * 100.0) as u32), refusal: Some(refusal()) }
    }

    fn refusal() -> Refusal {
        Refusal { rate: 900, cause: Cause::Late, server_cores: 0.99, tester_held_up: false }
    }

    fn comparison() -> Comparison {
        Comparison {
            plan: Plan::default(),
            peers: vec![Peer::Fanfare(History::Kept), Peer::Fanfare(History::Off), Peer::UWebSockets],
            missing: vec![(Peer::Sockudo, "there is no /home/me/target/peers/bin/sockudo".to_owned())],
            fixed: contest(run),
            saturation: contest(held),
            bursts: contest(run),
            half_rate: 100,
            latency_rate: 50,
            latency: contest(run),
            connect: contest(run),
            far: contest(run),
            memory: contest(|cpu| Idle { bytes: cpu * 1_000.0, cpu_us_per_second: cpu }),
        }
    }

    #[test]
    fn a_peer_is_compared_with_the_fanfare_that_has_the_same_features() {
        let page = write(&comparison(), &[]);
        assert!(page.contains("| uWebSockets | 8.00 | 2.00 | 0.25 | 2.29, more | 2.11, more | 190 |"), "{page}");
        assert!(page.contains("| Fanfare | 4.00 | 2.00 | 0.50 | 1.14, more |  | 190 |"), "{page}");
        assert!(page.contains("Noise floor 1.05."), "{page}");
    }

    #[test]
    fn what_is_missing_is_named_without_folders() {
        let page = write(&comparison(), &[["cores".to_owned(), "2".to_owned()]]);
        assert!(page.contains("Not measured: sockudo: there is no sockudo.") && !page.contains("/home/"), "{page}");
        assert!(page.contains("| cores | 2 |"), "{page}");
    }

    #[test]
    fn invalid_and_lossy_runs_are_counted_and_give_their_reasons() {
        let mut comparison = comparison();
        comparison.fixed.figures[2][0] =
            Some(Measured { invalid_because: vec!["late by 3 ms".to_owned()], ..run(9.0) });
        comparison.fixed.figures[2][1] = Some(Measured { wrong: 1.0, due: 1.0, ..run(99.0) });
        let page = write(&comparison, &[]);
        assert!(page.contains("| uWebSockets | — |") && page.contains("| 1, 1 not whole |"), "{page}");
        assert!(page.contains("Invalid because: late by … ms."), "{page}");
    }

    #[test]
    fn an_idle_connection_has_its_memory_its_cpu_and_who_pinged_it() {
        let page = write(&comparison(), &[]);
        let row = "| uWebSockets | 8000 | 2.11, more | 8.00 | 2.11, more | a WebSocket ping after 8 s of silence |";
        assert!(page.contains(row), "{page}");
    }

    #[test]
    fn goals_are_held_against_what_was_measured() {
        let page = write(&comparison(), &[]);
        for row in [
            "| memory of an idle connection, bytes | at most 2500 | 1700 | 4000 | missed |",
            "| CPU of a delivery × bare loop | at most 1.25 | 1.1 | 1.14 | reached |",
            "| CPU of a delivery × uWebSockets | at most 1 |  | 0.47 | reached |",
            "| saturated rate × uWebSockets | at least 1 |  | 0.47 | missed |",
            "| time to the last of 5,000, ms | at most 25 |  | 20.0 | reached |",
            "| publications lost, doubled or reordered in a run | at most 0 |  | 0 | reached |",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }

    #[test]
    fn every_row_of_a_table_has_a_cell_for_each_head() {
        let page = write(&comparison(), &[]);
        let lines: Vec<&str> = page.lines().collect();
        let tables = lines.chunk_by(|one, other| one.starts_with('|') == other.starts_with('|'));
        for table in tables.filter(|lines| lines[0].starts_with('|')) {
            let cells: Vec<usize> = table.iter().map(|line| line.matches('|').count()).collect();
            assert!(cells.iter().all(|count| *count == cells[0]), "{table:#?}");
        }
    }

    #[test]
    fn every_part_says_when_it_was_measured() {
        let page = write(&comparison(), &[]);
        assert!(page.contains("| latency | 1970-01-01 00:00 | 1970-01-01 00:10 | 93c123c |"), "{page}");
    }

    #[test]
    fn what_was_not_held_has_a_dash() {
        let mut comparison = comparison();
        comparison.saturation.figures[2] = vec![Some(Held { rate: None, refusal: Some(refusal()) }); 2];
        let page = write(&comparison, &[]);
        assert!(page.contains("| uWebSockets | — |  | p99 2 | 0.99 |"), "{page}");
        comparison.saturation.figures[2][0] = Some(held(8.0));
        let page = write(&comparison, &[]);
        assert!(page.contains("| uWebSockets | 800000; none held in 1 of 2 | 2.11, more | p99 2 | 0.99 |"), "{page}");
    }

    #[test]
    fn defect_a_loop_that_did_not_keep_its_pace_was_left_out_without_a_word() {
        let mut comparison = comparison();
        comparison.bursts.figures[3][1] = Some(Measured { expected: 11.0, ..run(9.0) });
        let page = write(&comparison, &[]);
        assert!(page.contains("| bare loop | 3.50 |") && page.contains("| 1 behind its pace |"), "{page}");
    }

    #[test]
    fn what_the_load_tester_could_not_drive_further_is_a_bound() {
        let mut comparison = comparison();
        let page = write(&comparison, &[]);
        assert!(page.contains("| uWebSockets | 800000 | 2.11, more | p99 2 | 0.99 |"), "{page}");
        let bound = Held { refusal: None, ..held(8.0) };
        comparison.saturation.figures[2] = vec![Some(bound.clone()); 2];
        let page = write(&comparison, &[]);
        assert!(page.contains("| uWebSockets | at least 800000: nothing was refused | 2.11, more | — | — |"), "{page}");
        let by_the_tester = Refusal { tester_held_up: true, ..refusal() };
        comparison.saturation.figures[2] = vec![Some(Held { refusal: Some(by_the_tester), ..held(8.0) }); 2];
        assert!(write(&comparison, &[]).contains("| at least 800000: the load tester's limit | 2.11, more | p99 2 |"));
        let idle = Refusal { server_cores: 0.5, ..refusal() };
        comparison.saturation.figures[2][0] = Some(Held { refusal: Some(idle), ..held(8.0) });
        let page = write(&comparison, &[]);
        assert!(
            page.contains("| at least 800000: the load tester's limit, the server had room | 2.11, more |"),
            "{page}"
        );
        comparison.saturation.figures[2] = vec![Some(bound.clone()); 2];
        comparison.saturation.figures[1] = vec![Some(bound); 2];
        assert!(write(&comparison, &[]).contains("| 1.00, not known | — | — |"));
    }

    #[test]
    fn a_bound_above_the_median_does_not_matter() {
        let mut comparison = comparison();
        let entrant = comparison.saturation.entrants[2];
        comparison.saturation.figures[2] = vec![Some(held(8.0)), Some(Held { refusal: None, ..held(9.0) })];
        assert!(!is_a_bound(&comparison, entrant));
        comparison.saturation.figures[2][0] = Some(Held { refusal: None, ..held(8.0) });
        assert!(is_a_bound(&comparison, entrant));
    }

    #[test]
    fn a_load_tester_with_room_left_was_not_the_limit() {
        let mut comparison = comparison();
        let entrant = comparison.saturation.entrants[2];
        // Of 2 µs a delivery: 1.8 cores at 900 a second to 1,000 subscribers, and 0.2 at 100.
        for (rate, is_bound) in [(900, true), (100, false)] {
            let refusal = Refusal { rate, tester_held_up: true, ..refusal() };
            comparison.saturation.figures[2] = vec![Some(Held { refusal: Some(refusal), ..held(0.9) }); 2];
            assert_eq!(is_a_bound(&comparison, entrant), is_bound, "{rate}");
        }
    }
}
