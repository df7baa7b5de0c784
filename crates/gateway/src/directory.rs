//! The node-wide directory: channel to listening shards, user to shards.
//!
//! It is the one place that more than one thread looks at. Publishing asks it once for each publication, never
//! once for each recipient. Its maps are only touched through closures and entries that end within a statement
//! (I4): a guard never lives across an await or while another map is used.
//!
//! A shard sets its count of a channel before it reads the channel's history and clears it with the last
//! unsubscribe. The first and the last change happen under the map's guard, so that an entry cannot be removed
//! while another shard begins to listen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use fanfare_broker::control::Target;
use fanfare_broker::{Control, Error, Event, NoRoom, NodeReport, NodeSink, PublicationSink, Room, Whom};
use fanfare_protocol::Channel;
use tokio::sync::oneshot;

use crate::limits;
use crate::options::Options;
use crate::places::NoPlace;
use crate::ring::{Entry, Ring};
use crate::stats::Stats;
use crate::users::{ById, User};

/// How many subscribers a channel has on each shard. A shard writes its own count only.
#[derive(Debug)]
pub(crate) struct Listeners {
    counts: Box<[AtomicU32]>,
}

impl Listeners {
    fn new(shards: usize) -> Self {
        Self { counts: (0..shards).map(|_| AtomicU32::new(0)).collect() }
    }

    pub(crate) fn set(&self, shard: usize, count: usize) {
        self.counts[shard].store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Release);
    }

    fn listens(&self, shard: usize) -> bool {
        self.counts[shard].load(Ordering::Acquire) > 0
    }

    fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }
}

/// Which shards concern a channel or a user, and the way to them.
pub struct Directory {
    rings: Vec<Arc<Ring>>,
    stats: Vec<Arc<Stats>>,
    channels: DashMap<Channel, Arc<Listeners>>,
    users: DashMap<ById, ()>,
    node_uid: String,
    node_name: String,
    version: String,
    started: Instant,
    draining: AtomicBool,
    short_of_memory: AtomicBool,
    /// Handshakes refused, in the order of [`NoPlace::ALL`].
    refused: [AtomicU64; NoPlace::ALL.len()],
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("shards", &self.rings.len()).finish_non_exhaustive()
    }
}

impl Directory {
    /// The directory of a node that is to be started with `options`.
    pub fn new(options: &Options) -> Arc<Self> {
        Arc::new(Self {
            rings: (0..options.shards).map(|_| Arc::new(Ring::new(options.ring_bytes_max))).collect(),
            stats: (0..options.shards).map(|_| Arc::new(Stats::new())).collect(),
            channels: DashMap::new(),
            users: DashMap::new(),
            node_uid: uuid::Uuid::new_v4().to_string(),
            node_name: options.node_name.clone(),
            version: options.version.clone(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            short_of_memory: AtomicBool::new(false),
            refused: Default::default(),
        })
    }

    pub(crate) fn shards(&self) -> usize {
        self.rings.len()
    }

    pub(crate) fn ring(&self, shard: usize) -> Arc<Ring> {
        Arc::clone(&self.rings[shard])
    }

    pub(crate) fn rings(&self) -> &[Arc<Ring>] {
        &self.rings
    }

    pub(crate) fn stats(&self) -> &[Arc<Stats>] {
        &self.stats
    }

    /// Milliseconds since the node began: the shards' clock.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn set_short_of_memory(&self, is_short: bool) {
        self.short_of_memory.store(is_short, Ordering::Relaxed);
    }

    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.short_of_memory.load(Ordering::Relaxed)
    }

    pub(crate) fn count_refused(&self, why: NoPlace) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, why: NoPlace) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    /// A shard begins to listen to a channel, with its first subscriber.
    pub(crate) fn listen(&self, shard: usize, channel: &Channel) -> Arc<Listeners> {
        let entry = self.channels.entry(channel.clone()).or_insert_with(|| Arc::new(Listeners::new(self.shards())));
        entry.set(shard, 1);
        Arc::clone(&entry)
    }

    /// A shard listens no more.
    pub(crate) fn unlisten(&self, shard: usize, channel: &Channel) {
        if let MapEntry::Occupied(entry) = self.channels.entry(channel.clone()) {
            entry.get().set(shard, 0);
            if entry.get().total() == 0 {
                entry.remove();
            }
        }
    }

    /// One more session of a user on a shard. Returns how many the user has with it: asked for afterwards, those that
    /// come at once would be counted for each of them.
    pub(crate) fn add_user(&self, shard: usize, id: &str) -> (Arc<User>, usize) {
        let enter = |user: &ById| {
            let sessions = user.0.enter(shard);
            (Arc::clone(&user.0), sessions)
        };
        if let Some(known) = self.users.view(id, |user, ()| enter(user)) {
            return known;
        }
        let entry = self.users.entry(ById(Arc::new(User::new(id))));
        let entered = enter(entry.key());
        entry.or_insert(());
        entered
    }

    /// One session less, the last of its shard or not.
    pub(crate) fn remove_user(&self, shard: usize, id: &str, last_of_shard: bool) {
        self.users.remove_if(id, |user, ()| user.0.leave(shard, last_of_shard));
    }

    /// The rings of the shards that listen to a channel, by bit.
    fn listening(&self, channel: &Channel) -> u64 {
        let listens = |listeners: &Listeners| {
            (0..self.rings.len()).filter(|shard| listeners.listens(*shard)).fold(0, |bits, shard| bits | 1_u64 << shard)
        };
        self.channels.view(channel, |_, listeners| listens(listeners)).unwrap_or(0)
    }

    /// The shards that a command concerns.
    fn concerned(&self, target: &Target) -> Vec<usize> {
        let Some(user) = &target.user else {
            return (0..self.rings.len()).collect();
        };
        each(self.users.view(user.as_str(), |user, ()| user.0.shards()).unwrap_or(0)).collect()
    }
}

/// The shards whose bits are set.
fn each(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let shard = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(shard)
    })
}

#[async_trait]
impl PublicationSink for Directory {
    fn try_reserve(&self, channel: &Channel, bytes: usize) -> Result<Room, NoRoom> {
        let mut room = Room::default();
        for shard in each(self.listening(channel)) {
            room.add(shard, self.rings[shard].try_reserve(bytes)?);
        }
        Ok(room)
    }

    async fn reserve(&self, channel: &Channel, bytes: usize) -> Result<Room, NoRoom> {
        let all = async {
            let mut room = Room::default();
            for shard in each(self.listening(channel)) {
                room.add(shard, self.rings[shard].reserve(bytes).await?);
            }
            Ok(room)
        };
        tokio::time::timeout(limits::ROOM_TIMEOUT, all).await.unwrap_or(Err(NoRoom))
    }

    fn deliver(&self, event: Event, mut room: Room) {
        let bytes = event.payload_bytes();
        for shard in each(self.listening(event.channel())) {
            self.rings[shard].push_event(event.clone(), room.take(shard), bytes);
        }
    }

    fn broken(&self, channel: &Channel) {
        for shard in each(self.listening(channel)) {
            self.rings[shard].mark_broken(channel.clone());
        }
    }
}

#[async_trait]
impl NodeSink for Directory {
    async fn apply(&self, control: Control) -> Result<(), Error> {
        let control = Arc::new(control);
        let all = async {
            let mut answers = Vec::new();
            for shard in self.concerned(target_of(&control)) {
                answers.extend(self.rings[shard].push_control(Arc::clone(&control)).await);
            }
            all_answered(answers).await
        };
        in_time(all).await
    }

    // Every shard is asked, also for one user: a session that was judged before the revocation may be entered under its
    // user only now.
    async fn judge_again(&self, whom: Whom) -> Result<(), Error> {
        let whom = Arc::new(whom);
        let all = async {
            let mut answers = Vec::new();
            for ring in &self.rings {
                answers.extend(ring.push_judgement(Arc::clone(&whom)).await);
            }
            all_answered(answers).await
        };
        in_time(all).await
    }

    fn report(&self) -> NodeReport {
        let sum = |count: fn(&Stats) -> u64| self.stats.iter().map(|stats| count(stats)).sum();
        NodeReport {
            uid: self.node_uid.clone(),
            name: self.node_name.clone(),
            version: self.version.clone(),
            clients: sum(|stats| stats.sessions.get()),
            users: self.users.len() as u64,
            subscriptions: sum(|stats| stats.subscriptions.get()),
            channels: self.channels.len() as u64,
            uptime_seconds: self.uptime().as_secs(),
        }
    }

    fn channels(&self, pattern: Option<&str>) -> BTreeMap<String, u64> {
        let fits = |name: &str| pattern.is_none_or(|pattern| matches_glob(pattern.as_bytes(), name.as_bytes()));
        let rows = self.channels.iter().filter(|row| fits(row.key().as_str()));
        rows.map(|row| (row.key().as_str().to_owned(), row.value().total())).filter(|(_, count)| *count > 0).collect()
    }
}

async fn in_time(all: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let late = Err(Error::Unavailable("a shard did not carry the command out in time"));
    tokio::time::timeout(limits::CONTROL_TIMEOUT, all).await.unwrap_or(late)
}

async fn all_answered(answers: Vec<oneshot::Receiver<()>>) -> Result<(), Error> {
    for answer in answers {
        answer.await.map_err(|_| Error::Unavailable("a shard ended before it carried the command out"))?;
    }
    Ok(())
}

pub(crate) fn target_of(control: &Control) -> &Target {
    match control {
        Control::Subscribe(target, _)
        | Control::Unsubscribe(target, ..)
        | Control::Disconnect(target, ..)
        | Control::Refresh(target, _) => target,
    }
}

impl Directory {
    /// Appends an entry to every ring: the ends of a node.
    pub(crate) fn push_everywhere(&self, entry: impl Fn() -> Entry) {
        for ring in &self.rings {
            ring.push(entry());
        }
    }
}

/// Whether a name fits a glob of `*` (any run) and `?` (any one byte). Linear but for one step back a star.
fn matches_glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((starred, tried)) = star else { return false };
                star = Some((starred, tried + 1));
                at = starred + 1;
                from = tried + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_runs_and_single_bytes() {
        let fits = |pattern: &str, name: &str| matches_glob(pattern.as_bytes(), name.as_bytes());
        assert!(fits("*", ""));
        assert!(fits("news:*", "news:sport"));
        assert!(fits("*:s?ort", "news:sport"));
        assert!(fits("a*b*c", "axxbyybzc"));
        assert!(!fits("news:*", "old:news:x"));
        assert!(!fits("?", ""));
        assert!(!fits("a*b*c", "axxbyybz"));
    }

    #[test]
    fn a_channel_is_gone_when_the_last_shard_has_left_it() {
        let directory = Directory::new(&Options { shards: 2, ..Options::default() });
        let news = Channel::parse("news").unwrap();
        directory.listen(0, &news);
        directory.listen(1, &news);
        directory.unlisten(0, &news);
        assert_eq!(each(directory.listening(&news)).collect::<Vec<_>>(), [1]);
        directory.unlisten(1, &news);
        assert_eq!(directory.channels.len(), 0);
    }

    #[test]
    fn a_user_is_gone_with_the_last_session() {
        let directory = Directory::new(&Options { shards: 2, ..Options::default() });
        assert_eq!([0, 0, 1].map(|shard| directory.add_user(shard, "42").1), [1, 2, 3]);
        let target = Target { user: Some("42".to_owned()), ..Target::default() };
        directory.remove_user(0, "42", false);
        assert_eq!(directory.concerned(&target), [0, 1]);
        directory.remove_user(0, "42", true);
        assert_eq!(directory.concerned(&target), [1]);
        directory.remove_user(1, "42", true);
        assert!(directory.concerned(&target).is_empty());
        assert_eq!(directory.users.len(), 0);
    }

    /// With one session allowed neither got it.
    #[test]
    fn defect_sessions_of_a_user_that_came_at_once_all_counted_as_the_last() {
        const SESSIONS: usize = 1_000;
        let directory = Directory::new(&Options { shards: 2, ..Options::default() });
        let come = |shard| (0..SESSIONS).map(|_| directory.add_user(shard, "42").1).collect::<Vec<_>>();
        let mut numbers = std::thread::scope(|scope| {
            let other = scope.spawn(|| come(1));
            [come(0), other.join().unwrap()].concat()
        });
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=2 * SESSIONS));
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_an_event_marks_its_channel_broken_and_a_publisher_waits_in_vain() {
        let directory = Directory::new(&Options { shards: 1, ring_bytes_max: 512, ..Options::default() });
        let news = Channel::parse("news").unwrap();
        directory.listen(0, &news);
        let taken = directory.try_reserve(&news, 256).unwrap();
        assert_eq!(directory.try_reserve(&news, 1).unwrap_err(), NoRoom);
        assert_eq!(directory.reserve(&news, 1).await.unwrap_err(), NoRoom);
        let join = || Event::Join(news.clone(), Arc::default());
        directory.deliver(join(), Room::default());
        assert!(directory.ring(0).take_broken().contains(&news));
        assert_eq!(directory.ring(0).overflows(), 1);
        drop(taken);
        directory.deliver(join(), Room::default());
        assert!(directory.ring(0).take_broken().is_empty());
        assert_eq!(directory.ring(0).depth(), 1);
    }

    #[test]
    fn a_broken_channel_is_marked_where_it_is_listened_to_and_is_no_overflow() {
        let directory = Directory::new(&Options { shards: 2, ..Options::default() });
        let news = Channel::parse("news").unwrap();
        directory.listen(1, &news);
        directory.broken(&news);
        assert!(directory.ring(0).take_broken().is_empty());
        assert!(directory.ring(1).take_broken().contains(&news));
        assert_eq!(directory.ring(1).overflows(), 0);
    }
}
