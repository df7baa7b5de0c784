//! What bad HTTP requests get (rows 21 to 35 of the table of bad input), with a client beside that behaves and misses
//! nothing. Rows 29 and 30, about TLS, are tried in `tls.rs`.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::patience::within;
use fanfare_testkit::{API_KEY, Http, Raw, Setup, Stage, client_frame, json, on_1_and_3_shards};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

on_1_and_3_shards!(
    a_client_that_reads_no_answers_loses_its_place,
    bad_heads_are_refused,
    nothing_behind_a_refusal_is_carried_out,
    good_requests_before_a_bad_one_are_answered,
    bodies_are_followed_to_the_next_head,
    what_cannot_be_followed_is_the_last_request,
    a_refused_upgrade_is_the_last_request,
    a_refused_upgrade_is_told_whatever_was_sent_behind_it,
    a_request_in_single_bytes,
    an_answer_arrives_whatever_else_was_sent,
    who_says_nothing_is_closed,
    forged_forwarding_headers_change_nothing,
    a_subprotocol_that_nobody_knows_is_not_chosen,
);

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends bytes on a connection of their own; returns the statuses of all answers until its end.
async fn answers(stage: &Stage, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(stage.node.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // The node may have answered and ended before all of it is written.
    _ = stream.write_all(bytes).await;
    let mut text = Vec::new();
    // Only its own end lets the node stop waiting for more.
    let end = async {
        stream.read_to_end(&mut text).await.unwrap();
        _ = stream.shutdown().await;
    };
    within("the end of the connection", end).await;
    let text = String::from_utf8(text).unwrap();
    text.split("HTTP/1.1 ").filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
}

async fn is_refused(stage: &mut Stage, what: &str, case: &Case, bytes: impl AsRef<[u8]>) {
    let before = stage.counted(case).await;
    assert_eq!(answers(stage, bytes.as_ref()).await, [case.status()], "{what}");
    assert_eq!(stage.counted(case).await, before + 1.0, "{what}: {:?}", case.counter());
    stage.goes_on(what).await;
}

fn get(line: &str, headers: &str) -> String {
    format!("{line}\r\nHost: x\r\n{headers}\r\n")
}

async fn bad_heads_are_refused(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let websocket = "GET /connection/websocket HTTP/1.1";
    let healthz = "GET /healthz HTTP/1.1";
    let rows: [(&Case, &str, String); 24] = [
        (case(22, "version"), "HTTP/1.0", get("GET /healthz HTTP/1.0", "")),
        (case(22, "version"), "HTTP/2.0", get("GET /healthz HTTP/2.0", "")),
        (case(22, "target"), "an absolute path", get("GET http://x/healthz HTTP/1.1", "")),
        (case(22, "target"), "a tunnel", get("CONNECT x:443 HTTP/1.1", "")),
        (case(22, "target"), "the gate's own", get("GET * HTTP/1.1", "")),
        (case(23, "host"), "no Host", format!("{healthz}\r\n\r\n")),
        (case(23, "host"), "two Hosts", get(healthz, "Host: x\r\n")),
        (case(23, "host"), "a Host that is a list", format!("{healthz}\r\nHost: x,y\r\n\r\n")),
        (case(24, "length"), "CL and TE", get(healthz, "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")),
        (case(24, "length"), "CL twice, equal", get(healthz, "Content-Length: 3\r\nContent-Length: 3\r\n")),
        (case(24, "length"), "CL with a sign", get(healthz, "Content-Length: +3\r\n")),
        (case(24, "transfer encoding"), "TE that is not chunked", get(healthz, "Transfer-Encoding: xchunked\r\n")),
        (case(24, "body of an upgrade"), "a body", get(websocket, &format!("{UPGRADE}Content-Length: 3\r\n"))),
        (case(24, "body of an upgrade"), "chunks", get(websocket, &format!("{UPGRADE}Transfer-Encoding: chunked\r\n"))),
        (case(24, "line end"), "bare line feeds", "GET /healthz HTTP/1.1\nHost: x\n\n".to_owned()),
        (case(24, "line end"), "one bare line feed", get(healthz, "X: a\nY: b\r\n")),
        (case(24, "control character"), "NUL", get(healthz, "X: a\0b\r\n")),
        (case(24, "header line"), "obs-fold", get(healthz, "X: a\r\n b\r\n")),
        (case(24, "header line"), "a space before the colon", get(healthz, "Content-Length : 3\r\n")),
        (case(25, "count"), "200 headers", get(healthz, &"X: y\r\n".repeat(200))),
        (case(25, "bytes"), "a head of 80 kB", get(healthz, &format!("X: {}\r\n", "x".repeat(80_000)))),
        (
            case(25, "bytes"),
            "32 k spaces",
            get(websocket, &format!("Sec-WebSocket-Protocol: {}\r\n", " ".repeat(32_000))),
        ),
        (case(33, "target"), "a URL of 20 k", get(&format!("GET /?token={} HTTP/1.1", "x".repeat(20_000)), "")),
        (case(24, "no HTTP"), "a line before the request", format!("\r\n{}", get(healthz, ""))),
    ];
    for (case, what, bytes) in rows {
        is_refused(&mut stage, what, case, bytes).await;
    }
    is_refused(&mut stage, "no HTTP at all", case(34, "PROXY"), get("GET /healthz", "")).await;
    stage.is_clean().await;
}

/// Row 24: what a proxy could take for another request is not one.
async fn nothing_behind_a_refusal_is_carried_out(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let (length, host) = (case(24, "length"), case(23, "host"));
    let mut listener = stage.node.client().connect().await;
    listener.subscribe("news").await;
    let publish = |channel: &str| {
        let body = json!({"channel": channel, "data": 1}).to_string();
        let length = body.len();
        format!(
            "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for (case, bad) in [
        (length, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        (
            length,
            "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (host, "GET /healthz HTTP/1.1\r\n\r\n"),
    ] {
        is_refused(&mut stage, bad, case, format!("{bad}{}", publish("news"))).await;
        assert_eq!(listener.so_far().await, [], "{bad}");
    }
    listener.close().await;
    stage.is_clean().await;
}

/// Row 35.
async fn good_requests_before_a_bad_one_are_answered(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let bad = case(35, "requests");
    let good = get("GET /healthz HTTP/1.1", "");
    let bytes = [good.as_str(), &good, &good, "GET /healthz HTTP/1.0\r\n\r\n", &good].concat();
    assert_eq!(answers(&stage, bytes.as_bytes()).await, [200, 200, 200, bad.status()]);
    assert_eq!(stage.counted(bad).await, 1.0);
    stage.goes_on("a bad request behind good ones").await;
    stage.is_clean().await;
}

async fn bodies_are_followed_to_the_next_head(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let mut http = Http::connect(stage.node.address()).await;
    for length in [0, 1, 5_000, 20_000, 60_000] {
        // A body that looks like a bad head is none.
        let data = "GET / HTTP/1.0\n\n".repeat(length / 16);
        let body = json!({"channel": "other", "data": data}).to_string();
        let answer = http.request("POST /api/publish", &[("X-API-Key", API_KEY)], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let body = "x".repeat(1_000);
    let bytes =
        format!("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{body}GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answers(&stage, bytes.as_bytes()).await, [405, 505]);
    drop(http);
    stage.goes_on("bodies").await;
    stage.is_clean().await;
}

/// A body in chunks is taken, and the connection ends with it: nobody has to agree on where it ends.
async fn what_cannot_be_followed_is_the_last_request(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let mut listener = stage.node.client().connect().await;
    listener.subscribe("news").await;
    let head =
        format!("POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let body = json!({"channel": "news", "data": 1}).to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let bytes = format!("{head}{chunked}{}", get("GET /healthz HTTP/1.0", ""));
    assert_eq!(answers(&stage, bytes.as_bytes()).await, [200]);
    assert_eq!(listener.expect_publication("news").await["offset"], 1);
    assert_eq!(listener.so_far().await, []);
    listener.close().await;
    stage.goes_on("chunks").await;
    stage.is_clean().await;
}

async fn a_refused_upgrade_is_the_last_request(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let smuggled = get("GET /healthz HTTP/1.0", "");
    let upgrade = get("GET /connection/websocket HTTP/1.1", &format!("{UPGRADE}Origin: https://evil.example\r\n"));
    assert_eq!(answers(&stage, format!("{upgrade}{smuggled}").as_bytes()).await, [403]);
    let elsewhere = get("GET /healthz HTTP/1.1", UPGRADE);
    assert_eq!(answers(&stage, format!("{elsewhere}{smuggled}").as_bytes()).await, [200]);
    // Where the answer is the gateway's.
    for (case, what, headers) in [
        (case(21, "version"), "another version", UPGRADE.replace("13", "8")),
        (case(21, "key"), "no key", UPGRADE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "")),
        (case(21, "key"), "a short key", UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")),
    ] {
        is_refused(&mut stage, what, case, get("GET /connection/websocket HTTP/1.1", &headers)).await;
    }
    let posted = get("POST /connection/websocket HTTP/1.1", UPGRADE);
    is_refused(&mut stage, "POST", case(22, "method"), posted).await;
    stage.is_clean().await;
}

/// hyper drops the socket of a request that wanted a WebSocket, whatever it was answered: what was unread turned the
/// answer into a reset.
async fn a_refused_upgrade_is_told_whatever_was_sent_behind_it(shards: usize) {
    let mut stage = Stage::set(shards).await;
    for _ in 0..5 {
        let request = get("GET /connection/websocket HTTP/1.1", &format!("{UPGRADE}Origin: https://evil.example\r\n"));
        let bytes = [request.into_bytes(), vec![b'x'; 600_000]].concat();
        assert_eq!(answers(&stage, &bytes).await, [403]);
    }
    stage.goes_on("much behind a refused upgrade").await;
    stage.is_clean().await;
}

async fn a_request_in_single_bytes(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let mut raw = Raw::connect(stage.node.address()).await;
    let request = get("GET /connection/websocket HTTP/1.1", UPGRADE);
    let first = get("HEAD /healthz HTTP/1.1", "");
    let connect = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    for byte in [first.as_bytes(), request.as_bytes(), &connect].concat() {
        raw.write(&[byte]).await;
    }
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    case(35, "frames").is_fine();
    assert_eq!(raw.frame().await.unwrap().first, 0x81);
    drop(raw);
    stage.goes_on("single bytes").await;
    stage.is_clean().await;
}

/// What a client still sends makes no reset of the answer. A handshake that is refused is not among these: hyper gives
/// its socket up without a word.
async fn an_answer_arrives_whatever_else_was_sent(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let behind = "x".repeat(900_000);
    for (line, headers, status) in [
        ("POST /healthz HTTP/1.1", "Connection: close\r\nContent-Length: 900000\r\n", 405),
        ("POST /healthz HTTP/1.1", "Connection: close\r\nContent-Length: 9000000\r\n", 405),
        ("GET /healthz HTTP/1.0", "", 505),
    ] {
        for _ in 0..10 {
            assert_eq!(
                answers(&stage, [&get(line, headers), &behind].map(String::as_str).concat().as_bytes()).await,
                [status]
            );
        }
    }
    stage.goes_on("much behind a request").await;
    stage.is_clean().await;
}

/// Rows 26 to 28: nothing, half a head, and a WebSocket without a word.
async fn who_says_nothing_is_closed(shards: usize) {
    let short = Duration::from_secs(1);
    let setup = Setup::new(shards).configure(|config| config.listen.header_timeout = short);
    let stage = Stage::set_up(setup.sessions(|options| options.connect_timeout = short)).await;
    let (none, half) = (case(27, "silence"), case(26, "slow"));
    for (case, bytes) in [(none, &b""[..]), (half, b"GET /healthz HTTP/1.1\r\nHost:")] {
        stage.node.forget_idle();
        let before = stage.counted(case).await;
        assert_eq!(answers(&stage, bytes).await, [] as [u16; 0]);
        stage.node.forget_idle();
        assert!(stage.counted(case).await > before);
    }
    let silence = case(28, "silence");
    let mut raw = stage.raw().await;
    assert_eq!(raw.frame().await.unwrap().close_code(), Some(silence.close()));
    stage.node.forget_idle();
    stage.moved(silence, 0.0, 1.0).await;
    drop(raw);
    stage.is_clean().await;
}

/// A client that asked without reading the answers kept its place for ever.
async fn a_client_that_reads_no_answers_loses_its_place(shards: usize) {
    let short = Duration::from_secs(2);
    let stage = Stage::set_up(Setup::new(shards).configure(|config| config.listen.header_timeout = short)).await;
    let mut deaf = TcpStream::connect(stage.node.address()).await.unwrap();
    let request = get("GET /metrics HTTP/1.1", "");
    // More than sockets hold: sooner or later nothing more is taken, and then the connection ends.
    let ended = async { while deaf.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the connection ends");
}

/// Row 34: no proxy is trusted, so nobody is believed.
async fn forged_forwarding_headers_change_nothing(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let forged = "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nX-Forwarded-Host: evil.example\r\n\
                  Origin: https://evil.example\r\n";
    let request = get("GET /connection/websocket HTTP/1.1", &format!("{UPGRADE}{forged}"));
    let refused = case(34, "forwarded");
    refused.is_fine();
    assert_eq!(answers(&stage, request.as_bytes()).await, [403]);
    assert_eq!(stage.counted(refused).await, 1.0);
    let proxy = "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n";
    is_refused(&mut stage, "PROXY", case(34, "PROXY"), proxy).await;
    stage.is_clean().await;
}

/// Row 32.
async fn a_subprotocol_that_nobody_knows_is_not_chosen(shards: usize) {
    let mut stage = Stage::set(shards).await;
    case(32, "unknown").is_fine();
    for protocols in ["chat", "chat, CENTRIFUGE-JSON", "", ",", "centrifuge-json2"] {
        let mut raw = Raw::connect(stage.node.address()).await;
        let offered = format!("{UPGRADE}Sec-WebSocket-Protocol: {protocols}\r\n");
        raw.write(get("GET /connection/websocket HTTP/1.1", &offered).as_bytes()).await;
        let head = raw.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
        raw.write(&client_frame(0x81, br#"{"id":1,"connect":{}}"#)).await;
        assert_eq!(raw.frame().await.unwrap().first, 0x81, "JSON is spoken where nothing is agreed on");
    }
    stage.goes_on("unknown subprotocols").await;
    stage.is_clean().await;
}

const SLOW: usize = 5_000;

/// Row 26: 5,000 who send their heads a byte at a time take nobody's place, and are gone after the time for a head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slow_heads() {
    let timeout = Duration::from_secs(3);
    let setup = Setup::new(2).configure(|config| config.listen.header_timeout = timeout);
    let mut stage = Stage::set_up(setup).await;
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(stage.node.address()).await.unwrap();
        stream.write_all(b"G").await.unwrap();
        slow.spawn(async move {
            let (mut reader, mut writer) = stream.split();
            let drip = async {
                for byte in b"ET /healthz HTTP/1.1\r\n".iter().chain(std::iter::repeat(&b'x')) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    if writer.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            };
            let mut answer = Vec::new();
            tokio::select! {
                _ = reader.read_to_end(&mut answer) => {}
                () = drip => {}
            }
        });
    }
    while slow.len() > SLOW / 2 {
        // Others are let in and served meanwhile.
        let mut other = stage.node.client().connect().await;
        other.subscribe("news").await;
        stage.goes_on("5,000 slow heads").await;
        other.close().await;
        while slow.try_join_next().is_some() {}
    }
    within("the slow ones to be closed", async { while slow.join_next().await.is_some() {} }).await;
    stage.node.forget_idle();
    assert!(stage.counted(case(26, "slow")).await >= SLOW as f64);
    stage.is_clean().await;
}
