//! One subscription that the application asked for.

use std::sync::Arc;

use fanfare_protocol::{Channel, PublicationMessage, Push, SubscribeRequest, SubscribeResult};
use tokio::sync::mpsc;

use super::deliveries::Deliveries;
use crate::backoff::Backoff;
use crate::position::{Track, Verdict};
use crate::{Publication, StreamPosition, SubscribeOptions, SubscriptionEvent, TokenSource};

/// How far the subscription has come on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for a connection or for another attempt.
    Idle,
    /// The token callback is at work.
    AwaitingToken,
    /// The subscribe command is on its way.
    Subscribing,
    /// Publications arrive.
    Live,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: u64,
    pub(crate) options: SubscribeOptions,
    pub(crate) events: mpsc::Sender<SubscriptionEvent>,
    pub(crate) phase: Phase,
    pub(crate) token: Option<String>,
    pub(crate) backoff: Backoff,
    track: Track,
}

impl Entry {
    pub(crate) fn new(key: u64, mut options: SubscribeOptions, events: mpsc::Sender<SubscriptionEvent>) -> Self {
        let track = Track::new(options.since.take());
        Self { key, options, events, phase: Phase::Idle, token: None, backoff: Backoff::default(), track }
    }

    /// Whether somebody still reads the events.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.events.is_closed()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    pub(crate) fn renews_token(&self) -> bool {
        self.options.token.as_ref().is_some_and(TokenSource::renews)
    }

    /// Where to get a token, if one is needed and none is at hand.
    pub(crate) fn token_to_fetch(&self) -> Option<TokenSource> {
        self.options.token.clone().filter(|_| self.token.is_none())
    }

    pub(crate) fn forget_token(&mut self) {
        self.token = None;
    }

    /// Token and position are void.
    pub(crate) fn invalidate(&mut self) {
        self.forget_token();
        self.track.invalidate();
    }

    pub(crate) fn disconnected(&mut self) {
        self.phase = Phase::Idle;
    }

    pub(crate) fn request(&self, channel: &Channel) -> SubscribeRequest {
        SubscribeRequest {
            channel: channel.as_str().to_owned(),
            token: self.token.clone().unwrap_or_default(),
            positioned: self.options.recoverable,
            recoverable: self.options.recoverable,
            join_leave: self.options.join_leave,
            ..recovery(&self.track)
        }
    }

    /// The server has agreed: what was missed is delivered first.
    pub(crate) fn subscribed(&mut self, result: SubscribeResult, deliveries: &mut Deliveries) {
        self.phase = Phase::Live;
        self.backoff.reset();
        start(&mut self.track, result, |event| deliveries.subscription(&self.events, event));
    }

    pub(crate) fn push(&mut self, push: Push, deliveries: &mut Deliveries) {
        happen(&mut self.track, push, |event| deliveries.subscription(&self.events, event));
    }
}

/// The part of a subscribe request that asks for recovery.
pub(crate) fn recovery(track: &Track) -> SubscribeRequest {
    let Some(position) = track.recover_from() else {
        return SubscribeRequest::default();
    };
    SubscribeRequest {
        recover: true,
        offset: position.offset,
        epoch: position.epoch.as_ref().to_owned(),
        ..Default::default()
    }
}

/// Turns the answer to a subscribe into events.
pub(crate) fn start(track: &mut Track, result: SubscribeResult, mut tell: impl FnMut(SubscriptionEvent)) {
    let start = track.start(&result);
    let position = track.position().cloned();
    tell(SubscriptionEvent::Subscribed { position, recovered: start.recovered, data: result.data });
    if let Some(gap) = start.gap {
        tell(SubscriptionEvent::Gap(gap));
    }
    for publication in result.publications {
        arrive(track, publication, &mut tell);
    }
}

/// Turns a push into events.
pub(crate) fn happen(track: &mut Track, push: Push, mut tell: impl FnMut(SubscriptionEvent)) {
    if let Some(publication) = push.publication {
        arrive(track, publication, &mut tell);
    }
    if let Some(info) = push.join.and_then(|join| join.info) {
        tell(SubscriptionEvent::Join(info));
    }
    if let Some(info) = push.leave.and_then(|leave| leave.info) {
        tell(SubscriptionEvent::Leave(info));
    }
}

fn arrive(track: &mut Track, message: PublicationMessage, tell: &mut impl FnMut(SubscriptionEvent)) {
    // The publication of another channel, as pattern subscriptions have it, has no place in this stream.
    let offset = if message.channel.is_empty() { message.offset } else { 0 };
    match track.offer(offset, &message.epoch) {
        Verdict::Duplicate => return,
        Verdict::After(gap) => tell(SubscriptionEvent::Gap(gap)),
        Verdict::Deliver => {}
    }
    let position = position_of(track, offset);
    tell(SubscriptionEvent::Publication(Publication::new(message, position)));
}

fn position_of(track: &Track, offset: u64) -> Option<StreamPosition> {
    let epoch = track.position().map(|position| Arc::clone(&position.epoch));
    (offset > 0).then(|| StreamPosition { offset, epoch: epoch.unwrap_or_default() })
}
