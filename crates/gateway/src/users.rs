//! Users with sessions on this node. Each is kept once: the directory, the shards and the sessions refer to it.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::rates::UserBuckets;

/// A user with sessions.
#[derive(Debug)]
pub(crate) struct User {
    id: Box<str>,
    /// Sessions on this node.
    sessions: AtomicU32,
    /// The shards that have some of them, by bit.
    shards: AtomicU64,
    /// What its sessions have sent lately.
    sent: UserBuckets,
}

impl User {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.into(), sessions: AtomicU32::new(0), shards: AtomicU64::new(0), sent: UserBuckets::default() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn shards(&self) -> u64 {
        self.shards.load(Ordering::Relaxed)
    }

    /// What limits its sessions together. The anonymous are not one user.
    pub(crate) fn sent(&self) -> Option<&UserBuckets> {
        (!self.id.is_empty()).then_some(&self.sent)
    }

    /// One more session on a shard. Returns how many there are with it.
    pub(crate) fn enter(&self, shard: usize) -> usize {
        self.shards.fetch_or(1 << shard, Ordering::Relaxed);
        self.sessions.fetch_add(1, Ordering::Relaxed) as usize + 1
    }

    /// One session less, the last of its shard or not. Returns whether it was the last of all.
    pub(crate) fn leave(&self, shard: usize, last_of_shard: bool) -> bool {
        if last_of_shard {
            self.shards.fetch_and(!(1 << shard), Ordering::Relaxed);
        }
        self.sessions.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// A user as a key that is looked up by its id.
#[derive(Debug, Clone)]
pub(crate) struct ById(pub(crate) Arc<User>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}
