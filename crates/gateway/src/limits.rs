//! Bounds that are not configured, with their arithmetic.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::{WebSocketConfig, WebSocketContext};

/// Shards of a node. A listener table holds a counter a shard and channel: 64 × 4 bytes at most.
pub const SHARDS_MAX: usize = 64;

/// What an entry costs on a ring beside its payload. With 16 MiB a ring, at most 65,536 small entries wait.
pub const RING_ENTRY_BYTES: usize = 256;

/// Control commands waiting for one shard. An API call on a user takes one place on each of its shards.
pub const CONTROLS_WAITING_MAX: usize = 1_024;

/// Sockets waiting to be taken in by one shard: above this a connect gets 503. 1,024 × 64 bytes = 64 KiB.
pub const SOCKETS_WAITING_MAX: usize = 1_024;

/// Ring entries taken in one tick; also the most frames that a tick adds to one outbox by fan-out.
pub const ENTRIES_PER_TICK: usize = 256;

/// Deliveries after which a tick takes no further entry: at some 50 ns each this is about one millisecond. A channel with
/// more subscribers takes as long as it takes.
pub const DELIVERIES_PER_TICK: u64 = 20_000;

/// Sockets taken in by one tick, so that a burst of connects does not hold up publications.
pub const SOCKETS_PER_TICK: usize = 64;

/// Sockets written in one tick: at 4 µs a send this is about one millisecond.
pub const WRITES_PER_TICK: usize = 256;

/// Time for the writes of one tick.
pub const WRITE_TIME_PER_TICK: Duration = Duration::from_millis(1);

/// Bytes copied into the cork buffer for one write. One buffer a shard.
pub const CORK_BYTES: usize = 64 * 1024;

/// Frames from this size on are written by reference: copying them costs more than a further write.
pub const LARGE_FRAME_BYTES: usize = 16 * 1024;

/// Bytes read from one socket at a time. One buffer a shard.
pub const READ_BYTES: usize = 16 * 1024;

/// Plaintext in one TLS record: the most that a record may have. Until it has left nothing more is encrypted, so that
/// TLS holds no more than this beside an outbox.
pub const TLS_RECORD_BYTES: usize = 16 * 1024;

/// Ciphertext read from one socket at a time. A client's commands fit into one.
pub const TLS_PIECE_BYTES: usize = 4 * 1024;

/// Ciphertext held of one peer: the largest record, or the messages of a handshake, and what was read behind it.
pub const TLS_INPUT_BYTES_MAX: usize = 16 * 1024 + 2 * 1024 + TLS_PIECE_BYTES;

/// Ciphertext that waits for a peer which makes TLS answer by itself: a handshake's flight has some 4 KiB, with a long
/// chain of certificates 16.
pub const TLS_UNWRITTEN_BYTES_MAX: usize = 64 * 1024;

/// Read buffer of a WebSocket, while one of its messages is read. Measured elsewhere at 87 to 91 ns for a small frame
/// from 64 B to 1 KiB.
pub const WEBSOCKET_READ_BUFFER_BYTES: usize = 256;

/// What tungstenite keeps of a message that is not whole, beside what has come of it.
pub const WEBSOCKET_STATE_BYTES: usize = size_of::<WebSocketContext>() + WEBSOCKET_READ_BUFFER_BYTES;

/// What tungstenite may hold back unsent. Its writes go to our outbox at once, so this is never reached:
/// a pong or a close frame is at most 127 bytes.
pub const WEBSOCKET_WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// Seconds' worth that a bucket of a rate holds, so that a client that comes back can say all at once what it has to: with
/// the default of 100 commands a second these are 1,000, a `connect` and more subscriptions than a session may have.
pub const BURST_SECONDS: u32 = 10;

/// Commands of one session that are refused for a rate in a second, on average; then 3013. With [`BURST_SECONDS`] 1,000 in
/// a row: at 80 bytes an error these are 80 KB in an outbox, a third of what makes the next command wait.
pub const REFUSALS_PER_SECOND: u32 = 100;

/// How long a closed connection is read on, so that unread input does not turn our close into a reset.
pub const CLOSE_LINGER: Duration = Duration::from_secs(2);

/// How long a close frame may take to leave.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes read and discarded after a close.
pub const CLOSE_DISCARD_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of publications held back for a subscription that waits for its history, or for a channel that is
/// read again. Over it the subscription fails with insufficient state. 4 × the largest payloads a ring tick
/// brings: 16 × 64 KiB.
pub const HELD_BACK_BYTES_MAX: usize = 1024 * 1024;

/// How often what is held back is counted. With 10,000 channels that hold something back this is 0.2 ms.
pub const HELD_BACK_MEASURE_MILLIS: u64 = 100;

/// Sessions that one shard closes at once when memory is short: 1,024 outboxes of 1 MiB are 1 GiB.
pub const SHED_SESSIONS_MAX: usize = 1_024;

/// What has to wait for a session that is closed when memory is short: with less it would be closed for next to nothing.
pub const SHED_OUTBOX_BYTES_MIN: usize = 16 * 1024;

/// What an idle session takes beside its subscriptions, read task and socket included. The heap of a session with one
/// channel is a tested budget of 1,408 bytes; the allocator adds some 300.
pub const SESSION_MEMORY_BYTES: usize = 2_048;

/// What a subscription takes: 56 bytes in the session, 32 in the channel, in vectors that double.
pub const SUBSCRIPTION_MEMORY_BYTES: usize = 192;

/// Resolution of the deadlines.
pub const WHEEL_TICK_MILLIS: u64 = 64;

/// Buckets of a wheel: 512 × 64 ms = 32.8 s for a turn, so that a ping (25 s) is handled once.
pub const WHEEL_BUCKETS: usize = 512;

/// How often a shard shows that it lives, and how often positions are looked through.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Channels that are looked at for their position every second: 2,000 × 40 s = 80,000 channels a shard are each
/// compared every 40 s; beyond that it takes longer.
pub const POSITIONS_PER_CHECK: u32 = 2_000;

/// Pause before a channel is read again that could not be read: five reads a second for each while the broker is away.
pub const REPAIR_RETRY: Duration = Duration::from_millis(200);

/// A shard without a heartbeat for so long is reported as stuck.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for room on a ring, and for the shards to carry a control command out.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for a control command.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long presence may take to be taken back after a subscription; then the entry is left to expire. With the
/// default `command_timeout` of 5 s a command ends within 7 s, before a pong is missed (8 s).
pub const DEPART_TIMEOUT: Duration = Duration::from_secs(1);

/// Commands of one frame that are carried out before others get their turn.
pub const COMMANDS_PER_TURN: usize = 16;

/// Sessions judged again by the revocations before others get their turn: 1,024 × about 0.2 µs with nothing to end.
pub const JUDGED_PER_TURN: usize = 1_024;

/// Changes of presence that a shard has asked the broker for at once. At a round trip of 1 ms these are 32,000 a second;
/// with 64 shards 2,048, a quarter of what the broker on Redis lets be in flight by default.
pub const PRESENCE_CHANGES_AT_ONCE: usize = 32;

/// Denials logged by one shard in a second; the rest is counted.
pub const LOG_LINES_PER_SECOND: u32 = 5;

/// Headers of one upgrade request that are kept for the backend, names and values together. As much as a browser's
/// cookies for a host have at most in practice; 100,000 sessions with 8 KiB each are 800 MB, so that a hook should pass
/// on few.
pub const HOOK_HEADERS_BYTES_MAX: usize = 8 * 1024;

/// Longest name of a remote procedure.
pub const METHOD_BYTES_MAX: usize = 255;

/// Pause before a backend that did not answer is asked again about something that has expired; spread by a half.
pub const REFRESH_RETRY: Duration = Duration::from_secs(2);

/// Longest ttl told to a client for its connection: 365 days.
pub const TTL_SECONDS_MAX: u32 = 365 * 24 * 3600;

/// The limits of a client's WebSocket. All five are set: the library's own take 128 KiB a connection at
/// once and leave the write buffer without a bound.
pub fn websocket_config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WEBSOCKET_WRITE_BUFFER_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
        .accept_unmasked_frames(false)
}
