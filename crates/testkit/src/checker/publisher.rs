//! Publishes over HTTP and says how each publish ended: acknowledged, failed or unknown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::board::Board;
use super::cluster::{API_KEY, channel_name};
use super::history::{Outcome, Publish, Record};
use super::recorder::{Recorder, payload};
use super::wire::Wire;

/// How long an answer may take: longer than a node waits for Redis, so that its answer is the one that counts.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Attempts under one idempotency key.
const ATTEMPTS_MAX: u32 = 4;

/// A connection that is kept alive.
pub struct Http {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Http {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let connecting = timeout(ANSWER_MAX, TcpStream::connect(address));
        let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host: address })
    }

    /// The status of a page.
    pub async fn get(&mut self, path: &str) -> io::Result<u16> {
        Ok(self.ask(&format!("GET {path}"), "").await?.0)
    }

    /// Calls the server API.
    pub async fn call(&mut self, method: &str, request: &Value) -> io::Result<(u16, Value)> {
        let (status, body) = self.ask(&format!("POST /api/{method}"), &request.to_string()).await?;
        Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    async fn ask(&mut self, line: &str, body: &str) -> io::Result<(u16, String)> {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let asking = async {
            self.stream.write_all(head.as_bytes()).await?;
            self.answer().await
        };
        timeout(ANSWER_MAX, asking).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn answer(&mut self) -> io::Result<(u16, String)> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let mut length = 0;
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// What publishers share.
#[derive(Clone)]
pub struct Publishing {
    /// Where it is written down.
    pub recorder: Arc<Recorder>,
    /// Where it is shown.
    pub board: Arc<Board>,
    /// The ways to the nodes.
    pub wires: Arc<Vec<Wire>>,
    /// How many channels there are.
    pub channels: u32,
    /// The pause between two publications of one publisher, on average.
    pub pause: Duration,
    /// No more publications.
    pub stopped: Arc<AtomicBool>,
    /// No publications for a while, but for sentinels.
    pub calm: watch::Receiver<bool>,
    /// Publishers that are doing something.
    pub busy: Arc<AtomicUsize>,
}

/// One publisher: one publication after another, each at some node, in some channel.
pub struct Publisher {
    shared: Publishing,
    random: SmallRng,
    connections: Vec<Option<Http>>,
}

impl Publisher {
    /// A publisher with its own randomness.
    pub fn new(shared: Publishing, seed: u64) -> Self {
        let connections = shared.wires.iter().map(|_| None).collect();
        Self { shared, random: SmallRng::seed_from_u64(seed), connections }
    }

    /// Publishes until it is stopped.
    pub async fn run(mut self) {
        while !self.shared.stopped.load(Ordering::Relaxed) {
            self.shared.busy.fetch_add(1, Ordering::AcqRel);
            // Looked at when it is busy: whoever waits for nobody to be does not miss it.
            if !*self.shared.calm.borrow() {
                self.publish().await;
            }
            self.shared.busy.fetch_sub(1, Ordering::AcqRel);
            let pause = self.shared.pause.mul_f64(self.random.random_range(0.0..2.0));
            sleep(pause).await;
        }
    }

    async fn publish(&mut self) {
        let channel = self.random.random_range(0..self.shared.channels);
        match self.random.random_range(0..100) {
            0..2 => self.publish_too_much(channel).await,
            2..20 => drop(self.publish_with_key(channel).await),
            _ => drop(self.publish_once(channel, None).await),
        }
    }

    /// Publishes with one attempt at some node.
    pub async fn publish_once(&mut self, channel: u32, sentinel: Option<u32>) -> Outcome {
        let (id, invoked) = (self.shared.recorder.next_id(), self.shared.recorder.now());
        let request = json!({"channel": channel_name(channel), "data": payload(id)});
        let outcome = self.attempt(&request).await;
        self.ended(Publish { id, channel, invoked, done: 0, outcome, keyed: 0, sentinel })
    }

    /// Publishes with an idempotency key, and repeats what is unknown.
    async fn publish_with_key(&mut self, channel: u32) -> Outcome {
        let (id, invoked) = (self.shared.recorder.next_id(), self.shared.recorder.now());
        let key = format!("key-{id}");
        let request = json!({"channel": channel_name(channel), "data": payload(id), "idempotency_key": key});
        let (mut keyed, mut known) = (0, Outcome::Failed);
        while keyed < ATTEMPTS_MAX {
            keyed += 1;
            match self.attempt(&request).await {
                // What failed now says nothing of an earlier attempt.
                Outcome::Failed if known == Outcome::Unknown => {}
                outcome => known = outcome,
            }
            if matches!(known, Outcome::Acknowledged(..) | Outcome::Placeless) {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.ended(Publish { id, channel, invoked, done: 0, outcome: known, keyed, sentinel: None })
    }

    /// Publishes what has to be refused.
    async fn publish_too_much(&mut self, channel: u32) {
        let (id, invoked) = (self.shared.recorder.next_id(), self.shared.recorder.now());
        let mut data = payload(id);
        data["more"] = json!("x".repeat(16 * 1024));
        let outcome = self.attempt(&json!({"channel": channel_name(channel), "data": data})).await;
        self.ended(Publish { id, channel, invoked, done: 0, outcome, keyed: 0, sentinel: None });
    }

    fn ended(&self, mut publish: Publish) -> Outcome {
        publish.done = self.shared.recorder.now();
        let outcome = publish.outcome.clone();
        self.shared.recorder.record(Record::Publish(publish));
        outcome
    }

    async fn attempt(&mut self, request: &Value) -> Outcome {
        let node = self.random.random_range(0..self.connections.len());
        let mut http = match self.connections[node].take() {
            Some(http) => http,
            None => match Http::connect(self.shared.wires[node].address()).await {
                Ok(http) => http,
                // Not a byte of it was sent.
                Err(_) => return Outcome::Failed,
            },
        };
        self.shared.board.publishing(node);
        let answer = http.call("publish", request).await;
        self.shared.board.published(node);
        let Ok((status, answer)) = answer else { return Outcome::Unknown };
        self.connections[node] = Some(http);
        outcome_of(status, &answer)
    }
}

/// What an answer says. An error 100 says nothing, but where it was "overloaded" or "refused": then nothing was stored.
fn outcome_of(status: u16, answer: &Value) -> Outcome {
    let (result, error) = (&answer["result"], &answer["error"]);
    match (result["offset"].as_u64(), result["epoch"].as_str(), error["code"].as_u64()) {
        (Some(offset), Some(epoch), _) => Outcome::Acknowledged(offset, epoch.to_owned()),
        _ if result.is_object() => Outcome::Placeless,
        (_, _, Some(100)) => {
            let message = error["message"].as_str().unwrap_or_default();
            let message = message.strip_prefix("internal server error: ").unwrap_or(message);
            let stored_nothing = ["overloaded: ", "refused: "].iter().any(|word| message.starts_with(word));
            if stored_nothing { Outcome::Failed } else { Outcome::Unknown }
        }
        (_, _, Some(_)) => Outcome::Failed,
        _ if (400..500).contains(&status) => Outcome::Failed,
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_is_known() {
        for (answer, outcome) in [
            (json!({"result": {"offset": 7, "epoch": "e"}}), Outcome::Acknowledged(7, "e".to_owned())),
            (json!({"result": {}}), Outcome::Placeless),
            (json!({"error": {"code": 107, "message": "bad request"}}), Outcome::Failed),
            (json!({"error": {"code": 100, "message": "internal server error: overloaded: x"}}), Outcome::Failed),
            (json!({"error": {"code": 100, "message": "internal server error: refused: x"}}), Outcome::Failed),
            (json!({"error": {"code": 100, "message": "internal server error: unavailable: x"}}), Outcome::Unknown),
            (Value::Null, Outcome::Unknown),
        ] {
            assert_eq!(outcome_of(200, &answer), outcome, "{answer}");
        }
        assert_eq!(outcome_of(413, &Value::Null), Outcome::Failed);
        assert_eq!(outcome_of(503, &Value::Null), Outcome::Unknown);
    }
}
