//! The memory broker's constants, each with its arithmetic. What an operator may set is in
//! [`Options`](super::Options).

use std::time::Duration;

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(5 * 60);

/// How long a publish waits for room on the rings before it is refused.
pub const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often [`run_sweeper`](super::MemoryBroker::run_sweeper) looks for what has expired. Reads never show
/// what has expired; the budgets count it for at most this long.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Deadlines handled while a stripe is locked once by the sweeper: 256 × about 0.3 µs = 80 µs that a publisher
/// may have to wait.
pub(super) const SWEEP_BATCH: usize = 256;

/// Stripes of the channels, and of the rosters. Two publishers meet at one lock in 1 of 64 cases; an empty
/// stripe is about 300 bytes, so all of them are about 40 KB a node.
pub(super) const STRIPES: usize = 64;

/// Channels of a stripe whose former life is remembered while they have no state: 24 bytes each, 55 in a hash
/// map at its worst load; × 4,096 × 64 stripes = 14 MB a node at most.
pub(super) const RETIRED_PER_STRIPE_MAX: usize = 4096;

/// Longest ttl that is told apart from for ever: keeps sums of instants from overflowing.
pub(super) const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What a retained publication costs beside payload and tags: 136 bytes of [`crate::Publication`], 16 of its
/// reference counts, 16 for its place in the stream (a queue is half full at worst), 24 + 16 for the shared
/// head of the payload and its allocation, 32 of the allocator's own.
pub const PUBLICATION_OVERHEAD_BYTES: usize = 240;

/// What the first tag costs: a tree's leaf with room for eleven pairs, 11 × 48 + 16, and the allocator's 16.
pub const TAGS_OVERHEAD_BYTES: usize = 560;

/// What each tag costs beside its text: its 48 bytes in a half-filled leaf, and two allocations.
pub const TAG_OVERHEAD_BYTES: usize = 128;

/// What the publishing client's info costs beside its text: two strings and two byte strings of 24 to 32
/// bytes, reference counts, and five allocations. Shared ones are counted once for each publication.
pub const INFO_OVERHEAD_BYTES: usize = 256;

/// What remembering a version epoch costs beside its text: a tree's leaf of 11 × 24 + 16, its allocation, the
/// text's own.
pub const VERSION_EPOCH_OVERHEAD_BYTES: usize = 320;

/// What a channel with state costs without its publications: 160 bytes of stream and 16 of key at 7/16 to 7/8
/// load, 32 to 64 for its deadline, the name's own allocation of at most 288. At a million channels and names
/// of 20 bytes: about 400 MB at worst.
pub const CHANNEL_BYTES_MAX: usize = 800;

/// The same of most channels: half.
pub const CHANNEL_BYTES: usize = CHANNEL_BYTES_MAX / 2;

/// What remembering an idempotency key costs at most.
pub const IDEMPOTENCY_KEY_BYTES: usize = 150;
