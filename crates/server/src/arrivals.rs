//! How many connections one address may have, and how fast they may come.
//!
//! An address is that of the peer or, if the peer is a trusted proxy, the one that it names in `X-Forwarded-For`; of
//! an IPv6 address the first 64 bits count, since one customer has all that begin alike. A header of anybody else is
//! ignored. Peers of this machine are exempt unless a trusted proxy names a client for them.
//!
//! A connection is judged when it is accepted, by the peer, and each request once more by the client that a proxy
//! names. Whoever holds a `Seat` is counted; the last holder gives it back.
//!
//! Of each address with connections, or with some within the last second, 64 bytes are kept: 64 MB for a million.
//! Beyond `ADDRESSES_MAX` new addresses are let in uncounted; the limits of the node hold for them.

mod client;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use prometheus::IntCounterVec;

use crate::network::Network;

/// Addresses that are counted.
const ADDRESSES_MAX: usize = 1_000_000;

/// Addresses from which on those without connections are looked for; then at each doubling.
const SWEEP_MIN: usize = 1_024;

const SECOND: Duration = Duration::from_secs(1);

/// What is allowed to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Proxies that are believed when they name the client.
    pub trusted_proxies: Vec<Network>,
    /// Connections at once.
    pub connections_per_address_max: Option<usize>,
    /// Connections accepted in a second.
    pub accepts_per_second_max: Option<usize>,
    /// WebSocket handshakes in a second.
    pub handshakes_per_second_max: Option<usize>,
    /// Whether peers of this machine are exempt. Always, but for tests.
    pub loopback_is_exempt: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            connections_per_address_max: Some(1_000),
            accepts_per_second_max: Some(500),
            handshakes_per_second_max: Some(250),
            loopback_is_exempt: true,
        }
    }
}

/// Why something is refused: the label of a counter, and the key that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMany {
    Connections,
    Accepts,
    Handshakes,
}

impl TooMany {
    const ALL: [Self; 3] = [Self::Connections, Self::Accepts, Self::Handshakes];

    fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Accepts => "accepts",
            Self::Handshakes => "handshakes",
        }
    }

    /// The key of the configuration that sets the limit.
    fn key(self) -> &'static str {
        match self {
            Self::Connections => "limits.connections_per_address_max",
            Self::Accepts => "limits.accepts_per_second_max",
            Self::Handshakes => "limits.handshakes_per_second_max",
        }
    }

    /// What the peer is told.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Connections => "too many connections of this address (limits.connections_per_address_max)\n",
            Self::Accepts => "too many connects of this address (limits.accepts_per_second_max); try again\n",
            Self::Handshakes => "too many connects of this address (limits.handshakes_per_second_max); try again\n",
        }
    }
}

/// Counts what comes in, by address.
pub(crate) struct Arrivals {
    options: Options,
    /// Microseconds since the start.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    refused: IntCounterVec,
    addresses: Mutex<Addresses>,
}

#[derive(Default)]
struct Addresses {
    known: HashMap<u64, Address>,
    sweep_at: usize,
    last_line: Option<Instant>,
}

#[derive(Default)]
struct Address {
    connections: u32,
    accepts: Bucket,
    handshakes: Bucket,
}

/// What may be taken within a second, filled evenly: the time, in microseconds since the start, when it is full again.
#[derive(Clone, Copy, Default)]
struct Bucket(u64);

impl Bucket {
    fn take(&mut self, per_second: Option<usize>, now: u64) -> bool {
        let Some(per_second) = per_second else { return true };
        let second = micros(SECOND);
        let full_at = self.0.max(now) + second / (per_second as u64).max(1);
        let is_there = full_at <= now + second;
        if is_there {
            self.0 = full_at;
        }
        is_there
    }
}

impl Address {
    fn is_idle(&self, now: u64) -> bool {
        self.connections == 0 && self.accepts.0.max(self.handshakes.0) <= now
    }
}

/// The place of one connection among those of its address; dropping it gives it back.
pub(crate) struct Seat {
    arrivals: Arc<Arrivals>,
    /// The address that it is counted for; `None` for one that is exempt.
    address: Option<u64>,
    peer: IpAddr,
    /// Whether a TLS handshake was counted for the WebSocket handshake that follows it.
    has_shaken: AtomicBool,
}

impl Seat {
    /// Whose connection it is.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    fn new(arrivals: &Arc<Arrivals>, address: Option<u64>, peer: IpAddr) -> Self {
        Self { arrivals: Arc::clone(arrivals), address, peer, has_shaken: AtomicBool::new(false) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        if let Some(address) = self.arrivals.lock().known.get_mut(&address) {
            address.connections = address.connections.saturating_sub(1);
        }
    }
}

impl Arrivals {
    pub(crate) fn new(options: Options, refused: IntCounterVec) -> Arc<Self> {
        let start = Instant::now();
        Self::with_clock(options, refused, Box::new(move || micros(start.elapsed())))
    }

    fn with_clock(options: Options, refused: IntCounterVec, clock: Box<dyn Fn() -> u64 + Send + Sync>) -> Arc<Self> {
        // A reason that has not come up yet is shown as 0.
        TooMany::ALL.into_iter().for_each(|why| drop(refused.with_label_values(&[why.label()])));
        Arc::new(Self { options, clock, refused, addresses: Mutex::default() })
    }

    /// A connection of this peer, before anything of it is read. What comes of a trusted proxy is judged when it
    /// names the client.
    pub(crate) fn accept(self: &Arc<Self>, peer: IpAddr) -> Result<Arc<Seat>, TooMany> {
        let is_counted = !self.is_trusted(peer) && !self.is_exempt(peer);
        let (now, max) = (self.now(), self.options.accepts_per_second_max);
        let take = |address: &mut Address| address.accepts.take(max, now);
        let address = if is_counted { self.seat(peer, take, TooMany::Accepts)? } else { None };
        Ok(Arc::new(Seat::new(self, address, peer)))
    }

    /// A TLS handshake on a connection that holds `seat`. It counts as the first WebSocket handshake on it.
    pub(crate) fn tls_handshake(&self, seat: &Seat) -> Result<(), TooMany> {
        self.shake(seat)?;
        seat.has_shaken.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A WebSocket handshake on a connection that holds `seat`; the seat that the session is to hold.
    pub(crate) fn handshake(self: &Arc<Self>, seat: &Arc<Seat>, headers: &HeaderMap) -> Result<Arc<Seat>, TooMany> {
        match self.named_client(seat.peer, headers) {
            Some(client) => {
                let (now, max) = (self.now(), self.options.handshakes_per_second_max);
                let take = |address: &mut Address| address.handshakes.take(max, now);
                let address = self.seat(client, take, TooMany::Handshakes)?;
                Ok(Arc::new(Seat::new(self, address, seat.peer)))
            }
            None => {
                if !seat.has_shaken.swap(false, Ordering::Relaxed) {
                    self.shake(seat)?;
                }
                Ok(Arc::clone(seat))
            }
        }
    }

    /// Any other request on a connection that holds `seat`: the seat that the client has while it is answered, if a
    /// trusted proxy names one. How fast they come is not limited, as it is not without a proxy.
    pub(crate) fn request(self: &Arc<Self>, seat: &Seat, headers: &HeaderMap) -> Result<Option<Seat>, TooMany> {
        let Some(client) = self.named_client(seat.peer, headers) else { return Ok(None) };
        let address = self.seat(client, |_| true, TooMany::Connections)?;
        Ok(Some(Seat::new(self, address, client)))
    }

    /// Whether what the connection's peer says of its clients is believed.
    pub(crate) fn trusts(&self, seat: &Seat) -> bool {
        self.is_trusted(seat.peer)
    }

    /// The client that a trusted proxy names.
    fn named_client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.is_trusted(peer) {
            return None;
        }
        client::named(headers, |address| self.is_trusted(address))
    }

    /// A handshake of an address that has its seat already.
    fn shake(&self, seat: &Seat) -> Result<(), TooMany> {
        let now = self.now();
        let mut addresses = self.lock();
        let Some(address) = seat.address.and_then(|address| addresses.known.get_mut(&address)) else { return Ok(()) };
        if address.handshakes.take(self.options.handshakes_per_second_max, now) {
            return Ok(());
        }
        Err(self.refuse(&mut addresses, TooMany::Handshakes, seat.peer))
    }

    /// One more connection of an address, if it may have that and may have it now: `take` takes from its rate.
    fn seat(&self, ip: IpAddr, take: impl FnOnce(&mut Address) -> bool, rate: TooMany) -> Result<Option<u64>, TooMany> {
        let (key, now) = (key(ip), self.now());
        let mut addresses = self.lock();
        let Some(address) = addresses.entry(key, now) else { return Ok(None) };
        let max = self.options.connections_per_address_max;
        if max.is_some_and(|max| address.connections as usize >= max) {
            return Err(self.refuse(&mut addresses, TooMany::Connections, ip));
        }
        if !take(address) {
            return Err(self.refuse(&mut addresses, rate, ip));
        }
        address.connections += 1;
        Ok(Some(key))
    }

    /// Counts a refusal, and logs one a second: it may be a proxy that nobody has named.
    fn refuse(&self, addresses: &mut Addresses, why: TooMany, address: IpAddr) -> TooMany {
        self.refused.with_label_values(&[why.label()]).inc();
        let now = Instant::now();
        if addresses.last_line.is_none_or(|last| now.duration_since(last) >= SECOND) {
            addresses.last_line = Some(now);
            tracing::info!(%address, key = why.key(), "an address has too many connections: see this key, and if it is a proxy listen.trusted_proxies");
        }
        why
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.options.trusted_proxies.iter().any(|network| network.contains(address))
    }

    fn is_exempt(&self, peer: IpAddr) -> bool {
        self.options.loopback_is_exempt && peer.to_canonical().is_loopback()
    }

    fn now(&self) -> u64 {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses {
    /// What is known of an address; `None` where there are too many of them.
    fn entry(&mut self, key: u64, now: u64) -> Option<&mut Address> {
        if self.known.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.known.retain(|_, address| !address.is_idle(now));
            // Never beyond the bound, where new addresses would be turned away for ever.
            self.sweep_at = (2 * self.known.len()).min(ADDRESSES_MAX);
        }
        if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&key) {
            return None;
        }
        Some(self.known.entry(key).or_default())
    }
}

/// What counts as one address: all of IPv4, the first half of IPv6. The one with a 1 in front is in `::/16`, where
/// nobody is.
fn key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => 1 << 32 | u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
