//! A real Redis server of a test's own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; it ends when it is dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl RedisServer {
    /// Starts a server on a free port. `None` if none is installed, and says so; with `CI` set that is a failure.
    pub fn start() -> Option<Self> {
        let program = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let version = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
            eprintln!("skipped: {program} is not installed");
            return None;
        }
        (0..20).find_map(|_| Self::try_start(&program))
    }

    fn try_start(program: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let dir = std::env::temp_dir().join(format!("fanfare-testkit-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).ok()?;
        let mut server = Self { child: spawn(program, port, &dir)?, port, dir };
        server.answers().then_some(server)
    }

    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
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
        self.child = spawn(&program, self.port, &self.dir).expect("it was started before");
        assert!(self.answers(), "it answers again");
    }

    /// Starts one in its place after [`Self::end`], with what it had saved.
    ///
    /// # Panics
    /// Where it cannot be started again.
    pub fn restart(&mut self) {
        let program = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        self.child = spawn(&program, self.port, &self.dir).expect("it was started before");
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

fn spawn(program: &str, port: u16, dir: &PathBuf) -> Option<Child> {
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}
