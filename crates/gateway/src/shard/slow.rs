//! What becomes of a session over the bound of its outbox: a slow consumer.
//!
//! Where all that waits was promised, the session is closed (3008); its client comes back and recovers. Publications of
//! channels without such a promise may be dropped instead, if their namespace says so: the oldest first, down to half of
//! the bound, so that the next one does not begin the same again. Whoever lost something is told: its subscription ends
//! with 2500, behind what was kept. So a channel is told of once, until its client has read as far as that and has
//! subscribed anew; a client that stays slow sets the pace itself.

use std::collections::BTreeSet;

use fanfare_protocol::{Disconnect, Unsubscribe};

use super::Shard;
use super::session::{Session, Stage};
use crate::slots::SlotId;

impl Shard {
    /// Makes room in an outbox that is over its bound, or closes the session.
    pub(super) fn relieve(&mut self, id: SlotId) {
        let told = self.drop_oldest(id);
        let is_over = |session: &Session| session.outbox.bytes() > self.options.outbox_bytes_max;
        if self.sessions.get(id).is_some_and(is_over) {
            return self.close_slow(id);
        }
        for channel in told {
            // It may have ended meanwhile: telling of another may have made the outbox too full again.
            if self.unsubscribe_with_push(id, channel, &Unsubscribe::INSUFFICIENT_STATE) {
                self.stats.insufficient_slow.add(1);
            }
        }
    }

    /// Drops what may be dropped; returns whose publications that were.
    fn drop_oldest(&mut self, id: SlotId) -> BTreeSet<SlotId> {
        let Some(session) = self.sessions.get_mut(id) else { return BTreeSet::new() };
        let own = session.subscriptions.iter();
        // One that the server made cannot be ended so: its client would not subscribe again.
        let own = own.filter(|own| own.stage != Stage::Joining && !own.origin.is_server_side());
        let channels: BTreeSet<SlotId> = own.map(|subscription| subscription.channel).collect();
        let dropped = session.outbox.drop_oldest(self.options.outbox_bytes_max / 2, &channels);
        self.stats.dropped.add(dropped.frames);
        self.stats.outbox_bytes.subtract(dropped.bytes as u64);
        self.stats.outbox_memory.subtract(dropped.memory_bytes as u64);
        dropped.channels
    }

    /// Closes a session whose outbox is over its bound.
    pub(super) fn close_slow(&mut self, id: SlotId) {
        self.stats.outbox_overflows.add(1);
        self.close(id, &Disconnect::SLOW);
    }
}
