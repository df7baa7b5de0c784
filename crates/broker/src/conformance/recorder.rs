//! What stands above the broker in the suite: a sink and a node that remember what they were given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::Channel;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::{Control, Error, Event, NoRoom, NodeReport, NodeSink, PublicationSink, Room, Whom};

/// How long the suite waits for an event that has to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A sink of one shard that remembers what it was given, in order.
#[derive(Debug)]
pub struct Recorder {
    room: Arc<Semaphore>,
    taken: Mutex<Option<OwnedSemaphorePermit>>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    events: Vec<Event>,
    without_room: usize,
}

impl Recorder {
    /// Events there is room for at once.
    pub const CAPACITY: u32 = 1024;

    /// A sink that has seen nothing.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(Self::CAPACITY as usize)),
            taken: Mutex::default(),
            seen: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Takes all room away.
    pub fn fill(&self) {
        let all = self.room.clone().try_acquire_many_owned(Self::CAPACITY).expect("all room is free between publishes");
        *lock(&self.taken) = Some(all);
    }

    /// Gives all room back.
    pub fn drain(&self) {
        lock(&self.taken).take();
    }

    /// Whether nobody holds room.
    pub fn is_free(&self) -> bool {
        self.room.available_permits() == Self::CAPACITY as usize
    }

    /// Events that came without room.
    pub fn without_room(&self) -> usize {
        lock(&self.seen).without_room
    }

    /// What has come so far.
    pub fn events_so_far(&self) -> Vec<Event> {
        lock(&self.seen).events.clone()
    }

    /// Waits until at least `count` events have come; all that have.
    ///
    /// # Panics
    /// If they do not come within ten seconds.
    pub async fn events(&self, count: usize) -> Vec<Event> {
        let enough = timeout(PATIENCE, self.wait_for(count)).await;
        enough.unwrap_or_else(|_| panic!("{} events came, {count} were to come", self.events_so_far().len()));
        self.events_so_far()
    }

    async fn wait_for(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            if lock(&self.seen).events.len() >= count {
                return;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl PublicationSink for Recorder {
    fn try_reserve(&self, _channel: &Channel, _bytes: usize) -> Result<Room, NoRoom> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| NoRoom)?;
        Ok(room_of(permit))
    }

    async fn reserve(&self, _channel: &Channel, _bytes: usize) -> Result<Room, NoRoom> {
        let acquired = timeout(Duration::from_secs(1), self.room.clone().acquire_owned()).await;
        let permit = acquired.map_err(|_| NoRoom)?.map_err(|_| NoRoom)?;
        Ok(room_of(permit))
    }

    fn deliver(&self, event: Event, mut room: Room) {
        let mut seen = lock(&self.seen);
        seen.without_room += usize::from(room.take(0).is_none());
        seen.events.push(event);
        self.changed.notify_waiters();
    }
}

fn room_of(permit: OwnedSemaphorePermit) -> Room {
    let mut room = Room::default();
    room.add(0, permit);
    room
}

/// A node that remembers what it was told.
#[derive(Debug, Default)]
pub struct Node {
    commands: Mutex<Vec<Control>>,
    judged: Mutex<Vec<Whom>>,
}

impl Node {
    /// The id that it reports.
    pub const UID: &str = "node-under-test";
    /// The only channel with subscribers that it reports, and how many.
    pub const CHANNEL: (&str, u64) = ("listened", 3);

    /// How many commands it was told.
    pub fn commands(&self) -> usize {
        lock(&self.commands).len()
    }

    /// Whose sessions it was told to judge again.
    pub fn judged(&self) -> Vec<Whom> {
        lock(&self.judged).clone()
    }
}

#[async_trait]
impl NodeSink for Node {
    async fn apply(&self, control: Control) -> Result<(), Error> {
        lock(&self.commands).push(control);
        Ok(())
    }

    async fn judge_again(&self, whom: Whom) -> Result<(), Error> {
        lock(&self.judged).push(whom);
        Ok(())
    }

    fn report(&self) -> NodeReport {
        NodeReport { uid: Self::UID.to_owned(), ..NodeReport::default() }
    }

    fn channels(&self, _pattern: Option<&str>) -> BTreeMap<String, u64> {
        let (name, subscribers) = Self::CHANNEL;
        BTreeMap::from([(name.to_owned(), subscribers)])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
