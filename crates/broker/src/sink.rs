//! The way up: where a broker hands what it received to the shards of its node.

use async_trait::async_trait;
use fanfare_protocol::Channel;
use tokio::sync::OwnedSemaphorePermit;

use crate::Event;

/// No listening shard had room in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room on a shard's ring")]
pub struct NoRoom;

/// Room reserved on the rings of the shards that listen to a channel. Dropping it gives the room back.
#[derive(Debug, Default)]
pub struct Room {
    permits: Vec<(usize, OwnedSemaphorePermit)>,
}

impl Room {
    /// Adds reserved room on a shard's ring.
    pub fn add(&mut self, shard: usize, permit: OwnedSemaphorePermit) {
        self.permits.push((shard, permit));
    }

    /// Takes the room on a shard's ring out, if there is any.
    pub fn take(&mut self, shard: usize) -> Option<OwnedSemaphorePermit> {
        let at = self.permits.iter().position(|(owner, _)| *owner == shard)?;
        Some(self.permits.swap_remove(at).1)
    }
}

/// Takes events to the shards that listen to their channel.
///
/// A broker that can wait reserves room first and gives the event its place only then. A broker that cannot
/// wait delivers with an empty [`Room`]: where a ring is full, the channel is marked broken on that shard,
/// counted, and read again from history; nothing is dropped silently.
#[async_trait]
pub trait PublicationSink: Send + Sync + 'static {
    /// Room for an event of `bytes` on every listening ring, if there is some right now.
    fn try_reserve(&self, channel: &Channel, bytes: usize) -> Result<Room, NoRoom>;

    /// Waits for room for at most one second.
    async fn reserve(&self, channel: &Channel, bytes: usize) -> Result<Room, NoRoom>;

    /// Appends the event to the rings. Synchronous, never blocks, and called under the lock that gave the
    /// event its offset, so that ring order is channel order (I1).
    fn deliver(&self, event: Event, room: Room);

    /// Something of the channel may be missing although nothing of it was delivered: the channel is marked broken
    /// on every shard that listens to it, and read again from history. Never blocks. A broker that can lose events
    /// on their way calls it once it can be read again; one that cannot never does.
    fn broken(&self, channel: &Channel) {
        let _ = channel;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn room_is_taken_once_and_given_back_when_dropped() {
        let ring = Arc::new(Semaphore::new(2));
        let mut room = Room::default();
        for shard in [1, 3] {
            room.add(shard, ring.clone().try_acquire_owned().unwrap());
        }
        assert!(room.take(0).is_none());
        let taken = room.take(3);
        assert!(taken.is_some() && room.take(3).is_none());
        drop(room);
        assert_eq!(ring.available_permits(), 1);
        drop(taken);
        assert_eq!(ring.available_permits(), 2);
    }
}
