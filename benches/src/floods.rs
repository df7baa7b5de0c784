//! How late publications come to a client that behaves well, while others do not.
//!
//! Attackers come from this machine, which is exempt from the limits by address: what is measured is what the node does
//! with everything they send.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::JoinSet;

use crate::clients::{self, masked_text};
use crate::node::{self, Node};
use crate::{Outcome, say};

const ATTACKERS: usize = 4;

/// Between two publications of the canary, which has to go on while the node is busy.
const PAUSE: Duration = Duration::from_millis(5);

/// Commands in one frame of an attacker.
const COMMANDS: usize = 100;

/// What an attacker does.
#[derive(Debug, Clone, Copy)]
enum Flood {
    Nothing,
    Calls,
    Subscriptions,
    Pings,
    BadFrames,
    BadHeads,
    Connects,
}

/// Each flood in turn, with the quiet before it.
pub(crate) async fn run(publications: usize) -> Outcome {
    let node = Node::start_without_pings().await?;
    let floods = [Flood::Calls, Flood::Subscriptions, Flood::Pings, Flood::BadFrames, Flood::BadHeads, Flood::Connects];
    for flood in floods {
        for flood in [Flood::Nothing, flood] {
            let mut attackers = JoinSet::new();
            for _ in 0..ATTACKERS {
                attackers.spawn(attack(node.address(), flood));
            }
            let [median, late, last] = canary(&node, publications)?;
            attackers.shutdown().await;
            say(&format!("{flood:?}: median {median:?}, 99th of a hundred {late:?}, last {last:?}"))?;
        }
    }
    Ok(())
}

/// From the call of the API to the client. On a thread of its own, since the attackers have the others.
fn canary(node: &Node, publications: usize) -> io::Result<[Duration; 3]> {
    let measure = async {
        let mut stream = clients::open(node.address(), &node::token(0)).await?;
        let (mut took, mut buffer) = (Vec::new(), [0; 4_096]);
        for _ in 0..publications {
            let began = Instant::now();
            let (published, read) = tokio::join!(node.publish("{\"canary\":1}"), stream.read(&mut buffer));
            published?;
            if read? == 0 {
                return Err(io::Error::other("the canary was closed"));
            }
            took.push(began.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        took.sort_unstable();
        Ok([took[publications / 2], took[publications * 99 / 100], took[publications - 1]])
    };
    let run = || runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure);
    std::thread::scope(|scope| scope.spawn(run).join().map_err(|_| io::Error::other("the canary has failed"))?)
}

/// Goes on until it is dropped, and comes back whenever it is closed.
async fn attack(address: SocketAddr, flood: Flood) {
    loop {
        // Whatever became of it, the next one follows.
        let _ = match flood {
            Flood::Nothing => std::future::pending().await,
            Flood::Calls => talk(address, &commands(|_| "\"rpc\":{\"method\":\"nobody\"}".to_owned())).await,
            Flood::Subscriptions => talk(address, &commands(turn)).await,
            Flood::Pings => talk(address, &[0x89, 0x80, 0, 0, 0, 0].repeat(COMMANDS)).await,
            Flood::BadFrames => talk(address, &[0xF1, 0x80, 0, 0, 0, 0]).await,
            Flood::BadHeads => say_once(address, b"GET / HTTP/1.1\nHost: a\n\n").await,
            Flood::Connects => say_once(address, b"").await,
        };
    }
}

fn turn(number: usize) -> String {
    let word = ["subscribe", "unsubscribe"][number % 2];
    format!("\"{word}\":{{\"channel\":\"turns\"}}")
}

/// A frame of commands.
fn commands(command: impl Fn(usize) -> String) -> Vec<u8> {
    let lines = (0..COMMANDS).map(|number| format!("{{\"id\":{},{}}}", number + 10, command(number)));
    masked_text(&lines.collect::<Vec<_>>().join("\n"))
}

/// Sends the same again and again, reading all that is answered, until it is closed.
async fn talk(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let (mut from, mut to) = clients::open(address, &node::token(1)).await?.into_split();
    let reading = async { tokio::io::copy(&mut from, &mut tokio::io::sink()).await.map(drop) };
    let writing = async {
        loop {
            to.write_all(bytes).await?;
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

async fn say_once(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    if bytes.is_empty() {
        // Dropped so, it ends with a reset.
        return stream.set_zero_linger();
    }
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}
