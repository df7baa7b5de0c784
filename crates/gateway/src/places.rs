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
    taken: Box<[AtomicUsize]>,
    total: AtomicUsize,
    max: usize,
}

/// The place of one session; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    shard: usize,
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
    pub(crate) fn new(shards: usize, max: usize) -> Arc<Self> {
        Arc::new(Self { taken: (0..shards).map(|_| AtomicUsize::new(0)).collect(), total: AtomicUsize::new(0), max })
    }

    /// A place on the shard with the fewest sessions, unless the node is full.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let one_more = |total: usize| (total < self.max).then_some(total + 1);
        self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let counts = self.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).enumerate();
        let shard = counts.min_by_key(|(_, count)| *count).map_or(0, |(shard, _)| shard);
        self.taken[shard].fetch_add(1, Ordering::Relaxed);
        Some(Place { places: Arc::clone(self), shard, companion: None })
    }

    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }
}

impl Place {
    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    /// Keeps what is to live as long as this.
    pub(crate) fn keep(&mut self, companion: Option<Companion>) {
        self.companion = companion;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken[self.shard].fetch_sub(1, Ordering::Relaxed);
        // Whoever sees the place free sees what its session left to do.
        self.places.total.fetch_sub(1, Ordering::Release);
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
}
