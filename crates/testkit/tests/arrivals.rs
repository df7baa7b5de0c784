//! How many connections an address may have and make: rows 34 and 78 of the table of bad input.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::net::{Ipv4Addr, SocketAddr};

use fanfare_server::network::Network;
use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::patience::{eventually, within};
use fanfare_testkit::{Http, Node, Response, Setup, Stage, on_1_and_3_shards};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

on_1_and_3_shards!(
    row_34_a_forged_header_of_anybody_is_ignored,
    row_34_a_trusted_proxy_names_the_client,
    a_trusted_proxy_names_the_client_of_any_request,
    row_78_connections_over_the_cap_of_an_address,
    a_seat_is_given_back_when_the_session_has_ended,
    handshakes_of_an_address_have_a_rate,
    one_user_of_this_machine_has_as_many_as_it_likes,
);

const REFUSED: &str = "fanfare_http_arrivals_refused_total";

/// A WebSocket, on a connection of its own that is kept; names these addresses as those that it was forwarded for.
async fn open(node: &Node, forwarded_for: &str) -> (Http, Response) {
    let mut headers = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    if !forwarded_for.is_empty() {
        headers.push(("X-Forwarded-For", forwarded_for));
    }
    let mut http = Http::connect(node.address()).await;
    let response = http.request("GET /connection/websocket", &headers, "").await;
    (http, response)
}

#[track_caller]
fn is_refused(response: &Response, case: &Case, key: &str) {
    assert_eq!((response.status, response.header("retry-after")), (case.status(), Some("2")), "{response:?}");
    assert!(response.body.contains(key), "{response:?}");
}

async fn counted(node: &Node, case: &Case) -> f64 {
    let (name, label) = case.counter();
    node.metric_row(name, label).await
}

/// A connection from another address of this machine.
async fn connect_from(host: u8, node: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0))).unwrap();
    within("a connection", socket.connect(node)).await.unwrap()
}

/// What a connection is told though it says nothing.
async fn told(mut stream: TcpStream) -> String {
    let mut text = String::new();
    within("the refusal", stream.read_to_string(&mut text)).await.unwrap();
    text
}

async fn row_34_a_forged_header_of_anybody_is_ignored(shards: usize) {
    let node = Setup::new(shards)
        .configure(|config| {
            config.arrivals.connections_per_address_max = Some(1);
            config.arrivals.trusted_proxies = vec![Network::parse("10.0.0.0/8").unwrap()];
        })
        .start()
        .await;
    case(34, "anybody").is_fine();
    // Nobody made these the addresses of a client, of which a second one would be refused.
    for _ in 0..3 {
        let (_open, response) = open(&node, "203.0.113.1").await;
        assert_eq!(response.status, 101);
    }
    assert_eq!(node.metric(REFUSED).await, 0.0);
}

async fn row_34_a_trusted_proxy_names_the_client(shards: usize) {
    let node = Setup::new(shards)
        .configure(|config| {
            config.arrivals.connections_per_address_max = Some(1);
            config.arrivals.trusted_proxies = vec![Network::parse("127.0.0.1").unwrap()];
        })
        .start()
        .await;
    let (_first, response) = open(&node, "203.0.113.1").await;
    assert_eq!(response.status, 101);
    // What stands before the proxy's own entry is the client's word.
    let (_open, response) = open(&node, "6.6.6.6, 203.0.113.1").await;
    let refused = case(78, "proxy");
    is_refused(&response, refused, "limits.connections_per_address_max");
    let (_second, response) = open(&node, "203.0.113.1, 203.0.113.2").await;
    assert_eq!(response.status, 101);
    assert_eq!(counted(&node, refused).await, 1.0);
}

async fn a_trusted_proxy_names_the_client_of_any_request(shards: usize) {
    let node = Setup::new(shards)
        .configure(|config| {
            config.arrivals.connections_per_address_max = Some(1);
            config.arrivals.trusted_proxies = vec![Network::parse("127.0.0.1").unwrap()];
        })
        .start()
        .await;
    let (_first, response) = open(&node, "203.0.113.1").await;
    assert_eq!(response.status, 101);
    let ask = |client: &'static str| {
        let node = &node;
        async move { node.request("GET /healthz", &[("X-Forwarded-For", client)], "").await }
    };
    is_refused(&ask("203.0.113.1").await, case(78, "proxy"), "limits.connections_per_address_max");
    // One after another as many as one likes: each has its seat while it is answered.
    for _ in 0..20 {
        assert_eq!(ask("203.0.113.2").await.status, 200);
    }
}

async fn row_78_connections_over_the_cap_of_an_address(shards: usize) {
    let setup = Setup::new(shards).configure(|config| {
        config.arrivals.connections_per_address_max = Some(3);
        config.arrivals.loopback_is_exempt = false;
    });
    let mut stage = Stage::set_up(setup).await;
    let (address, refused) = (stage.node.address(), case(78, "address"));
    let held = [(); 3].map(|()| connect_from(2, address));
    let held = futures_util::future::join_all(held).await;
    for _ in 0..20 {
        let text = told(connect_from(2, address).await).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {} ", refused.status())) && text.contains("\r\nretry-after: 2\r\n"),
            "{text}"
        );
        assert!(text.ends_with("limits.connections_per_address_max)\n"), "{text}");
    }
    assert_eq!(stage.counted(refused).await, 20.0);
    stage.goes_on("an address with too many connections").await;
    drop(held);
    let again = || async {
        let mut stream = connect_from(2, address).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.starts_with("HTTP/1.1 200 ").then_some(())
    };
    eventually("the places to be free again", again).await;
    stage.is_clean().await;
}

async fn a_seat_is_given_back_when_the_session_has_ended(shards: usize) {
    let node = Setup::new(shards)
        .configure(|config| {
            config.arrivals.connections_per_address_max = Some(1);
            config.arrivals.handshakes_per_second_max = None;
            config.arrivals.trusted_proxies = vec![Network::parse("127.0.0.1").unwrap()];
        })
        .start()
        .await;
    for _ in 0..3 {
        let again = || async { Some(open(&node, "203.0.113.1").await).filter(|(_, response)| response.status == 101) };
        let (session, _) = eventually("the seat to be free", again).await;
        let (_open, response) = open(&node, "203.0.113.1").await;
        is_refused(&response, case(78, "proxy"), "connections_per_address_max");
        drop(session);
    }
}

async fn handshakes_of_an_address_have_a_rate(shards: usize) {
    let node = Setup::new(shards)
        .configure(|config| {
            config.arrivals.handshakes_per_second_max = Some(1);
            config.arrivals.trusted_proxies = vec![Network::parse("127.0.0.1").unwrap()];
        })
        .start()
        .await;
    // On however slow a machine, two of these fall into one second.
    let until_refused = || async {
        let (_one, _) = open(&node, "203.0.113.1").await;
        let (_other, response) = open(&node, "203.0.113.1").await;
        Some(response).filter(|response| response.status != 101)
    };
    let response = eventually("a handshake to be refused", until_refused).await;
    let refused = case(78, "handshakes");
    is_refused(&response, refused, "limits.handshakes_per_second_max");
    let (_open, other) = open(&node, "203.0.113.2").await;
    assert_eq!(other.status, 101);
    assert!(counted(&node, refused).await >= 1.0);
}

/// More than the limits of an address, with default settings. 15,000 are tried by
/// `cargo run --release -p fanfare-benches -- connect 15000 1`.
async fn one_user_of_this_machine_has_as_many_as_it_likes(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut clients = Vec::new();
    for _ in 0..15 {
        let some = (0..100).map(|_| async { node.client().user("42").connect().await });
        clients.extend(futures_util::future::join_all(some).await);
    }
    assert_eq!(clients.len(), 1_500);
    assert_eq!(node.metric(REFUSED).await, 0.0);
}
