//! A Redis server that can be harmed: killed, stopped, brought back with nothing or with an older dump.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::free_address;

/// How long a server may take to answer after it was started.
const START_MAX: Duration = Duration::from_secs(20);

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What Redis keeps for a subscriber before it cuts it: 1 MB, so that a test reaches it.
const OUTPUT_LIMIT: [&str; 4] = ["pubsub", "1mb", "1mb", "60"];

/// A running server; it is killed when it is dropped.
pub struct RedisProcess {
    child: Child,
    program: String,
    folder: PathBuf,
    address: SocketAddr,
}

impl RedisProcess {
    /// Starts a server in a folder of its own, on a free port.
    pub async fn start(folder: &Path) -> io::Result<Self> {
        let program = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        std::fs::create_dir_all(folder)?;
        let address = free_address();
        let child = spawn(&program, folder, address)?;
        let mut server = Self { child, program, folder: folder.to_owned(), address };
        server.ready().await?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it, without a chance to save anything.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it and starts it again without anything.
    pub async fn restart_empty(&mut self) -> io::Result<()> {
        self.kill();
        let dump = self.folder.join("dump.rdb");
        if dump.exists() {
            std::fs::remove_file(dump)?;
        }
        self.start_again().await
    }

    /// Kills it and starts it again with what it saved last.
    pub async fn restart_with_dump(&mut self) -> io::Result<()> {
        self.kill();
        self.start_again().await
    }

    async fn start_again(&mut self) -> io::Result<()> {
        self.child = spawn(&self.program, &self.folder, self.address)?;
        self.ready().await
    }

    /// Stops it without ending it, or lets it go on.
    pub fn stop(&self) -> io::Result<()> {
        signal(self.child.id(), "STOP")
    }

    /// Lets it go on.
    pub fn go_on(&self) -> io::Result<()> {
        signal(self.child.id(), "CONT")
    }

    async fn ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            if self.say(&["PING"]).await.is_ok_and(|answer| answer.contains("PONG")) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("redis-server ended: {status}")));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err(io::Error::other("redis-server does not answer"))
    }

    /// Sends a command on a connection of its own; gives the answer as it came.
    pub async fn say(&self, words: &[&str]) -> io::Result<String> {
        timeout(ANSWER_MAX, say(self.address, words)).await.map_err(|_| io::Error::other("Redis does not answer"))?
    }

    /// A number of `INFO`.
    pub async fn figure(&self, section: &str, name: &str) -> io::Result<u64> {
        let info = self.say(&["INFO", section]).await?;
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.and_then(|number| number.trim().parse().ok()).unwrap_or(0))
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn say(address: SocketAddr, words: &[&str]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let mut command = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    stream.write_all(command.as_bytes()).await?;
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::other("Redis closed the connection"));
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A line, or a text of the length that its first line gives.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(2).position(|two| two == b"\r\n") else { return false };
    let length =
        answer.strip_prefix(b"$").and_then(|_| std::str::from_utf8(&answer[1..end]).ok()?.parse::<usize>().ok());
    length.is_none_or(|length| answer.len() >= end + 2 + length + 2)
}

fn spawn(program: &str, folder: &Path, address: SocketAddr) -> io::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("redis.log"))?;
    let mut command = Command::new(program);
    command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]).arg("--dir").arg(folder);
    command.args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
    command.arg("--client-output-buffer-limit").args(OUTPUT_LIMIT);
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn()
}

/// Sends a signal to a process that we started.
pub(super) fn signal(process: u32, name: &str) -> io::Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("no signal {name} to process {process}"))) }
}
