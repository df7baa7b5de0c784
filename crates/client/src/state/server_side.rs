//! Subscriptions that the server made for this connection.

use std::collections::BTreeMap;

use fanfare_protocol::{Push, SubscribeRequest, SubscribeResult};

use super::entry::{happen, recovery, start};
use crate::SubscriptionEvent;
use crate::position::Track;

/// Code for a subscription that was not there any more after a reconnect.
const UNSUBSCRIBED_BY_SERVER: u32 = 2000;

/// By channel. The server bounds their number.
#[derive(Debug, Default)]
pub(crate) struct ServerSide(BTreeMap<String, Track>);

impl ServerSide {
    /// What to recover with the next connect command.
    pub(crate) fn requests(&self) -> BTreeMap<String, SubscribeRequest> {
        let recoverable = self.0.iter().filter(|(_, track)| track.recover_from().is_some());
        recoverable.map(|(channel, track)| (channel.clone(), recovery(track))).collect()
    }

    pub(crate) fn invalidate(&mut self) {
        self.0.values_mut().for_each(Track::invalidate);
    }

    /// The connect reply names all that there are now.
    pub(crate) fn connected(&mut self, subs: BTreeMap<String, SubscribeResult>) -> Vec<(String, SubscriptionEvent)> {
        let mut events = Vec::new();
        let before = std::mem::take(&mut self.0);
        for channel in before.keys().filter(|channel| !subs.contains_key(*channel)) {
            events.push((channel.clone(), ended(UNSUBSCRIBED_BY_SERVER, "not subscribed after the reconnect")));
        }
        let mut before = before;
        for (channel, result) in subs {
            let mut track = before.remove(&channel).unwrap_or_default();
            start(&mut track, result, |event| events.push((channel.clone(), event)));
            self.0.insert(channel, track);
        }
        events
    }

    pub(crate) fn push(&mut self, push: Push) -> Vec<SubscriptionEvent> {
        let mut events = Vec::new();
        if let Some(subscribe) = push.subscribe {
            let result = SubscribeResult {
                recoverable: subscribe.recoverable,
                positioned: subscribe.positioned,
                epoch: subscribe.epoch,
                offset: subscribe.offset,
                data: subscribe.data,
                ..Default::default()
            };
            // Made anew by the server, now: nothing before it is missed.
            let track = self.0.entry(push.channel).or_default();
            *track = Track::default();
            start(track, result, |event| events.push(event));
        } else if let Some(unsubscribe) = push.unsubscribe {
            if self.0.remove(&push.channel).is_some() {
                events.push(ended(unsubscribe.code, &unsubscribe.reason));
            }
        } else if let Some(track) = self.0.get_mut(&push.channel) {
            happen(track, push, |event| events.push(event));
        }
        events
    }
}

fn ended(code: u32, reason: &str) -> SubscriptionEvent {
    SubscriptionEvent::Unsubscribed { code, reason: reason.to_owned() }
}
