//! The goals that Fanfare is built to, held against what was measured in one comparison.

use super::contest::{Contest, Entrant};
use super::memory::Idle;
use super::page::{
    Comparison, held_rate, is_a_bound, last_ms, messages_per_write, p99_us, server_cpu, sessions, spread,
};
use super::peer::{History, Peer};
use super::result::Measured;
use super::statistics::{NoiseFloor, Spread};

/// Resident memory of an idle connection with one channel, default settings, in bytes.
const IDLE_BYTES: Goal = Goal::at_most(2_500.0).aiming_at(1_700.0);

/// CPU of an idle connection, in microseconds a second.
const IDLE_CPU_US_PER_SECOND: Goal = Goal::at_most(2.0).aiming_at(1.0);

/// CPU of a delivery at one message a write, as a multiple of the bare loop's.
const CPU_TIMES_LOOP: Goal = Goal::at_most(1.25).aiming_at(1.1);

/// CPU of a delivery, as a multiple of a peer's.
const CPU_TIMES_PEER: Goal = Goal::at_most(1.0);

/// Deliveries of a second of a core at one message a write; and where eight or more are in one, as bursts make them.
const DELIVERIES_PER_CORE_SECOND: Goal = Goal::at_least(200_000.0);
const PACKED_DELIVERIES_PER_CORE_SECOND: Goal = Goal::at_least(1_500_000.0);
const PACKED_MESSAGES_PER_WRITE_MIN: f64 = 8.0;

/// The highest rate that is held, as a multiple of that of ws and sockudo; of that of another peer; of that of the best.
const RATE_TIMES_SLOW_PEER: Goal = Goal::at_least(5.0);
const RATE_TIMES_PEER: Goal = Goal::at_least(1.0);
const RATE_TIMES_BEST_PEER: Goal = Goal::at_least(2.0).aiming_at(5.0);

/// The p99 of the latency at half of what the best peer holds, as a multiple of a peer's.
const P99_TIMES_PEER: Goal = Goal::at_most(1.0).aiming_at(0.5);

/// Sessions a second that connect and subscribe, as a multiple of a peer's.
const SESSIONS_TIMES_PEER: Goal = Goal::at_least(1.0).aiming_at(1.5);

/// Until the last of 5,000 subscribers has a publication, in milliseconds.
const LAST_OF_5000_MS: Goal = Goal::at_most(25.0);

/// Publications that were lost, doubled or reordered, in all runs but those that look for a limit.
const WRONG: Goal = Goal::at_most(0.0);

/// What is to be reached at any rate, and what is aimed at beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Goal {
    direction: Direction,
    required: f64,
    aimed: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    AtMost,
    AtLeast,
}

/// What was measured for a goal.
#[derive(Debug, Clone, Copy)]
struct Found {
    figure: Option<Spread>,
    floor: Option<NoiseFloor>,
    /// Whether the truth may be more than this, or less: one of the figures is only a lower bound.
    may_be: [bool; 2],
}

impl Goal {
    const fn at_most(required: f64) -> Self {
        Self { direction: Direction::AtMost, required, aimed: None }
    }

    const fn at_least(required: f64) -> Self {
        Self { direction: Direction::AtLeast, required, aimed: None }
    }

    const fn aiming_at(self, aimed: f64) -> Self {
        Self { aimed: Some(aimed), ..self }
    }

    fn is_reached(self, limit: f64, figure: f64) -> bool {
        match self.direction {
            Direction::AtMost => figure <= limit,
            Direction::AtLeast => figure >= limit,
        }
    }

    /// Whether a figure would reach it, were it better by this factor, or worse by one below 1.
    fn would_be_reached(self, figure: f64, better: f64) -> bool {
        match self.direction {
            Direction::AtMost => figure <= self.required * better,
            Direction::AtLeast => figure >= self.required / better,
        }
    }

    fn outcome(self, found: &Found) -> &'static str {
        let Some(Spread { median, .. }) = found.figure else { return "not measured" };
        let [may_be_more, may_be_less] = found.may_be;
        let (may_be_better, may_be_worse) = match self.direction {
            Direction::AtMost => (may_be_less, may_be_more),
            Direction::AtLeast => (may_be_more, may_be_less),
        };
        let reached = self.is_reached(self.required, median);
        if (reached && may_be_worse) || (!reached && may_be_better) {
            return "not known: a lower bound";
        }
        // Without a floor nothing is put down to noise.
        let noise = found.floor.map_or(1.0, |floor| floor.0);
        match self.aimed {
            Some(aimed) if self.is_reached(aimed, median) => "reached, and what is aimed at",
            _ if reached && !self.would_be_reached(median, 1.0 / noise) => "reached by no more than noise",
            _ if reached => "reached",
            _ if self.would_be_reached(median, noise) => "missed by no more than noise",
            _ => "missed",
        }
    }

    fn words(self) -> [String; 2] {
        let direction = if self.direction == Direction::AtMost { "at most" } else { "at least" };
        [format!("{direction} {}", self.required), self.aimed.map_or_else(String::new, |aimed| aimed.to_string())]
    }

    /// A row of the table: what, the goal, what is aimed at, what was measured, what came of it.
    fn row(self, what: String, found: &Found, digits: usize) -> Vec<String> {
        let [required, aimed] = self.words();
        vec![what, required, aimed, spread(found.figure, digits), self.outcome(found).to_owned()]
    }
}

/// Every goal, for the page.
pub(crate) fn rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let peers: Vec<Peer> = comparison.peers.iter().copied().filter(|peer| !peer.is_fanfare()).collect();
    let alone =
        [idle(comparison), cpu_of_a_delivery(comparison), far(comparison), wrong(comparison)].into_iter().flatten();
    let against = peers.iter().flat_map(|peer| against(comparison, *peer));
    alone.chain(best(comparison, &peers)).chain(against).collect()
}

/// A figure of Fanfare's own.
fn own<T>(contest: &Contest<T>, figure: impl Fn(&T) -> Option<f64> + Copy) -> Found {
    Found { figure: contest.spread(Entrant::FANFARE, figure), floor: contest.floor(figure), may_be: [false; 2] }
}

/// Fanfare, with the features of this one, against it.
fn ratio<T>(contest: &Contest<T>, against: Entrant, figure: impl Fn(&T) -> Option<f64> + Copy) -> Found {
    let own = against.peer().map_or(Entrant::FANFARE, |peer| Entrant::Peer(peer.measured_against()));
    Found { figure: contest.ratio(own, against, figure), floor: contest.floor(figure), may_be: [false; 2] }
}

fn idle(comparison: &Comparison) -> Vec<Vec<String>> {
    let memory = &comparison.memory;
    let bytes = own(memory, |idle: &Idle| Some(idle.bytes));
    let cpu = own(memory, |idle: &Idle| Some(idle.cpu_us_per_second));
    vec![
        IDLE_BYTES.row("memory of an idle connection, bytes".to_owned(), &bytes, 0),
        IDLE_CPU_US_PER_SECOND.row("CPU of an idle connection, µs a second".to_owned(), &cpu, 2),
    ]
}

fn cpu_of_a_delivery(comparison: &Comparison) -> Vec<Vec<String>> {
    let deliveries = |run: &Measured| server_cpu(run).map(|cpu_us| 1e6 / cpu_us);
    let is_packed =
        |run: &Measured| messages_per_write(run).is_some_and(|count| count >= PACKED_MESSAGES_PER_WRITE_MIN);
    let packed = own(&comparison.bursts, |run| deliveries(run).filter(|_| is_packed(run)));
    let of_loop = ratio(&comparison.fixed, Entrant::Loop(1), server_cpu);
    vec![
        CPU_TIMES_LOOP.row("CPU of a delivery × bare loop".to_owned(), &of_loop, 2),
        DELIVERIES_PER_CORE_SECOND.row(
            "deliveries of a core-second, one message a write".to_owned(),
            &own(&comparison.fixed, deliveries),
            0,
        ),
        PACKED_DELIVERIES_PER_CORE_SECOND.row(
            "deliveries of a core-second, eight messages a write or more".to_owned(),
            &packed,
            0,
        ),
    ]
}

fn far(comparison: &Comparison) -> Vec<Vec<String>> {
    vec![LAST_OF_5000_MS.row("time to the last of 5,000, ms".to_owned(), &own(&comparison.far, last_ms), 1)]
}

/// The most of a run.
fn wrong(comparison: &Comparison) -> Vec<Vec<String>> {
    let own = [Entrant::FANFARE, Entrant::FanfareAgain, Entrant::Peer(Peer::Fanfare(History::Off))];
    let parts = [&comparison.far, &comparison.fixed, &comparison.bursts, &comparison.latency];
    let runs = parts.into_iter().flat_map(|part| own.into_iter().flat_map(|entrant| part.of(entrant))).flatten();
    let figure = Spread::of(runs.map(|run| run.wrong));
    let found = Found { figure, floor: None, may_be: [false; 2] };
    // Of many runs the worst one counts.
    let found =
        Found { figure: found.figure.map(|runs| Spread { median: runs.most, least: runs.most, ..runs }), ..found };
    vec![WRONG.row("publications lost, doubled or reordered in a run".to_owned(), &found, 0)]
}

fn rate(comparison: &Comparison, peer: Peer) -> Found {
    let [own, other] = [peer.measured_against(), peer].map(|peer| is_a_bound(comparison, Entrant::Peer(peer)));
    Found { may_be: [own, other], ..ratio(&comparison.saturation, Entrant::Peer(peer), held_rate) }
}

/// Against the one that holds the highest rate.
fn best(comparison: &Comparison, peers: &[Peer]) -> Option<Vec<String>> {
    let held =
        |peer: &Peer| comparison.saturation.spread(Entrant::Peer(*peer), held_rate).map_or(0.0, |rate| rate.median);
    let best = peers.iter().max_by(|one, other| held(one).total_cmp(&held(other)))?;
    let what = format!("saturated rate × the best peer's, {}", best.title());
    Some(RATE_TIMES_BEST_PEER.row(what, &rate(comparison, *best), 2))
}

fn against(comparison: &Comparison, peer: Peer) -> Vec<Vec<String>> {
    let (title, entrant) = (peer.title(), Entrant::Peer(peer));
    let rate_goal = if matches!(peer, Peer::Ws | Peer::Sockudo) { RATE_TIMES_SLOW_PEER } else { RATE_TIMES_PEER };
    let row = |goal: Goal, what: &str, found: Found| goal.row(format!("{what} × {title}"), &found, 2);
    let mut rows = vec![
        row(CPU_TIMES_PEER, "CPU of a delivery", ratio(&comparison.fixed, entrant, server_cpu)),
        row(rate_goal, "saturated rate", rate(comparison, peer)),
        row(SESSIONS_TIMES_PEER, "sessions a second", ratio(&comparison.connect, entrant, sessions)),
    ];
    // Who does not hold the rate has no latency at it.
    if comparison.latency.entrants.contains(&entrant) {
        let what = format!("p99 of the latency at {} a second", comparison.latency_rate);
        rows.push(row(P99_TIMES_PEER, &what, ratio(&comparison.latency, entrant, p99_us)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(median: f64, floor: f64, may_be: [bool; 2]) -> Found {
        let figure = Some(Spread { median, least: median, most: median });
        Found { figure, floor: Some(NoiseFloor(floor)), may_be }
    }

    fn exact(goal: Goal, median: f64) -> &'static str {
        goal.outcome(&found(median, 1.05, [false; 2]))
    }

    #[test]
    fn a_goal_is_reached_or_missed_or_near() {
        let outcomes = [1_600.0, 1_700.0, 2_500.0, 2_600.0, 2_700.0].map(|bytes| exact(IDLE_BYTES, bytes));
        let [beyond, reached, barely, near, missed] = [
            "reached, and what is aimed at",
            "reached",
            "reached by no more than noise",
            "missed by no more than noise",
            "missed",
        ];
        assert_eq!(outcomes, [beyond, beyond, barely, near, missed]);
        let outcomes = [1.6, 1.5, 1.1, 1.0, 0.96, 0.9].map(|times| exact(SESSIONS_TIMES_PEER, times));
        assert_eq!(outcomes, [beyond, beyond, reached, barely, near, missed]);
    }

    #[test]
    fn what_was_not_measured_is_not_reached() {
        let nothing = Found { figure: None, floor: None, may_be: [false; 2] };
        assert_eq!(IDLE_BYTES.outcome(&nothing), "not measured");
    }

    #[test]
    fn a_bound_decides_only_one_way() {
        let unknown = "not known: a lower bound";
        let (more, less) = ([true, false], [false, true]);
        assert_eq!(RATE_TIMES_PEER.outcome(&found(1.2, 1.05, more)), "reached");
        assert_eq!(RATE_TIMES_PEER.outcome(&found(0.8, 1.05, more)), unknown);
        assert_eq!(RATE_TIMES_PEER.outcome(&found(1.2, 1.05, less)), unknown);
        assert_eq!(RATE_TIMES_PEER.outcome(&found(0.8, 1.05, less)), "missed");
    }

    #[test]
    fn a_goal_is_told_with_what_is_aimed_at() {
        let row = RATE_TIMES_BEST_PEER.row("rate".to_owned(), &found(3.0, 1.05, [false; 2]), 2);
        assert_eq!(row, ["rate", "at least 2", "5", "3.00", "reached"]);
    }
}
