//! What a shard's sessions take of the node's memory, and how it gives some back.

use super::Shard;
use super::channel::ChannelState;
use super::session::State;
use crate::limits;
use crate::slots::SlotId;

/// A session whose client reads slowly, and how much waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlowSession {
    pub(crate) outbox_bytes: usize,
    pub(crate) session: SlotId,
}

impl Shard {
    /// Counts anew what is held back, where something is; now and then, since channels may be many.
    pub(crate) fn measure_held_back(&mut self) {
        let due = self.holding_measured_millis + limits::HELD_BACK_MEASURE_MILLIS;
        if self.holding.is_empty() || self.now.millis < due {
            return;
        }
        self.holding_measured_millis = self.now.millis;
        let channels = &self.channels;
        let mut bytes = 0;
        self.holding.retain(|id| {
            let held_back = channels.get(*id).map_or(0, ChannelState::held_back_bytes);
            bytes += held_back;
            held_back > 0
        });
        self.stats.held_back_memory.set(bytes as u64);
    }

    /// The sessions that most waits for since their sockets take no more, the largest outbox first; only so many.
    pub(crate) fn slowest(&self) -> Vec<SlowSession> {
        let slow =
            |id: &SlotId| self.outbox_of_slow(*id).map(|outbox_bytes| SlowSession { outbox_bytes, session: *id });
        let mut slow: Vec<SlowSession> = self.sessions.ids().filter_map(|id| slow(&id)).collect();
        slow.sort_unstable_by(|one, other| other.cmp(one));
        slow.truncate(limits::SHED_SESSIONS_MAX);
        slow
    }

    /// Closes sessions to free what waits for them, but for those whose clients have read it meanwhile.
    pub(crate) fn shed(&mut self, sessions: &[SlotId]) {
        for id in sessions {
            if self.outbox_of_slow(*id).is_some() {
                self.stats.shed.add(1);
                self.close_slow(*id);
            }
        }
    }

    /// What waits for a session, if its socket takes no more and closing it would free something.
    fn outbox_of_slow(&self, id: SlotId) -> Option<usize> {
        let session = self.sessions.get(id)?;
        let bytes = session.outbox.bytes();
        let is_slow = session.blocked && session.state != State::Closing && bytes >= limits::SHED_OUTBOX_BYTES_MIN;
        is_slow.then_some(bytes)
    }
}
