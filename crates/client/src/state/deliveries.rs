//! Events on their way to their readers, in order.
//!
//! Mostly an event goes straight into its reader's queue. When that is full, it waits here with everything after
//! it, and the socket is not read until this is empty again. So the bound is what one frame of the server
//! holds, which is bounded itself.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::{ConnectionEvent, SubscriptionEvent};

#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    backlog: VecDeque<Parcel>,
}

#[derive(Debug)]
enum Parcel {
    Subscription(mpsc::Sender<SubscriptionEvent>, SubscriptionEvent),
    Connection(mpsc::Sender<ConnectionEvent>, ConnectionEvent),
}

impl Deliveries {
    pub(crate) fn is_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    pub(crate) fn subscription(&mut self, to: &mpsc::Sender<SubscriptionEvent>, event: SubscriptionEvent) {
        if let Some(event) = self.rest(to, event) {
            self.backlog.push_back(Parcel::Subscription(to.clone(), event));
        }
    }

    pub(crate) fn connection(&mut self, to: &mpsc::Sender<ConnectionEvent>, event: ConnectionEvent) {
        if let Some(event) = self.rest(to, event) {
            self.backlog.push_back(Parcel::Connection(to.clone(), event));
        }
    }

    /// Waits until the oldest event's reader has room or has gone. May be dropped without loss.
    pub(crate) async fn hand_over(&mut self) {
        match self.backlog.front() {
            None => return,
            // A permit that is dropped gives its place back; the place is taken again at once, by nobody else.
            Some(Parcel::Subscription(to, _)) => drop(to.reserve().await),
            Some(Parcel::Connection(to, _)) => drop(to.reserve().await),
        }
        match self.backlog.pop_front() {
            Some(Parcel::Subscription(to, event)) => send(&to, event),
            Some(Parcel::Connection(to, event)) => send(&to, event),
            None => {}
        }
    }

    /// Sends the event if nothing waits before it and there is room; gives it back if it has to wait. An event
    /// for a reader that has gone is dropped.
    fn rest<T>(&self, to: &mpsc::Sender<T>, event: T) -> Option<T> {
        if !self.backlog.is_empty() {
            return Some(event);
        }
        match to.try_send(event) {
            Ok(()) | Err(TrySendError::Closed(_)) => None,
            Err(TrySendError::Full(event)) => Some(event),
        }
    }
}

/// Only this task sends, so the place that was just seen is still free: the one failure is a reader that has gone.
fn send<T>(to: &mpsc::Sender<T>, event: T) {
    let _ = to.try_send(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: u32) -> SubscriptionEvent {
        SubscriptionEvent::Unsubscribed { code, reason: String::new() }
    }

    fn code(event: Option<SubscriptionEvent>) -> u32 {
        match event {
            Some(SubscriptionEvent::Unsubscribed { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn order_holds_across_a_full_queue() {
        let (sender, mut reader) = mpsc::channel(2);
        let mut deliveries = Deliveries::default();
        (0..5).for_each(|code| deliveries.subscription(&sender, event(code)));
        assert_eq!(deliveries.backlog.len(), 3);
        for expected in 0..5 {
            assert_eq!(code(reader.recv().await), expected);
            deliveries.hand_over().await;
        }
        assert!(deliveries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hand_over_that_is_dropped_loses_nothing() {
        let (sender, mut reader) = mpsc::channel(1);
        let mut deliveries = Deliveries::default();
        (0..2).for_each(|code| deliveries.subscription(&sender, event(code)));
        let second = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(second, deliveries.hand_over()).await.is_err());
        assert_eq!(code(reader.recv().await), 0);
        deliveries.hand_over().await;
        assert_eq!(code(reader.recv().await), 1);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_holds_nobody_up() {
        let (sender, reader) = mpsc::channel(1);
        let mut deliveries = Deliveries::default();
        (0..3).for_each(|code| deliveries.subscription(&sender, event(code)));
        drop(reader);
        deliveries.hand_over().await;
        deliveries.hand_over().await;
        assert!(deliveries.is_empty());
    }
}
