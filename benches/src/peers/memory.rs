//! An idle connection: its memory, as the slope between two numbers of them, so that what a server takes once is no part of
//! it, and its CPU.

use std::io;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::contest::Answer;
use super::peer::{OFTEN_S, Peer, Pings};
use super::server::Server;
use super::tester::Run;

/// Two rounds of pings: so long is looked at the CPU.
const WATCHED: Duration = Duration::from_secs(2 * OFTEN_S as u64);

/// Before and after that, what connecting has left to do is done, and pings that come a little late.
const SETTLING: Duration = Duration::from_secs(2);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Descriptors that a server may give back meanwhile, such as that of the connection which asked whether it is there.
const GIVEN_BACK_MAX: usize = 8;

/// Longer than a measurement takes; the load tester is ended before.
const HELD_S: u64 = 300;

/// What an idle connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Resident, of each connection between the two numbers.
    pub(crate) bytes: f64,
    /// CPU of each connection, when the most are there.
    pub(crate) cpu_us_per_second: f64,
}

/// Measures with this number of connections, and then with that.
pub(crate) fn idle(peer: Peer, connections: [usize; 2]) -> Answer<Idle> {
    let server = Server::start(peer, Pings::Often)?;
    let [few, many] = connections;
    let _few = Held::connect(&server, peer, few)?;
    watch(&server)?;
    let before = server.process().resident_bytes()?;
    let _more = Held::connect(&server, peer, many - few)?;
    let cpu = watch(&server)?;
    let after = server.process().resident_bytes()?;
    Ok(Idle {
        bytes: (after as f64 - before as f64) / (many - few) as f64,
        cpu_us_per_second: cpu.as_secs_f64() * 1e6 / WATCHED.as_secs_f64() / many as f64,
    })
}

/// The CPU of two rounds of pings.
fn watch(server: &Server) -> io::Result<Duration> {
    std::thread::sleep(SETTLING);
    let before = server.process().cpu()?;
    std::thread::sleep(WATCHED);
    let cpu = server.process().cpu()?.saturating_sub(before);
    std::thread::sleep(SETTLING);
    Ok(cpu)
}

/// Connections that a load tester holds until this is dropped.
struct Held {
    tester: Child,
}

impl Held {
    /// Returns when they are there.
    fn connect(server: &Server, peer: Peer, connections: usize) -> io::Result<Self> {
        let before = descriptors(server.working())?;
        let run = Run {
            scenario: "listen",
            connections,
            publications_per_second: 1,
            burst: 1,
            warm_up_s: 0,
            duration_s: HELD_S,
        };
        let mut held = Self { tester: run.start(server, &peer.target())? };
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let wanted = before + connections - GIVEN_BACK_MAX;
        while descriptors(server.working())? < wanted {
            if let Some(status) = held.tester.try_wait()? {
                return Err(io::Error::other(format!("the load tester has ended early: {status}")));
            }
            if Instant::now() > deadline {
                let made = descriptors(server.working())?.saturating_sub(before);
                return Err(io::Error::other(format!("only {made} of {connections} connections were made")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.tester), Signal::KILL);
        let _ = self.tester.wait();
    }
}

fn descriptors(process: u32) -> io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count())
}
