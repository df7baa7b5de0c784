//! Idempotency keys: what a repeated publish is answered.
//!
//! Every key lives equally long, so they expire in the order in which they came. A key is kept as a
//! fingerprint: 24 bytes of queue and 40 of map each, whatever its length; with half-filled tables about
//! 150 bytes, so 150 MB at the default limit of a million.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::fingerprint::Fingerprint;
use super::ledger::{Ledger, Limit};
use super::limits::IDEMPOTENCY_WINDOW;
use crate::StreamPosition;

/// The keys of one stripe. A key names a channel and the publisher's text.
#[derive(Debug, Default)]
pub(super) struct Keys {
    positions: HashMap<Fingerprint, Option<StreamPosition>>,
    by_age: VecDeque<(Instant, Fingerprint)>,
}

impl Keys {
    /// The position that the first publication with this key was given (itself `None` if it was live only).
    pub(super) fn get(&self, key: Fingerprint) -> Option<&Option<StreamPosition>> {
        self.positions.get(&key)
    }

    /// Remembers a key that is not there yet, for [`IDEMPOTENCY_WINDOW`]. One is taken in the ledger already.
    pub(super) fn insert(&mut self, key: Fingerprint, position: Option<StreamPosition>, now: Instant) {
        self.positions.insert(key, position);
        self.by_age.push_back((now, key));
    }

    /// Forgets at most `max` keys whose time is over; says how many.
    pub(super) fn expire(&mut self, ledger: &Ledger, now: Instant, max: usize) -> usize {
        let mut expired = 0;
        while expired < max && self.oldest_is_over(now) {
            self.forget_oldest();
            expired += 1;
        }
        ledger.release(Limit::IdempotencyKeys, expired);
        expired
    }

    fn oldest_is_over(&self, now: Instant) -> bool {
        self.by_age.front().is_some_and(|(at, _)| *at + IDEMPOTENCY_WINDOW <= now)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_front() {
            self.positions.remove(&key);
        }
        if self.by_age.is_empty() {
            *self = Self::default();
        }
    }
}
