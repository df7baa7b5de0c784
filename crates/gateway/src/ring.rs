//! The one hand-off: a bounded ring for each shard.
//!
//! Whoever holds an event appends it here in channel order; the shard takes entries out, a batch at a time.
//! The bound is in bytes ([`crate::Options::ring_bytes_max`]). Room is a semaphore permit that travels with the
//! entry and is given back when the shard has taken it. Control commands have room of their own, so that a
//! flood of publications never keeps an operator out, but wait in the same queue, in order.
//!
//! An event without room is not dropped silently: its channel is put on the list of broken channels, which
//! the shard reads again from history.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_broker::fault_points::{self, Defect};
use fanfare_broker::{Control, Event, NoRoom, Whom};
use fanfare_protocol::Channel;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::limits;
use crate::settings::Settings;
use crate::shard::SlowSession;
use crate::slots::SlotId;

/// Places that an empty ring keeps: 256 of some 80 bytes.
const SPARE_ENTRIES: usize = 256;

/// One thing for a shard to do, in order.
pub(crate) enum Entry {
    /// Fan this out. The permit is its room.
    Event(Event, OwnedSemaphorePermit),
    /// Carry this out and answer.
    Control(Arc<Control>, oneshot::Sender<()>, OwnedSemaphorePermit),
    /// Go on with these settings.
    Reload(Arc<Settings>),
    /// Say which sessions most waits for.
    Slowest(oneshot::Sender<Vec<SlowSession>>, OwnedSemaphorePermit),
    /// Close these sessions to free memory.
    Shed(Vec<SlotId>),
    /// Judge these sessions by the revocations, and answer.
    Judge(Arc<Whom>, oneshot::Sender<()>, OwnedSemaphorePermit),
    /// Close every session within so many milliseconds.
    Drain(u64),
    /// End the shard.
    Stop,
}

/// A shard's ring.
pub(crate) struct Ring {
    entries: Mutex<VecDeque<Entry>>,
    broken: Mutex<HashSet<Channel>>,
    depth: AtomicUsize,
    overflows: AtomicUsize,
    bytes_max: usize,
    room: Arc<Semaphore>,
    control_room: Arc<Semaphore>,
    wake: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ring {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            entries: Mutex::default(),
            broken: Mutex::default(),
            depth: AtomicUsize::new(0),
            overflows: AtomicUsize::new(0),
            bytes_max,
            room: Arc::new(Semaphore::new(bytes_max)),
            control_room: Arc::new(Semaphore::new(limits::CONTROLS_WAITING_MAX)),
            wake: Notify::new(),
        }
    }

    /// Room for an event of `bytes`, if there is some right now.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, NoRoom> {
        Arc::clone(&self.room).try_acquire_many_owned(self.cost(bytes)).map_err(|_| NoRoom)
    }

    /// Waits for room. May be dropped: the place in the queue for room is given up.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, NoRoom> {
        Arc::clone(&self.room).acquire_many_owned(self.cost(bytes)).await.map_err(|_| NoRoom)
    }

    /// What an event takes of the ring; never more than the whole, or it could not pass at all.
    fn cost(&self, bytes: usize) -> u32 {
        let cost = (bytes + limits::RING_ENTRY_BYTES).min(self.bytes_max);
        u32::try_from(cost).unwrap_or(u32::MAX)
    }

    /// Appends an event with its room, or marks its channel broken if there is no room.
    pub(crate) fn push_event(&self, event: Event, room: Option<OwnedSemaphorePermit>, bytes: usize) {
        if fault_points::one_in(20, Defect::DropRingEntry) {
            return;
        }
        match room.map_or_else(|| self.try_reserve(bytes), Ok) {
            Ok(permit) => self.push(Entry::Event(event, permit)),
            Err(NoRoom) => {
                self.overflows.fetch_add(1, Ordering::Relaxed);
                self.mark_broken(event.channel().clone());
            }
        }
    }

    /// Has the shard read the channel again from history.
    pub(crate) fn mark_broken(&self, channel: Channel) {
        locked(&self.broken).insert(channel);
        self.wake.notify_one();
    }

    /// Waits for room for a control command and appends it.
    pub(crate) async fn push_control(&self, control: Arc<Control>) -> Option<oneshot::Receiver<()>> {
        self.push_order(|done, permit| Entry::Control(control, done, permit)).await
    }

    /// The same for a judgement by the revocations.
    pub(crate) async fn push_judgement(&self, whom: Arc<Whom>) -> Option<oneshot::Receiver<()>> {
        self.push_order(|done, permit| Entry::Judge(whom, done, permit)).await
    }

    async fn push_order(
        &self,
        entry: impl FnOnce(oneshot::Sender<()>, OwnedSemaphorePermit) -> Entry,
    ) -> Option<oneshot::Receiver<()>> {
        let permit = Arc::clone(&self.control_room).acquire_owned().await.ok()?;
        let (done, answer) = oneshot::channel();
        self.push(entry(done, permit));
        Some(answer)
    }

    /// Asks for the sessions that most waits for; `None` where a shard that does not answer was asked too often.
    pub(crate) fn push_slowest(&self) -> Option<oneshot::Receiver<Vec<SlowSession>>> {
        let permit = Arc::clone(&self.control_room).try_acquire_owned().ok()?;
        let (answer, answered) = oneshot::channel();
        self.push(Entry::Slowest(answer, permit));
        Some(answered)
    }

    /// Appends an entry that needs no room: there are at most two of these in a node's life, and one for each answer of
    /// [`Self::push_slowest`].
    pub(crate) fn push(&self, entry: Entry) {
        {
            let mut entries = locked(&self.entries);
            entries.push_back(entry);
            self.depth.store(entries.len(), Ordering::Relaxed);
        }
        self.wake.notify_one();
    }

    /// Moves at most `max` entries to `batch`.
    pub(crate) fn take(&self, batch: &mut VecDeque<Entry>, max: usize) {
        let mut entries = locked(&self.entries);
        let count = entries.len().min(max);
        batch.extend(entries.drain(..count));
        if entries.is_empty() {
            // After a burst, which would keep megabytes.
            entries.shrink_to(SPARE_ENTRIES);
        }
        self.depth.store(entries.len(), Ordering::Relaxed);
    }

    /// The channels marked broken since the last call.
    pub(crate) fn take_broken(&self) -> HashSet<Channel> {
        std::mem::take(&mut *locked(&self.broken))
    }

    /// Bytes of the events on it, those that the shard has in hand included.
    pub(crate) fn used_bytes(&self) -> usize {
        self.bytes_max.saturating_sub(self.room.available_permits())
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    pub(crate) fn overflows(&self) -> usize {
        self.overflows.load(Ordering::Relaxed)
    }

    /// Wakes the shard; without effect while it runs.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until the shard is woken. May be dropped: no wake-up is lost.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}
