//! The echo that the Autobahn cases are run against: it is a node but for what its messages mean.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::net::{Ipv4Addr, SocketAddr};

use fanfare_testkit::{Frame, Raw, client_frame, echo};

/// Sends bytes to an echo, then a close; what comes back before the answer to that.
async fn check(sent: &[u8], expected: &[Frame]) {
    let node = echo::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let mut raw = Raw::upgrade(node.address(), "", b"").await;
    raw.write(&[sent, &client_frame(0x88, &1000_u16.to_be_bytes())].concat()).await;
    let mut frames = Vec::new();
    while let Some(frame) = raw.frame().await {
        frames.push(frame);
    }
    assert_eq!(frames.pop().and_then(|last| last.close_code()), Some(1000));
    assert_eq!(frames, expected);
    node.stop().await;
}

fn frame(first: u8, payload: &[u8]) -> Frame {
    Frame { first, payload: payload.to_vec() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_come_back_as_what_they_were() {
    let sent = [client_frame(0x81, b"text"), client_frame(0x02, b"bin"), client_frame(0x80, b"ary")].concat();
    check(&sent, &[frame(0x81, b"text"), frame(0x82, b"binary")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_would_close_for_is_echoed_where_it_is_no_command() {
    check(&client_frame(0x81, b"not a command"), &[frame(0x81, b"not a command")]).await;
}
