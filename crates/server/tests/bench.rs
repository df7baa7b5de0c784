//! `fanfare bench` proves itself: what it says of a node is what happened to it, and damage on the way does not pass.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fanfare_testkit::patience::eventually;
use fanfare_testkit::{FrameProxy, Harm, Program, Proxy, RedisServer, Value, free_address, json};
use rustix::process::{Pid, Signal, kill_process};

#[path = "bench/other_hub.rs"]
mod other_hub;

const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// What a test asks for, and what came of it.
struct Run {
    code: i32,
    report: Value,
    told: String,
}

impl Run {
    fn number(&self, pointer: &str) -> f64 {
        self.report
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("no {pointer} in {}", self.report))
    }

    fn deliveries(&self, name: &str) -> u64 {
        self.report.pointer("/deliveries").unwrap()[name].as_u64().unwrap()
    }
}

/// Runs it to its end. Blocks, which a test's node in another process does not mind.
fn bench(target: SocketAddr, publish_to: SocketAddr, words: &[&str]) -> Run {
    bench_by(target, &format!("http://{publish_to}"), words)
}

/// The same where publications get in by another way.
fn bench_by(target: SocketAddr, publish_to: &str, words: &[&str]) -> Run {
    let folder = tempfile_for(words);
    let Output { status, stdout, stderr } = Command::new(BINARY)
        .arg("bench")
        .args(words)
        .args(["--target", &target.to_string(), "--publish-to", publish_to, "--json"])
        .arg(&folder)
        .env_clear()
        .env("FANFARE_API_KEY", "3f1c6a0d9b7e45d2a8c0")
        .envs(["ID", "KEY", "SECRET"].map(|what| (format!("FANFARE_BENCH_PUSHER_{what}"), what.to_lowercase())))
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let report = std::fs::read_to_string(&folder).unwrap_or_else(|_| panic!("no report: {told}"));
    std::fs::remove_file(&folder).unwrap();
    Run { code: status.code().unwrap(), report: serde_json::from_str(&report).unwrap(), told }
}

/// Two tests may use the same words at the same time.
fn tempfile_for(words: &[&str]) -> std::path::PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (id, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let words = words.join("-").replace(['/', '>', '<'], "_");
    std::env::temp_dir().join(format!("fanfare-bench-{id}-{number}-{words}.json"))
}

/// A node that keeps its connections through whatever a test does.
async fn node(variables: &[(&str, &str)]) -> Program {
    let lasting = [
        ("FANFARE_CHANNELS__HISTORY_SIZE", "5000"),
        ("FANFARE_CHANNELS__HISTORY_TTL", "10m"),
        ("FANFARE_LIMITS__RECOVERY_PUBLICATIONS_MAX", "5000"),
    ];
    Program::start(BINARY, &[&lasting, variables].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_faults_counts_every_delivery_once() {
    let node = node(&[]).await;
    let words = ["fanout", "-n", "50", "--rate", "50", "-d", "2s", "--warmup", "0s"];
    let run = bench(node.address(), node.address(), &words);
    assert_eq!(run.deliveries("expected"), 100 * 50, "{}", run.told);
    assert_eq!(run.deliveries("received"), 100 * 50);
    assert_eq!(["lost", "doubled", "reordered", "recovered"].map(|name| run.deliveries(name)), [0; 4]);
    assert_eq!(run.number("/latency_us/count"), 5_000.0);
    assert_eq!(run.number("/last_latency_us/count"), 100.0);
    // Of a node with time, one goes into a write; the replies to its subscribers are no deliveries.
    let most = if run.code == 0 { 3.0 } else { f64::INFINITY };
    assert!((0.5..most).contains(&run.number("/messages_per_write")), "{}", run.told);
    // On a busy machine the run may not be valid, but nothing has failed.
    assert!([0, 6].contains(&run.code), "{}", run.told);
}

/// Twenty at once, every two seconds: nothing comes in between, and the last ten are what is left of the duration.
#[tokio::test(flavor = "multi_thread")]
async fn in_bursts_as_much_is_published_at_fewer_moments() {
    let node = node(&[]).await;
    let words = ["fanout", "-n", "20", "--rate", "10", "--burst", "20", "-d", "5s", "--warmup", "0s"];
    let run = bench(node.address(), node.address(), &words);
    assert_whole(&run, 50 * 20);
    assert_eq!([run.number("/asked/burst"), run.number("/asked/rate")], [20.0, 10.0]);
    assert_eq!(run.number("/publications/due"), 50.0, "{}", run.told);
    // In quarters of a second: one and a half after each burst all of it is long there.
    let came = |at: usize| run.number(&format!("/timeline/{at}/live_per_second"));
    assert_eq!([came(6), came(14)], [0.0; 2], "{}", run.told);
    assert!(came(0) > 0.0 && run.told.contains("in bursts of 20"), "{}", run.told);
}

/// The open loop: a node that stands still for 300 ms owes all publications that were due meanwhile, each from its own
/// time on. A tester that waited for answers would see one late publication.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_for_300_ms_is_seen_as_if_every_due_publication_had_been_asked_for() {
    let node = node(&[]).await;
    let (address, id) = (node.address(), Pid::from_raw(node.id().cast_signed()).unwrap());
    let standstill = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(5));
        let began = Instant::now();
        kill_process(id, Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        kill_process(id, Signal::CONT).unwrap();
        began.elapsed()
    });
    let words = ["fanout", "-n", "20", "--rate", "100", "-d", "10s", "--warmup", "0s"];
    let run = bench(address, address, &words);
    let stood_still = standstill.join().unwrap().as_secs_f64() * 1e6;
    assert_eq!(run.deliveries("lost"), 0, "{}", run.told);
    // 30 of 1,000 were due meanwhile: 3 % were late, the first by all of it, and the 99th percentile by two thirds.
    assert!(run.number("/latency_us/max") > stood_still * 0.95, "{}", run.told);
    assert!(run.number("/latency_us/p99") > stood_still * 0.5, "{}", run.told);
    assert!(run.number("/latency_us/p99") < run.number("/latency_us/max"), "{}", run.told);
    assert_eq!(run.number("/publications/sent"), 1_000.0);
}

/// One publication of one subscriber is harmed. Returns what the run counted.
async fn harmed(harm: Harm) -> (i32, [u64; 3]) {
    let node = node(&[]).await;
    let proxy = FrameProxy::start(node.address(), harm, 500).await;
    let words = ["fanout", "-n", "20", "--rate", "50", "-d", "2s", "--warmup", "0s", "--drain", "5s"];
    let (through, directly) = (proxy.address(), node.address());
    let run = tokio::task::spawn_blocking(move || bench(through, directly, &words)).await.unwrap();
    (run.code, ["lost", "doubled", "reordered"].map(|name| run.deliveries(name)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_dropped_on_the_way_fails_the_run() {
    assert_eq!(harmed(Harm::Drop).await, (1, [1, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_comes_twice_fails_the_run() {
    assert_eq!(harmed(Harm::Double).await, (1, [0, 1, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_publications_that_are_swapped_fail_the_run() {
    assert_eq!(harmed(Harm::Swap).await, (1, [0, 0, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objective_that_is_missed_fails_the_run_and_is_named() {
    let node = node(&[]).await;
    let words = ["latency", "-n", "2", "-d", "1s", "--warmup", "0s", "--fail-if", "p50>0us"];
    let run = bench(node.address(), node.address(), &words);
    assert_eq!(run.code, 1, "{}", run.told);
    assert_eq!(run.report["objectives"][0]["objective"], "not p50>0us");
    assert_eq!(run.report["objectives"][0]["kept"], false);
}

/// All connections are cut in the middle: everyone comes back, and has what it missed, once.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_everyone_is_back_and_has_recovered() {
    let node = node(&[]).await;
    let words = ["storm", "-n", "100", "--rate", "200", "-d", "2s", "--warmup", "0s"];
    let run = bench(node.address(), node.address(), &words);
    assert_eq!(["lost", "doubled", "reordered"].map(|name| run.deliveries(name)), [0; 3], "{}", run.told);
    assert_eq!(run.number("/connections/return_us/count"), 100.0);
    assert_eq!(["asked", "done"].map(|what| run.number(&format!("/away/{what}"))), [100.0; 2]);
    assert_eq!(run.deliveries("received"), 400 * 100);
}

/// While all are away a long history comes about. Each has it once, and by recovery.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_recovered_once_by_each() {
    let node = node(&[]).await;
    let words = ["recover", "-n", "30", "--rate", "500", "-d", "1s"];
    let run = bench(node.address(), node.address(), &words);
    assert_eq!(["lost", "doubled", "reordered"].map(|name| run.deliveries(name)), [0; 3], "{}", run.told);
    assert_eq!(run.deliveries("recovered"), 500 * 30);
    assert_eq!(run.number("/recovered_latency_us/count"), 15_000.0);
}

/// Subscribers come and go all the time, each with its position: nothing is missed and nothing comes twice. The rates are
/// no multiples of each other: else nobody may ever be away while something is published.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_come_and_go_miss_nothing() {
    let node = node(&[]).await;
    for how in ["--churn-connections=false", "--churn-connections=true"] {
        let words = ["churn", "-n", "50", "--rate", "190", "-d", "2s", "--warmup", "0s", "--churn-rate", "100", how];
        let run = bench(node.address(), node.address(), &words);
        assert_eq!(["lost", "doubled", "reordered"].map(|name| run.deliveries(name)), [0; 3], "{how}: {}", run.told);
        assert!(run.deliveries("recovered") > 0, "{how}: nobody came back");
        // For two seconds; those that are away when it is their turn again are left out.
        let [asked, done] = ["asked", "done"].map(|what| run.number(&format!("/away/{what}")));
        assert!((190.0..=400.0).contains(&asked) && done > asked / 2.0 && done <= asked, "{how}: {}", run.told);
    }
}

/// What cannot be measured is said, with why, and with an exit code of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_its_subscribers_is_told_with_its_reason() {
    let node = node(&[("FANFARE_CHANNELS__SUBSCRIBE", "nobody")]).await;
    let output = Command::new(BINARY)
        .args(["bench", "fanout", "-n", "3", "--patience", "4s", "--target", &node.address().to_string()])
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("0 of 3 connections got ready: error 103: permission denied"), "{told}");
}

/// Without positions nothing is owed for the time away, but everything from the return on: whoever does not come back has
/// lost it.
#[tokio::test(flavor = "multi_thread")]
async fn without_recovery_a_storm_costs_what_was_published_meanwhile_and_nothing_else() {
    let node = node(&[]).await;
    let words = ["storm", "-n", "30", "--rate", "100", "-d", "2s", "--warmup", "0s", "--drain", "60s", "--no-recovery"];
    let began = Instant::now();
    let run = bench(node.address(), node.address(), &words);
    // Those that nobody was there for are neither waited for
    assert!(began.elapsed() < Duration::from_secs(50), "{}", run.told);
    assert_eq!(["lost", "doubled", "reordered", "recovered"].map(|name| run.deliveries(name)), [0; 4], "{}", run.told);
    assert_eq!(run.number("/connections/ready_at_end"), 30.0);
    let received = run.deliveries("received");
    assert!((100 * 30..=200 * 30).contains(&received), "{received} of {}", 200 * 30);
    // nor expected.
    let (expected, excused) = (run.deliveries("expected"), run.deliveries("excused"));
    assert_eq!((expected, expected + excused), (received, 200 * 30), "{}", run.told);
    assert!(run.number("/connections/returns_per_second") > 0.0, "{}", run.told);
}

/// Where nothing is published a connection that ends is all that can go wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_in_the_middle_of_a_connect_run_fails_it() {
    let node = node(&[]).await;
    let (address, id) = (node.address(), Pid::from_raw(node.id().cast_signed()).unwrap());
    let end = async {
        eventually("all to be connected", || async {
            (node.metric_row("fanfare_gateway_sessions", "").await == 20.0).then_some(())
        })
        .await;
        // Then they are watched.
        tokio::time::sleep(Duration::from_secs(2)).await;
        kill_process(id, Signal::KILL).unwrap();
    };
    let run = tokio::task::spawn_blocking(move || bench(address, address, &["connect", "-n", "20", "-d", "6s"]));
    let (run, ()) = tokio::join!(run, end);
    let run = run.unwrap();
    assert_eq!(run.code, 1, "{}", run.told);
    assert_eq!(run.number("/connections/closed/0"), 20.0);
    assert_eq!(run.number("/connections/ready_at_end"), 0.0);
    assert!(run.told.contains("not there at the end: 20 connections"), "{}", run.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_of_several_nodes_only_the_first_was_looked_at() {
    let (one, other) = (node(&[]).await, node(&[]).await);
    let other_target = other.address().to_string();
    let run = bench(one.address(), one.address(), &["connect", "-n", "4", "-d", "1s", "--target", &other_target]);
    let mut both = [one.id(), other.id()];
    both.sort_unstable();
    assert_eq!(run.report["server"]["processes"], json!(both), "{}", run.told);
}

/// A Pusher application is taken from the environment: it was asked for before anybody had looked there.
#[tokio::test(flavor = "multi_thread")]
async fn a_pusher_application_comes_from_the_environment() {
    let nobody = free_address().to_string();
    let bench = |application: &[(&str, &str)]| {
        let output = Command::new(BINARY)
            .args(["bench", "fanout", "--adapter", "pusher", "-n", "1", "--patience", "1s", "--target", &nobody])
            .env_clear()
            .envs(application.iter().copied())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = bench(&[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("the application's id, key and secret"), "{told}");
    let application =
        [("FANFARE_BENCH_PUSHER_ID", "i"), ("FANFARE_BENCH_PUSHER_KEY", "k"), ("FANFARE_BENCH_PUSHER_SECRET", "s")];
    let (code, told) = bench(&application);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("0 of 1 connections got ready: connect: connection refused"), "{told}");
}

/// A server API that takes one request of a connection and ends it, in front of a node's.
fn closing_api(node: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut node) = (client.unwrap(), TcpStream::connect(node).unwrap());
            let mut bytes = [0; 4_096];
            // A request is small and comes at once, and so does its answer; further ones stay unread.
            let length = client.read(&mut bytes).unwrap();
            let first = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let first = first.find("}}").map_or(first.as_str(), |end| &first[..end + 2]);
            node.write_all(first.as_bytes()).unwrap();
            let length = node.read(&mut bytes).unwrap();
            let answer = String::from_utf8_lossy(&bytes[..length]).replacen("\r\n", "\r\nConnection: close\r\n", 1);
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_publications_behind_an_answer_that_ends_the_connection_were_given_up() {
    let node = node(&[]).await;
    let words = ["fanout", "-n", "10", "--rate", "100", "-d", "1s", "--warmup", "0s"];
    let run = bench(node.address(), closing_api(node.address()), &words);
    assert_eq!(run.number("/publications/acknowledged"), 100.0, "{}", run.told);
    assert_eq!(["lost", "doubled", "reordered"].map(|name| run.deliveries(name)), [0; 3], "{}", run.told);
}

/// What is not sent since too much is on its way says nothing of the server: the run is not valid, and has not failed.
#[tokio::test(flavor = "multi_thread")]
async fn defect_a_run_that_reached_the_bound_of_what_is_on_its_way_had_failed_instead_of_being_invalid() {
    let node = node(&[]).await;
    let (address, id) = (node.address(), Pid::from_raw(node.id().cast_signed()).unwrap());
    let standstill = async {
        is_published(&node).await;
        kill_process(id, Signal::STOP).unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        kill_process(id, Signal::CONT).unwrap();
    };
    let run = tokio::task::spawn_blocking(move || {
        let words = ["fanout", "-n", "5", "--rate", "100", "-d", "3s", "--warmup", "0s", "--in-flight", "1"];
        bench(address, address, &words)
    });
    let (run, ()) = tokio::join!(run, standstill);
    let run = run.unwrap();
    assert!(run.number("/publications/over_bound") > 20.0, "{}", run.told);
    assert_eq!(run.code, 6, "{}", run.told);
    assert!(run.told.starts_with("not valid: "), "{}", run.told);
    assert!(run.told.contains("publications were not sent, since too many had no answer yet"), "{}", run.told);
}

/// Waits until something was delivered.
async fn is_published(node: &Program) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.metric_row("fanfare_gateway_deliveries_total", "").await < 2.0 {
        assert!(Instant::now() < deadline, "nothing is published");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Between two publications, if there are five a second.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// One of two connections is cut on the way, between two publications.
async fn cut_once(history: &str, more: &'static [&'static str]) -> Run {
    let node = node(&[("FANFARE_CHANNELS__HISTORY_SIZE", history)]).await;
    let proxy = Proxy::start(node.address()).await;
    let (through, directly) = (proxy.address().to_string(), node.address());
    let cut = async {
        is_published(&node).await;
        proxy.cut();
    };
    let run = tokio::task::spawn_blocking(move || {
        let words = ["fanout", "-n", "2", "--rate", "5", "-d", "3s", "--warmup", "0s", "--target", &through];
        bench(directly, directly, &[&words, more].concat())
    });
    let (run, ()) = tokio::join!(run, cut);
    let run = run.unwrap();
    assert_eq!(run.number("/connections/closed/0"), 1.0, "{}", run.told);
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_and_recovers_has_lost_nothing() {
    let run = cut_once("100", &[]).await;
    assert_eq!((run.deliveries("lost"), run.deliveries("received")), (0, 30), "{}", run.told);
    assert!([0, 6].contains(&run.code), "{}", run.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_without_recovery_a_connection_that_was_cut_between_two_publications_passed_as_good() {
    let run = cut_once("100", &["--no-recovery"]).await;
    assert_eq!(run.code, 1, "{}", run.told);
    assert!(run.told.contains("closed by the server: 1 connection"), "{}", run.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_a_connection_that_was_cut_passed_as_good_where_the_server_has_no_history() {
    let run = cut_once("0", &[]).await;
    assert_eq!(run.code, 1, "{}", run.told);
    assert!(run.told.contains("closed by the server: 1 connection"), "{}", run.told);
}

/// All came once and in order. On a busy machine the run may not be valid, but nothing has failed.
fn assert_whole(run: &Run, expected: u64) {
    assert_eq!(["expected", "received"].map(|name| run.deliveries(name)), [expected; 2], "{}", run.told);
    assert_eq!(["lost", "doubled", "reordered"].map(|name| run.deliveries(name)), [0; 3], "{}", run.told);
    assert!([0, 6].contains(&run.code), "{}", run.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_slow_readers_the_others_lose_nothing() {
    let node = node(&[]).await;
    let words = ["slow", "-n", "10", "--slow-share", "0.2", "--payload", "16384", "--rate", "75", "-d", "4s"];
    let run = bench(node.address(), node.address(), &[&words[..], &["--warmup", "0s"]].concat());
    assert_whole(&run, 300 * 8);
    assert_eq!(run.number("/slow/connections"), 2.0);
    assert!(run.number("/slow/closed") >= 2.0, "nobody was slow: {}", run.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_to_some_of_many_channels_gets_those() {
    let node = node(&[]).await;
    for protobuf in ["--protobuf=false", "--protobuf=true"] {
        let words = ["channels", "-n", "30", "--channels", "10", "--channels-each", "3", "--rate", "200", "-d", "1s"];
        let run = bench(node.address(), node.address(), &[&words[..], &["--warmup", "0s", protobuf]].concat());
        assert_whole(&run, 200 * 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_way_in_takes_is_timed_by_its_answers() {
    let node = node(&[]).await;
    let run = bench(node.address(), node.address(), &["publish", "--rate", "500", "-d", "1s", "--warmup", "0s"]);
    assert_whole(&run, 500);
    assert_eq!(run.number("/publications/answer_us/count"), 500.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_by_itself_is_counted() {
    let pings = [
        ("FANFARE_SESSION__PING_INTERVAL", "1s"),
        ("FANFARE_SESSION__PONG_TIMEOUT", "600ms"),
        ("FANFARE_SESSION__COMMAND_TIMEOUT", "500ms"),
    ];
    let node = node(&pings).await;
    let run = bench(node.address(), node.address(), &["listen", "-n", "10", "-d", "3s"]);
    assert!((20.0..=40.0).contains(&run.number("/messages/count")), "{}", run.told);
    assert_eq!(run.report["publications"], Value::Null);
    // They were answered, or nobody would be there.
    assert_eq!(run.number("/connections/ready_at_end"), 10.0);
    assert!([0, 6].contains(&run.code), "{}", run.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_protobuf_those_who_come_and_go_miss_nothing_either() {
    let node = node(&[]).await;
    let words = ["churn", "-n", "50", "--rate", "190", "-d", "1s", "--warmup", "0s", "--churn-rate", "100"];
    let run = bench(node.address(), node.address(), &[&words[..], &["--protobuf"]].concat());
    assert_whole(&run, 190 * 50);
    assert!(run.deliveries("recovered") > 0, "{}", run.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_publish_to_subscribers_in_json_and_in_protobuf() {
    let node = node(&[]).await;
    for protobuf in ["--protobuf=false", "--protobuf=true"] {
        let words =
            ["fanout", "-n", "10", "--rate", "100", "-d", "1s", "--warmup", "0s", "--publish", "client", protobuf];
        let run = bench_by(node.address(), &format!("ws://{}", node.address()), &words);
        assert_whole(&run, 100 * 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_come_by_the_stream_in_redis() {
    let Some(redis) = RedisServer::start() else { return };
    for (prefix, stream) in [("fanfare", "fanfare:ingest"), ("other", "other:ingest")] {
        let node = node(&[("FANFARE_REDIS__URL", &redis.url()), ("FANFARE_REDIS__PREFIX", prefix)]).await;
        let words = ["fanout", "-n", "10", "--rate", "100", "-d", "1s", "--warmup", "0s", "--publish", "redis"];
        let run = bench_by(node.address(), &redis.url(), &[&words[..], &["--ingest-stream", stream]].concat());
        assert_whole(&run, 100 * 10);
    }
}

/// Fanfare speaks what Centrifugo does.
#[tokio::test(flavor = "multi_thread")]
async fn a_centrifugo_is_spoken_to_like_a_fanfare() {
    let node = node(&[]).await;
    let words = ["fanout", "-n", "10", "--rate", "100", "-d", "1s", "--warmup", "0s", "--adapter", "centrifugo"];
    assert_whole(&bench(node.address(), node.address(), &words), 100 * 10);
}

/// All comes to those who stay, and nobody can go.
#[test]
fn defect_a_hub_that_lets_nobody_go_passed_as_good() {
    let hub = other_hub::start();
    let words = ["churn", "-n", "10", "--rate", "100", "-d", "1s", "--warmup", "0s", "--churn-rate", "50"];
    let run = bench(hub, hub, &words);
    assert_eq!((run.deliveries("received"), run.deliveries("lost")), (100 * 10, 0), "{}", run.told);
    assert!(run.number("/away/asked") >= 45.0 && run.number("/away/done") == 0.0, "{}", run.told);
    assert!(run.code == 1 && run.told.contains("that were to go went and came back"), "{}", run.told);
}

/// The only publication is due at once, and with its answer the run is over.
#[tokio::test(flavor = "multi_thread")]
async fn defect_a_storm_that_was_over_before_its_middle_passed_as_good() {
    let node = node(&[]).await;
    let run =
        bench(node.address(), node.address(), &["storm", "-n", "10", "--rate", "1", "-d", "1s", "--warmup", "0s"]);
    assert_eq!((run.code, run.number("/away/done")), (1, 0.0), "{}", run.told);
    assert!(run.told.contains("not done: none of the 10 connections was cut"), "{}", run.told);
}

/// How many a write holds is asked of the nodes over the network, which is no time of the schedule's.
#[test]
fn defect_the_first_publications_were_late_by_asking_far_nodes_for_their_metrics() {
    let hub = other_hub::start();
    let run = bench(hub, hub, &["fanout", "-n", "5", "--rate", "100", "-d", "1s", "--warmup", "0s"]);
    assert_eq!(run.deliveries("received"), 100 * 5, "{}", run.told);
    let late_us = run.number("/publications/lateness_us/max");
    assert!(late_us < other_hub::METRICS_TIME.as_secs_f64() * 1e6 / 2.0, "{}", run.told);
}

/// The best run is one after the first, but where the machine was too busy for it.
#[tokio::test(flavor = "multi_thread")]
async fn defect_after_the_first_rate_of_a_search_nobody_knew_how_the_connections_had_come() {
    let node = node(&[]).await;
    let slo = "deliveries_per_second<2500";
    let words = ["fanout", "-n", "10", "--rate", "100", "-d", "500ms", "--warmup", "0s", "--slo", slo];
    let run = bench(node.address(), node.address(), &[&words[..], &["--fail-if", "connect_p99>60s"]].concat());
    assert_eq!(run.number("/connections/connect_us/count"), 10.0, "{}", run.told);
    assert_eq!(run.report["objectives"][0]["kept"], true, "{}", run.told);
}

/// Nothing is measured, and nobody is asked for anything: there is no server.
#[test]
fn what_cannot_be_done_is_refused_before_anything_is_measured() {
    let refused = |words: &[&str]| {
        let words = [&["bench"][..], words, &["--target", "127.0.0.1:1"]].concat();
        let output = Command::new(BINARY).args(&words).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["fanout", "--json", "/nowhere/result.json"]).contains("cannot write /nowhere/result.json"));
    assert!(refused(&["connect", "--slo", "p99<50ms"]).contains("connect publishes nothing"));
    assert!(refused(&["fanout", "--duration", "0s"]).contains("duration is 0"));
    assert!(refused(&["fanout", "--pid", "4294967295"]).contains("cannot look at process 4294967295"));
    assert!(refused(&["fanout", "--burst", "21", "--in-flight", "20"]).contains("burst is 21: it has to be 1 to 20"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_of_other_protocols_are_measured() {
    for (adapter, way) in [("nchan", "http"), ("plain", "ws"), ("pusher", "http")] {
        let hub = other_hub::start();
        let words = ["fanout", "-n", "10", "--rate", "100", "-d", "1s", "--warmup", "0s", "--adapter", adapter];
        let run = bench_by(hub, &format!("{way}://{hub}"), &words);
        assert_whole(&run, 100 * 10);
        assert_eq!(run.report["asked"]["adapter"], adapter);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_is_a_page_and_json_on_standard_output() {
    let node = node(&[]).await;
    let page = tempfile_for(&["page"]);
    let output = Command::new(BINARY)
        .args(["bench", "latency", "-d", "1s", "--warmup", "0s", "--json", "-", "--html"])
        .arg(&page)
        .args(["--target", &node.address().to_string()])
        .env_clear()
        .env("FANFARE_API_KEY", "3f1c6a0d9b7e45d2a8c0")
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["deliveries"]["received"], 1_000, "{report}");
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.contains("publications per read"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_in_which_no_rate_keeps_the_objective_fails() {
    let node = node(&[]).await;
    let words = ["fanout", "-n", "2", "--rate", "4", "-d", "500ms", "--warmup", "0s", "--slo", "p50<1us"];
    let run = bench(node.address(), node.address(), &words);
    assert_eq!(run.code, 1, "{}", run.told);
    assert_eq!(run.report["search"]["rate"], Value::Null);
    assert!(run.report["search"]["steps"].as_array().unwrap().len() >= 2, "{}", run.told);
    assert!(run.told.contains("missed: p50<1us at every rate that was tried"), "{}", run.told);
}
