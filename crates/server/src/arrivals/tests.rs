use prometheus::Opts;

use super::*;

/// The clock stands still.
fn arrivals(change: impl FnOnce(&mut Options)) -> Arc<Arrivals> {
    let mut options = Options::default();
    change(&mut options);
    let refused = IntCounterVec::new(Opts::new("refused", "refused"), &["reason"]).unwrap();
    Arrivals::with_clock(options, refused, Box::new(|| 1_000_000))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn forwarded(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-forwarded-for"), text.parse().unwrap())])
}

fn nothing() -> HeaderMap {
    HeaderMap::new()
}

#[test]
fn an_address_has_so_many_connections_and_others_have_theirs() {
    let arrivals = arrivals(|options| options.connections_per_address_max = Some(2));
    let mut seats: Vec<_> = (0..2).map(|_| arrivals.accept(ip("203.0.113.1")).ok().unwrap()).collect();
    assert_eq!(arrivals.accept(ip("203.0.113.1")).err(), Some(TooMany::Connections));
    assert_eq!(arrivals.accept(ip("::ffff:203.0.113.1")).err(), Some(TooMany::Connections));
    assert!(arrivals.accept(ip("203.0.113.2")).is_ok());
    // A session holds the seat of its connection: both have to go.
    let session = arrivals.handshake(&seats[0], &nothing()).ok().unwrap();
    seats.remove(0);
    assert!(arrivals.accept(ip("203.0.113.1")).is_err());
    drop(session);
    assert!(arrivals.accept(ip("203.0.113.1")).is_ok());
    assert_eq!(arrivals.refused.with_label_values(&["connections"]).get(), 3);
}

#[test]
fn of_ipv6_the_first_half_counts() {
    let arrivals = arrivals(|options| options.connections_per_address_max = Some(1));
    let _seat = arrivals.accept(ip("2001:db8:0:1::1")).ok().unwrap();
    assert!(arrivals.accept(ip("2001:db8:0:1:ffff::2")).is_err());
    assert!(arrivals.accept(ip("2001:db8:0:2::1")).is_ok());
}

#[test]
fn peers_of_this_machine_are_exempt_unless_a_trusted_proxy_names_the_client() {
    let arrivals = arrivals(|options| {
        options.connections_per_address_max = Some(1);
        options.trusted_proxies = vec![Network::parse("127.0.0.9").unwrap()];
    });
    let here: Vec<_> = (0..1_000).filter_map(|_| arrivals.accept(ip("127.0.0.1")).ok()).collect();
    assert_eq!(here.len(), 1_000);
    assert!(here.iter().all(|seat| arrivals.handshake(seat, &forwarded("203.0.113.1")).is_ok()));
    let proxy: Vec<_> = (0..10).filter_map(|_| arrivals.accept(ip("127.0.0.9")).ok()).collect();
    assert_eq!(proxy.len(), 10);
    let first = arrivals.handshake(&proxy[0], &forwarded("203.0.113.1"));
    assert!(first.is_ok());
    assert_eq!(arrivals.handshake(&proxy[1], &forwarded("6.6.6.6, 203.0.113.1")).err(), Some(TooMany::Connections));
    assert!(arrivals.handshake(&proxy[2], &forwarded("203.0.113.2")).is_ok());
    assert!(arrivals.handshake(&proxy[3], &nothing()).is_ok());
}

#[test]
fn a_header_of_anybody_else_is_ignored() {
    let arrivals = arrivals(|options| options.connections_per_address_max = Some(1));
    let seat = arrivals.accept(ip("203.0.113.1")).ok().unwrap();
    let session = arrivals.handshake(&seat, &forwarded("6.6.6.6")).ok().unwrap();
    assert!(Arc::ptr_eq(&seat, &session), "it is counted as the peer");
    assert!(arrivals.accept(ip("203.0.113.1")).is_err());
    assert!(arrivals.accept(ip("6.6.6.6")).is_ok());
}

#[test]
fn a_bucket_holds_what_a_second_allows_and_fills_evenly() {
    let (mut bucket, second) = (Bucket::default(), 1_000_000);
    let mut taken = |now| (0..100).filter(|_| bucket.take(Some(10), now)).count();
    assert_eq!(taken(5 * second), 10);
    assert_eq!(taken(5 * second + second / 10), 1);
    assert_eq!(taken(5 * second + second / 2), 4);
    assert_eq!(taken(60 * second), 10);
    assert!((0..100).all(|_| Bucket::default().take(None, 0)));
}

#[test]
fn accepts_and_handshakes_of_an_address_are_limited_each() {
    let arrivals = arrivals(|options| {
        options.accepts_per_second_max = Some(3);
        options.handshakes_per_second_max = Some(2);
    });
    let seats: Vec<_> = (0..3).map(|_| arrivals.accept(ip("203.0.113.1"))).filter_map(Result::ok).collect();
    assert_eq!(seats.len(), 3);
    assert!(seats[..2].iter().all(|seat| arrivals.handshake(seat, &nothing()).is_ok()));
    assert_eq!(arrivals.handshake(&seats[2], &nothing()).err(), Some(TooMany::Handshakes));
    assert_eq!(arrivals.accept(ip("203.0.113.1")).err(), Some(TooMany::Accepts));
    assert!(arrivals.accept(ip("203.0.113.2")).is_ok());
}

#[test]
fn addresses_that_have_gone_are_forgotten() {
    let arrivals = arrivals(|options| {
        options.accepts_per_second_max = None;
        options.node_accepts_per_second_max = None;
    });
    for number in 0..10 * SWEEP_MIN as u32 {
        drop(arrivals.accept(IpAddr::from(std::net::Ipv4Addr::from_bits(0x0800_0000 + number))).ok().unwrap());
    }
    assert!(arrivals.lock().known.len() <= 2 * SWEEP_MIN);
}

fn node_limits(options: &mut Options) {
    options.node_accepts_per_second_max = Some(4);
    options.node_handshakes_per_second_max = Some(2);
}

#[test]
fn all_addresses_together_have_a_rate() {
    let arrivals = arrivals(node_limits);
    let address = |host: usize| ip(&format!("203.0.113.{host}"));
    let seats: Vec<_> = (0..4).map(|host| arrivals.accept(address(host)).ok().unwrap()).collect();
    assert_eq!(arrivals.accept(address(9)).err(), Some(TooMany::NodeAccepts));
    assert!(seats[..2].iter().all(|seat| arrivals.handshake(seat, &nothing()).is_ok()));
    assert_eq!(arrivals.handshake(&seats[2], &nothing()).err(), Some(TooMany::NodeHandshakes));
    assert!(arrivals.accept(ip("127.0.0.1")).is_ok(), "this machine is exempt");
}

#[test]
fn an_address_that_is_refused_takes_nothing_from_the_others() {
    let arrivals = arrivals(|options| {
        node_limits(options);
        options.accepts_per_second_max = Some(1);
    });
    let _seat = arrivals.accept(ip("203.0.113.1")).ok().unwrap();
    assert!((0..100).all(|_| arrivals.accept(ip("203.0.113.1")).err() == Some(TooMany::Accepts)));
    assert!(arrivals.accept(ip("203.0.113.2")).is_ok());
}

#[test]
fn the_rate_of_the_node_holds_for_clients_that_a_proxy_names() {
    let arrivals = arrivals(|options| {
        node_limits(options);
        options.trusted_proxies = vec![Network::parse("127.0.0.9").unwrap()];
    });
    let proxy: Vec<_> = (0..10).filter_map(|_| arrivals.accept(ip("127.0.0.9")).ok()).collect();
    assert_eq!(proxy.len(), 10);
    let named = |host: usize| arrivals.handshake(&proxy[host], &forwarded(&format!("203.0.113.{host}"))).err();
    assert_eq!([named(0), named(1), named(2)], [None, None, Some(TooMany::NodeHandshakes)]);
    assert!(arrivals.handshake(&proxy[3], &nothing()).is_ok(), "a proxy that names nobody is exempt");
}

#[test]
fn a_tls_handshake_counts_for_the_first_websocket_on_its_connection() {
    let arrivals = arrivals(|options| options.handshakes_per_second_max = Some(2));
    let seat = arrivals.accept(ip("203.0.113.1")).ok().unwrap();
    assert!(arrivals.tls_handshake(&seat).is_ok());
    assert!(arrivals.handshake(&seat, &nothing()).is_ok());
    assert!(arrivals.handshake(&seat, &nothing()).is_ok());
    assert_eq!(arrivals.handshake(&seat, &nothing()).err(), Some(TooMany::Handshakes));
    assert_eq!(arrivals.tls_handshake(&seat).err(), Some(TooMany::Handshakes));
}

/// With half as many live addresses as are counted, those without connections were never looked for again.
#[test]
fn idle_addresses_make_room_whatever_the_live_ones_are() {
    let mut addresses = Addresses::default();
    let live = ADDRESSES_MAX * 6 / 10;
    for key in 0..live {
        let known = addresses.enter(key as u64, 0);
        addresses.sit_down(known);
    }
    for key in live..=ADDRESSES_MAX + 1 {
        assert!(addresses.enter(key as u64, 0).is_some(), "{key}");
    }
    assert!(addresses.known.len() < ADDRESSES_MAX);
}
