//! Epochs: the lives of streams.
//!
//! An epoch is the node's random text and the number of a life, drawn from one counter of the node: no number
//! is ever given out twice, and another run of the node has another text. How a channel without state gets
//! its epoch is argued in the [module above](super).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fanfare_protocol::Channel;

use super::fingerprint::{Fingerprint, Fingerprints};
use super::limits::RETIRED_PER_STRIPE_MAX;

/// The node's source of lives.
#[derive(Debug)]
pub(super) struct Lives {
    node: String,
    next: AtomicU64,
    fingerprints: Fingerprints,
}

impl Lives {
    pub(super) fn new() -> Self {
        Self { node: node_text(rand::random()), next: AtomicU64::new(0), fingerprints: Fingerprints::default() }
    }

    fn begin(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    fn epoch(&self, life: u64) -> Arc<str> {
        format!("{}-{life:x}", self.node).into()
    }
}

/// Twelve letters and digits of five bits each: two runs of a node meet with probability 2⁻⁶⁰.
fn node_text(random: u64) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..12).map(|at| ALPHABET[(random >> (at * 5)) as usize % 32] as char).collect()
}

/// The epochs of the channels of one stripe that have no state.
#[derive(Debug)]
pub(super) struct Epochs {
    lives: Arc<Lives>,
    derived: Arc<str>,
    retired: HashMap<Fingerprint, u64>,
}

impl Epochs {
    pub(super) fn new(lives: Arc<Lives>) -> Self {
        let derived = lives.epoch(lives.begin());
        Self { lives, derived, retired: HashMap::new() }
    }

    /// The epoch of a channel without state: the one that its stream will begin with.
    pub(super) fn of(&self, channel: &Channel) -> Arc<str> {
        if self.retired.is_empty() {
            return self.derived.clone();
        }
        let life = self.retired.get(&self.lives.fingerprints.of(channel));
        life.map_or_else(|| self.derived.clone(), |life| self.lives.epoch(*life))
    }

    /// The channel has a stream now, which holds the epoch itself.
    pub(super) fn begun(&mut self, channel: &Channel) {
        if !self.retired.is_empty() {
            self.retired.remove(&self.lives.fingerprints.of(channel));
        }
    }

    /// The channel's stream is gone: its next life is another one.
    pub(super) fn retire(&mut self, channel: &Channel) {
        if self.retired.len() >= RETIRED_PER_STRIPE_MAX {
            return self.rotate();
        }
        self.retired.insert(self.lives.fingerprints.of(channel), self.lives.begin());
    }

    /// Begins new lives for all channels without state at once, which makes all memory of retired ones needless.
    fn rotate(&mut self) {
        self.derived = self.lives.epoch(self.lives.begin());
        self.retired = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    #[test]
    fn a_channel_without_state_keeps_its_epoch_while_others_retire() {
        let mut epochs = Epochs::new(Arc::new(Lives::new()));
        let before = epochs.of(&channel("quiet"));
        epochs.retire(&channel("gone"));
        assert_eq!(epochs.of(&channel("quiet")), before);
        assert_ne!(epochs.of(&channel("gone")), before);
    }

    #[test]
    fn every_retirement_is_another_life_and_each_is_stable() {
        let mut epochs = Epochs::new(Arc::new(Lives::new()));
        let gone = channel("gone");
        let mut seen = vec![epochs.of(&gone)];
        for _ in 0..100 {
            epochs.begun(&gone);
            epochs.retire(&gone);
            assert!(!seen.contains(&epochs.of(&gone)));
            seen.push(epochs.of(&gone));
            assert_eq!(seen.last(), Some(&epochs.of(&gone)));
        }
    }

    #[test]
    fn memory_of_retired_channels_is_bounded_and_no_old_epoch_comes_back() {
        let mut epochs = Epochs::new(Arc::new(Lives::new()));
        let derived = epochs.of(&channel("quiet"));
        for number in 0..=RETIRED_PER_STRIPE_MAX {
            epochs.retire(&channel(&format!("gone:{number}")));
            assert!(epochs.retired.len() <= RETIRED_PER_STRIPE_MAX);
        }
        for name in ["gone:0".to_owned(), format!("gone:{RETIRED_PER_STRIPE_MAX}"), "quiet".to_owned()] {
            assert_ne!(epochs.of(&channel(&name)), derived);
        }
    }

    #[test]
    fn nodes_and_stripes_have_epochs_of_their_own() {
        let lives = Arc::new(Lives::new());
        let name = channel("news");
        let here = Epochs::new(lives.clone()).of(&name);
        assert_ne!(here, Epochs::new(lives).of(&name));
        assert_ne!(here, Epochs::new(Arc::new(Lives::new())).of(&name));
    }
}
