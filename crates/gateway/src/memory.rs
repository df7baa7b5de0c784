//! What the gateway accounts for of a node's memory, and how it gives some back.
//!
//! Shards count in cells that only they write. Outboxes count each frame once, however many of them hold it; what is
//! held back is counted once for its channel. A publication that is in the broker's history too counts in both places.

use crate::gateway::Handle;
use crate::limits;
use crate::ring::Entry;
use crate::shard::SlowSession;
use crate::slots::SlotId;
use crate::stats::Stats;

/// Bytes of memory by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Sessions and subscriptions, as they are at rest: their number by what one is known to take.
    pub sessions: usize,
    /// Frames that wait for their sockets.
    pub outboxes: usize,
    /// Messages of clients that are not whole or not carried out.
    pub messages: usize,
    /// Events that wait for the history that comes before them.
    pub held_back: usize,
    /// Events that shards have not taken.
    pub rings: usize,
}

/// What was closed to free memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shed {
    /// Sessions.
    pub sessions: usize,
    /// What waited for them. Less is freed where others hold the same frames.
    pub outbox_bytes: usize,
}

impl Handle {
    /// What the gateway accounts for.
    pub fn memory(&self) -> MemoryUse {
        let sum =
            |read: fn(&Stats) -> u64| self.directory().stats().iter().map(|stats| read(stats)).sum::<u64>() as usize;
        MemoryUse {
            sessions: sum(|stats| stats.sessions.get()) * limits::SESSION_MEMORY_BYTES
                + sum(|stats| stats.subscriptions.get()) * limits::SUBSCRIPTION_MEMORY_BYTES,
            outboxes: sum(|stats| stats.outbox_memory.get()),
            messages: sum(|stats| stats.message_bytes.get()),
            held_back: sum(|stats| stats.held_back_memory.get()),
            rings: self.directory().rings().iter().map(|ring| ring.used_bytes()).sum(),
        }
    }

    /// From now on handshakes get 503, or do no more.
    pub fn set_short_of_memory(&self, is_short: bool) {
        self.directory().set_short_of_memory(is_short);
    }

    /// Closes sessions whose sockets take no more (3008), those that most waits for first, until `bytes` waited for
    /// them or none is left that would free much.
    pub async fn shed(&self, bytes: usize) -> Shed {
        let mut slowest = self.slowest().await;
        slowest.sort_unstable_by(|(_, one), (_, other)| other.cmp(one));
        let mut closed: Vec<Vec<SlotId>> = vec![Vec::new(); self.directory().shards()];
        let mut shed = Shed::default();
        for (shard, slow) in slowest {
            if shed.outbox_bytes >= bytes {
                break;
            }
            shed.sessions += 1;
            shed.outbox_bytes += slow.outbox_bytes;
            closed[shard].push(slow.session);
        }
        for (shard, sessions) in closed.into_iter().enumerate().filter(|(_, sessions)| !sessions.is_empty()) {
            self.directory().ring(shard).push(Entry::Shed(sessions));
        }
        shed
    }

    /// The slowest sessions of every shard that answers in time.
    async fn slowest(&self) -> Vec<(usize, SlowSession)> {
        let asked: Vec<_> = self.directory().rings().iter().map(|ring| ring.push_slowest()).collect();
        let mut slowest = Vec::new();
        for (shard, answered) in asked.into_iter().enumerate() {
            let Some(answered) = answered else { continue };
            let answer = tokio::time::timeout(limits::CONTROL_TIMEOUT, answered).await;
            let sessions = answer.ok().and_then(Result::ok).unwrap_or_default();
            slowest.extend(sessions.into_iter().map(|slow| (shard, slow)));
        }
        slowest
    }
}
