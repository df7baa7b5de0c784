//! From HTTP to a WebSocket (protocol §1): what is refused before the 101, the encoding, and what comes early.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_testkit::bad_input::case;
use fanfare_testkit::{Encoding, Http, Node, Raw, Response, Setup, client_frame, json, on_1_and_3_shards};

on_1_and_3_shards!(
    what_is_no_handshake_is_told_so,
    origins,
    a_proxy_says_how_a_page_came,
    only_the_nodes_own_names_are_answered_to,
    the_encoding_is_agreed_on,
    bytes_behind_the_request_are_processed,
    a_handshake_in_pieces,
    an_upgrade_behind_another_request,
    headers_that_do_not_come,
    other_paths,
    violations_of_the_websocket_protocol,
    the_kind_of_a_frame_is_not_judged,
    a_close_is_answered,
);

const GOOD: [(&str, &str); 4] = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "WebSocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn with(node: &Node, changed: &[(&str, &str)]) -> Response {
    let mut headers: Vec<(&str, &str)> = GOOD.to_vec();
    for (name, value) in changed {
        headers.retain(|(own, _)| own != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    Http::connect(node.address()).await.request("GET /connection/websocket", &headers, "").await
}

async fn what_is_no_handshake_is_told_so(shards: usize) {
    let node = Setup::new(shards).start().await;
    let good = with(&node, &[]).await;
    assert_eq!(good.status, 101);
    assert_eq!(good.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(good.header("sec-websocket-protocol"), None);
    for (changed, status) in [
        (("Upgrade", ""), 426),
        (("Upgrade", "h2c"), 426),
        (("Connection", "keep-alive"), 426),
        (("Sec-WebSocket-Version", "8"), 426),
        (("Sec-WebSocket-Version", ""), 426),
        (("Sec-WebSocket-Key", ""), 400),
        (("Sec-WebSocket-Key", "short"), 400),
    ] {
        let refused = with(&node, &[changed]).await;
        assert_eq!(refused.status, status, "{changed:?}");
        assert!(refused.body.ends_with('\n') && refused.body.len() > 10, "{refused:?}");
    }
    assert_eq!(with(&node, &[("Sec-WebSocket-Version", "8")]).await.header("sec-websocket-version"), Some("13"));
    assert_eq!(with(&node, &[("Upgrade", "")]).await.header("upgrade"), Some("websocket"));
    let posted = Http::connect(node.address()).await.request("POST /connection/websocket", &GOOD, "").await;
    assert_eq!(posted.status, 405);
}

async fn origins(shards: usize) {
    let allowed = ["https://app.example", "https://*.pages.example"];
    let node = Setup::new(shards)
        .configure(|config| config.listen.allowed_origins = allowed.map(str::to_owned).to_vec())
        .start()
        .await;
    let own = format!("https://{}", node.address());
    for origin in ["", own.as_str(), "https://app.example", "HTTPS://App.Example", "https://a.pages.example"] {
        assert_eq!(with(&node, &[("Origin", origin)]).await.status, 101, "{origin}");
    }
    case(31, "known").is_fine();
    let foreign = case(31, "foreign");
    let refused = [
        "https://evil.example",
        "https://app.example.evil",
        "https://app.example:444",
        "http://app.example",
        "https://pages.example",
        "https://a.b.pages.example",
        "https://evilpages.example",
        "null",
    ];
    for origin in refused {
        let answer = with(&node, &[("Origin", origin)]).await;
        assert_eq!(answer.status, foreign.status(), "{origin}");
        assert!(answer.body.contains("listen.allowed_origins"), "{answer:?}");
    }
    let (name, label) = foreign.counter();
    assert_eq!(node.metric_row(name, label).await, refused.len() as f64);
}

/// Of the page's own host counts what the proxy says of its scheme, if it is one to be believed.
async fn a_proxy_says_how_a_page_came(shards: usize) {
    let trusted = vec![fanfare_server::network::Network::parse("127.0.0.1").unwrap()];
    let node = Setup::new(shards).configure(|config| config.arrivals.trusted_proxies = trusted).start().await;
    let host = ("Host", "hub.example");
    for (proto, origin, status) in
        [("https", "https://hub.example", 101), ("https", "http://hub.example", 403), ("", "https://hub.example", 101)]
    {
        let answer = with(&node, &[host, ("Origin", origin), ("X-Forwarded-Proto", proto)]).await;
        assert_eq!(answer.status, status, "{proto} {origin}");
    }
}

async fn only_the_nodes_own_names_are_answered_to(shards: usize) {
    let hosts = vec!["hub.example".to_owned(), "127.0.0.1".to_owned()];
    let node = Setup::new(shards).configure(|config| config.listen.allowed_hosts = hosts).start().await;
    assert_eq!(with(&node, &[("Host", "HUB.example:8000")]).await.status, 101);
    let misdirected = case(23, "misdirected");
    let answer = with(&node, &[("Host", "evil.example")]).await;
    assert_eq!(answer.status, misdirected.status());
    assert!(answer.body.contains("listen.allowed_hosts"), "{answer:?}");
    for line in ["GET /metrics", "POST /api/info", "GET /nowhere"] {
        let answer = Http::connect(node.address()).await.request(line, &[("Host", "evil.example")], "").await;
        assert_eq!(answer.status, 421, "{line}");
    }
    let (name, label) = misdirected.counter();
    assert_eq!(node.metric_row(name, label).await, 4.0);
}

async fn speaks(node: &Node, query: &str, protocols: &str) -> (Encoding, Option<String>) {
    let mut raw = Raw::connect(node.address()).await;
    let offered = if protocols.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocols}\r\n") };
    let request = format!(
        "GET /connection/websocket?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offered}\r\n"
    );
    raw.write(request.as_bytes()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let chosen = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-protocol").then(|| value.to_owned())
    });
    // A connect command that both encodings can read as their own.
    raw.write(&client_frame(0x82, &[4, 0x08, 1, 0x22, 0])).await;
    let frame = raw.frame().await.unwrap();
    let encoding = match frame.first {
        0x82 => Encoding::Protobuf,
        _ => {
            assert!([Some(3501), Some(1007)].contains(&frame.close_code()), "{frame:?}");
            Encoding::Json
        }
    };
    (encoding, chosen)
}

async fn the_encoding_is_agreed_on(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (json, protobuf) = ("centrifuge-json", "centrifuge-protobuf");
    for (query, protocols, encoding, chosen) in [
        ("", "", Encoding::Json, None),
        ("", json, Encoding::Json, Some(json)),
        ("", protobuf, Encoding::Protobuf, Some(protobuf)),
        ("", "chat, centrifuge-protobuf, centrifuge-json", Encoding::Protobuf, Some(protobuf)),
        ("", "centrifuge-json,centrifuge-protobuf", Encoding::Json, Some(json)),
        ("", "chat", Encoding::Json, None),
        ("format=protobuf", "", Encoding::Protobuf, None),
        ("a=b&cf_protocol=protobuf", "", Encoding::Protobuf, None),
        ("format=protobuf", json, Encoding::Protobuf, Some(json)),
        ("cf_protocol_version=v2&format=json", "", Encoding::Json, None),
    ] {
        let expected = (encoding, chosen.map(str::to_owned));
        assert_eq!(speaks(&node, query, protocols).await, expected, "{query} {protocols}");
    }
}

async fn bytes_behind_the_request_are_processed(shards: usize) {
    let node = Setup::new(shards).start().await;
    let commands = b"{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}";
    for _ in 0..20 {
        let mut raw = Raw::upgrade(node.address(), "", &client_frame(0x81, commands)).await;
        let mut text = String::new();
        while !text.contains("\"id\":2") {
            text += &String::from_utf8(raw.frame().await.unwrap().payload).unwrap();
        }
        assert!(text.contains("\"connect\":{") && text.contains("\"recoverable\":true"), "{text}");
    }
    // Half a frame with the request, the rest later.
    let frame = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    let mut raw = Raw::upgrade(node.address(), "", &frame[..9]).await;
    raw.write(&frame[9..]).await;
    assert_eq!(raw.frame().await.unwrap().first, 0x81);
}

async fn a_handshake_in_pieces(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut raw = Raw::connect(node.address()).await;
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        node.address()
    );
    let connect = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    for byte in [request.as_bytes(), &connect].concat() {
        raw.write(&[byte]).await;
    }
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.frame().await.unwrap().first, 0x81);
}

async fn an_upgrade_behind_another_request(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut raw = Raw::connect(node.address()).await;
    let upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let connect = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    let first = "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    raw.write(&[first.as_bytes(), upgrade.as_bytes(), &connect].concat()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.frame().await.unwrap().first, 0x81);
}

async fn headers_that_do_not_come(shards: usize) {
    let short = std::time::Duration::from_secs(2);
    let node = Setup::new(shards).configure(|config| config.listen.header_timeout = short).start().await;
    let mut silent = Raw::connect(node.address()).await;
    let mut halting = Raw::connect(node.address()).await;
    halting.write(b"GET /connection/websocket HTTP/1.1\r\nHost: x\r\n").await;
    silent.read_to_end().await;
    halting.read_to_end().await;
    let mut large = Raw::connect(node.address()).await;
    large.write(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000)).as_bytes()).await;
    assert!(large.head().await.starts_with("HTTP/1.1 431 "));
}

async fn other_paths(shards: usize) {
    let node = Setup::new(shards).start().await;
    for (line, status) in [
        ("GET /healthz", 200),
        ("GET /readyz", 200),
        ("GET /metrics", 200),
        ("GET /", 200),
        ("GET /connection", 404),
        ("GET /connection/websocket/", 404),
        ("POST /healthz", 405),
    ] {
        assert_eq!(node.request(line, &[], "").await.status, status, "{line}");
    }
}

async fn violations_of_the_websocket_protocol(shards: usize) {
    let node = Setup::new(shards).start().await;
    for (what, bytes, code) in [
        ("unmasked", vec![0x81, 0x02, b'{', b'}'], 1002),
        ("reserved opcode", client_frame(0x83, b"{}"), 1002),
        ("reserved bit", client_frame(0xC1, b"{}"), 1002),
        ("a continuation of nothing", client_frame(0x80, b"{}"), 1002),
        ("a fragmented ping", client_frame(0x09, b""), 1002),
        ("a new message within another", [client_frame(0x01, b"{"), client_frame(0x81, b"{}")].concat(), 1002),
        ("a close frame of one byte", client_frame(0x88, b"x"), 1002),
    ] {
        let mut raw = Raw::upgrade(node.address(), "", b"").await;
        raw.write(&bytes).await;
        let frame = raw.frame().await.unwrap_or_else(|| panic!("{what}: no close frame"));
        assert_eq!(frame.close_code(), Some(code), "{what}");
        assert_eq!(raw.frame().await, None, "{what}");
    }
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
}

async fn the_kind_of_a_frame_is_not_judged(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut raw = Raw::upgrade(node.address(), "", &client_frame(0x82, br#"{"id":1,"connect":{}}"#)).await;
    assert_eq!(raw.frame().await.unwrap().first, 0x81);
    let mut raw = Raw::upgrade(node.address(), "format=protobuf", &client_frame(0x81, &[4, 0x08, 1, 0x22, 0])).await;
    assert_eq!(raw.frame().await.unwrap().first, 0x82);
}

async fn a_close_is_answered(shards: usize) {
    let node = Setup::new(shards).start().await;
    for (payload, code) in
        [(&1000_u16.to_be_bytes()[..], Some(1000)), (&4999_u16.to_be_bytes(), Some(4999)), (&[], None)]
    {
        let mut raw = Raw::upgrade(node.address(), "", &client_frame(0x88, payload)).await;
        let frame = raw.frame().await.unwrap();
        assert_eq!((frame.first, frame.close_code()), (0x88, code));
        assert_eq!(raw.frame().await, None);
    }
    let mut client = node.client().connect().await;
    client.subscribe("news").await;
    let id = client.id.clone();
    client.close().await;
    node.presence_becomes("news", &id, false).await;
    assert_eq!(node.call("channels", json!({})).await["channels"], json!({}));
}
