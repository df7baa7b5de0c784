//! Which Redis shard has a key: slots, as Redis Cluster computes them.
//!
//! A slot is a checksum of the key, or of the part between its first `{` and the next `}`. What is not a cluster has
//! one shard and every key in the same slot.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Slot(u16);

/// Names a Redis shard for as long as this process runs; a shard that comes back is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShardId(pub(crate) u32);

impl Slot {
    /// The slot of all keys where there is no cluster.
    pub(crate) const ONLY: Self = Self(0);

    /// A slot by its number, below [`SLOTS`].
    pub(crate) fn numbered(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// The slot of a key in a cluster.
    pub(crate) fn of(key: &str) -> Self {
        Self(crc16(tagged(key).as_bytes()) % SLOTS)
    }

    pub(crate) fn number(self) -> u16 {
        self.0
    }

    /// A short text of this slot, to be put between braces.
    pub(crate) fn tag(self) -> &'static str {
        static TAGS: LazyLock<HashMap<Slot, String>> = LazyLock::new(tags);
        TAGS.get(&self).map_or("", String::as_str)
    }
}

/// The part of a key that decides.
fn tagged(key: &str) -> &str {
    let Some((_, rest)) = key.split_once('{') else { return key };
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// The smallest number of each slot: about 170,000 are tried, once, in some milliseconds.
fn tags() -> HashMap<Slot, String> {
    let mut tags = HashMap::with_capacity(usize::from(SLOTS));
    for number in 0u32.. {
        if tags.len() == usize::from(SLOTS) {
            break;
        }
        let tag = number.to_string();
        tags.entry(Slot::of(&tag)).or_insert(tag);
    }
    tags
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

/// Which shard has which slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Not known yet.
    #[default]
    Nobody,
    /// No cluster.
    One(ShardId),
    /// A cluster, by the slot's number.
    BySlot(Vec<Option<ShardId>>),
}

impl Owners {
    /// The shard that has the slot.
    pub(crate) fn of(&self, slot: Slot) -> Option<ShardId> {
        match self {
            Self::Nobody => None,
            Self::One(shard) => Some(*shard),
            Self::BySlot(shards) => shards.get(usize::from(slot.0)).copied().flatten(),
        }
    }

    /// How many slots nobody has.
    pub(crate) fn orphans(&self) -> usize {
        match self {
            Self::Nobody => usize::from(SLOTS),
            Self::One(_) => 0,
            Self::BySlot(shards) => shards.iter().filter(|shard| shard.is_none()).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(Slot::of("foo").number(), 12_182);
        assert_eq!(Slot::of("{user1000}.following"), Slot::of("{user1000}.followers"));
        assert_eq!(Slot::of("foo{}{bar}"), Slot(crc16(b"foo{}{bar}") % SLOTS));
        assert_eq!(Slot::of("foo{{bar}}zap"), Slot(crc16(b"{bar") % SLOTS));
        assert_eq!(Slot::of("foo{bar"), Slot(crc16(b"foo{bar") % SLOTS));
    }

    #[test]
    fn every_slot_has_a_tag() {
        for number in 0..SLOTS {
            let slot = Slot::numbered(number).unwrap();
            assert_eq!(Slot::of(&format!("x:{{{}}}:y", slot.tag())), slot);
        }
        assert_eq!(Slot::numbered(SLOTS), None);
    }

    #[test]
    fn owners_are_found_and_orphans_counted() {
        let mut shards = vec![Some(ShardId(1)); usize::from(SLOTS)];
        shards[7] = None;
        let owners = Owners::BySlot(shards);
        assert_eq!((owners.of(Slot(6)), owners.of(Slot(7)), owners.orphans()), (Some(ShardId(1)), None, 1));
        assert_eq!(Owners::One(ShardId(3)).of(Slot::ONLY), Some(ShardId(3)));
        assert_eq!(Owners::Nobody.of(Slot::ONLY), None);
    }
}
