//! A server under measurement: started on the first core, waited for, ended by its id.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::peer::{Launch, Peer, Pings, Works, built, launch_loop};
use crate::bare_loop::paced::Load;
use fanfare_loadtest::Process;

/// Servers have the first core, the load tester has the second: some of them use only one.
pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const LOADER_CORE: &str = "1";

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A command that is still without its program, for one core. It ends with this process even if that is killed: what is left
/// of an interrupted comparison would disturb the one that goes on.
pub(crate) fn on_core(core: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "--cpu-list", core]);
    command
}

/// A running server; ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    works: Works,
    working: u32,
    port: u16,
}

impl Server {
    /// Starts a peer on a free port and waits until it takes connections.
    pub(crate) fn start(peer: Peer, pings: Pings) -> io::Result<Self> {
        let port = free_port()?;
        let folder = folder_of(peer)?;
        Self::run(&peer.launch(port, &folder, pings)?, port)
    }

    /// The same with the bare loop.
    pub(crate) fn start_loop(load: Load) -> io::Result<Self> {
        let load = Load { port: free_port()?, ..load };
        Self::run(&launch_loop(&load)?, load.port)
    }

    fn run(launch: &Launch, port: u16) -> io::Result<Self> {
        let child = on_core(SERVER_CORE)
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(launch.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Self { working: child.id(), child, works: launch.works, port };
        server.wait_until_ready()?;
        if server.works == Works::ItsChild {
            server.working = child_of(server.child.id())?;
        }
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended at its start: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the server takes no connections"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The process that does the work.
    pub(crate) fn working(&self) -> u32 {
        self.working
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.working)
    }

    /// Lets a parent end its child; the others have nothing to tidy up.
    fn end(&mut self) -> io::Result<()> {
        if self.works == Works::ItsChild {
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
            let deadline = Instant::now() + STOP_TIMEOUT;
            while Instant::now() < deadline {
                if self.child.try_wait()?.is_some() {
                    return Ok(());
                }
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, as the bare loop does; then there is nothing to end.
        let _ = self.end();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn folder_of(peer: Peer) -> io::Result<PathBuf> {
    let folder = built().join("run").join(peer.name());
    std::fs::create_dir_all(&folder)?;
    folder.canonicalize()
}

/// The first process whose parent this is.
fn child_of(parent: u32) -> io::Result<u32> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        for entry in std::fs::read_dir("/proc")? {
            let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
            // Processes come and go meanwhile.
            if std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| parent_in(&stat) == Some(parent)) {
                return Ok(id);
            }
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Err(io::Error::other(format!("process {parent} has no child")))
}

fn parent_in(stat: &str) -> Option<u32> {
    // The name in brackets may hold spaces: the numbers come after it.
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_a_name_with_spaces() {
        assert_eq!(parent_in("12 (nginx: worker) p) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("nothing"), None);
    }
}
