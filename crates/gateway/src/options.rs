//! What a gateway is run with: validated, plain data.

use std::time::Duration;

use fanfare_protocol::FrameLimits;

use crate::rates::Rates;

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
    /// Frames of one message; then 1008. Clients that cut a message take pieces of kilobytes; a peer that sends empty
    /// ones makes us read 6 bytes of header for nothing.
    pub fragments_per_message_max: u32,
    /// Pings and pongs taken from one client in a second; then 1008. Browsers send none, tools one in seconds.
    pub control_frames_per_second_max: Option<u32>,
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
    /// What one session may send in a second; over it commands get 111, and bytes are read later.
    pub session_rates: Rates,
    /// What the sessions of one user on this node may send in a second, together.
    pub user_rates: Rates,
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
            // A message of 64 KiB in as many has 64 bytes in each.
            fragments_per_message_max: 1_024,
            control_frames_per_second_max: Some(50),
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
            session_rates: Rates { commands: Some(100), publishes: Some(50), bytes: Some(256 << 10) },
            user_rates: Rates { commands: Some(5_000), publishes: Some(1_000), bytes: Some(16 << 20) },
        }
    }
}

impl Options {
    /// Payloads that one reply, or one repair of a channel, may bring: half of an outbox, so that it can never end a
    /// session as slow all by itself.
    pub(crate) fn reply_bytes_max(&self) -> usize {
        self.outbox_bytes_max / 2
    }

    /// What the headers of a client's frames may say.
    pub(crate) fn frame_limits(&self) -> FrameLimits {
        FrameLimits {
            message_bytes_max: u32::try_from(self.message_bytes_max).unwrap_or(u32::MAX),
            fragments_max: self.fragments_per_message_max,
            control_frames_per_second: self.control_frames_per_second_max.unwrap_or(u32::MAX),
        }
    }

    /// How long sent data may stay unacknowledged: twice the time in which a live peer shows itself.
    pub(crate) fn peer_timeout(&self) -> Duration {
        2 * (self.ping_interval.unwrap_or(Duration::from_secs(25)) + self.pong_timeout)
    }
}
