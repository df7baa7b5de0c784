//! What a subscription and a connection tell the application.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare_protocol::{ClientInfo, PublicationMessage};

use crate::StreamPosition;

/// What happens to a subscription, in order.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// The subscription is live; again after each reconnect.
    Subscribed {
        /// Where in the stream it starts, if the channel has one.
        position: Option<StreamPosition>,
        /// Whether everything since the last position follows.
        recovered: bool,
        /// Whatever the server attached, as JSON text with the JSON encoding; mostly empty.
        data: Bytes,
    },
    /// A publication.
    Publication(Publication),
    /// Another client joined the channel.
    Join(ClientInfo),
    /// Another client left the channel.
    Leave(ClientInfo),
    /// Publications were missed and will not come: what depends on them has to be loaded again.
    Gap(Gap),
    /// The subscription has ended; nothing follows.
    Unsubscribed {
        /// 0: by this client; 1: the token callback gave none; 100 to 1999: the node refused; 2000 to 2499: the node ended it;
        /// from 3000 on: the connection was closed for good.
        code: u32,
        /// In words.
        reason: String,
    },
}

/// A hole in what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last position before it, if one was known.
    pub after: Option<StreamPosition>,
    /// The position at which it goes on, if there is one.
    pub now: Option<StreamPosition>,
    /// How many are missing. `None` where nobody can say: the stream has begun anew, or the channel keeps none.
    /// Then it may also be that nothing is missing.
    pub missed: Option<u64>,
}

/// A publication as a subscriber gets it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Publication {
    /// The payload, JSON text with the JSON encoding.
    pub data: Bytes,
    /// Its place in the channel's stream; `None` when it was published live only.
    pub position: Option<StreamPosition>,
    /// Who published it, when a client did.
    pub info: Option<ClientInfo>,
    /// The publisher's tags.
    pub tags: BTreeMap<String, String>,
}

impl Publication {
    pub(crate) fn new(message: PublicationMessage, position: Option<StreamPosition>) -> Self {
        Self { data: message.data, position, info: message.info, tags: message.tags }
    }
}

/// What happens to a connection, for those who ask by [`crate::Builder::connect_with_events`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The connection is up; again after each reconnect.
    Connected {
        /// The node's name for this connection.
        client: String,
    },
    /// The connection is down.
    Disconnected {
        /// The close code; 0 when there was none.
        code: u32,
        /// In words.
        reason: String,
        /// Whether it will be tried again.
        reconnects: bool,
    },
    /// Something happened to a subscription that the server made for this connection.
    ServerSubscription {
        /// Its channel.
        channel: String,
        /// What happened.
        event: SubscriptionEvent,
    },
    /// A message to this connection alone.
    Message(Bytes),
}
