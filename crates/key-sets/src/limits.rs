//! Limits of fetching, with their arithmetic.

use std::time::Duration;

/// Largest answer. 64 keys of RSA with 4096 bits and a certificate of 2 KiB each are 200 KiB.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Largest head of an answer.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time for one answer, from the name to the last byte. As long as a command may wait for it by default.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// After keys were fetched, a key id that is not known leads to no further fetch for this long: hostile tokens cost
/// an issuer two requests a minute at most.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// How long keys count as just fetched, so that one which is not among them does not exist.
pub const FRESH: Duration = Duration::from_secs(5);

/// Time until the second try after a failure; doubled with each further one.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Longest time between two tries.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
