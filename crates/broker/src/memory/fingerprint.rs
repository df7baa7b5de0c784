//! Fixed-size stand-ins for names of any length.
//!
//! Two independent keyed hashes, 128 bits: whoever does not know the node's keys cannot make two names meet,
//! and by chance n names do so with probability n² / 2¹²⁹ (a million: about 10⁻²⁷).

use std::hash::{BuildHasher, Hash, RandomState};

/// A name's stand-in, the same for the whole life of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u64; 2]);

/// The node's keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprints {
    first: RandomState,
    second: RandomState,
}

impl Fingerprints {
    pub(super) fn of<T: Hash>(&self, name: &T) -> Fingerprint {
        Fingerprint([self.first.hash_one(name), self.second.hash_one(name)])
    }
}
