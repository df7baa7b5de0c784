//! What bad HTTP requests get (rows 21 to 35 of the table of bad input), with a client beside that behaves and misses
//! nothing. Rows 29 and 30 are about TLS, which there is none of yet but for somebody who speaks it to us.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::patience::within;
use fanfare_testkit::{API_KEY, Client, Http, Node, Raw, Setup, client_frame, json, on_1_and_3_shards};
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
    a_request_in_single_bytes,
    an_answer_arrives_whatever_else_was_sent,
    who_says_nothing_is_closed,
    forged_forwarding_headers_change_nothing,
);

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A node and a client on it that behaves.
struct Stage {
    node: Node,
    canary: Client,
    published: u64,
}

impl Stage {
    async fn set(shards: usize) -> Self {
        Self::set_up(Setup::new(shards)).await
    }

    async fn set_up(setup: Setup) -> Self {
        let node = setup.start().await;
        let mut canary = node.client().connect().await;
        canary.subscribe("news").await;
        Self { node, canary, published: 0 }
    }

    async fn goes_on(&mut self, what: &str) {
        self.published += 1;
        self.node.publish("news", json!(self.published)).await;
        assert_eq!(self.canary.expect_publication("news").await["offset"], self.published, "{what}");
    }

    async fn refusals(&self, reason: &str) -> f64 {
        self.node.metric_row("fanfare_http_refused_total", &format!("reason=\"{reason}\"")).await
    }

    /// Sends bytes on a connection of their own; returns the statuses of all answers until its end.
    async fn answers(&self, bytes: &[u8]) -> Vec<u16> {
        let mut stream = TcpStream::connect(self.node.address()).await.unwrap();
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

    async fn is_refused(&mut self, what: &str, bytes: impl AsRef<[u8]>, status: u16, reason: &str) {
        let before = self.refusals(reason).await;
        assert_eq!(self.answers(bytes.as_ref()).await, [status], "{what}");
        assert_eq!(self.refusals(reason).await, before + 1.0, "{what}: {reason}");
        self.goes_on(what).await;
    }

    async fn is_clean(&mut self) {
        self.node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
        // The one that asks.
        self.node.metric_becomes("fanfare_http_connections", 1.0).await;
        assert_eq!(self.canary.so_far().await, []);
    }
}

fn get(line: &str, headers: &str) -> String {
    format!("{line}\r\nHost: x\r\n{headers}\r\n")
}

async fn bad_heads_are_refused(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let websocket = "GET /connection/websocket HTTP/1.1";
    let healthz = "GET /healthz HTTP/1.1";
    let rows: [(&str, String, u16, &str); 25] = [
        ("22: HTTP/1.0", get("GET /healthz HTTP/1.0", ""), 505, "version"),
        ("22: HTTP/2.0", get("GET /healthz HTTP/2.0", ""), 505, "version"),
        ("22: an absolute path", get("GET http://x/healthz HTTP/1.1", ""), 400, "target"),
        ("22: a tunnel", get("CONNECT x:443 HTTP/1.1", ""), 400, "target"),
        ("22: the gate's own", get("GET * HTTP/1.1", ""), 400, "target"),
        ("23: no Host", format!("{healthz}\r\n\r\n"), 400, "host"),
        ("23: two Hosts", get(healthz, "Host: x\r\n"), 400, "host"),
        ("23: a Host that is a list", format!("{healthz}\r\nHost: x,y\r\n\r\n"), 400, "host"),
        ("24: CL and TE", get(healthz, "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400, "length"),
        ("24: CL twice, equal", get(healthz, "Content-Length: 3\r\nContent-Length: 3\r\n"), 400, "length"),
        ("24: CL with a sign", get(healthz, "Content-Length: +3\r\n"), 400, "length"),
        ("24: TE that is not chunked", get(healthz, "Transfer-Encoding: xchunked\r\n"), 400, "transfer_encoding"),
        ("24: a body on the upgrade", get(websocket, &format!("{UPGRADE}Content-Length: 3\r\n")), 400, "upgrade_body"),
        (
            "24: a chunked upgrade",
            get(websocket, &format!("{UPGRADE}Transfer-Encoding: chunked\r\n")),
            400,
            "upgrade_body",
        ),
        ("24: bare line feeds", "GET /healthz HTTP/1.1\nHost: x\n\n".to_owned(), 400, "line_end"),
        ("24: one bare line feed", get(healthz, "X: a\nY: b\r\n"), 400, "line_end"),
        ("24: NUL", get(healthz, "X: a\0b\r\n"), 400, "control_character"),
        ("24: obs-fold", get(healthz, "X: a\r\n b\r\n"), 400, "header_line"),
        ("24: a space before the colon", get(healthz, "Content-Length : 3\r\n"), 400, "header_line"),
        ("25: 200 headers", get(healthz, &"X: y\r\n".repeat(200)), 431, "header_count"),
        ("25: a head of 80 kB", get(healthz, &format!("X: {}\r\n", "x".repeat(80_000))), 431, "head_bytes"),
        (
            "25: 32 k spaces",
            get(websocket, &format!("Sec-WebSocket-Protocol: {}\r\n", " ".repeat(32_000))),
            431,
            "head_bytes",
        ),
        ("33: a URL of 20 k", get(&format!("GET /?token={} HTTP/1.1", "x".repeat(20_000)), ""), 414, "target_length"),
        ("no HTTP at all", get("GET /healthz", ""), 400, "request_line"),
        ("a line before the request", format!("\r\n{}", get(healthz, "")), 400, "not_http"),
    ];
    for (what, bytes, status, reason) in rows {
        stage.is_refused(what, bytes, status, reason).await;
    }
    stage.is_refused("29: TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not_http").await;
    stage.is_clean().await;
}

/// Row 24: what a proxy could take for another request is not one.
async fn nothing_behind_a_refusal_is_carried_out(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let publish = |channel: &str| {
        let body = json!({"channel": channel, "data": 1}).to_string();
        let length = body.len();
        format!(
            "POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for bad in [
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(stage.answers(format!("{bad}{}", publish("news")).as_bytes()).await, [400]);
        assert_eq!(stage.canary.so_far().await, [], "{bad}");
    }
    stage.goes_on("smuggled publications").await;
    stage.is_clean().await;
}

/// Row 35.
async fn good_requests_before_a_bad_one_are_answered(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let good = get("GET /healthz HTTP/1.1", "");
    let bytes = [good.as_str(), &good, &good, "GET /healthz HTTP/1.0\r\n\r\n", &good].concat();
    assert_eq!(stage.answers(bytes.as_bytes()).await, [200, 200, 200, 505]);
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
    assert_eq!(stage.answers(bytes.as_bytes()).await, [405, 505]);
    drop(http);
    stage.goes_on("bodies").await;
    stage.is_clean().await;
}

/// A body in chunks is taken, and the connection ends with it: nobody has to agree on where it ends.
async fn what_cannot_be_followed_is_the_last_request(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let head =
        format!("POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let body = json!({"channel": "news", "data": 1}).to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let bytes = format!("{head}{chunked}{}", get("GET /healthz HTTP/1.0", ""));
    assert_eq!(stage.answers(bytes.as_bytes()).await, [200]);
    assert_eq!(stage.canary.expect_publication("news").await["offset"], 1);
    stage.published = 1;
    stage.goes_on("chunks").await;
    stage.is_clean().await;
}

async fn a_refused_upgrade_is_the_last_request(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let smuggled = get("GET /healthz HTTP/1.0", "");
    let upgrade = get("GET /connection/websocket HTTP/1.1", &format!("{UPGRADE}Origin: https://evil.example\r\n"));
    assert_eq!(stage.answers(format!("{upgrade}{smuggled}").as_bytes()).await, [403]);
    let elsewhere = get("GET /healthz HTTP/1.1", UPGRADE);
    assert_eq!(stage.answers(format!("{elsewhere}{smuggled}").as_bytes()).await, [200]);
    // Row 21, where the answer is the gateway's.
    for (headers, status) in [
        (UPGRADE.replace("13", "8"), 426),
        (UPGRADE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400),
        (UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
    ] {
        let request = get("GET /connection/websocket HTTP/1.1", &headers);
        assert_eq!(stage.answers(request.as_bytes()).await, [status]);
    }
    let posted = get("POST /connection/websocket HTTP/1.1", UPGRADE);
    assert_eq!(stage.answers(posted.as_bytes()).await, [405]);
    stage.goes_on("refused upgrades").await;
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
                stage.answers([&get(line, headers), &behind].map(String::as_str).concat().as_bytes()).await,
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
    let mut stage = Stage::set_up(setup.sessions(|options| options.connect_timeout = short)).await;
    let before = stage.refusals("timeout").await;
    assert_eq!(stage.answers(b"").await, [] as [u16; 0]);
    assert_eq!(stage.answers(b"GET /healthz HTTP/1.1\r\nHost:").await, [] as [u16; 0]);
    stage.node.forget_idle();
    assert!(stage.refusals("timeout").await >= before + 2.0);
    let mut raw = Raw::upgrade(stage.node.address(), "", b"").await;
    assert_eq!(raw.frame().await.unwrap().close_code(), Some(3502));
    drop(raw);
    stage.node.forget_idle();
    stage.goes_on("silence").await;
    stage.node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
}

/// A client that asked without reading the answers kept its place for ever.
async fn a_client_that_reads_no_answers_loses_its_place(shards: usize) {
    let short = Duration::from_millis(500);
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
    assert_eq!(stage.answers(request.as_bytes()).await, [403]);
    stage.is_refused("PROXY", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n", 400, "request_line").await;
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
        assert_eq!(other.expect_publication("news").await["offset"], stage.published);
        other.close().await;
        while slow.try_join_next().is_some() {}
    }
    within("the slow ones to be closed", async { while slow.join_next().await.is_some() {} }).await;
    stage.node.forget_idle();
    assert!(stage.refusals("timeout").await >= SLOW as f64);
    stage.node.metric_becomes("fanfare_http_connections", 1.0).await;
    stage.node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
}
