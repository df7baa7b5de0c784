//! How a Rust program publishes and subscribes.
//!
//! Two doors. [`Client`] holds one WebSocket connection: it subscribes, recovers what was missed after a reconnect,
//! publishes and asks. [`Api`] speaks to the server API over HTTP with an API key, as a backend does.
//!
//! What a subscription promises: publications arrive in channel order, none twice, and none is missing without
//! a [`SubscriptionEvent::Gap`] in its place.
//!
//! ```no_run
//! # async fn example() -> Result<(), fanfare_client::Error> {
//! use fanfare_client::{Client, SubscribeOptions, SubscriptionEvent};
//!
//! let client = Client::builder("127.0.0.1:8000").connect().await?;
//! let mut news = client.subscribe("news", SubscribeOptions::default()).await?;
//! client.publish("news", r#"{"text":"hi"}"#).await?;
//! while let Some(event) = news.next().await {
//!     if let SubscriptionEvent::Publication(publication) = event {
//!         assert_eq!(&publication.data[..], br#"{"text":"hi"}"#);
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod api;

mod address;
mod backoff;
mod client;
mod codes;
mod connection;
mod error;
mod event;
pub mod limits;
mod options;
mod position;
mod state;
mod stream;
mod subscription;
mod token;

pub use address::Address;
pub use api::Api;
pub use client::{Client, History, HistoryQuery};
pub use error::Error;
pub use event::{ConnectionEvent, Gap, Publication, SubscriptionEvent};
pub use fanfare_protocol::{ClientInfo, Encoding};
pub use options::{Builder, SubscribeOptions};
pub use position::StreamPosition;
pub use subscription::{Events, Subscription};
pub use token::{TokenError, TokenSource};
