//! Memory of an idle connection: the slope between two numbers of them, so that what a server takes once is no part of it.

use std::io;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::contest::Answer;
use super::peer::Peer;
use super::server::Server;
use super::tester::Run;

/// Between two pings, where that is a setting. The others have their own, rarer ones.
const PING_INTERVAL_S: u32 = 10;

/// Two rounds of pings, and some more.
const SETTLING: Duration = Duration::from_secs(2 * PING_INTERVAL_S as u64 + 4);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Descriptors that a server may give back meanwhile, such as that of the connection which asked whether it is there.
const GIVEN_BACK_MAX: usize = 8;

/// Longer than a measurement takes; the load tester is ended before.
const HELD_S: u64 = 300;

/// Resident bytes for each connection between the two numbers.
pub(crate) fn slope(peer: Peer, connections: [usize; 2]) -> Answer<f64> {
    let server = Server::start(peer, PING_INTERVAL_S)?;
    let [few, many] = connections;
    let _few = Held::connect(&server, peer, few)?;
    let before = server.process().resident_bytes()?;
    let _more = Held::connect(&server, peer, many - few)?;
    let after = server.process().resident_bytes()?;
    Ok((after as f64 - before as f64) / (many - few) as f64)
}

/// Connections that a load tester holds until this is dropped.
struct Held {
    tester: Child,
}

impl Held {
    /// Returns when they are there and two rounds of pings have passed.
    fn connect(server: &Server, peer: Peer, connections: usize) -> io::Result<Self> {
        let before = descriptors(server.working())?;
        let run = Run { scenario: "listen", connections, publications_per_second: 1, warm_up_s: 0, duration_s: HELD_S };
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
        std::thread::sleep(SETTLING);
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
