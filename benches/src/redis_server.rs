//! A Redis server of a measurement's own, and a broker on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::{Control, Error, Event, NoRoom, NodeReport, NodeSink, PublicationSink, Room, Whom};
use fanfare_broker_redis::{Options, RedisBroker, Server};
use fanfare_protocol::Channel;

use fanfare_loadtest::Process;

/// A running server; ended when dropped.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl RedisServer {
    pub(crate) fn start() -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = std::env::temp_dir().join(format!("fanfare-benches-redis-{port}"));
        std::fs::create_dir_all(&dir)?;
        let server = Self { child: spawn(port, &dir)?, port, dir };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> io::Result<()> {
        for _ in 0..1_000 {
            if self.connect().is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::Error::other("the Redis server does not start"))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    pub(crate) fn connect(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection()
    }

    /// Bytes that it has allocated.
    pub(crate) fn used_bytes(&self) -> Result<u64, Box<dyn std::error::Error>> {
        let memory: String = redis::cmd("INFO").arg("memory").query(&mut self.connect()?)?;
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).ok_or("no figure of memory")?;
        Ok(used.trim().parse()?)
    }

    /// Ends it as a crash would and starts an empty one in its place.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(self.port, &self.dir)?;
        self.wait()
    }
}

fn spawn(port: u16, dir: &PathBuf) -> io::Result<Child> {
    let program = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A broker with default settings, ready; a command may take longer, since the machine is busy with the measurement.
pub(crate) async fn broker(
    server: &RedisServer,
    sink: Arc<dyn PublicationSink>,
) -> Result<Arc<RedisBroker>, Box<dyn std::error::Error>> {
    let mut options = Options::new(Server::parse(&server.url())?);
    options.command_timeout = Duration::from_secs(10);
    let broker = RedisBroker::start(options, sink, Arc::new(NoSessions));
    broker.wait_ready(Duration::from_secs(10)).await?;
    Ok(Arc::new(broker))
}

/// A sink that calls these for each event and for each channel that has to be read again.
pub(crate) struct Calls<E, B> {
    pub(crate) event: E,
    pub(crate) broken: B,
}

#[async_trait]
impl<E, B> PublicationSink for Calls<E, B>
where
    E: Fn() + Send + Sync + 'static,
    B: Fn(&Channel) + Send + Sync + 'static,
{
    fn try_reserve(&self, _channel: &Channel, _bytes: usize) -> Result<Room, NoRoom> {
        Ok(Room::default())
    }

    async fn reserve(&self, _channel: &Channel, _bytes: usize) -> Result<Room, NoRoom> {
        Ok(Room::default())
    }

    fn deliver(&self, _event: Event, _room: Room) {
        (self.event)();
    }

    fn broken(&self, channel: &Channel) {
        (self.broken)(channel);
    }
}

struct NoSessions;

#[async_trait]
impl NodeSink for NoSessions {
    async fn apply(&self, _control: Control) -> Result<(), Error> {
        Ok(())
    }

    async fn judge_again(&self, _whom: Whom) -> Result<(), Error> {
        Ok(())
    }

    fn report(&self) -> NodeReport {
        NodeReport::default()
    }

    fn channels(&self, _pattern: Option<&str>) -> std::collections::BTreeMap<String, u64> {
        std::collections::BTreeMap::new()
    }
}
