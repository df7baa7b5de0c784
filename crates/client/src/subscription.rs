//! The application's ends of the event queues.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanfare_protocol::Channel;
use futures_util::Stream;
use tokio::sync::mpsc;

use crate::client::Inner;
use crate::limits::EVENTS_MAX;
use crate::{ConnectionEvent, SubscriptionEvent};

/// A subscription: a stream of its events. Keeps the connection alive; dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    channel: Channel,
    key: u64,
    events: mpsc::Receiver<SubscriptionEvent>,
    inner: Arc<Inner>,
}

impl Subscription {
    pub(crate) fn new(
        channel: Channel,
        key: u64,
        events: mpsc::Receiver<SubscriptionEvent>,
        inner: Arc<Inner>,
    ) -> Self {
        Self { channel, key, events, inner }
    }

    /// The channel's name.
    pub fn channel(&self) -> &str {
        self.channel.as_str()
    }

    /// The next event; `None` after [`SubscriptionEvent::Unsubscribed`]. The future may be dropped without loss.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        self.events.recv().await
    }
}

impl Stream for Subscription {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        self.events.poll_recv(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inner.forget(&self.channel, self.key);
    }
}

/// What happens to a connection, as a stream.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<ConnectionEvent>,
}

impl Events {
    pub(crate) fn new() -> (mpsc::Sender<ConnectionEvent>, Self) {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        (sender, Self { events })
    }

    /// The next event; `None` when the client has ended. The future may be dropped without loss.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        self.events.recv().await
    }
}

impl Stream for Events {
    type Item = ConnectionEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        self.events.poll_recv(context)
    }
}
