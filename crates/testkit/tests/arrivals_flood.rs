//! Connections that come and go by the thousand: row 77 of the table of bad input. Alone in its process, since it
//! counts descriptors.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::net::{Ipv4Addr, SocketAddr};

use fanfare_testkit::bad_input::case;
use fanfare_testkit::patience::{eventually, within};
use fanfare_testkit::{Setup, Stage};
use tokio::net::TcpSocket;

/// Connects from an address that the canary does not have, and resets the connection.
async fn connect_and_reset(node: SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 7), 0))).unwrap();
    socket.set_zero_linger().unwrap();
    drop(within("a connection", socket.connect(node)).await);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_77_ten_thousand_connects_and_resets() {
    let setup = Setup::new(2).configure(|config| {
        config.arrivals.accepts_per_second_max = Some(50);
        config.arrivals.loopback_is_exempt = false;
    });
    let mut stage = Stage::set_up(setup).await;
    let resets = case(77, "resets");
    resets.is_fine();
    assert_eq!(stage.counted(resets).await, 0.0);
    let before = descriptors();
    for _ in 0..20 {
        futures_util::future::join_all((0..500).map(|_| connect_and_reset(stage.node.address()))).await;
        stage.goes_on("500 resets").await;
    }
    assert!(stage.counted(resets).await > 0.0);
    assert_eq!(stage.node.metric("fanfare_http_accept_errors_total").await, 0.0);
    let gone = || async { (descriptors() <= before).then_some(()) };
    eventually("the descriptors to be given back", gone).await;
    stage.is_clean().await;
}
