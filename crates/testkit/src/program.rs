//! The `fanfare` program as a process: what it says, what it ends with, what it holds.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::client::Opening;
use crate::http::Http;

/// What every node of a test is configured with, as variables; a test's own come behind.
const VARIABLES: [(&str, &str); 9] = [
    ("FANFARE_LISTEN__ADDRESS", "127.0.0.1:0"),
    ("FANFARE_API__KEYS", "3f1c6a0d9b7e45d2a8c0"),
    ("FANFARE_AUTH__HMAC_SECRET", crate::token::SECRET),
    ("FANFARE_AUTH__ALLOW_ANONYMOUS", "true"),
    ("FANFARE_CHANNELS__SUBSCRIBE", "anyone"),
    ("FANFARE_CHANNELS__PUBLISH", "anyone"),
    ("FANFARE_NODE__SHARDS", "1"),
    ("FANFARE_DRAIN__WINDOW", "0s"),
    ("FANFARE_LOG__FORMAT", "json"),
];

/// A running node; it is killed when it is dropped.
pub struct Program {
    process: Child,
    log: Arc<Mutex<Vec<Value>>>,
    address: SocketAddr,
}

/// `fanfare serve` with these variables and nothing of the surroundings; `binary` is the path of the program.
pub fn serve(binary: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").env_clear().envs(VARIABLES).envs(variables.iter().copied());
    command
}

impl Program {
    /// Starts a node and waits until it listens.
    pub async fn start(binary: &str, variables: &[(&str, &str)]) -> Self {
        let mut process = serve(binary, variables).stderr(Stdio::piped()).spawn().expect("the program is there");
        let (log, written) = (Arc::<Mutex<Vec<Value>>>::default(), process.stderr.take());
        let lines = BufReader::new(written.expect("it is piped")).lines();
        let to = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to.lock().expect("nobody panics with the lock").push(entry);
            }
        });
        let mut node = Self { process, log, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
        while node.address.port() == 0 {
            let ended = node.ended();
            assert_eq!(ended, None, "the node has ended: {:?}", node.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
            node.address = node.listening().unwrap_or(node.address);
        }
        node
    }

    fn listening(&self) -> Option<SocketAddr> {
        let log = self.log();
        let entry = log.iter().find(|entry| entry["message"] == "listening")?;
        entry["address"].as_str()?.parse().ok()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it, to be opened.
    pub fn client(&self) -> Opening {
        Opening::new(self.address)
    }

    /// Everything that it has logged.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().expect("nobody panics with the lock").clone()
    }

    /// How many lines of its log are about this reason.
    pub fn logged(&self, reason: &str) -> usize {
        self.log().iter().filter(|entry| entry["reason"] == reason).count()
    }

    /// The sum of those rows of a metric that have this label.
    pub async fn metric_row(&self, name: &str, label: &str) -> f64 {
        let text = Http::connect(self.address).await.request("GET /metrics", &[], "").await.body;
        crate::node::sum_of(&text, name, label)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(folder).expect("the process lives").count()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has ended with, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.try_wait().expect("it is our process")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
