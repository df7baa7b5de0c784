//! Limits of hooks that are not configured, with their arithmetic.

use std::time::Duration;

/// Largest head of an answer.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Connections of one hook that lie idle. Each is a socket and some 10 KiB of buffers here, a thread at some backends.
pub const IDLE_CONNECTIONS_MAX: usize = 32;

/// How long a connection lies idle. Shorter than what servers allow (5 s with the usual ones of Node and Python), so that
/// a question seldom meets a connection that is being closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Tries after the first. With the pauses below they take 0.3 s at most, within the default timeout of 1 s.
pub const RETRIES_MAX: u32 = 2;

/// Pause before the first further try, doubled for the second; each is shortened by up to a half at random.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Failures one after another that open the breaker.
pub const BREAKER_RUN: u32 = 5;

/// Questions that the breaker looks back at, and the failures among them that open it too.
pub const BREAKER_WINDOW: u32 = 20;

/// See [`BREAKER_WINDOW`].
pub const BREAKER_FAILURES: u32 = 10;

/// How long an open breaker lets nothing through; doubled each time that the question which tries fails.
pub const BREAKER_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest of those pauses.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Failures are logged once in this time for each hook.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Longest text of an error that a backend gives to clients.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 1024;

/// Longest user id and idempotency key that a backend gives.
pub const NAME_BYTES_MAX: usize = 255;

/// Keys and values of a publication's tags together, as by the server API.
pub const TAGS_BYTES_MAX: usize = 16_384;

/// Signing keys of one hook: the new one beside the old ones.
pub const SIGNING_KEYS_MAX: usize = 4;

/// Headers that one hook passes on, and as many that it adds.
pub const HEADERS_MAX: usize = 32;
