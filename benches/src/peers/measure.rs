//! The parts of the comparison, in their order: what one finds decides at which rates the next ones run.

use super::Plan;
use super::capture;
use super::contest::{Answer, Contest, Entrant};
use super::memory::{self, Idle};
use super::page::Comparison;
use super::part::Part;
use super::peer::{History, Peer, Pings};
use super::result::Measured;
use super::results::{Results, When};
use super::saturation::{self, Held, Refusal};
use super::server::Server;
use super::tester::Run;
use crate::bare_loop::paced::Load;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A run that does not count, because the load tester was held up, is made again so often.
const ATTEMPTS: usize = 3;

/// Seconds of a run that only looks for a rate to begin with.
const SEARCH_S: u64 = 3;

/// Where a rate is only held or not, a second is enough to begin with: tens of thousands of deliveries.
const SATURATION_WARM_UP_S: u64 = 1;

/// So many servers hold idle connections at once: their memory does not depend on who else is there.
const MEMORIES_AT_ONCE: usize = 4;

/// The share of its messages that the bare loop has to have written in time.
const LOOP_PACE_MIN: f64 = 0.98;

/// What the parts have in common.
struct Course<'a> {
    plan: &'a Plan,
    results: &'a Results,
    peers: &'a [Peer],
}

/// Measures whatever has not been kept.
pub(crate) fn all(plan: Plan, results: &Results, peers: Vec<Peer>, missing: Vec<(Peer, String)>) -> Answer<Comparison> {
    let course = Course { plan: &plan, results, peers: &peers };
    let memory = course.memories()?;
    let connect = course.connects()?;
    let far = course.far()?;
    let fixed = course.fixed_rate()?;
    let saturation = course.saturations()?;
    let bursts = course.bursts()?;
    let half_rate = (best_of_the_others(&saturation) / 2.0) as u32;
    let latency_rate = course.measurable("latency-rate", half_rate)?;
    let able = course.everyone().into_iter();
    let able = able.filter(|entrant| held(&saturation, *entrant) >= f64::from(latency_rate)).collect();
    let latency = course.latency(able, latency_rate)?;
    Ok(Comparison {
        plan,
        peers,
        missing,
        fixed,
        saturation,
        bursts,
        half_rate,
        latency_rate,
        latency,
        connect,
        far,
        memory,
    })
}

impl Course<'_> {
    fn part(&self, name: &'static str, title: String, entrants: Vec<Entrant>) -> Part<'_> {
        Part { results: self.results, name, title, entrants, rounds: self.plan.rounds }
    }

    fn everyone(&self) -> Vec<Entrant> {
        Entrant::with_a_pair(self.peers.iter().copied().map(Entrant::Peer))
    }

    /// Resident bytes and CPU of an idle connection.
    fn memories(&self) -> Answer<Contest<Idle>> {
        let idle = |entrant: Entrant| memory::idle(entrant.peer().ok_or("the bare loop holds none")?, self.plan.held);
        let shown = |idle: &Idle| format!("{:.0} bytes, {:.2} µs of CPU a second", idle.bytes, idle.cpu_us_per_second);
        let part = self.part("memory", "memory of an idle connection".to_owned(), self.everyone());
        let part = Part { rounds: self.plan.memory_rounds, ..part };
        part.together(MEMORIES_AT_ONCE, shown, idle)
    }

    /// Sessions a second that connect and subscribe.
    fn connects(&self) -> Answer<Contest<Measured>> {
        let run = Run { scenario: "connect", connections: self.plan.sessions, duration_s: 1, ..self.plan.fanout(1) };
        let shown = |run: &Measured| noted(run, &format!("{:.0} a second", run.sessions_per_second));
        let part = self.part("connect", "sessions a second".to_owned(), self.everyone());
        part.contest(shown, |entrant, _, _| repeated(|| once(entrant, &run)))
    }

    /// How long it takes until the last of many subscribers has a publication.
    fn far(&self) -> Answer<Contest<Measured>> {
        let run = self.plan.far();
        let shown = |run: &Measured| noted(run, &format!("{:.1} ms", run.last_p50_us / 1_000.0));
        let part = self.part("far", format!("time to the last of {} subscribers", run.connections), self.everyone());
        part.contest(shown, |entrant, _, _| repeated(|| once(entrant, &run)))
    }

    /// CPU of a delivery at a rate that saturates nobody.
    fn fixed_rate(&self) -> Answer<Contest<Measured>> {
        let run = self.plan.fanout(self.plan.publications_per_second);
        let with_loop = self.peers.iter().copied().map(Entrant::Peer).chain([Entrant::Loop(1)]);
        let title = "CPU of a delivery at a fixed rate".to_owned();
        let part = self.part("fixed", title, Entrant::with_a_pair(with_loop));
        part.contest(cpu, |entrant, _, _| repeated(|| once(entrant, &run)))
    }

    /// The same where so much comes at once that Fanfare puts several messages into a write, and has nothing to do between;
    /// beside a loop that puts in as many.
    fn bursts(&self) -> Answer<Contest<Measured>> {
        let run = self.plan.bursts();
        let title = format!("CPU of a delivery in bursts of {}", run.burst);
        let reached = self.found_once("messages-per-write", &title, || {
            Ok(once(Entrant::FANFARE, &run)?.messages_per_write.round().max(1.0) as usize)
        })?;
        let part = self.part("bursts", title, Entrant::with_a_pair([Entrant::Loop(reached)]));
        part.contest(cpu, |entrant, _, _| repeated(|| once(entrant, &run)))
    }

    /// The highest rate that each holds, in publications a second. Its first round looks in short runs where to begin.
    fn saturations(&self) -> Answer<Contest<Held>> {
        let part = self.part("saturation", "the highest rate that is held".to_owned(), self.everyone());
        part.contest(Held::words, |entrant, _, before| {
            let mut asked =
                Asked { plan: self.plan, peer: entrant.peer().ok_or("a loop holds any rate")?, server: None };
            let near = match before.iter().flatten().filter_map(Held::next).next_back() {
                Some(near) => near,
                None => {
                    let seconds = self.plan.duration_s.min(SEARCH_S);
                    saturation::search(self.plan.publications_per_second, |rate| asked.refusal(rate, seconds))?
                }
            };
            saturation::verify(near, |rate| asked.refusal(rate, self.plan.duration_s))
        })
    }

    /// How late publications are at one rate for all.
    fn latency(&self, entrants: Vec<Entrant>, rate: u32) -> Answer<Contest<Measured>> {
        let run = self.plan.fanout(rate);
        let shown = |run: &Measured| noted(run, &format!("p50 {} µs, p99 {} µs", run.p50_us, run.p99_us));
        let part = self.part("latency", format!("latency at {rate} publications a second"), entrants);
        part.contest(shown, |entrant, _, _| repeated(|| once(entrant, &run)))
    }

    /// The highest rate, halved as often as it takes, at which the load tester is not held up by its own receiving: it has
    /// one core.
    fn measurable(&self, name: &'static str, rate: u32) -> Answer<u32> {
        self.found_once(name, &format!("from {rate} down"), || {
            let mut rate = rate.max(1);
            while rate > self.plan.publications_per_second
                && !once(Entrant::FANFARE, &self.plan.fanout(rate))?.is_valid()
            {
                rate /= 2;
            }
            Ok(rate)
        })
    }

    /// What other parts build upon has to be the same when they are taken up again.
    fn found_once<T: Copy + Serialize + DeserializeOwned>(
        &self,
        name: &str,
        about: &str,
        find: impl FnOnce() -> Answer<T>,
    ) -> Answer<T> {
        if let Some(kept) = self.results.taken(name, about) {
            return Ok(kept.measured);
        }
        let when = When::now();
        let found = find()?;
        self.results.keep(name, about, (when.until_now(), found))?;
        Ok(found)
    }
}

/// A peer that is asked for rates.
struct Asked<'a> {
    plan: &'a Plan,
    peer: Peer,
    /// Goes on after a rate that it held: nothing is left of it. After one that it did not hold there is another, since what
    /// is left to do would weigh on the next.
    server: Option<Server>,
}

impl Asked<'_> {
    fn refusal(&mut self, rate: u32, duration_s: u64) -> Answer<Option<Refusal>> {
        let run = Run { warm_up_s: SATURATION_WARM_UP_S, duration_s, ..self.plan.fanout(rate) };
        let server = match self.server.take() {
            Some(server) => server,
            None => Server::start(self.peer, Pings::ByDefault)?,
        };
        let refusal = Refusal::of(rate, &run.against(&server, &self.peer.target())?);
        self.server = Some(server).filter(|_| refusal.is_none());
        Ok(refusal)
    }
}

/// What one holds, in publications a second; 0 where that could not be found.
fn held(saturation: &Contest<Held>, entrant: Entrant) -> f64 {
    saturation.spread(entrant, |held| held.rate.map(f64::from)).map_or(0.0, |rate| rate.median)
}

fn best_of_the_others(saturation: &Contest<Held>) -> f64 {
    let others = saturation.entrants.iter().filter(|entrant| !entrant.peer().is_some_and(Peer::is_fanfare));
    others.map(|entrant| held(saturation, *entrant)).fold(0.0, f64::max)
}

/// One run against a server of its own.
fn once(entrant: Entrant, run: &Run) -> Answer<Measured> {
    match entrant {
        Entrant::Loop(messages_per_write) => once_of_loop(messages_per_write, run),
        _ => {
            let peer = entrant.peer().ok_or("nobody to start")?;
            run.against(&Server::start(peer, Pings::ByDefault)?, &peer.target())
        }
    }
}

/// The same of the bare loop, which writes what a node writes in the middle of such a run.
fn once_of_loop(messages_per_write: usize, run: &Run) -> Answer<Measured> {
    let load = Load {
        port: 0,
        sockets: run.connections,
        messages_per_second: run.publications_per_second,
        messages_per_write,
        frame: frame_of(run)?,
    };
    let run = Run { scenario: "listen", burst: 1, ..run.clone() };
    let measured = run.against(&Server::start_loop(load)?, &Peer::Ws.target())?;
    // A loop that did not keep its pace is no yardstick for it.
    let due = run.connections as f64 * f64::from(run.publications_per_second) * run.duration_s as f64;
    Ok(Measured { expected: due * LOOP_PACE_MIN, ..measured })
}

fn frame_of(run: &Run) -> Answer<Vec<u8>> {
    let server = Server::start(Peer::Fanfare(History::Kept), Pings::ByDefault)?;
    let middle_s = run.warm_up_s + run.duration_s / 2;
    Ok(capture::frame(server.port(), run.publications_per_second * middle_s as u32)?)
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

/// What is told of a run whose CPU is measured.
fn cpu(run: &Measured) -> String {
    noted(run, &format!("{:.2} µs a delivery", run.server_cpu_us))
}

/// A figure, and what keeps it from counting.
fn noted(run: &Measured, figure: &str) -> String {
    if run.is_valid() { figure.to_owned() } else { format!("{figure}, invalid: {}", run.invalid_because.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
