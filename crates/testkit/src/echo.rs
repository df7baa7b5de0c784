//! A node whose connections get back what they send, for suites that try the WebSocket protocol itself.
//!
//! Everything between the socket and the application is the node's own and unchanged: listener, gate, handshake, check
//! of frame headers, tungstenite, outbox, cork, closes. Only limits are raised ([`raise_limits`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_gateway::{Application, Message, Options, Peer, Rates};
use fanfare_server::{Config, Node};

/// Where WebSockets are taken, as by any node.
pub const PATH: &str = "/connection/websocket";

struct Echo;

#[async_trait(?Send)]
impl Application for Echo {
    async fn take(&self, peer: &Peer, message: Message) {
        peer.send(&message);
    }
}

/// Starts one.
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(address: SocketAddr) -> Result<Node, fanfare_server::node::Error> {
    let mut config = Config::dev();
    config.listen.address = address;
    raise_limits(&mut config.gateway);
    Node::start_with(config, Arc::new(Echo)).await
}

/// What the Autobahn cases need more of than a client of a hub.
fn raise_limits(options: &mut Options) {
    // 9.1.6 and 9.2.6 send 16 MiB in one message, and it comes back whole.
    options.message_bytes_max = 32 * 1024 * 1024;
    options.outbox_bytes_max = 64 * 1024 * 1024;
    // 9.3.1 and 9.4.1 cut 4 MiB into 65,536 frames.
    options.fragments_per_message_max = 131_072;
    // 2.10 and 2.11 ping as fast as they can.
    options.control_frames_per_second_max = None;
    // 9.1 to 9.8 send as fast as they can.
    options.session_rates = Rates::default();
    options.user_rates = Rates::default();
    // Nobody sends `connect` here, and so no application ping begins either.
    options.connect_timeout = Duration::MAX;
    options.ping_interval = None;
}
