//! The program itself under attack: the close code and the status of each violation, and nothing behind them; what is
//! counted, the one line that is logged, and what is left afterwards. What Autobahn leaves open is strict here.
//!
//! Of what clients do wrong a shard logs five lines a second, so that every node here sees five of it.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Canary, Program, Raw, client_frame};

const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// What no log may hold.
const SECRET: &str = "s3cr3t";

/// Lines in a second, of each shard.
const LINES: usize = 5;

struct Attack {
    case: &'static Case,
    query: &'static str,
    bytes: Vec<u8>,
    /// The text of the close frame.
    text: &'static str,
}

/// A frame of a client, with a secret in it where there is room.
fn frames(case: &'static Case, text: &'static str, bytes: &[&[u8]]) -> Attack {
    Attack { case, query: "", bytes: bytes.concat(), text }
}

fn command(case: &'static Case, text: &'static str, command: &str) -> Attack {
    frames(case, text, &[&client_frame(0x81, command.as_bytes())])
}

/// Meets the attacks with a node of its own: each is answered, counted and logged once, and leaves nothing.
async fn meets(attacks: &[Attack]) {
    assert!(attacks.len() <= LINES);
    let node = Program::start(BINARY, &[("FANFARE_LIMITS__MESSAGE_BYTES_MAX", "1KiB")]).await;
    let mut canary = Canary::start(node.client()).await;
    let before = node.descriptors();
    for attack in attacks {
        let (name, label) = attack.case.counter();
        let counted = node.metric_row(name, label).await;
        let logged = node.logged(attack.case.reason());
        let what = format!("{} {label}", attack.case.name);
        is_closed(&node, attack, &what).await;
        assert_eq!(node.metric_row(name, label).await, counted + 1.0, "{what}");
        let is_logged = || async { (node.logged(attack.case.reason()) == logged + 1).then_some(()) };
        eventually(&format!("a line of {what}"), is_logged).await;
        canary.goes_on(&what).await;
    }
    eventually("the descriptors to be given back", || async { (node.descriptors() <= before).then_some(()) }).await;
    canary.end().await;
    for gauge in ["fanfare_gateway_sessions", "fanfare_gateway_outbox_bytes", "fanfare_gateway_subscriptions"] {
        eventually(gauge, || async { (node.metric_row(gauge, "").await == 0.0).then_some(()) }).await;
    }
    let log = format!("{:?}", node.log());
    assert!(!log.contains(SECRET), "{log}");
    let loud = |entry: &fanfare_testkit::Value| entry["level"] == "ERROR" || entry["level"] == "WARN";
    assert!(!node.log().iter().any(loud), "what a client does is no matter of an operator: {log}");
}

/// One close frame with code and text, nothing before it but replies, nothing behind it, and then the end.
async fn is_closed(node: &Program, attack: &Attack, what: &str) {
    let mut raw = Raw::upgrade(node.address(), attack.query, b"").await;
    raw.write(&attack.bytes).await;
    let close = loop {
        let frame = raw.frame().await.unwrap_or_else(|| panic!("{what}: no close frame"));
        if frame.first == 0x88 {
            break frame;
        }
        assert!([0x81, 0x82, 0x8A].contains(&frame.first), "{what}: {frame:?}");
    };
    assert_eq!(close.close_code(), Some(attack.case.close()), "{what}");
    assert_eq!(std::str::from_utf8(&close.payload[2..]).unwrap(), attack.text, "{what}");
    assert_eq!(raw.frame().await, None, "{what}: something behind the close frame");
}

const PROTOCOL: &str = "protocol error";

#[tokio::test]
async fn lengths() {
    let declared = |marker: u8, length: &[u8]| [&[0x81, 0x80 | marker], length].concat();
    meets(&[
        frames(case(1, "declared"), "message too big", &[&declared(126, &1_025_u16.to_be_bytes())]),
        frames(case(3, "beyond 63 bits"), PROTOCOL, &[&declared(127, &u64::MAX.to_be_bytes())]),
        frames(case(3, "63 bits"), "message too big", &[&declared(127, &(u64::MAX >> 1).to_be_bytes())]),
        frames(case(4, "form"), PROTOCOL, &[&declared(126, &125_u16.to_be_bytes())]),
        frames(case(8, "length"), PROTOCOL, &[&client_frame(0x89, &[b'x'; 126])]),
    ])
    .await;
}

#[tokio::test]
async fn headers() {
    let secret = SECRET.as_bytes();
    meets(&[
        frames(case(5, "bit"), PROTOCOL, &[&client_frame(0xC1, secret)]),
        frames(case(6, "opcode"), PROTOCOL, &[&client_frame(0x83, secret)]),
        frames(case(7, "unmasked"), PROTOCOL, &[&[0x81, secret.len() as u8], secret]),
        frames(case(9, "half"), PROTOCOL, &[&client_frame(0x09, secret)]),
        frames(case(10, "continuation"), PROTOCOL, &[&client_frame(0x80, secret)]),
    ])
    .await;
}

#[tokio::test]
async fn messages() {
    let secret = SECRET.as_bytes();
    meets(&[
        frames(
            case(2, "fragments"),
            "message too big",
            &[&client_frame(0x01, &[b' '; 600]), &client_frame(0x80, &[b' '; 600])],
        ),
        frames(case(10, "interleaved"), PROTOCOL, &[&client_frame(0x01, secret), &client_frame(0x81, secret)]),
        frames(case(11, "text"), "invalid payload", &[&client_frame(0x81, &[secret, b"\xED\xA0\x80"].concat())]),
        frames(case(17, "empty"), "policy violation", &[&client_frame(0x01, b""), &client_frame(0, b"").repeat(1_024)]),
        frames(case(15, "pings"), "policy violation", &[&client_frame(0x89, secret).repeat(120)]),
    ])
    .await;
}

#[tokio::test]
async fn closes() {
    let reason = [&1000_u16.to_be_bytes()[..], SECRET.as_bytes(), b"\xFF"].concat();
    meets(&[
        frames(case(12, "one byte"), PROTOCOL, &[&client_frame(0x88, b"x")]),
        frames(case(12, "code"), PROTOCOL, &[&client_frame(0x88, &1005_u16.to_be_bytes())]),
        frames(case(12, "code"), PROTOCOL, &[&client_frame(0x88, &5000_u16.to_be_bytes())]),
        frames(case(12, "reason"), "invalid payload", &[&client_frame(0x88, &reason)]),
        frames(case(16, "pongs"), "policy violation", &[&client_frame(0x8A, SECRET.as_bytes()).repeat(120)]),
    ])
    .await;
}

const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

#[tokio::test]
async fn commands_before_connect() {
    meets(&[
        command(case(45, "before"), "bad request", r#"{"id":1,"publish":{"channel":"s3cr3t","data":"s3cr3t"}}"#),
        command(case(46, "JSON"), "bad request", r#"{"id":1,"connect":{"token":"s3cr3t"}"#),
        command(case(52, "none"), "bad request", r#"{"connect":{"token":"s3cr3t"}}"#),
        command(case(49, "command"), "bad request", r#"{"id":1,"connect":{"token":"s3cr3t","token":"s3cr3t"}}"#),
        Attack {
            query: "format=protobuf",
            ..frames(case(46, "Protobuf"), "bad request", &[&client_frame(0x82, &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 8])])
        },
    ])
    .await;
}

#[tokio::test]
async fn commands_behind_connect() {
    let behind = |case, text: &str| command(case, "bad request", &format!("{CONNECT}\n{text}"));
    meets(&[
        behind(case(44, "connect"), r#"{"id":2,"connect":{"token":"s3cr3t"}}"#),
        behind(case(51, "command"), r#"{"id":2,"s3cr3t":"s3cr3t"}"#),
        behind(case(52, "pong"), "{}"),
        behind(case(54, "empty"), r#"{"id":2,"publish":{"channel":"","data":"s3cr3t"}}"#),
        behind(case(48, "type"), r#"{"id":2,"history":{"channel":"s3cr3t","limit":1.5}}"#),
    ])
    .await;
}

/// Requests that are refused, as what the log says of them; the same for HTTP.
#[tokio::test]
async fn requests() {
    let node = Program::start(BINARY, &[]).await;
    let mut canary = Canary::start(node.client()).await;
    let before = node.descriptors();
    for (case, request) in [
        (case(22, "version"), "GET /?token=s3cr3t HTTP/1.0\r\nHost: x\r\n\r\n".to_owned()),
        (case(23, "host"), "GET /?token=s3cr3t HTTP/1.1\r\nHost: s3cr3t\r\nHost: x\r\n\r\n".to_owned()),
        (case(24, "length"), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n".to_owned()),
        (case(25, "count"), format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: s3cr3t\r\n".repeat(200))),
        (case(33, "target"), format!("GET /?token={} HTTP/1.1\r\nHost: x\r\n\r\n", "s3cr3t".repeat(5_000))),
    ] {
        let (name, label) = case.counter();
        let counted = node.metric_row(name, label).await;
        let mut raw = Raw::connect(node.address()).await;
        raw.write(request.as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", case.status())), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{head}");
        raw.finish().await;
        raw.read_to_end().await;
        assert_eq!(node.metric_row(name, label).await, counted + 1.0, "{label}");
        let is_logged = || async { (node.logged(case.reason()) == 1).then_some(()) };
        eventually(&format!("a line of {label}"), is_logged).await;
        canary.goes_on(label).await;
    }
    eventually("the descriptors to be given back", || async { (node.descriptors() <= before).then_some(()) }).await;
    canary.end().await;
    let log = format!("{:?}", node.log());
    assert!(!log.contains(SECRET), "{log}");
}
