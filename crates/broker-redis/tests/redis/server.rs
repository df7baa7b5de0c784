//! A server of a test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

/// A running server. It ends when it is dropped.
pub(crate) struct Server {
    child: Mutex<Child>,
    port: u16,
    dir: PathBuf,
}

/// Where Debian puts the library that tells a program another time.
const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

fn program() -> String {
    std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Whether there is a server to test with. Says so where there is none.
fn is_installed() -> bool {
    let version = Command::new(program()).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not installed", program());
    eprintln!("skipped: {} is not installed", program());
    false
}

fn has_jemalloc() -> bool {
    let output = Command::new(program()).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("malloc=jemalloc"))
}

impl Server {
    /// A server that nobody else uses; `None` if none is installed.
    pub(crate) fn start() -> Option<Arc<Self>> {
        Self::start_with(&[])
    }

    /// A server with settings, each `--name value`.
    pub(crate) fn start_with(settings: &[&str]) -> Option<Arc<Self>> {
        is_installed().then(|| {
            (0..20).find_map(|_| Self::try_start(settings, None)).expect("a server starts on one of twenty ports")
        })
    }

    /// A server whose clock can be set. `None` where libfaketime is not installed, or the server does not bear it, as
    /// one with jemalloc, which hangs.
    pub(crate) fn start_with_clock() -> Option<Arc<Self>> {
        let library = FAKETIME.into_iter().find(|library| Path::new(library).exists());
        let server = library
            .filter(|_| is_installed() && !has_jemalloc())
            .and_then(|library| Self::try_start(&[], Some(library)));
        if server.is_none() {
            eprintln!("skipped: no libfaketime that {} runs under", program());
        }
        server
    }

    /// Whether the program is built with TLS: then it ends for want of a certificate. One without may know the settings
    /// all the same, as Valkey's does.
    pub(crate) fn has_tls() -> bool {
        let output = Command::new(program()).args(["--port", "0", "--tls-port", "1"]).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("tls-cert-file"))
    }

    /// Sets the clock so many seconds ahead, or back.
    pub(crate) fn set_clock(&self, seconds: i64) {
        std::fs::write(self.dir.join("clock"), format!("{seconds:+}s")).expect("the folder is ours");
    }

    /// A server that tests share as long as one of them runs. They keep apart by their prefixes.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().or_else(|| {
            let server = Self::start()?;
            *shared = Arc::downgrade(&server);
            Some(server)
        })
    }

    /// A Sentinel that watches the master on a port under the name `main`.
    pub(crate) fn sentinel(master: u16) -> Option<Arc<Self>> {
        // Sentinels that elect none of them try again after twice the last of these times.
        let watch = format!(
            "sentinel monitor main 127.0.0.1 {master} 2\nsentinel down-after-milliseconds main 1000\n\
             sentinel failover-timeout main 3000\n"
        );
        is_installed().then(|| {
            (0..20).find_map(|_| Self::try_sentinel(&watch)).expect("a Sentinel starts on one of twenty ports")
        })
    }

    fn try_sentinel(watch: &str) -> Option<Arc<Self>> {
        let (port, dir) = place()?;
        let file = dir.join("sentinel.conf");
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n{watch}")).ok()?;
        let mut command = Command::new(program());
        command.arg(file).arg("--sentinel");
        let child = Mutex::new(quietly(command));
        let server = Arc::new(Self { child, port, dir });
        server.answers().then_some(server)
    }

    fn try_start(settings: &[&str], faketime: Option<&str>) -> Option<Arc<Self>> {
        let (port, dir) = place()?;
        std::fs::write(dir.join("clock"), "+0s").ok()?;
        let child = Mutex::new(spawn(port, &dir, settings, faketime));
        let server = Arc::new(Self { child, port, dir });
        server.answers().then_some(server)
    }

    /// Whether it answers before long.
    fn answers(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let pong = redis::Client::open(self.url())
                .and_then(|client| client.get_connection())
                .and_then(|mut it| redis::cmd("INFO").arg("server").query::<String>(&mut it));
            match pong {
                Ok(info) => return info.contains(&format!("tcp_port:{}\r", self.port)),
                Err(error) if error.code() == Some("NOAUTH") => return true,
                Err(_) if self.has_ended() => return false,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        false
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.child().try_wait().is_ok_and(|ended| ended.is_some())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection beside the broker's.
    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("the URL is one");
        client.get_connection().expect("the server runs")
    }

    /// Sends a command beside the broker.
    pub(crate) fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.query(&mut self.connect()).expect("the command succeeds")
    }

    /// Makes it a replica of another server, and waits until it follows.
    pub(crate) async fn follow(&self, master: &Self) {
        let _: () = self.run(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
        let follows = || self.run::<String>(&["INFO", "replication"]).contains("master_link_status:up");
        crate::bench::until("the replica follows", follows).await;
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&self) {
        self.restart_with(&[]);
    }

    /// Starts it again with settings, each `--name value`.
    pub(crate) fn restart_with(&self, settings: &[&str]) {
        *self.child() = spawn(self.port, &self.dir, settings, None);
        assert!(self.answers(), "the server comes back");
    }

    /// Where it keeps its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops it as it is: it keeps its connections and is silent.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Goes on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child().id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("kill is there");
        assert!(sent.success());
    }
}

/// A free port and a folder.
fn place() -> Option<(u16, PathBuf)> {
    // A cluster node listens 10,000 above its port as well.
    let port = free_port()?;
    let port = if port > 55_000 { port - 20_000 } else { port };
    let dir = std::env::temp_dir().join(format!("fanfare-redis-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&dir).ok()?;
    Some((port, dir))
}

/// Found without listening: a process that another test starts at that moment would inherit the listener for a while.
pub(crate) fn free_port() -> Option<u16> {
    let socket = TcpSocket::new_v4().ok()?;
    // So that one that is inherited is not in the server's way.
    socket.set_reuseaddr(true).ok()?;
    socket.bind(([127, 0, 0, 1], 0).into()).ok()?;
    Some(socket.local_addr().ok()?.port())
}

fn spawn(port: u16, dir: &PathBuf, settings: &[&str], faketime: Option<&str>) -> Child {
    let mut command = Command::new(program());
    if let Some(library) = faketime {
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", dir.join("clock"));
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(dir).args(settings);
    quietly(command)
}

fn quietly(mut command: Command) -> Child {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.spawn().expect("the server is installed")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
