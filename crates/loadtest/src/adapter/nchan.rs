//! Nchan, the pub/sub module of nginx: a WebSocket for each channel, or one for several whose names are in its path.

use super::{Adapter, Heard, Membership, Subscription};
use crate::channels::Channels;

/// Subscribes by its path.
#[derive(Debug)]
pub(crate) struct Nchan;

impl Adapter for Nchan {
    /// `{channel}` stands for the names of all channels, with commas in between, which is what the module's
    /// `nchan_channel_id_split_delimiter ","` splits.
    fn path(&self, base: &str, subscriptions: &[Subscription], channels: &Channels) -> String {
        let names: Vec<String> = subscriptions.iter().map(|subscription| channels.name(subscription.channel)).collect();
        base.replace("{channel}", &names.join(","))
    }

    fn greet(&self, membership: &mut Membership<'_>) {
        membership.join_all();
    }

    fn hear(&self, _membership: &mut Membership<'_>, _message: &[u8]) -> Heard {
        Heard::default()
    }
}
