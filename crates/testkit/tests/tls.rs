//! TLS on the node's own port: sessions live in their shard as they do without.
//!
//! Most clients here speak no TLS themselves and go through a tunnel. With `FANFARE_TEST_TLS=1` every suite is run so.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fanfare_gateway::Rates;
use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::patience::{eventually, within};
use fanfare_testkit::{Certificate, Client, Node, Setup, Stage, client_frame, connect_tls, json, on_1_and_3_shards};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

on_1_and_3_shards!(
    sessions_get_everything_in_order_and_recover,
    large_messages_go_both_ways,
    what_comes_with_the_handshake_is_processed,
    tls_1_2_is_spoken_too,
    a_client_that_comes_back_is_resumed,
    another_protocol_is_refused,
    a_certificate_is_read_again_while_sessions_go_on,
    a_slow_reader_finds_its_close_frame,
    a_stalled_socket_is_given_up,
    a_drain_ends_with_a_close_frame_and_a_goodbye,
    a_record_that_cannot_be_decrypted_ends_the_session,
    row_29_what_is_no_tls,
    row_29_tls_to_a_plain_port,
    row_30_handshakes_over_the_rate,
    a_page_of_the_own_host_came_with_tls,
    defect_bytes_in_records_that_hold_little_were_not_counted,
    defect_bytes_of_a_record_that_is_not_whole_were_not_counted,
);

fn setup(shards: usize) -> (Arc<Certificate>, Setup) {
    let certificate = Arc::new(Certificate::new());
    let setup = Setup::new(shards).tls(&certificate);
    (certificate, setup)
}

async fn subscribed(node: &Node) -> Client {
    let mut client = node.client().connect().await;
    client.subscribe("news").await;
    client
}

fn upgrade(behind: &[u8]) -> Vec<u8> {
    let request = "GET /connection/websocket HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    [request.as_bytes(), behind].concat()
}

/// Reads until a text has come by.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), wanted: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        let mut buffer = [0; 4_096];
        let length = within(wanted, stream.read(&mut buffer)).await.unwrap();
        assert!(length > 0, "the end came before {wanted}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    seen
}

/// A session without a tunnel in between.
async fn session(node: &Node, client: ClientConfig) -> impl AsyncRead + AsyncWrite + Unpin {
    let mut stream = connect_tls(node.listening_address(), &Arc::new(client)).await.unwrap();
    stream.write_all(&upgrade(&client_frame(0x81, br#"{"id":1,"connect":{}}"#))).await.unwrap();
    read_until(&mut stream, "\"connect\":{").await;
    stream
}

async fn sessions_get_everything_in_order_and_recover(shards: usize) {
    let (_certificate, setup) = setup(shards);
    let node = setup.start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(subscribed(&node).await);
    }
    let epoch = node.publish("news", json!(1)).await["epoch"].take();
    for number in 2..=200 {
        node.publish("news", json!(number)).await;
    }
    for client in &mut clients {
        for number in 1..=200 {
            assert_eq!(client.expect_publication("news").await["offset"], number);
        }
    }
    let mut again = node.client().protobuf().connect().await;
    let request = json!({"channel": "news", "recover": true, "offset": 50, "epoch": epoch});
    let result = again.call("subscribe", request).await;
    let offsets: Vec<u64> =
        result["publications"].as_array().unwrap().iter().map(|one| one["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (51..=200).collect::<Vec<_>>());
    assert_eq!(node.metric_row("fanfare_tls_errors_total", "").await, 0.0);
}

/// Larger than a record, than a read and than what the kernel takes at once.
async fn large_messages_go_both_ways(shards: usize) {
    let (_certificate, setup) = setup(shards);
    let node = setup.sessions(|options| options.message_bytes_max = 1 << 20).start().await;
    let mut reader = subscribed(&node).await;
    let mut writer = node.client().connect().await;
    for bytes in [10, 4_090, 16_384, 16_385, 60_000] {
        let text: String = (0..bytes).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        writer.call("publish", json!({"channel": "news", "data": {"text": text}})).await;
        assert_eq!(reader.expect_publication("news").await["data"]["text"], text.as_str());
    }
    let frame = format!("{{\"id\":77,{}\"rpc\":{{}}}}", " ".repeat(700_000));
    writer.send_frame(frame.as_bytes()).await;
    assert_eq!(writer.expect_reply(77).await["error"]["code"], 108);
}

async fn what_comes_with_the_handshake_is_processed(shards: usize) {
    let (certificate, setup) = setup(shards);
    let node = setup.start().await;
    for _ in 0..10 {
        session(&node, certificate.client()).await;
    }
    // A record in single bytes, behind another request on the same connection.
    let client = Arc::new(certificate.client());
    let mut stream = connect_tls(node.listening_address(), &client).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    for byte in upgrade(&client_frame(0x81, br#"{"id":1,"connect":{}}"#)) {
        stream.write_all(&[byte]).await.unwrap();
    }
    // Else what a busy task could not write stays here.
    stream.flush().await.unwrap();
    let seen = read_until(&mut stream, "\"connect\":{").await;
    assert!(seen.starts_with("HTTP/1.1 200 ") && seen.contains("HTTP/1.1 101 "), "{seen}");
}

async fn tls_1_2_is_spoken_too(shards: usize) {
    let (certificate, setup) = setup(shards);
    let node = setup.start().await;
    let client = certificate.client_of(&[&rustls::version::TLS12]);
    session(&node, client).await;
}

async fn a_client_that_comes_back_is_resumed(shards: usize) {
    let (certificate, setup) = setup(shards);
    let node = setup.start().await;
    let client = certificate.client();
    let resumed = || async { node.metric_row("fanfare_tls_handshakes_total", "resumed").await };
    session(&node, client.clone()).await;
    let before = resumed().await;
    session(&node, client.clone()).await;
    assert_eq!(resumed().await, before + 1.0);
    // Tickets of another certificate are worth nothing.
    certificate.renew(2099);
    assert!(node.reload_certificate());
    session(&node, client).await;
    assert_eq!(resumed().await, before + 1.0);
}

async fn another_protocol_is_refused(shards: usize) {
    let (certificate, setup) = setup(shards);
    let node = setup.start().await;
    let mut client = certificate.client();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let error = connect_tls(node.listening_address(), &Arc::new(client)).await.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    let mut client = certificate.client();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    session(&node, client).await;
}

async fn a_certificate_is_read_again_while_sessions_go_on(shards: usize) {
    let (certificate, setup) = setup(shards);
    let first = certificate.renew(2098);
    let node = setup.start().await;
    let shown = || async {
        let stream = connect_tls(node.listening_address(), &Arc::new(certificate.client())).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut client = subscribed(&node).await;
    assert_eq!(shown().await, first);
    assert_eq!(node.metric("fanfare_tls_certificate_expiry_seconds").await, 4_070_822_400.0);
    // A key without its certificate changes nothing.
    let key = std::fs::read_to_string(certificate.file("key.pem")).unwrap();
    let second = certificate.renew(2099);
    let renewed = std::fs::read_to_string(certificate.file("key.pem")).unwrap();
    certificate.write("key.pem", &key);
    assert!(!node.reload_certificate());
    assert_eq!(shown().await, first);
    certificate.write("key.pem", &renewed);
    assert!(node.reload_certificate());
    assert_eq!(shown().await, second);
    node.publish("news", json!(1)).await;
    assert_eq!(client.expect_publication("news").await["offset"], 1);
    assert_eq!(node.metric("fanfare_tls_certificate_expiry_seconds").await, 4_102_358_400.0);
    let reloads = |result: &'static str| node.metric_row("fanfare_tls_reloads_total", result);
    assert_eq!((reloads("ok").await, reloads("failed").await), (1.0, 1.0));
}

fn narrow(setup: Setup) -> Setup {
    setup.sessions(|options| {
        options.outbox_bytes_max = 200_000;
        options.unsent_bytes_max = 16_384;
        options.write_timeout = Duration::from_secs(60);
    })
}

/// Publishes until who does not read is closed with this code, while another loses nothing.
async fn publish_until(code: u16, node: &Node, reader: &mut Client) {
    for number in 1..=300 {
        node.publish("news", json!({"n": number, "x": "x".repeat(20_000)})).await;
        assert_eq!(reader.expect_publication("news").await["offset"], number);
        if node.closes(code).await == 1.0 {
            return;
        }
    }
    panic!("300 large publications do not bring a {code}");
}

async fn a_slow_reader_finds_its_close_frame(shards: usize) {
    let (_certificate, setup) = setup(shards);
    let node = narrow(setup).start().await;
    let mut slow = node.client().narrow().connect().await;
    slow.subscribe("news").await;
    let mut reader = subscribed(&node).await;
    publish_until(3008, &node, &mut reader).await;
    assert!(node.metric("fanfare_gateway_outbox_bytes").await < 40_000.0, "what waited is dropped");
    assert_eq!(slow.expect_close().await, (3008, "slow".to_owned()));
    for (at, unit) in slow.take_arrived().iter().enumerate() {
        assert_eq!(unit.value["push"]["pub"]["offset"], at + 1);
    }
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
}

async fn a_stalled_socket_is_given_up(shards: usize) {
    let (_certificate, setup) = setup(shards);
    let node = narrow(setup)
        .sessions(|options| {
            options.write_timeout = Duration::from_millis(500);
            options.outbox_bytes_max = 64 << 20;
        })
        .start()
        .await;
    let mut stalled = node.client().narrow().connect().await;
    stalled.subscribe("news").await;
    let mut reader = subscribed(&node).await;
    publish_until(3009, &node, &mut reader).await;
    node.metric_becomes("fanfare_gateway_outbox_bytes", 0.0).await;
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
}

/// A reader that got no goodbye could not tell the end from an attack that cuts it short.
async fn a_drain_ends_with_a_close_frame_and_a_goodbye(shards: usize) {
    let (certificate, setup) = setup(shards);
    let node = setup.start().await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(session(&node, certificate.client()).await);
    }
    let ends = streams.into_iter().map(|mut stream| async move {
        let mut bytes = Vec::new();
        // Without the goodbye this is an error.
        within("the end", stream.read_to_end(&mut bytes)).await.unwrap();
        bytes
    });
    let (ends, ()) = tokio::join!(futures_util::future::join_all(ends), node.drain(Duration::from_millis(100)));
    for bytes in ends {
        let at = bytes.windows(4).position(|four| four[0] == 0x88 && four[2..] == 3001_u16.to_be_bytes());
        assert!(at.is_some(), "{bytes:?}");
    }
}

/// An attacker between the two cannot change a bit.
async fn a_record_that_cannot_be_decrypted_ends_the_session(shards: usize) {
    let (certificate, setup) = setup(shards);
    let mut stage = Stage::set_up(setup).await;
    let mut stream = connect_tls(stage.node.listening_address(), &Arc::new(certificate.client())).await.unwrap();
    // The node has the end of the handshake, else the record could be counted among those of a handshake that failed.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    read_until(&mut stream, "HTTP/1.1 200 ").await;
    let (mut stream, mut tls) = stream.into_inner();
    // A whole request, with one bit of it wrong on its way.
    std::io::Write::write_all(&mut tls.writer(), &upgrade(b"")).unwrap();
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    within("the end", stream.read_to_end(&mut answer)).await.unwrap();
    let counted = || async { (stage.node.metric_row("fanfare_tls_errors_total", "record").await == 1.0).then_some(()) };
    eventually("the counter", counted).await;
    stage.goes_on("a wrong bit").await;
    stage.is_clean().await;
}

/// Sends bytes where TLS is spoken; returns what comes back until the end.
async fn sent_raw(stage: &Stage, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(stage.node.listening_address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    within("the end of the connection", stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

async fn moves(stage: &mut Stage, case: &Case, before: f64) {
    stage.moved(case, before, 1.0).await;
    stage.goes_on(&case.name).await;
}

async fn row_29_what_is_no_tls(shards: usize) {
    let (_certificate, setup) = setup(shards);
    let short = Duration::from_secs(2);
    let mut stage = Stage::set_up(setup.configure(|config| config.listen.tls_handshake_timeout = short)).await;

    let garbage = case(29, "garbage");
    for bytes in [&[0; 100][..], b"\x80\x2e\x01\x00\x02", b"\x16\x03\x03\xff\xff"] {
        let before = stage.counted(garbage).await;
        let answer = sent_raw(&stage, bytes).await;
        garbage.is_fine();
        assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?} to {bytes:?}");
        moves(&mut stage, garbage, before).await;
    }

    let plain = case(29, "plain HTTP");
    let before = stage.counted(plain).await;
    let answer = String::from_utf8(sent_raw(&stage, &upgrade(b"")).await).unwrap();
    assert!(answer.starts_with(&format!("HTTP/1.1 {} ", plain.status())) && answer.contains("https://"), "{answer}");
    moves(&mut stage, plain, before).await;

    let half = case(29, "half a handshake");
    half.is_fine();
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let before = stage.counted(half).await;
        assert_eq!(sent_raw(&stage, bytes).await, b"");
        moves(&mut stage, half, before).await;
    }
    stage.is_clean().await;
}

async fn row_29_tls_to_a_plain_port(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let case = case(29, "TLS to a plain port");
    case.is_fine();
    let before = stage.counted(case).await;
    assert_eq!(sent_raw(&stage, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await, b"");
    moves(&mut stage, case, before).await;
    stage.is_clean().await;
}

async fn row_30_handshakes_over_the_rate(shards: usize) {
    let (certificate, setup) = setup(shards);
    let mut stage = Stage::set_up(setup.configure(|config| {
        config.arrivals.handshakes_per_second_max = Some(20);
        config.arrivals.loopback_is_exempt = false;
    }))
    .await;
    let case = case(30, "handshakes");
    case.is_fine();
    let client = Arc::new(certificate.client());
    let refused = async {
        loop {
            // All at once: one after another they are too few in a second where the machine is busy.
            let mut handshakes = JoinSet::new();
            for _ in 0..60 {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
                let stream = socket.connect(stage.node.listening_address()).await.unwrap();
                let client = Arc::clone(&client);
                handshakes.spawn(async move { fanfare_testkit::shake_hands(stream, &client).await.is_err() });
            }
            if handshakes.join_all().await.contains(&true) {
                return;
            }
        }
    };
    within("a refused handshake", refused).await;
    stage.goes_on("handshakes over the rate").await;
    let counted = || async { (stage.counted(case).await >= 1.0).then_some(()) };
    eventually("the counter", counted).await;
}

async fn a_page_of_the_own_host_came_with_tls(shards: usize) {
    let (_certificate, setup) = setup(shards);
    let node = setup.start().await;
    let headers = [
        ("Host", "hub.example"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (origin, status) in
        [("https://hub.example", 101), ("http://hub.example", 403), ("https://hub.example:444", 403)]
    {
        let mut http = fanfare_testkit::Http::connect(node.address()).await;
        let headers = [&headers[..], &[("Origin", origin)]].concat();
        assert_eq!(http.request("GET /connection/websocket", &headers, "").await.status, status, "{origin}");
    }
}

/// A node that reads ten kilobytes at once and one a second, and a session on it.
async fn session_that_may_send_little(shards: usize) -> (Node, TlsStream<TcpStream>) {
    let (certificate, setup) = setup(shards);
    let rates = Rates { bytes: Some(1_024), ..Rates::default() };
    let node = setup.sessions(move |options| options.session_rates = rates).start().await;
    let mut stream = connect_tls(node.listening_address(), &Arc::new(certificate.client())).await.unwrap();
    stream.write_all(&upgrade(&client_frame(0x81, br#"{"id":1,"connect":{}}"#))).await.unwrap();
    read_until(&mut stream, "\"connect\":{").await;
    (node, stream)
}

/// A procedure that nobody knows, in a frame of so many bytes.
fn call_of(bytes: usize) -> Vec<u8> {
    let command = br#"{"id":2,"rpc":{"method":"m"}}"#;
    client_frame(0x81, &[&command[..], &vec![b' '; bytes - command.len()]].concat())
}

/// What TLS makes of `plaintext`, each piece a record.
fn encrypted<'a>(tls: &mut rustls::ClientConnection, records: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut ciphertext = Vec::new();
    for record in records {
        std::io::Write::write_all(&mut tls.writer(), record).unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut ciphertext).unwrap();
        }
    }
    ciphertext
}

async fn reading_paused(node: &Node) {
    let (name, label) = case(59, "bytes").counter();
    eventually("a pause", || async { (node.metric_row(name, label).await >= 1.0).then_some(()) }).await;
}

/// The rate is of what the network brings: 700 bytes in as many records are 16 kilobytes.
async fn defect_bytes_in_records_that_hold_little_were_not_counted(shards: usize) {
    let (node, stream) = session_that_may_send_little(shards).await;
    let (mut stream, mut tls) = stream.into_inner();
    let ciphertext = encrypted(&mut tls, call_of(700).chunks(1));
    assert!(ciphertext.len() > 15_000);
    stream.write_all(&ciphertext).await.unwrap();
    reading_paused(&node).await;
}

async fn defect_bytes_of_a_record_that_is_not_whole_were_not_counted(shards: usize) {
    let (node, stream) = session_that_may_send_little(shards).await;
    let (mut stream, mut tls) = stream.into_inner();
    let ciphertext = encrypted(&mut tls, std::iter::once(&call_of(15_000)[..]));
    let (most, rest) = ciphertext.split_at(ciphertext.len() - 100);
    stream.write_all(most).await.unwrap();
    reading_paused(&node).await;
    // It is read late, and it is read.
    stream.write_all(rest).await.unwrap();
    let mut buffer = [0; 4_096];
    assert!(within("the answer", stream.read(&mut buffer)).await.unwrap() > 0);
}
