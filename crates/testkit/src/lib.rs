//! How do I try the whole in a test?
//!
//! A node in process ([`Setup`], [`Node`]), a scripted client that says exactly what it is told ([`Client`]), one
//! below the WebSocket protocol ([`Raw`]), a proxy that harms connections ([`Proxy`]) and one that harms a publication ([`FrameProxy`]), a gateway on a broker that takes
//! its time and fails ([`Bare`]), a Redis server or a cluster ([`RedisServer`], [`RedisCluster`]), a [`Follower`] that
//! misses nothing, a backend that is asked ([`HookServer`]), a certificate and a way through TLS for those who speak none
//! ([`Certificate`], [`Tunnel`]), and tokens of any content ([`token`], [`KeyPair`]). What bad input gets stands in a table
//! ([`bad_input`]), and is tried on a [`Stage`]. The end-to-end suite is in `tests/`, by subject;
//! what it drives a node with is here, so that a change of an interface
//! touches one place.
//!
//! Every wait has a deadline far beyond what a loaded machine needs ([`patience`]): a hang is a failure that says
//! what was waited for.

pub mod bad_input;
mod bare;
pub mod checker;
mod client;
pub mod echo;
mod follower;
mod frame_proxy;
mod free_address;
mod hook_server;
mod http;
mod key_pair;
mod key_server;
mod node;
pub mod patience;
mod port;
pub mod program;
mod proxy;
mod random;
mod raw;
mod redis;
mod stage;
mod tls;
pub mod token;

pub use bare::{BLOCKS, Bare, BarePublisher, Moods, PANICS};
pub use client::{Client, Ending, Opening, Unit};
pub use fanfare_protocol::Encoding;
pub use follower::Follower;
pub use frame_proxy::{FrameProxy, Harm};
pub use free_address::free_address;
pub use hook_server::{Asked, HookAnswer, HookServer};
pub use http::{Http, Response};
pub use key_pair::KeyPair;
pub use key_server::{KeyServer, Page};
pub use node::{API_KEY, Node, Setup, hook_config};
pub use program::{Program, serve};
pub use proxy::{Cut, Faults, Proxy};
pub use random::seeded;
pub use raw::{Frame, Raw, client_frame};
pub use redis::{RedisCluster, RedisServer};
pub use serde_json::{Value, json};
pub use stage::{Canary, Stage};
pub use tls::{Certificate, Tunnel, connect_tls, shake_hands};

/// Makes tests of async functions that take a number of shards: each is run with 1 and with 3.
#[macro_export]
macro_rules! on_1_and_3_shards {
    ($($test:ident),* $(,)?) => {
        mod on_1_shard {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    Box::pin(super::$test(1)).await;
                }
            )*
        }
        mod on_3_shards {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    Box::pin(super::$test(3)).await;
                }
            )*
        }
    };
}
