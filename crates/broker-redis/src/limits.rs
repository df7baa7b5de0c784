//! The Redis broker's constants, each with its arithmetic. What an operator may set is in
//! [`Options`](crate::Options).

use std::time::Duration;

/// How long an idempotency key is remembered, by Redis's clock.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Publications of one script call. One costs Redis 15 µs of CPU (measured with history on a shared core), so nobody
/// else waits for longer than about half a millisecond. A call of its own would cost each 7 µs more.
pub(crate) const BATCH_PUBLICATIONS_MAX: usize = 32;

/// Bytes of payload in one script call: one publication may have more, then it is alone.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Script calls of publishing under way at once: 8 × 32 publications are in Redis's queue while others are put
/// together here.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 8;

/// The same in a cluster, where publications share a call only if they share a slot: as many publications.
pub(crate) const CLUSTER_BATCHES_IN_FLIGHT_MAX: usize = BATCHES_IN_FLIGHT_MAX * BATCH_PUBLICATIONS_MAX;

/// First pause before a connection is tried again; doubled each time.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// Longest pause before a connection is tried again. With 100 nodes, 200 attempts a second at most reach a server
/// that comes back.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// How often a node asks Redis who it is, and sends itself a probe through pub/sub.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the answer to a heartbeat may take. Longer than a command may: a slow server is no dead one.
pub(crate) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a probe may be on its way. With the heartbeat and the consumer's tick, a connection that hangs is found
/// within 1 + 3 + 0.2 s.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the consumer looks at the clock.
pub(crate) const CONSUMER_TICK: Duration = Duration::from_millis(100);

/// How often Sentinels are asked whether the master is still the one that is connected to.
pub(crate) const SENTINEL_INTERVAL: Duration = Duration::from_secs(3);

/// How often a cluster is asked which shard has which slot. What has moved is found out before that by the answer
/// to whatever is sent to the wrong shard.
pub(crate) const TOPOLOGY_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest pause between two such questions, when many answers say that something has moved.
pub(crate) const TOPOLOGY_PAUSE: Duration = Duration::from_millis(50);

/// Pause before a command is sent again that a cluster could not take while a slot moves or a shard is replaced.
pub(crate) const REDIRECT_PAUSE: Duration = Duration::from_millis(10);

/// Channels in one SUBSCRIBE or UNSUBSCRIBE: 512 × at most 300 bytes are 150 KB.
pub(crate) const SUBSCRIBE_BATCH: usize = 512;

/// Channels in SUBSCRIBE and UNSUBSCRIBE commands sent and not confirmed. In a cluster each slot needs a command of
/// its own, so that these are 2,048 commands there.
pub(crate) const SUBSCRIBES_IN_FLIGHT_MAX: usize = 4 * SUBSCRIBE_BATCH;

/// Positions read in one script call, at about 1 µs each.
pub(crate) const CHECK_BATCH: usize = 256;

/// Calls for positions under way at once in a cluster, where each slot needs one of its own.
pub(crate) const CHECKS_IN_FLIGHT_MAX: usize = 64;

/// Pause between two batches of channels that are told to be broken, each of which is then read by every listening
/// shard: 256 channels in 20 ms are 12,800 a second.
pub(crate) const CHECK_PAUSE: Duration = Duration::from_millis(20);

/// Pause before a check that failed is tried again.
pub(crate) const CHECK_RETRY: Duration = Duration::from_millis(200);

/// What is read from the pub/sub socket at once.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// A read buffer that grew beyond this for a large message is given back when it is empty.
pub(crate) const READ_BUFFER_KEPT_BYTES: usize = 1024 * 1024;

/// Publications of one history read. The largest stream that can be read whole.
pub(crate) const HISTORY_READ_MAX: usize = 100_000;

/// Longest lifetime that is told apart from for ever: keeps expiry times within what Redis takes.
pub(crate) const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Version epochs remembered for a channel. 1,000 × (name + about 30 bytes).
pub(crate) const VERSION_EPOCHS_MAX: usize = 1000;

/// How long a node counts as there after its last heartbeat: four may be lost.
pub(crate) const NODE_TTL: Duration = Duration::from_secs(5);

/// Fields of the hash of revocations that are asked for at once: about 100 KB, in some 300 µs of Redis.
pub(crate) const REVOCATION_PAGE: usize = 1000;

/// Pages of one reading. All of them are 100 pages; a hash that grows or shrinks is gone through a few times.
pub(crate) const REVOCATION_PAGES_MAX: usize = 1000;

/// Longest field that a revocation has: `i:255:` and `:=` around a channel of 255 bytes and a user of 1,024 are 1,287.
pub(crate) const REVOCATION_FIELD_BYTES_MAX: usize = 1_400;

/// Longest value: two numbers of 20 digits and a space are 41 bytes.
pub(crate) const REVOCATION_VALUE_BYTES_MAX: usize = 48;

/// Changes that are remembered while the revocations are read: × at most 1.5 KB are 6 MB. At 100 a second, 40 s.
pub(crate) const REVOCATION_WORDS_HEARD_MAX: usize = 4_096;

/// How often the revocations are read anew when they change while they are read. The last time they are read at once, in
/// which nothing changes: 100,000 of them keep Redis for some 100 ms.
pub(crate) const REVOCATION_READS_AT_ONCE: usize = 5;

/// Pause before the revocations are read again that could not be read.
pub(crate) const REVOCATION_RETRY: Duration = Duration::from_millis(100);

/// How long the revocations may not have been compared with those in Redis until the node is not ready: as long as a
/// node that is silent counts as there.
pub(crate) const REVOCATIONS_STALE: Duration = NODE_TTL;

/// Nodes named in an error: 8 × at most 70 characters fit into the 600 of an answer of the API.
pub(crate) const NODES_NAMED_MAX: usize = 8;

/// Characters of a node's name in an error, its id included, which has 39 with what encloses it.
pub(crate) const NODE_NAME_CHARS_MAX: usize = 70;

/// How long the other nodes may take to answer.
pub(crate) const SURVEY_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests of other nodes carried out at once; more wait.
pub(crate) const REQUESTS_AT_ONCE_MAX: usize = 64;

/// Requests and answers of other nodes that wait: over it they are dropped and counted.
pub(crate) const WORDS_QUEUED_MAX: usize = 1024;

/// Answers that wait for one survey: 100 nodes with a million channels each would send 10,000.
pub(crate) const ANSWERS_QUEUED_MAX: usize = 1024;

/// Channels in one answer: 10,000 × at most 270 bytes are 2.7 MB.
pub(crate) const CHANNELS_PER_ANSWER: usize = 10_000;

/// How long a node may read the ingest stream without saying that it is there: two renewals may be lost.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(3);

/// How often the reading node says so, and how often the others look. A reader that died is followed within 3 + 1 s.
pub(crate) const LEASE_RENEWAL: Duration = Duration::from_secs(1);

/// How long a read of the ingest stream waits for an entry. What is left in it is looked at again as often.
pub(crate) const READ_BLOCK: Duration = Duration::from_secs(1);

/// How long a read may take in all: a server that says nothing for so long after it should have is gone.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// Entries read at once. With 1 KB each a quarter of a megabyte, which Redis gives out within a millisecond.
pub(crate) const READ_ENTRIES: usize = 256;

/// Bytes kept of one read; what is over it is read again. 256 entries of the largest size would have 50 MB.
pub(crate) const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries read and not done, and bytes of them: four reads, or one of the largest beside 8 MiB.
pub(crate) const QUEUED_ENTRIES_MAX: usize = 1024;
/// See [`QUEUED_ENTRIES_MAX`].
pub(crate) const QUEUED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Channels of the ingest stream that are published to at once: eight calls of 32, as many as are under way at once.
pub(crate) const LANES_AT_ONCE_MAX: usize = BATCHES_IN_FLIGHT_MAX * BATCH_PUBLICATIONS_MAX;

/// What an entry may have beside twice its payload: 16 KiB of tags, written with escapes, and names of 255 bytes.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 64 * 1024;

/// Fields of an entry; it has eight different ones.
pub(crate) const ENTRY_FIELDS_MAX: usize = 16;

/// Keys and values of an entry's tags together, as in the server API.
pub(crate) const ENTRY_TAGS_BYTES_MAX: usize = 16 * 1024;

/// Longest idempotency key and version epoch of an entry, as in the server API.
pub(crate) const ENTRY_NAME_BYTES_MAX: usize = 255;

/// How old an entry may be and still be published.
pub(crate) const ENTRY_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How far ahead of Redis's clock an entry's id may be: clocks of two servers differ at a failover.
pub(crate) const ENTRY_AHEAD_MAX: Duration = Duration::from_secs(60 * 60);

/// How long it is known which entry was published last to a channel, or that a key was used: for as long as an entry
/// may be published, and as its id may be ahead. About 130 bytes for each channel that was published to this way.
pub(crate) const GUARD_TTL: Duration = Duration::from_secs(26 * 60 * 60);

/// Entries that may wait. 1,000,000 × about 300 bytes are 300 MB; beyond that the oldest are lost, and counted.
pub const INGEST_ENTRIES_MAX: u64 = 1_000_000;

/// Entries of the dead-letter stream: 1,000 × at most [`DEAD_BYTES_MAX`] are 64 MB.
pub(crate) const DEAD_ENTRIES_MAX: usize = 1000;

/// An entry with more than this is put into the dead-letter stream without its fields.
pub(crate) const DEAD_BYTES_MAX: usize = 64 * 1024;
