//! Deadlines of a connection other than those of its commands.

use std::collections::BTreeSet;

use fanfare_protocol::Channel;
use tokio::time::Instant;

/// What is due. The key says which of a channel's subscriptions is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    RefreshConnection,
    Resubscribe(Channel, u64),
    RefreshSubscription(Channel, u64),
}

#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        // A new deadline for the connection takes the place of the one before, as after a refresh push.
        if timer == Timer::RefreshConnection {
            self.0.retain(|(_, other)| *other != timer);
        }
        self.0.insert((at, timer));
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the next one that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Timer> {
        self.0.first().filter(|(at, _)| *at <= now)?;
        self.0.pop_first().map(|(_, timer)| timer)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
