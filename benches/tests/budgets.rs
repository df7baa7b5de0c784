//! Budgets of the hot path, in bytes and allocations: counts, which do not depend on the machine or its load.
//!
//! The node runs in this process under a counting allocator; its clients are a process of their own, so that only the
//! node is counted. One test, since the counts are of the whole process.

#![expect(clippy::unwrap_used, reason = "a test program: helpers outside of tests may panic too")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fanfare_auth::Secret;
use fanfare_broker::namespaces::{Access, Audience, Namespaces};
use fanfare_protocol::Channel;
use fanfare_server::{Config, Node};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The secret that the clients sign their tokens with.
const SECRET: &str = "measure-secret-0123456789abcdefghijklmnop";

const SESSIONS: usize = 500;
const PUBLICATIONS: usize = 200;

/// Heap of an idle session with one channel (I11): 1,300 were seen. Tables that double make it a little more or less.
const SESSION_BYTES_MAX: usize = 1_408;

/// The same with three channels.
const SESSION_OF_THREE_CHANNELS_BYTES_MAX: usize = 1_664;

/// What may be left of a burst that has gone by, for each session. The 32 bytes that were seen are the rings' and the shards'
/// own; an outbox that kept its places would have 512.
const LEFT_OF_A_BURST_BYTES_MAX: usize = 64;

/// Allocations of a whole publication, from the HTTP request to the last of 500 outboxes. Each delivery by itself
/// must allocate nothing once its outbox has been used: then there would be 500 more. What the node does meanwhile, such
/// as looking at its memory, counts too, the more the longer it takes: 60 to 150 were seen.
const PUBLICATION_ALLOCATIONS_MAX: u64 = 250;

/// Clients in another process, held until dropped.
struct Clients {
    child: Child,
}

impl Clients {
    fn hold(address: SocketAddr, count: usize, channels: usize) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare-benches"))
            .args(["hold", &address.to_string(), &count.to_string(), &channels.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"end\n").unwrap();
        self.child.wait().unwrap();
    }
}

const REQUEST: &str = "POST /api/publish/news HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{\"n\":1234}";

async fn publish(api: &mut TcpStream) {
    api.write_all(REQUEST.as_bytes()).await.unwrap();
    let mut answer = [0; 2_048];
    let length = api.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
}

/// Publishes as fast as it goes: on several connections, without waiting for the answers in between.
async fn burst(address: SocketAddr) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        all.spawn(async move {
            let mut api = TcpStream::connect(address).await.unwrap();
            api.write_all(REQUEST.repeat(PUBLICATIONS).as_bytes()).await.unwrap();
            let mut answers = String::new();
            while answers.matches("HTTP/1.1 200").count() < PUBLICATIONS {
                let mut buffer = [0; 16_384];
                let length = api.read(&mut buffer).await.unwrap();
                assert!(length > 0, "the node ended the connection: {answers}");
                answers += std::str::from_utf8(&buffer[..length]).unwrap();
            }
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
}

/// The heap when nothing happens.
async fn quiet_bytes() -> usize {
    tokio::time::sleep(Duration::from_secs(1)).await;
    dhat::HeapStats::get().curr_bytes
}

/// What each session has kept of a burst. Its places go with the next write that is not part of it, a ping at the latest;
/// a publication that follows at once may still be written together with the burst's last ones.
async fn left_of_a_burst(api: &mut TcpStream, before: usize) -> usize {
    let mut left = usize::MAX;
    for _ in 0..5 {
        publish(api).await;
        left = quiet_bytes().await.saturating_sub(before) / SESSIONS;
        if left <= LEFT_OF_A_BURST_BYTES_MAX {
            break;
        }
    }
    left
}

/// Heap of each of so many further sessions.
async fn session_bytes(address: SocketAddr, channels: usize) -> (usize, Clients) {
    let before = quiet_bytes().await;
    let held = Clients::hold(address, SESSIONS, channels);
    ((quiet_bytes().await - before) / SESSIONS, held)
}

fn config() -> Config {
    let mut config = Config::dev();
    config.listen.address = "127.0.0.1:0".parse().unwrap();
    config.auth.hmac_secret = Some(Secret::new(SECRET.to_owned()));
    let mut options = Config::dev().namespaces.options(&Channel::parse("news").unwrap()).unwrap().clone();
    options.presence = false;
    options.join_leave = false;
    options.access = Access { subscribe: Audience::Anyone, ..Access::default() };
    config.namespaces = Namespaces::open(options);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_and_a_delivery_stay_within_their_budgets() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let node = Node::start(config()).await.unwrap();
    let mut api = TcpStream::connect(node.address()).await.unwrap();
    let warm = Clients::hold(node.address(), 10, 3);
    let (with_one, held) = session_bytes(node.address(), 1).await;
    println!("heap of an idle session: {with_one} bytes");
    assert!(with_one <= SESSION_BYTES_MAX, "{with_one} bytes for an idle session, {SESSION_BYTES_MAX} are allowed");
    assert!(with_one > 500, "{with_one} bytes cannot be all that a session needs: the measurement is broken");

    // Once around, so that every outbox has its buffer.
    publish(&mut api).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = dhat::HeapStats::get().total_blocks;
    for _ in 0..PUBLICATIONS {
        publish(&mut api).await;
    }
    let each = (dhat::HeapStats::get().total_blocks - before) / PUBLICATIONS as u64;
    println!("allocations of a publication: {each}");
    assert!(each <= PUBLICATION_ALLOCATIONS_MAX, "{each} allocations for a publication to {SESSIONS} sessions");
    assert!(each > 0, "a publication without any allocation: the measurement is broken");

    let before = quiet_bytes().await;
    burst(node.address()).await;
    let left = left_of_a_burst(&mut api, before).await;
    println!("left of a burst: {left} bytes a session");
    assert!(left <= LEFT_OF_A_BURST_BYTES_MAX, "{left} bytes of a burst are left in each session");

    let (with_three, more) = session_bytes(node.address(), 3).await;
    println!("heap of an idle session with three channels: {with_three} bytes");
    assert!(with_three <= SESSION_OF_THREE_CHANNELS_BYTES_MAX, "{with_three} bytes for a session with three channels");
    drop((warm, held, more));
    node.stop().await;
}
