//! What a server wants to hear, and what it answers: one adapter for each protocol.
//!
//! An adapter has no socket and no state; what it has to know of a connection stands in its [`Membership`]. Publications
//! are not its concern: they are found by their stamps, whatever is around them.

mod fanfare;
mod nchan;
mod plain;
mod pusher;

use crate::channels::Channels;
use crate::tally::Tally;

pub(crate) use fanfare::Fanfare;
pub use fanfare::Tokens;
pub(crate) use nchan::Nchan;
pub(crate) use plain::Plain;
pub(crate) use pusher::Pusher;

/// Where a subscription is in its channel's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    pub(crate) epoch: Box<str>,
}

/// A subscription of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    /// The channel's number.
    pub(crate) channel: u32,
    /// Whether it is live: the server has said so.
    pub(crate) joined: bool,
    /// Whether it was ended to be begun again, and is not live yet.
    pub(crate) rejoining: bool,
    /// To recover from, if the server gives positions.
    pub(crate) position: Option<Position>,
    pub(crate) tally: Tally,
}

impl Subscription {
    pub(crate) fn new(channel: u32) -> Self {
        Self { channel, joined: false, rejoining: false, position: None, tally: Tally::default() }
    }
}

/// What an adapter sees of a connection.
pub(crate) struct Membership<'a> {
    /// Number of the connection, which names its user.
    pub(crate) who: usize,
    pub(crate) subscriptions: &'a mut [Subscription],
    pub(crate) channels: &'a Channels,
    /// Masked frames to send.
    pub(crate) out: &'a mut Vec<u8>,
}

impl Membership<'_> {
    fn join_all(&mut self) {
        self.subscriptions.iter_mut().for_each(|subscription| subscription.joined = true);
    }
}

/// What a message that is not just a publication means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    /// Subscriptions whose loss the server told: what they missed cannot be recovered.
    pub(crate) told_losses: u32,
    /// Subscriptions that were ended to be begun again, and are live now.
    pub(crate) rejoined: u32,
    /// The server refused something; the connection is of no use.
    pub(crate) refused: Option<String>,
}

impl Heard {
    fn refused(why: impl Into<String>) -> Self {
        // Words of the server, which may be hostile to a terminal.
        let why: String = why.into().chars().filter(|letter| !letter.is_control()).take(200).collect();
        Self { refused: Some(why), ..Self::default() }
    }
}

/// A protocol between a server and its subscribers.
pub(crate) trait Adapter: std::fmt::Debug + Send + Sync {
    /// The path to upgrade at, for a connection with these subscriptions.
    fn path(&self, base: &str, subscriptions: &[Subscription], channels: &Channels) -> String;

    /// Further lines of the upgrade request, each with its line end.
    fn headers(&self) -> &'static str {
        ""
    }

    /// The connection is open: says what comes first. Subscriptions that need no word are joined by this.
    fn greet(&self, membership: &mut Membership<'_>);

    /// Hears a message in which something else than publications is or may be.
    fn hear(&self, membership: &mut Membership<'_>, message: &[u8]) -> Heard;

    /// Whether there is anything but publications in a message that has some.
    fn asks(&self, _message: &[u8]) -> bool {
        false
    }

    /// Takes positions from a message with nothing but publications, if the server gives any.
    fn follow(&self, _subscriptions: &mut [Subscription], _channels: &Channels, _message: &[u8]) {}

    /// Ends a subscription and begins it again; what comes in between is recovered where there are positions. `false`
    /// where the protocol has no such thing.
    fn rejoin(&self, _membership: &mut Membership<'_>, _at: usize) -> bool {
        false
    }
}
