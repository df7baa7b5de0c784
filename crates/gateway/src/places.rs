//! Places for sessions: how many a node takes, and which shard a new one goes to.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Why a session has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// `limits.sessions_max` is reached.
    Full,
    /// Too many sockets wait for their shard.
    Busy,
    /// The node is about to end.
    Draining,
    /// `limits.memory_max` is nearly reached.
    Memory,
}

impl NoPlace {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [Self::Full, Self::Busy, Self::Draining, Self::Memory];

    /// Its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Full => "sessions_max",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Memory => "memory",
        }
    }
}

/// Sessions of each shard, live or about to be.
#[derive(Debug)]
pub(crate) struct Places {
    shards: Box<[Arc<ShardPlaces>]>,
    node: Arc<NodePlaces>,
}

#[derive(Debug)]
struct NodePlaces {
    taken: AtomicUsize,
    max: AtomicUsize,
}

/// The places of one shard.
#[derive(Debug)]
struct ShardPlaces {
    shard: usize,
    taken: AtomicUsize,
    node: Arc<NodePlaces>,
}

/// The place of one session; dropping it gives it back. It lies in the session's task, so it is small (I11).
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<ShardPlaces>,
    companion: Option<Companion>,
}

/// What is to live as long as the session of a connection, for whoever counts connections elsewhere. It travels
/// among the extensions of the request that is upgraded.
#[derive(Clone)]
pub struct Companion(Arc<dyn Any + Send + Sync>);

impl Companion {
    /// Wraps it.
    pub fn new(companion: Arc<dyn Any + Send + Sync>) -> Self {
        Self(companion)
    }
}

impl fmt::Debug for Companion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Companion({} holders)", Arc::strong_count(&self.0))
    }
}

impl Places {
    pub(crate) fn new(shards: usize, max: usize) -> Self {
        let node = Arc::new(NodePlaces { taken: AtomicUsize::new(0), max: AtomicUsize::new(max) });
        let of = |shard| Arc::new(ShardPlaces { shard, taken: AtomicUsize::new(0), node: Arc::clone(&node) });
        Self { shards: (0..shards).map(of).collect(), node }
    }

    /// A place on the shard with the fewest sessions, unless the node is full.
    pub(crate) fn take(&self) -> Option<Place> {
        let max = self.node.max.load(Ordering::Relaxed);
        let one_more = |taken: usize| (taken < max).then_some(taken + 1);
        let places = self.shards.iter().min_by_key(|places| places.taken.load(Ordering::Relaxed))?;
        self.node.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        places.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place { places: Arc::clone(places), companion: None })
    }

    /// From now on takes so many. Who has a place keeps it.
    pub(crate) fn set_max(&self, max: usize) {
        self.node.max.store(max, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> usize {
        self.node.taken.load(Ordering::Acquire)
    }
}

impl Place {
    pub(crate) fn shard(&self) -> usize {
        self.places.shard
    }

    /// Keeps what is to live as long as this.
    pub(crate) fn keep(&mut self, companion: Option<Companion>) {
        self.companion = companion;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        // Whoever sees the place free sees what its session left to do.
        self.places.node.taken.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_go_to_the_shard_with_the_fewest_until_the_node_is_full() {
        let places = Places::new(2, 3);
        let taken: Vec<Place> = (0..3).filter_map(|_| places.take()).collect();
        assert_eq!(taken.iter().map(Place::shard).collect::<Vec<_>>(), [0, 1, 0]);
        assert!(places.take().is_none());
        drop(taken);
        assert_eq!(places.total(), 0);
        assert!(places.take().is_some());
    }

    #[test]
    fn a_lower_limit_takes_no_place_away() {
        let places = Places::new(1, 3);
        let mut taken: Vec<Place> = (0..3).filter_map(|_| places.take()).collect();
        places.set_max(1);
        assert_eq!(places.total(), 3);
        taken.truncate(1);
        assert!(places.take().is_none());
        taken.clear();
        assert!(places.take().is_some());
    }
}
