//! What a gateway is run with: validated, plain data.

use std::time::Duration;

use http::HeaderName;

/// Settings of a gateway. `None` in a limit means that there is none.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's name, shown by `info`.
    pub node_name: String,
    /// Version of the program, told to clients and by `info`.
    pub version: String,
    /// Shard threads, 1 to 64.
    pub shards: usize,
    /// Sessions on this node; further ones get 503.
    pub sessions_max: usize,
    /// Sessions of one user on this node; a further one is closed with 3504.
    pub sessions_per_user_max: Option<usize>,
    /// Whether clients without a token are let in, as the anonymous user.
    pub allow_anonymous: bool,
    /// Namespace of the personal channel (`Some("")`: `#USER` without a namespace); `None` switches it off.
    pub personal_channel: Option<String>,
    /// Time to send `connect`; then 3502.
    pub connect_timeout: Duration,
    /// Between two pings; `None` sends none.
    pub ping_interval: Option<Duration>,
    /// Time to answer a ping; then 3012. Shorter than `ping_interval`.
    pub pong_timeout: Duration,
    /// Deadline of one command that waits for the broker. Shorter than `pong_timeout`.
    pub command_timeout: Duration,
    /// Largest message from a client; then 1009.
    pub message_bytes_max: usize,
    /// Largest payload that a client may publish.
    pub payload_bytes_max: usize,
    /// Bytes waiting for one client; then 3008.
    pub outbox_bytes_max: usize,
    /// How long a socket may take nothing while something waits; then 3009.
    pub write_timeout: Duration,
    /// Subscriptions of one session.
    pub channels_per_session_max: usize,
    /// Length of a channel name; a longer one gets 107.
    pub channel_bytes_max: usize,
    /// Publications in one history reply.
    pub history_page_max: usize,
    /// Publications in one recovery; a larger gap is not recovered.
    pub recovery_publications_max: usize,
    /// Bytes of publications waiting for one shard.
    pub ring_bytes_max: usize,
    /// How often a positioned channel is compared with the broker's top.
    pub position_check_interval: Duration,
    /// Grace between expiry and closing or unsubscribing.
    pub expired_close_delay: Duration,
    /// How long a presence entry lives without a refresh; the gateway refreshes three times in it.
    pub presence_ttl: Duration,
    /// Bytes that the kernel may hold unsent for one client.
    pub unsent_bytes_max: usize,
    /// Headers of upgrade requests that are kept for the backend, with what `connect` says in their place.
    pub hook_headers: Vec<HeaderName>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_name: "fanfare".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            shards: std::thread::available_parallelism().map_or(1, usize::from).min(crate::limits::SHARDS_MAX),
            sessions_max: 1_000_000,
            sessions_per_user_max: None,
            allow_anonymous: false,
            personal_channel: None,
            connect_timeout: Duration::from_secs(10),
            ping_interval: Some(Duration::from_secs(25)),
            pong_timeout: Duration::from_secs(8),
            command_timeout: Duration::from_secs(5),
            message_bytes_max: 65_536,
            payload_bytes_max: 65_536,
            outbox_bytes_max: 1_048_576,
            write_timeout: Duration::from_secs(1),
            channels_per_session_max: 128,
            channel_bytes_max: 255,
            history_page_max: 300,
            recovery_publications_max: 300,
            ring_bytes_max: 16 * 1024 * 1024,
            position_check_interval: Duration::from_secs(40),
            expired_close_delay: Duration::from_secs(25),
            presence_ttl: Duration::from_secs(60),
            unsent_bytes_max: 16_384,
            hook_headers: Vec::new(),
        }
    }
}

impl Options {
    /// Payloads that one reply, or one repair of a channel, may bring: half of an outbox, so that it can never end a
    /// session as slow all by itself.
    pub(crate) fn reply_bytes_max(&self) -> usize {
        self.outbox_bytes_max / 2
    }

    /// How long sent data may stay unacknowledged: twice the time in which a live peer shows itself.
    pub(crate) fn peer_timeout(&self) -> Duration {
        2 * (self.ping_interval.unwrap_or(Duration::from_secs(25)) + self.pong_timeout)
    }
}
