//! A real Redis server of a test's own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::free_address;

/// Slots of a cluster.
const SLOTS: usize = 16_384;

/// Masters of a cluster.
const MASTERS: usize = 3;

/// A running server; it ends when it is dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    dir: PathBuf,
}

/// A cluster of three masters without replicas; it ends when it is dropped.
pub struct RedisCluster {
    masters: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts three servers and waits until they agree. `None` if none is installed, as for [`RedisServer::start`].
    ///
    /// # Panics
    /// Where they do not agree within 20 seconds.
    pub fn start() -> Option<Self> {
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let masters = (0..MASTERS).map(|_| RedisServer::start_with(&settings)).collect::<Option<Vec<_>>>()?;
        for (at, master) in masters.iter().enumerate() {
            let slots = (0..SLOTS).filter(|slot| owner_of(*slot) == at).map(|slot| slot.to_string());
            let slots: Vec<String> = slots.collect();
            let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
            master.run(&words.map(str::as_bytes).collect::<Vec<_>>());
            master.run(&[b"CLUSTER", b"MEET", b"127.0.0.1", masters[0].port.to_string().as_bytes()]);
        }
        let cluster = Self { masters };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !cluster.agrees() {
            assert!(Instant::now() < deadline, "the cluster agrees");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(cluster)
    }

    fn agrees(&self) -> bool {
        let is_ok = |master: &RedisServer| {
            let info = master.run(&[b"CLUSTER", b"INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        self.masters.iter().all(is_ok)
    }

    /// Where it is: one of its nodes.
    pub fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.masters[2].port)
    }

    /// Its masters.
    pub fn masters(&self) -> &[RedisServer] {
        &self.masters
    }

    /// Gives the slot of a key, with all keys in it, to another master.
    pub fn move_slot_of(&self, key: &str) {
        let text = |answer: String| answer.lines().last().unwrap_or_default().to_owned();
        let slot = self.masters[0].run(&[b"CLUSTER", b"KEYSLOT", key.as_bytes()]);
        let slot = slot.trim().trim_start_matches(':').to_owned();
        let from = owner_of(slot.parse().expect("Redis names a slot by its number"));
        let to = (from + 1) % MASTERS;
        let [from, to] = [from, to].map(|at| &self.masters[at]);
        let [from_id, to_id] = [from, to].map(|master| text(master.run(&[b"CLUSTER", b"MYID"])));
        to.run(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"IMPORTING", from_id.as_bytes()]);
        from.run(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"MIGRATING", to_id.as_bytes()]);
        let port = to.port.to_string();
        loop {
            let key = text(from.run(&[b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), b"1"]));
            if key.starts_with('*') {
                break;
            }
            from.run(&[b"MIGRATE", b"127.0.0.1", port.as_bytes(), key.as_bytes(), b"0", b"5000"]);
        }
        for master in [to, from].into_iter().chain(&self.masters) {
            master.run(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"NODE", to_id.as_bytes()]);
        }
    }
}

impl RedisServer {
    /// Starts a server on a free port. `None` if none is installed, and says so; with `CI` set that is a failure.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    fn start_with(settings: &[&str]) -> Option<Self> {
        let program = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let version = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
            eprintln!("skipped: {program} is not installed");
            return None;
        }
        (0..20).find_map(|_| Self::try_start(&program, settings))
    }

    fn try_start(program: &str, settings: &[&str]) -> Option<Self> {
        let port = free_address().port();
        // A node of a cluster listens 10,000 above its port as well.
        let port = if port > 55_000 { port - 20_000 } else { port };
        let dir = std::env::temp_dir().join(format!("fanfare-testkit-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).ok()?;
        let mut server = Self { child: spawn(program, port, &dir, settings)?, port, dir };
        server.answers().then_some(server)
    }

    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if self.is_ours() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Whether it is our process that answers: another may have taken the port in the meantime.
    fn is_ours(&self) -> bool {
        let mut answer = [0; 4_096];
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"INFO server\r\n")?;
            stream.read(&mut answer)
        });
        let text = String::from_utf8_lossy(&answer[..asked.unwrap_or(0)]);
        text.lines().any(|line| line == format!("process_id:{}", self.child.id()))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, with everything it holds, and starts an empty one in its place.
    ///
    /// # Panics
    /// Where it cannot be started again.
    pub fn restart_empty(&mut self) {
        self.end();
        let program = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        self.child = spawn(&program, self.port, &self.dir, &[]).expect("it was started before");
        assert!(self.answers(), "it answers again");
    }

    /// Starts one in its place after [`Self::end`], with what it had saved.
    ///
    /// # Panics
    /// Where it cannot be started again.
    pub fn restart(&mut self) {
        let program = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        self.child = spawn(&program, self.port, &self.dir, &[]).expect("it was started before");
        assert!(self.answers(), "it answers again");
    }

    /// Stops it as it is: it keeps its connections and is silent.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Goes on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill is there");
        assert!(sent.success(), "the server runs");
    }

    /// Sends it a command on a connection of its own. The beginning of what it answers, 64 KiB at most.
    ///
    /// # Panics
    /// Where it does not answer, or refuses.
    pub fn run(&self, words: &[&[u8]]) -> String {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server runs");
        stream.write_all(&request).expect("the server reads");
        let mut answer = vec![0; 64 * 1024];
        let length = stream.read(&mut answer).expect("the server answers");
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(!answer.starts_with('-'), "{answer}");
        answer
    }

    /// Ends it at once, as a crash would.
    pub fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Which master a slot is given to. Each has one range, as clusters are made: every client reads them when it connects.
fn owner_of(slot: usize) -> usize {
    slot * MASTERS / SLOTS
}

fn spawn(program: &str, port: u16, dir: &PathBuf, settings: &[&str]) -> Option<Child> {
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir).args(settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}
