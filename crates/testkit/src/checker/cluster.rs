//! What is driven: three nodes as processes, the Redis server behind them, and proxies before each.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::board::Board;
use super::publisher::Http;
use super::redis_server::{RedisProcess, signal};
use super::wire::Wire;
use crate::free_address;

/// Nodes.
pub const NODES: usize = 3;

/// What the nodes put before a channel's name in Redis.
pub const LIVE_PREFIX: &str = "checker:live:";

/// The key of the server API.
pub const API_KEY: &str = "checker-key-7Zq3kV9tXw2m";

/// How long a node may take to get ready.
const READY_MAX: Duration = Duration::from_secs(30);

/// What every node is configured with. Streams keep everything that a run publishes, so that no loss is excused by
/// trimming. An outbox is small, so that a client that pauses is closed as slow. Positions are compared so seldom
/// that what a reconnect has to find is not found by that.
const CONFIG: &str = r#"
[api]
keys = ["checker-key-7Zq3kV9tXw2m"]

[auth]
hmac_secret = "checker-secret-h4T8cQ1rYb6nJ0sWm5eKx3zPd7"
allow_anonymous = true

[channels]
history_size = 100000
history_ttl = "1d"
subscribe = "anyone"

[session]
ping_interval = "20s"
pong_timeout = "10s"
write_timeout = "8s"
command_timeout = "2s"
position_check_interval = "40s"

[limits]
outbox_bytes_max = "40KiB"
payload_bytes_max = "8KiB"
unsent_bytes_max = "4KiB"
recovery_publications_max = 100000

[redis]
prefix = "checker"
linger = "200ms"

[node]
shards = 2
http_workers = 1

[drain]
window = "0s"
"#;

/// The name of a channel.
pub fn channel_name(channel: u32) -> String {
    format!("channel-{channel}")
}

/// A node's process.
pub struct NodeProcess {
    child: Child,
    binary: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    redis: SocketAddr,
    defect: Option<String>,
}

impl NodeProcess {
    /// Starts a node and waits until it is ready.
    pub async fn start(binary: &Path, folder: &Path, redis: SocketAddr, defect: Option<String>) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("node.toml"), CONFIG)?;
        let (binary, folder, address) = (binary.to_owned(), folder.to_owned(), free_address());
        let child = spawn(&binary, &folder, address, redis, defect.as_deref())?;
        let mut node = Self { child, binary, folder, address, redis, defect };
        node.ready().await?;
        Ok(node)
    }

    /// Where it listens; the same after it was killed.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again and waits until it is ready.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.child = spawn(&self.binary, &self.folder, self.address, self.redis, self.defect.as_deref())?;
        self.ready().await
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the node at {} ended by itself: {status}; see {}", self.address, self.folder.display()))
    }

    /// Stops it without ending it.
    pub fn stop(&self) -> io::Result<()> {
        signal(self.child.id(), "STOP")
    }

    /// Lets it go on.
    pub fn go_on(&self) -> io::Result<()> {
        signal(self.child.id(), "CONT")
    }

    /// Waits until it is ready.
    pub async fn ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            if let Some(ended) = self.has_ended() {
                return Err(io::Error::other(ended));
            }
            if let Ok(mut http) = Http::connect(self.address).await
                && http.get("/readyz").await.is_ok_and(|status| status == 200)
            {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(io::Error::other(format!("the node at {} does not get ready; see {}", self.address, self.folder.display())))
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    binary: &Path,
    folder: &Path,
    address: SocketAddr,
    redis: SocketAddr,
    defect: Option<&str>,
) -> io::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("node.log"))?;
    let mut command = Command::new(binary);
    // Nothing of the surroundings: a variable of the person who runs this must not change the node.
    command.env_clear().args(["serve", "--config"]).arg(folder.join("node.toml"));
    command.env("FANFARE_LISTEN__ADDRESS", address.to_string()).env("FANFARE_REDIS__URL", format!("redis://{redis}"));
    if let Some(defect) = defect {
        command.env("FAULT_POINT_OF_FANFARE", defect);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()
}

/// Everything that is driven.
pub struct Cluster {
    /// The folder of logs and dumps.
    pub folder: PathBuf,
    /// The Redis server that is master now.
    pub redis: RedisProcess,
    /// The nodes.
    pub nodes: Vec<NodeProcess>,
    /// Each node's way to Redis.
    pub redis_wires: Vec<Wire>,
    /// The clients' way to each node.
    pub node_wires: Arc<Vec<Wire>>,
}

impl Cluster {
    /// Starts everything.
    pub async fn start(binary: &Path, folder: &Path, defect: Option<&str>, board: &Arc<Board>) -> io::Result<Self> {
        let redis = RedisProcess::start(&folder.join("redis-0")).await?;
        // The build may replace the binary while the run goes on: nodes that are killed come back as they were.
        let program = folder.join("fanfare");
        std::fs::hard_link(binary, &program).or_else(|_| std::fs::copy(binary, &program).map(drop))?;
        let (mut nodes, mut redis_wires, mut node_wires) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..NODES {
            let wire = Wire::to_redis(redis.address(), Arc::clone(board), index)?;
            let own = folder.join(format!("node-{index}"));
            let node = NodeProcess::start(&program, &own, wire.address(), defect.map(str::to_owned)).await?;
            node_wires.push(Wire::start(node.address())?);
            redis_wires.push(wire);
            nodes.push(node);
        }
        Ok(Self { folder: folder.to_owned(), redis, nodes, redis_wires, node_wires: Arc::new(node_wires) })
    }

    /// Waits until all nodes are ready.
    pub async fn ready(&mut self) -> io::Result<()> {
        for node in &mut self.nodes {
            node.ready().await?;
        }
        Ok(())
    }
}
