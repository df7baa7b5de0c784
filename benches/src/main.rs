//! Measures a node: memory of an idle connection, CPU of a delivery, sessions a second.
//!
//! It starts the node's program as a process of its own and reads that process's memory and CPU time from `/proc`,
//! so that the clients' work is not counted. The CPU of a delivery is given as a ratio to a bare loop that writes the
//! same frames to as many sockets in the same run: machines differ and are noisy, ratios less so.
//!
//! ```text
//! cargo build --release --bin fanfare
//! cargo run --release -p fanfare-benches -- idle      [FEW] [MANY]
//! cargo run --release -p fanfare-benches -- deliver   [SUBSCRIBERS] [TURNS]
//! cargo run --release -p fanfare-benches -- connect   [SESSIONS] [USERS]
//! cargo run --release -p fanfare-benches -- hooks     [ROUNDS]
//! cargo run --release -p fanfare-benches -- pingers   [CONNECTIONS]
//! cargo run --release -p fanfare-benches -- floods    [PUBLICATIONS]
//! cargo run --release -p fanfare-benches -- tls       [CONNECTIONS] [TURNS]
//! cargo run --release -p fanfare-benches -- peers     [--rounds N] [--only NAME,…] [--quick] [--again]
//! ```
//!
//! `counted` does so much of one thing and ends, to be run under valgrind: `tests/instructions.rs` has its words.
//!
//! Those with Redis start a server of their own, `redis-server` or what `FANFARE_REDIS_SERVER` names:
//!
//! ```text
//! cargo run --release -p fanfare-benches -- redis-publish [PUBLICATIONS]
//! cargo run --release -p fanfare-benches -- redis-fence   [TURNS]
//! cargo run --release -p fanfare-benches -- redis-consume [MESSAGES]
//! cargo run --release -p fanfare-benches -- redis-restart [CHANNELS]
//! cargo run --release -p fanfare-benches -- redis-deliver [SUBSCRIBERS]
//! cargo run --release -p fanfare-benches -- redis-latency [ROUNDS]
//! cargo run --release -p fanfare-benches -- redis-kill    [CONNECTIONS]
//! ```

mod bare_loop;
mod clients;
mod counted;
mod floods;
mod hooks;
mod idle;
mod memory;
mod node;
mod peers;
mod redis_consume;
mod redis_fence;
mod redis_kill;
mod redis_nodes;
mod redis_publish;
mod redis_restart;
mod redis_server;
mod tls;

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::bare_loop::paced::Load;
use crate::clients::{Clients, Target};
use crate::node::Node;
use fanfare_loadtest::Process;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Publications a second in `deliver`.
const RATE: u32 = 50;
/// Publications of one turn in `deliver`: two seconds.
const PUBLICATIONS_PER_TURN: usize = 100;
/// Bytes of a payload in `deliver`.
const PAYLOAD_BYTES: usize = 128;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    if let Some("counted") = arguments.first().map(String::as_str) {
        // By one thread alone.
        return counted::run(&arguments[1..]);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.first().map(String::as_str) {
        Some("idle") => runtime.block_on(idle::run(number(1, 5_000), number(2, 15_000))),
        Some("deliver") => runtime.block_on(deliver(number(1, 1_000), number(2, 7))),
        Some("connect") => runtime.block_on(connect(number(1, 5_000), number(2, usize::MAX))),
        Some("hooks") => runtime.block_on(hooks::run(number(1, 5))),
        Some("pingers") => runtime.block_on(memory::pingers(number(1, 1_000))),
        Some("floods") => runtime.block_on(floods::run(number(1, 1_000))),
        Some("tls") => runtime.block_on(tls::run(number(1, 2_000), number(2, 5))),
        Some("redis-publish") => runtime.block_on(redis_publish::run(number(1, 100_000))),
        Some("redis-fence") => redis_fence::run(number(1, 9)),
        Some("redis-consume") => redis_consume::run(number(1, 500_000)),
        Some("redis-restart") => runtime.block_on(redis_restart::run(number(1, 10_000))),
        Some("redis-kill") => runtime.block_on(redis_kill::run(number(1, 15_000))),
        Some("redis-deliver") => runtime.block_on(redis_nodes::deliver(number(1, 1_000))),
        Some("redis-latency") => runtime.block_on(redis_nodes::latency(number(1, 2_000))),
        Some("hold") => {
            let address = arguments.get(1).ok_or("hold needs an address")?;
            runtime.block_on(hold(address, number(2, 0), number(3, 1)))
        }
        Some("bare-loop") => bare_loop::run(number(1, 0), number(2, 0), number(3, 0)),
        Some(bare_loop::paced::COMMAND) => bare_loop::paced::run(&Load::parse(&arguments[1..]).ok_or("no such load")?),
        Some("peers") => peers::run(&arguments[1..]),
        _ => Err(
            "say what to measure: idle, deliver, connect, hooks, pingers, floods, tls, peers, or redis-… as the top of this program says"
                .into(),
        ),
    }
}

fn say(line: &str) -> Outcome {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// CPU of a delivery, against a bare loop that writes the same frames. Both take turns, since other work on the machine
/// comes and goes: the ratio of each turn counts, and the median of those.
async fn deliver(subscribers: usize, turns: usize) -> Outcome {
    let node = Node::start_without_pings().await?;
    let clients = Clients::connect(node.address(), subscribers).await?;
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES - 11));
    let frame_bytes = clients.learn_frame(&node, &payload).await?;
    let mut bare = bare_loop::start(subscribers, PUBLICATIONS_PER_TURN, frame_bytes)?;
    let readers = Clients::read_only(bare.address, subscribers).await?;
    let mut ratios = Vec::new();
    for turn in 1..=turns {
        let own = node_turn(&node, &clients, frame_bytes, &payload).await?;
        let yardstick = bare_turn(&mut bare, &readers, subscribers * frame_bytes).await?;
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (PUBLICATIONS_PER_TURN * subscribers) as f64;
        let ratio = each(own) / each(yardstick);
        say(&format!(
            "turn {turn}: {:.2} µs of CPU a delivery, bare loop {:.2} µs, {ratio:.2}",
            each(own),
            each(yardstick)
        ))?;
        ratios.push(ratio);
    }
    say(&memory::compared(&node).await?)?;
    bare.end()?;
    ratios.sort_by(f64::total_cmp);
    say(&format!(
        "deliver: {subscribers} subscribers, {PAYLOAD_BYTES} bytes, {RATE} publications a second: \
         {:.2} times the bare loop (median of {turns})",
        ratios.get(turns / 2).copied().unwrap_or_default()
    ))
}

/// The node's CPU for one turn of publications.
async fn node_turn(
    node: &Node,
    clients: &Clients,
    frame_bytes: usize,
    payload: &str,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let awaited = clients.received_bytes() + (PUBLICATIONS_PER_TURN * clients.count() * frame_bytes) as u64;
    let before = node.process().cpu()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    for _ in 0..PUBLICATIONS_PER_TURN {
        ticks.tick().await;
        node.publish(payload).await?;
    }
    clients.wait_for(awaited).await?;
    Ok(node.process().cpu()? - before)
}

/// The bare loop's CPU for as many frames.
async fn bare_turn(
    bare: &mut bare_loop::BareLoop,
    readers: &Clients,
    round_bytes: usize,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let awaited = readers.received_bytes() + (PUBLICATIONS_PER_TURN * round_bytes) as u64;
    let process = Process::of(bare.id());
    let before = process.cpu()?;
    bare.go()?;
    readers.wait_for(awaited).await?;
    Ok(process.cpu()? - before)
}

/// Holds connections to a node of the budget tests until the input ends, then says how much they received.
async fn hold(address: &str, connections: usize, channels: usize) -> Outcome {
    let address: std::net::SocketAddr = address.parse()?;
    let clients = Clients::connect(Target { channels, ..Target::from(address) }, connections).await?;
    say("ready")?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    say(&clients.received_bytes().to_string())
}

/// Sessions a second that connect and subscribe.
async fn connect(sessions: usize, users: usize) -> Outcome {
    let node = Node::start().await?;
    let began = Instant::now();
    let cpu = node.process().cpu()?;
    let clients = Clients::connect_as(node.address(), sessions, users).await?;
    let took = began.elapsed();
    let cpu = node.process().cpu()? - cpu;
    say(&format!(
        "connect: {sessions} sessions in {took:.2?}: {:.0} a second, {:.1} µs of the node's CPU each",
        sessions as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / sessions as f64
    ))?;
    drop(clients);
    Ok(())
}
