//! A WebSocket server that sends to everyone on a path what one of them sends: no word of a protocol of its own.

use super::{Adapter, Heard, Membership, Subscription};
use crate::channels::Channels;

/// Says nothing and listens.
#[derive(Debug)]
pub(crate) struct Plain;

impl Adapter for Plain {
    /// `{channel}` in the path stands for the channel's name.
    fn path(&self, base: &str, subscriptions: &[Subscription], channels: &Channels) -> String {
        let first = subscriptions.first().map(|subscription| channels.name(subscription.channel));
        base.replace("{channel}", &first.unwrap_or_default())
    }

    fn greet(&self, membership: &mut Membership<'_>) {
        membership.join_all();
    }

    fn hear(&self, _membership: &mut Membership<'_>, _message: &[u8]) -> Heard {
        Heard::default()
    }
}
