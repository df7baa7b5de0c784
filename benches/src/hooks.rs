//! What it costs to ask a backend: the time that a connect and a publish take with a hook, against the same without one in
//! the same run, and how many calls go through. The backend answers at once.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::clients::{ask, upgraded};
use crate::node::{self, Node};
use crate::{Outcome, say};

/// Connects, and publishes, of one round.
const TIMES: usize = 500;
/// Clients that call procedures at once.
const CALLERS: usize = 64;
/// How long they do.
const CALLING: Duration = Duration::from_secs(3);

/// Takes turns, since other work on the machine comes and goes: the median of the rounds' medians is said.
pub(crate) async fn run(rounds: usize) -> Outcome {
    let backend = Backend::start().await?;
    let file = std::env::temp_dir().join(format!("fanfare-measure-hooks-{}.toml", std::process::id()));
    std::fs::write(&file, configuration(backend.address))?;
    let node = Node::start_from(&file).await?;
    std::fs::remove_file(&file)?;
    let (mut plain, mut asked) = (Medians::default(), Medians::default());
    for _ in 0..rounds {
        plain.connect.push(connects(node.address(), &format!("{{\"token\":\"{}\"}}", node::token(1))).await?);
        asked.connect.push(connects(node.address(), "{}").await?);
        plain.publish.push(publishes(node.address(), "plain:a").await?);
        asked.publish.push(publishes(node.address(), "asked:a").await?);
    }
    let mut direct = Vec::new();
    for _ in 0..rounds {
        direct.push(backend.round_trips().await?);
    }
    let micros = |times: &mut [Duration]| median(times).as_secs_f64() * 1e6;
    let direct = micros(&mut direct);
    for (what, plain, asked) in [
        ("connect", micros(&mut plain.connect), micros(&mut asked.connect)),
        ("publish", micros(&mut plain.publish), micros(&mut asked.publish)),
    ] {
        say(&format!(
            "{what}: {plain:.0} µs without a hook, {asked:.0} µs with one: {:.2} times, {:.0} µs more; \
             a round trip to the backend takes {direct:.0} µs",
            asked / plain,
            asked - plain
        ))?;
    }
    let cpu = node.process().cpu()?;
    let calls = calls(node.address()).await?;
    let each = (node.process().cpu()? - cpu).as_secs_f64() * 1e6 / calls as f64;
    say(&format!(
        "rpc: {:.0} calls a second by {CALLERS} clients, {each:.0} µs of the node's CPU each",
        calls as f64 / CALLING.as_secs_f64()
    ))
}

#[derive(Default)]
struct Medians {
    connect: Vec<Duration>,
    publish: Vec<Duration>,
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn configuration(backend: SocketAddr) -> String {
    let hook = |name: &str| {
        format!(
            "[hooks.{name}]\nurl = \"http://{backend}/{name}\"\n\
             secrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\ntimeout = \"4s\"\n"
        )
    };
    let limits = ["commands", "publishes", "bytes", "user_commands", "user_publishes", "user_bytes"];
    let limits: String = limits.iter().map(|name| format!("{name}_per_second_max = \"off\"\n")).collect();
    format!(
        "[limits]\n{limits}\n{}{}{}[channels.namespaces.plain]\npublish = \"users\"\nhistory_size = 0\n\
         [channels.namespaces.asked]\npublish_hook = true\nhistory_size = 0\n",
        hook("connect"),
        hook("publish"),
        hook("rpc")
    )
}

/// The time of a connect, without the handshake before it.
async fn connects(address: SocketAddr, request: &str) -> io::Result<Duration> {
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let mut stream = upgraded(address).await?;
        let began = Instant::now();
        ask(&mut stream, &format!("{{\"id\":1,\"connect\":{request}}}"), "{\"id\":1,\"connect\":{").await?;
        times.push(began.elapsed());
    }
    Ok(median(&mut times))
}

/// The time of a publish.
async fn publishes(address: SocketAddr, channel: &str) -> io::Result<Duration> {
    let mut stream = connected(address).await?;
    let mut times = Vec::with_capacity(TIMES);
    let command = format!("{{\"id\":7,\"publish\":{{\"channel\":\"{channel}\",\"data\":{{\"n\":1}}}}}}");
    for _ in 0..TIMES {
        let began = Instant::now();
        ask(&mut stream, &command, "{\"id\":7,\"publish\":{}}").await?;
        times.push(began.elapsed());
    }
    Ok(median(&mut times))
}

async fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = upgraded(address).await?;
    let command = format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", node::token(1));
    ask(&mut stream, &command, "{\"id\":1,\"connect\":{").await?;
    Ok(stream)
}

/// How many procedures clients call, each one after another.
async fn calls(address: SocketAddr) -> io::Result<usize> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(async move {
            let mut stream = connected(address).await?;
            let (until, mut calls) = (Instant::now() + CALLING, 0);
            while Instant::now() < until {
                ask(&mut stream, "{\"id\":7,\"rpc\":{\"method\":\"m\"}}", "{\"id\":7,\"rpc\":{").await?;
                calls += 1;
            }
            io::Result::Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(made) = callers.join_next().await {
        calls += made.map_err(io::Error::other)??;
    }
    Ok(calls)
}

/// A backend that says yes to everything, without a look at it.
struct Backend {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Backend {
    async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream));
            }
        });
        Ok(Self { address, _task: task })
    }

    /// The time of one question and its answer, asked directly.
    async fn round_trips(&self) -> io::Result<Duration> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut times = Vec::with_capacity(TIMES);
        let mut buffer = [0; 2_048];
        for _ in 0..TIMES {
            let began = Instant::now();
            stream.write_all(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}").await?;
            let _ = stream.read(&mut buffer).await?;
            times.push(began.elapsed());
        }
        Ok(median(&mut times))
    }
}

/// Answers each request: a head, and the body that it announces.
async fn answer(mut stream: TcpStream) {
    const YES: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"result\":{\"user\":\"42\"}}";
    let _ = stream.set_nodelay(true);
    let (mut seen, mut buffer) = (Vec::new(), [0; 4_096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..length]);
        while let Some(whole) = request_bytes(&seen) {
            seen.drain(..whole);
            if stream.write_all(YES).await.is_err() {
                return;
            }
        }
    }
}

/// The length of the first request, if all of it is there.
fn request_bytes(seen: &[u8]) -> Option<usize> {
    let head = seen.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    (seen.len() >= head + body).then_some(head + body)
}
