//! A log that nobody reads, and `/metrics` that is read all the time: row 118 of the table of bad input.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use fanfare_testkit::bad_input::case;
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Canary, Http, Opening, Program, Raw, client_frame, free_address, serve};

const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// More lines than a pipe, 64 KiB, and the queue behind it hold, by far.
const SESSIONS_MAX: usize = 20_000;

/// A node whose standard error is a pipe that nobody reads.
struct Unread {
    process: Child,
    address: SocketAddr,
}

impl Unread {
    async fn start() -> Self {
        let address = free_address();
        let variables = [("FANFARE_LISTEN__ADDRESS", &*address.to_string()), ("FANFARE_LOG__LEVEL", "debug")];
        let process = serve(BINARY, &variables).stderr(Stdio::piped()).spawn().unwrap();
        let listens = || async { TcpStream::connect(address).ok().map(drop) };
        eventually("the node to listen", listens).await;
        Self { process, address }
    }

    async fn dropped(&self) -> f64 {
        let name = case(118, "log").counter().0;
        let text = Http::connect(self.address).await.request("GET /metrics", &[], "").await.body;
        let row = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        row.trim().parse().unwrap()
    }

    /// Asks it to end, and waits until it has.
    async fn ends(mut self) {
        let asked = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(asked.success());
        let process = RefCell::new(&mut self.process);
        eventually("the node to end", || async { process.borrow_mut().try_wait().unwrap() }).await;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// What was logged was written by whoever logged it: with the pipe full, shard and HTTP threads stood still.
#[tokio::test(flavor = "multi_thread")]
async fn defect_a_log_that_nobody_reads_stopped_the_node() {
    case(118, "log").is_fine();
    let node = Unread::start().await;
    let mut canary = Canary::start(Opening::new(node.address)).await;
    let nonsense = client_frame(0x81, b"{");
    for session in 0..SESSIONS_MAX {
        let mut raw = Raw::upgrade(node.address, "", &nonsense).await;
        while raw.frame().await.is_some() {}
        if session % 100 == 0 && node.dropped().await > 0.0 {
            break;
        }
    }
    assert!(node.dropped().await > 0.0, "nothing was dropped");
    canary.goes_on("a full log").await;
    canary.end().await;
    node.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_scrapes_are_answered_and_nobody_waits() {
    case(118, "scraper").is_fine();
    let node = Program::start(BINARY, &[]).await;
    let mut canary = Canary::start(node.client()).await;
    for _ in 0..1_000 {
        assert!(node.metric_row("fanfare_gateway_sessions", "").await >= 1.0);
    }
    canary.goes_on("a thousand scrapes").await;
    canary.end().await;
}
