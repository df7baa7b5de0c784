//! How many connections one address may have, and how fast they may come, from one address and from all.
//!
//! An address is that of the peer or, if the peer is a trusted proxy, the one that it names in `X-Forwarded-For`; of
//! an IPv6 address the first 64 bits count, since one customer has all that begin alike. A header of anybody else is
//! ignored. Peers of this machine are exempt unless a trusted proxy names a client for them.
//!
//! A connection is judged when it is accepted, by the peer, and each request once more by the client that a proxy
//! names. Whoever holds a `Seat` is counted; the last holder gives it back.
//!
//! Of each address with connections, or with some within the last second, 64 bytes are kept: 64 MB for a million.
//! Beyond `ADDRESSES_MAX` new addresses are let in uncounted; the limits of the node hold for them. What an address is
//! refused does not count for the node, or one address could keep all others out.

mod client;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
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
    /// Connections accepted in a second, of all addresses.
    pub node_accepts_per_second_max: Option<usize>,
    /// WebSocket handshakes in a second, of all addresses.
    pub node_handshakes_per_second_max: Option<usize>,
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
            node_accepts_per_second_max: Some(10_000),
            node_handshakes_per_second_max: Some(5_000),
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
    NodeAccepts,
    NodeHandshakes,
}

impl TooMany {
    const ALL: [Self; 5] =
        [Self::Connections, Self::Accepts, Self::Handshakes, Self::NodeAccepts, Self::NodeHandshakes];

    fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Accepts => "accepts",
            Self::Handshakes => "handshakes",
            Self::NodeAccepts => "node_accepts",
            Self::NodeHandshakes => "node_handshakes",
        }
    }

    /// The key of the configuration that sets the limit.
    fn key(self) -> &'static str {
        match self {
            Self::Connections => "limits.connections_per_address_max",
            Self::Accepts => "limits.accepts_per_second_max",
            Self::Handshakes => "limits.handshakes_per_second_max",
            Self::NodeAccepts => "limits.node_accepts_per_second_max",
            Self::NodeHandshakes => "limits.node_handshakes_per_second_max",
        }
    }

    /// What the peer is told.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Connections => "too many connections of this address (limits.connections_per_address_max)\n",
            Self::Accepts => "too many connects of this address (limits.accepts_per_second_max); try again\n",
            Self::Handshakes => "too many connects of this address (limits.handshakes_per_second_max); try again\n",
            Self::NodeAccepts => "too many connects on this node (limits.node_accepts_per_second_max); try again\n",
            Self::NodeHandshakes => {
                "too many connects on this node (limits.node_handshakes_per_second_max); try again\n"
            }
        }
    }
}

/// What has a rate.
#[derive(Debug, Clone, Copy)]
enum Rate {
    Accepts,
    Handshakes,
}

impl Rate {
    fn of_address(self, options: &Options) -> (Option<usize>, TooMany) {
        match self {
            Self::Accepts => (options.accepts_per_second_max, TooMany::Accepts),
            Self::Handshakes => (options.handshakes_per_second_max, TooMany::Handshakes),
        }
    }

    fn of_node(self, options: &Options) -> (Option<usize>, TooMany) {
        match self {
            Self::Accepts => (options.node_accepts_per_second_max, TooMany::NodeAccepts),
            Self::Handshakes => (options.node_handshakes_per_second_max, TooMany::NodeHandshakes),
        }
    }
}

impl Options {
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }

    fn exempts(&self, peer: IpAddr) -> bool {
        self.loopback_is_exempt && peer.to_canonical().is_loopback()
    }

    /// The client that a trusted proxy names.
    fn named_client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return None;
        }
        client::named(headers, |address| self.trusts(address))
    }
}

/// Counts what comes in, by address.
pub(crate) struct Arrivals {
    options: RwLock<Arc<Options>>,
    /// Microseconds since the start.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    refused: IntCounterVec,
    addresses: Mutex<Addresses>,
}

#[derive(Default)]
struct Addresses {
    known: HashMap<u64, Address>,
    node: Buckets,
    sweep_at: usize,
    last_line: Option<Instant>,
}

#[derive(Default)]
struct Address {
    connections: u32,
    buckets: Buckets,
}

#[derive(Clone, Copy, Default)]
struct Buckets {
    accepts: Bucket,
    handshakes: Bucket,
}

impl Buckets {
    fn of(&mut self, rate: Rate) -> &mut Bucket {
        match rate {
            Rate::Accepts => &mut self.accepts,
            Rate::Handshakes => &mut self.handshakes,
        }
    }
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
        self.connections == 0 && self.buckets.accepts.0.max(self.buckets.handshakes.0) <= now
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
        Arc::new(Self { options: RwLock::new(Arc::new(options)), clock, refused, addresses: Mutex::default() })
    }

    /// Goes on with other options. Connections that are there stay.
    pub(crate) fn reload(&self, options: Options) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    fn options(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection of this peer, before anything of it is read. What comes of a trusted proxy is judged when it
    /// names the client.
    pub(crate) fn accept(self: &Arc<Self>, peer: IpAddr) -> Result<Arc<Seat>, TooMany> {
        let options = self.options();
        let is_counted = !options.trusts(peer) && !options.exempts(peer);
        let address = if is_counted { self.seat(&options, peer, Some(Rate::Accepts))? } else { None };
        Ok(Arc::new(Seat::new(self, address, peer)))
    }

    /// A TLS handshake on a connection that holds `seat`. It counts as the first WebSocket handshake on it.
    pub(crate) fn tls_handshake(&self, seat: &Seat) -> Result<(), TooMany> {
        self.shake(&self.options(), seat)?;
        seat.has_shaken.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A WebSocket handshake on a connection that holds `seat`; the seat that the session is to hold.
    pub(crate) fn handshake(self: &Arc<Self>, seat: &Arc<Seat>, headers: &HeaderMap) -> Result<Arc<Seat>, TooMany> {
        let options = self.options();
        match options.named_client(seat.peer, headers) {
            Some(client) => {
                let address = self.seat(&options, client, Some(Rate::Handshakes))?;
                Ok(Arc::new(Seat::new(self, address, seat.peer)))
            }
            None => {
                if !seat.has_shaken.swap(false, Ordering::Relaxed) {
                    self.shake(&options, seat)?;
                }
                Ok(Arc::clone(seat))
            }
        }
    }

    /// Any other request on a connection that holds `seat`: the seat that the client has while it is answered, if a
    /// trusted proxy names one. How fast they come is not limited, as it is not without a proxy.
    pub(crate) fn request(self: &Arc<Self>, seat: &Seat, headers: &HeaderMap) -> Result<Option<Seat>, TooMany> {
        let options = self.options();
        let Some(client) = options.named_client(seat.peer, headers) else { return Ok(None) };
        let address = self.seat(&options, client, None)?;
        Ok(Some(Seat::new(self, address, client)))
    }

    /// Whether what the connection's peer says of its clients is believed.
    pub(crate) fn trusts(&self, seat: &Seat) -> bool {
        self.options().trusts(seat.peer)
    }

    /// A handshake of an address that has its seat already. Who is exempt has none.
    fn shake(&self, options: &Options, seat: &Seat) -> Result<(), TooMany> {
        if seat.address.is_none() && (options.trusts(seat.peer) || options.exempts(seat.peer)) {
            return Ok(());
        }
        let now = self.now();
        let mut addresses = self.lock();
        let taken = addresses.take(seat.address, Rate::Handshakes, options, now);
        taken.map_err(|why| self.refuse(&mut addresses, why, seat.peer))
    }

    /// One more connection of an address, if it may have that and may have it now; without a rate, at any time.
    fn seat(&self, options: &Options, ip: IpAddr, rate: Option<Rate>) -> Result<Option<u64>, TooMany> {
        let now = self.now();
        let mut addresses = self.lock();
        let key = addresses.enter(key(ip), now);
        let max = options.connections_per_address_max.unwrap_or(usize::MAX);
        if addresses.connections(key) >= max {
            return Err(self.refuse(&mut addresses, TooMany::Connections, ip));
        }
        if let Some(rate) = rate
            && let Err(why) = addresses.take(key, rate, options, now)
        {
            return Err(self.refuse(&mut addresses, why, ip));
        }
        addresses.sit_down(key);
        Ok(key)
    }

    /// Counts a refusal, and logs one a second: it may be a proxy that nobody has named.
    fn refuse(&self, addresses: &mut Addresses, why: TooMany, address: IpAddr) -> TooMany {
        self.refused.with_label_values(&[why.label()]).inc();
        let now = Instant::now();
        if addresses.last_line.is_none_or(|last| now.duration_since(last) >= SECOND) {
            addresses.last_line = Some(now);
            let key = why.key();
            match why {
                TooMany::NodeAccepts | TooMany::NodeHandshakes => {
                    tracing::info!(key, "more connections come than are taken: see this key");
                }
                _ => {
                    tracing::info!(%address, key, "an address has too many connections: see this key, and if it is a proxy listen.trusted_proxies");
                }
            }
        }
        why
    }

    fn now(&self) -> u64 {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses {
    /// The address among those that are known; `None` where there are too many of them.
    fn enter(&mut self, key: u64, now: u64) -> Option<u64> {
        if self.known.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.known.retain(|_, address| !address.is_idle(now));
            // Never beyond the bound, where new addresses would be turned away for ever.
            self.sweep_at = (2 * self.known.len()).min(ADDRESSES_MAX);
        }
        if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&key) {
            return None;
        }
        self.known.entry(key).or_default();
        Some(key)
    }

    fn known(&mut self, key: Option<u64>) -> Option<&mut Address> {
        self.known.get_mut(&key?)
    }

    fn connections(&mut self, key: Option<u64>) -> usize {
        self.known(key).map_or(0, |address| address.connections as usize)
    }

    fn sit_down(&mut self, key: Option<u64>) {
        if let Some(address) = self.known(key) {
            address.connections += 1;
        }
    }

    /// Takes what an address makes out of its own bucket, if it is counted, and then out of the node's.
    fn take(&mut self, key: Option<u64>, rate: Rate, options: &Options, now: u64) -> Result<(), TooMany> {
        let (per_second, why) = rate.of_address(options);
        if let Some(address) = self.known(key)
            && !address.buckets.of(rate).take(per_second, now)
        {
            return Err(why);
        }
        let (per_second, why) = rate.of_node(options);
        if self.node.of(rate).take(per_second, now) { Ok(()) } else { Err(why) }
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
