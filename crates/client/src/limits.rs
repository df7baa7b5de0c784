//! The bounds of this crate, each with its arithmetic.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How long a command waits for its reply.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one attempt to connect may take: address look-up, TCP, upgrade and the connect command together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a token callback may take.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How late a ping of the server may be before the connection counts as lost.
pub const PING_DELAY_MAX: Duration = Duration::from_secs(10);

/// Shortest delay before another attempt.
pub const BACKOFF_MIN: Duration = Duration::from_millis(500);

/// Longest delay before another attempt.
pub const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// Requests that wait for the connection's task. When full, the caller waits.
pub(crate) const REQUESTS_MAX: usize = 256;

/// Commands that wait for a reply or for a connection. When full, further requests stay in their queue;
/// each entry is gone after [`COMMAND_TIMEOUT`].
pub(crate) const COMMANDS_MAX: usize = 1024;

/// Events that wait for a subscription's reader. When full, the socket is not read until there is room.
/// About 200 bytes each without the payload: 50 KB for a reader that has stalled.
pub(crate) const EVENTS_MAX: usize = 256;

/// Biggest frame taken from the server: a recovery of 300 publications of 64 KiB is 19 MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Commands that are sent together stay below this, half of what a node takes in one frame. A single
/// command that is bigger travels alone.
pub(crate) const BATCH_BYTES_MAX: usize = 32 << 10;

/// Biggest answer of the server API: a full history of 1,000 publications of 64 KiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long a request of the server API may take.
pub const API_TIMEOUT: Duration = Duration::from_secs(10);

/// Every buffer and bound of the WebSocket said aloud. The library's own defaults reserve 128 KiB for reading
/// and set no bound for writing.
pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(MESSAGE_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .accept_unmasked_frames(false)
}
