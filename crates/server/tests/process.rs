//! The program as a process: file descriptors that run out, and a client's process that is stopped.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfare_testkit::bad_input::case;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

const API_KEY: &str = "3f1c6a0d9b7e45d2a8c0";
const PATIENCE: Duration = Duration::from_secs(20);

/// A node as a process of its own, ended when dropped.
struct Node {
    child: Child,
    address: String,
    /// What it has logged until it listened.
    start: Vec<Value>,
    /// An HTTP connection that is kept.
    http: TcpStream,
}

impl Node {
    /// Starts one that may have so many descriptors at most.
    fn start(descriptors: Option<u32>, settings: &[(&str, &str)]) -> Self {
        let limit = descriptors.map_or_else(String::new, |limit| format!("ulimit -n {limit}; "));
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_fanfare")])
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .env_clear()
            .envs([("FANFARE_API__KEYS", API_KEY), ("FANFARE_AUTH__ALLOW_ANONYMOUS", "true")])
            .envs([("FANFARE_CHANNELS__SUBSCRIBE", "anyone"), ("FANFARE_NODE__SHARDS", "1")])
            .envs(settings.iter().copied())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut start: Vec<Value> = Vec::new();
        while start.last().is_none_or(|entry| entry["message"] != "listening") {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the node ended: {start:?}");
            start.push(serde_json::from_str(&line).unwrap());
        }
        // A log that nobody reads would hold the node up.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address = start.last().unwrap()["address"].as_str().unwrap().to_owned();
        let http = connect(&address);
        Self { child, address, start, http }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks on the connection that is kept.
    fn ask(&mut self, request: &str, body: &str) -> String {
        let length = body.len();
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n\r\n");
        self.http.write_all(format!("{head}{body}").as_bytes()).unwrap();
        response(&mut self.http)
    }

    fn publish(&mut self, number: u64) {
        let answer = self.ask("POST /api/publish/news", &format!("{{\"n\":{number}}}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// The sum of a metric over its rows.
    fn metric(&mut self, name: &str) -> f64 {
        let text = self.ask("GET /metrics", "");
        let rows = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        rows.filter_map(|row| row.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn metric_becomes(&mut self, name: &str, fits: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !fits(self.metric(name)) {
            assert!(Instant::now() < deadline, "{name} is {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the process have so many descriptors from now on.
    fn limit_descriptors(&self, descriptors: u64) {
        let maximum = prlimit_now(self.pid()).maximum;
        prlimit(Some(self.pid()), Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The limit of a process: setting it to what it is tells it.
fn prlimit_now(pid: Pid) -> Rlimit {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
    Rlimit { current: numbers.next().unwrap(), maximum: numbers.next().unwrap() }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Head and body of an answer with a length.
fn response(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        let length = stream.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            body.len() >= length.unwrap_or(0)
        });
        if whole || length == 0 {
            return text;
        }
    }
}

/// Asks for a WebSocket; returns the connection and the head of the answer.
fn upgrade(address: &str) -> (TcpStream, String) {
    let mut stream = connect(address);
    let request = "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let head = response(&mut stream);
    (stream, head)
}

/// A subscriber of `news`.
fn subscriber(address: &str) -> TcpStream {
    let (mut stream, head) = upgrade(address);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let commands = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}";
    let frame = [&[0x81, 0x80 | commands.len() as u8, 0, 0, 0, 0], commands.as_bytes()].concat();
    stream.write_all(&frame).unwrap();
    hear(&mut stream, "\"subscribe\":{");
    stream
}

fn hear(stream: &mut TcpStream, wanted: &str) {
    let mut heard = String::new();
    let mut buffer = [0; 4_096];
    while !heard.contains(wanted) {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "instead of {wanted}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

/// Nobody has to wait for nothing, nothing spins, and it goes on when there are some again.
#[test]
fn without_descriptors_those_who_connect_are_told_and_the_others_served() {
    let mut node = Node::start(None, &[("FANFARE_LISTEN__HEADER_TIMEOUT", "5m")]);
    let mut canary = subscriber(&node.address);
    let before = prlimit_now(node.pid()).current.unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.pid().as_raw_nonzero())).unwrap().count() as u64;
    node.limit_descriptors(open + 2);
    let began = Instant::now();
    let (mut kept, mut told) = (Vec::new(), 0);
    while node.metric("fanfare_http_accept_errors_total") < 8.0 {
        let mut stream = connect(&node.address);
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut answer = [0; 512];
        match stream.read(&mut answer) {
            Ok(length) => {
                let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
                let status = format!("HTTP/1.1 {}", case(114, "connect").status());
                assert!(answer.starts_with(&status) && answer.contains("file descriptors"), "{answer}");
                assert!(answer.contains("retry-after: "), "{answer}");
                told += 1;
            }
            Err(_) => kept.push(stream),
        }
        assert!(began.elapsed() < PATIENCE, "few are refused: {told}, {}", kept.len());
    }
    // The waits before the eighth come to 1.27 s.
    assert!(began.elapsed() >= Duration::from_secs(1), "it spins: {:?}", began.elapsed());
    assert!(node.metric(case(114, "connect").counter().0) > 0.0);
    node.publish(1);
    hear(&mut canary, "{\"n\":1}");
    node.limit_descriptors(before);
    let mut later = connect(&node.address);
    later.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(response(&mut later).starts_with("HTTP/1.1 200"));
    node.publish(2);
    hear(&mut canary, "{\"n\":2}");
}

#[test]
fn a_limit_of_descriptors_that_is_too_low_is_told_with_numbers_and_kept_to() {
    let node = Node::start(Some(300), &[("FANFARE_LIMITS__SESSIONS_MAX", "5000")]);
    case(94, "limit").is_fine();
    let warning = node.start.iter().find(|entry| entry["level"] == "WARN").expect("a warning");
    assert!(warning["message"].as_str().unwrap().contains("limits.sessions_max"), "{warning}");
    let number = |name: &str| warning[name].as_u64().unwrap();
    assert_eq!((number("descriptors"), number("sessions_max")), (300, 5_000));
    assert!(number("needed") > 5_000);
    let mut canary = subscriber(&node.address);
    let mut sessions = Vec::new();
    for _ in 1..number("sessions") {
        let (stream, head) = upgrade(&node.address);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        sessions.push(stream);
    }
    let (_stream, head) = upgrade(&node.address);
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("limits.sessions_max"), "{head}");
    let mut node = node;
    assert_eq!(node.metric("fanfare_http_accept_errors_total"), 0.0);
    node.publish(1);
    hear(&mut canary, "{\"n\":1}");
}

#[test]
fn a_default_that_descriptors_do_not_allow_is_no_warning() {
    let node = Node::start(Some(300), &[]);
    assert!(node.start.iter().all(|entry| entry["level"] == "INFO"), "{:?}", node.start);
    let told = node.start.iter().find(|entry| entry["sessions"].is_number()).expect("how many sessions there may be");
    assert!(told["sessions"].as_u64().unwrap() < 300);
}

/// It is closed meanwhile, comes back when it goes on, and has missed nothing.
#[test]
fn a_client_whose_process_is_stopped_is_closed_and_recovers_when_it_goes_on() {
    let settings = [
        ("FANFARE_SESSION__PING_INTERVAL", "2s"),
        ("FANFARE_SESSION__PONG_TIMEOUT", "1600ms"),
        ("FANFARE_SESSION__COMMAND_TIMEOUT", "1s"),
    ];
    let mut node = Node::start(None, &settings);
    let client = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["sub", "news", "--json", "-n", "25", "--server", &node.address])
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&client);
    node.metric_becomes("fanfare_gateway_subscriptions", |count| count == 1.0);
    for number in 1..=5 {
        node.publish(number);
    }
    kill_process(pid, Signal::STOP).unwrap();
    node.metric_becomes("fanfare_gateway_sessions", |count| count == 0.0);
    let closed = format!("fanfare_gateway_closes_total{{code=\"{}\"}}", case(75, "stopped").close());
    assert_eq!(node.metric(&closed), 1.0);
    for number in 6..=25 {
        node.publish(number);
    }
    kill_process(pid, Signal::CONT).unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}: it missed something", output.status);
    let numbers: Vec<u64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=25).collect::<Vec<_>>());
}
