//! Limits of the server API. Each is a configuration key or a named constant.

use std::time::Duration;

use fanfare_protocol::{Channel, PayloadLimits};

/// How much one request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body (`api.body_bytes_max`); then 413. At the default sixteen payloads of the largest
    /// size fit into one batch.
    pub body_bytes_max: usize,
    /// Time to send the body (`api.body_timeout`); then 408.
    pub body_timeout: Duration,
    /// Size and depth of one payload, the same as for clients.
    pub payload: PayloadLimits,
    /// Longest name of a channel (`limits.channel_bytes_max`), the same as for clients.
    pub channel_bytes_max: usize,
    /// Commands in one batch (`api.batch_commands_max`).
    pub batch_commands_max: usize,
    /// Channels in one broadcast (`api.broadcast_channels_max`).
    pub broadcast_channels_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1_048_576,
            body_timeout: Duration::from_secs(10),
            payload: PayloadLimits::default(),
            channel_bytes_max: Channel::BYTES_MAX,
            batch_commands_max: 1_000,
            broadcast_channels_max: 10_000,
        }
    }
}

/// Commands of a parallel batch, or publications of a broadcast, in flight at once. Each may wait a second for
/// room on a ring; 32 keep a slow channel from holding up a thousand others.
pub(crate) const IN_FLIGHT_MAX: usize = 32;

/// Keys and values of a publication's tags together. They go out with every delivery, beside the payload.
pub(crate) const TAGS_BYTES_MAX: usize = 16_384;

/// Longest idempotency key, epoch and pattern. A UUID has 36 bytes. User ids have no bound of their own, so that
/// whoever a token let in can also be sent away.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Revocations that are listed unless a limit is given, and with the largest one: 1,000 × about 120 bytes are 120 KB, and
/// a batch of listings stays in the megabytes.
pub(crate) const REVOCATIONS_LISTED: usize = 1_000;
pub(crate) const REVOCATIONS_LISTED_MAX: usize = 1_000;

/// How far the clocks of a node and of whoever issues tokens may differ; as for the tokens themselves.
pub(crate) const CLOCK_LEEWAY_SECONDS: u64 = fanfare_auth::limits::LEEWAY_SECONDS;

/// Longest message in an error: it repeats names that the caller sent.
pub(crate) const MESSAGE_CHARS_MAX: usize = 600;

/// What is still read of a body that was refused, and for how long, so that the refusal arrives. Nothing of it is
/// kept: 8 MiB are eight bodies of the default size.
pub(crate) const DISCARDED_BYTES_MAX: usize = 8 * 1024 * 1024;
pub(crate) const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
