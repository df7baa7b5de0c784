//! What an application chooses before it connects or subscribes.

use std::sync::Arc;

use fanfare_protocol::Encoding;
use rustls::ClientConfig;

use crate::limits::EVENTS_MAX;
use crate::stream::Way;
use crate::{Client, Error, Events, StreamPosition, TokenSource};

/// How to subscribe.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// The last position that the application has seen: what came after it is delivered first, or a gap is told.
    pub since: Option<StreamPosition>,
    /// Where the subscription token comes from, for channels that need one.
    pub token: Option<TokenSource>,
    /// Ask for positions and recovery, if the channel allows a client to ask. On by default; nodes may turn it on
    /// unasked.
    pub recoverable: bool,
    /// Ask for joins and leaves, if the channel allows it.
    pub join_leave: bool,
    /// Events that may wait for [`crate::Subscription::next`]. When they do, the connection is not read until there
    /// is room, all its subscriptions wait, and a node that loses patience closes it: then recovery follows.
    pub events_max: usize,
}

impl SubscribeOptions {
    /// Continues after a position that the application has kept.
    #[must_use]
    pub fn since(self, position: StreamPosition) -> Self {
        Self { since: Some(position), ..self }
    }

    /// Subscribes with tokens.
    #[must_use]
    pub fn token(self, source: TokenSource) -> Self {
        Self { token: Some(source), ..self }
    }

    /// Asks for joins and leaves.
    #[must_use]
    pub fn join_leave(self) -> Self {
        Self { join_leave: true, ..self }
    }
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { since: None, token: None, recoverable: true, join_leave: false, events_max: EVENTS_MAX }
    }
}

/// How to connect. Made by [`Client::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    address: String,
    tls: Option<Arc<ClientConfig>>,
    token: Option<TokenSource>,
    encoding: Encoding,
    name: String,
}

impl Builder {
    pub(crate) fn new(address: &str) -> Self {
        let name = "rust".to_owned();
        Self { address: address.to_owned(), tls: None, token: None, encoding: Encoding::Json, name }
    }

    /// Whom to trust at an address with `https://` or `wss://`, which needs this.
    #[must_use]
    pub fn tls(self, tls: Arc<ClientConfig>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Where the connection token comes from. Without one the connection is anonymous.
    #[must_use]
    pub fn token(self, source: TokenSource) -> Self {
        Self { token: Some(source), ..self }
    }

    /// JSON, which is the default, or Protobuf, which takes payloads that are not JSON too.
    #[must_use]
    pub fn encoding(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    /// The name that the client gives to the node; `rust` by default.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Connects. Fails if the first attempt does; after that the client reconnects on its own.
    ///
    /// Needs a tokio runtime with time and I/O.
    pub async fn connect(self) -> Result<Client, Error> {
        Client::connect(self.settings()?, None).await
    }

    /// As [`Builder::connect`], and tells of the connection: when it is lost and found, and what happens to the
    /// subscriptions that the server makes. The events have to be read, or dropped: like those of a
    /// subscription they hold up the connection when too many wait.
    pub async fn connect_with_events(self) -> Result<(Client, Events), Error> {
        let (sender, events) = Events::new();
        let client = Client::connect(self.settings()?, Some(sender)).await?;
        Ok((client, events))
    }

    /// Returns at once and connects in the background, as often as it takes. Fails on a wrong address only.
    pub fn start(self) -> Result<Client, Error> {
        Ok(Client::start(self.settings()?, None, None))
    }

    fn settings(self) -> Result<Settings, Error> {
        let way = Way::new(&self.address, self.tls)?;
        Ok(Settings { way, token: self.token, encoding: self.encoding, name: self.name })
    }
}

/// A builder's choices, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) way: Way,
    pub(crate) token: Option<TokenSource>,
    pub(crate) encoding: Encoding,
    pub(crate) name: String,
}
