//! From the name of a host to addresses that may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::endpoint::Endpoint;

/// Addresses of one name that are tried, one after another.
pub const ADDRESSES_MAX: usize = 4;

/// How much an endpoint is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// An operator wrote it, or wrote one that is local itself: its address may be any.
    Any,
    /// It came out of a document: its address has to be public.
    PublicOnly,
}

/// Why no address was found.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The name is not known.
    #[error("the host is not found: {0}")]
    NotFound(std::io::Error),
    /// The name stands for an address of this machine or of a private network.
    #[error("the host has an address that is not public")]
    NotPublic,
}

/// The addresses of a host. One that is not public makes the whole name suspicious.
pub(crate) async fn resolve(endpoint: &Endpoint, trust: Trust) -> Result<Vec<SocketAddr>, AddressError> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(AddressError::NotFound)?.collect();
    if trust == Trust::PublicOnly && !addresses.iter().all(|address| is_public(address.ip())) {
        return Err(AddressError::NotPublic);
    }
    Ok(addresses.into_iter().take(ADDRESSES_MAX).collect())
}

/// Whether an address belongs to the internet (the special-purpose registries, RFC 6890).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19)) || (a, b, c) == (192, 88, 99);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || is_shared
        || is_protocol
        || a == 0
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let Some(inner) = embedded(address) {
        return is_public_v4(inner);
    }
    // Global unicast is 2000::/3; 2001::/23 is for protocols (Teredo among them), 2001:db8::/32 for documents.
    let is_global = segments[0] & 0xe000 == 0x2000;
    let is_protocol = segments[0] == 0x2001 && segments[1] < 0x200;
    is_global && !is_protocol && !(segments[0] == 0x2001 && segments[1] == 0xdb8)
}

/// The IPv4 address behind one of IPv6: mapped, translated (64:ff9b::/96), 6to4 (2002::/16).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a discovery document names may not lead into a private network, by whatever name.
    #[tokio::test]
    async fn a_host_out_of_a_document_has_to_be_public() {
        for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]", "2130706433", "0x7f.1"]
        {
            let endpoint = Endpoint::parse(&format!("https://{host}/keys")).unwrap();
            assert!(resolve(&endpoint, Trust::PublicOnly).await.is_err(), "{host}");
        }
        let literal = Endpoint::parse("https://1.1.1.1/keys").unwrap();
        assert_eq!(resolve(&literal, Trust::PublicOnly).await.unwrap(), ["1.1.1.1:443".parse().unwrap()]);
        let local = Endpoint::parse("http://127.0.0.1:9/keys").unwrap();
        assert!(resolve(&local, Trust::Any).await.is_ok());
    }

    #[test]
    fn only_the_internet_is_public() {
        for text in ["1.1.1.1", "93.184.216.34", "100.63.0.1", "172.15.0.1", "2606:4700::1", "::ffff:1.1.1.1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }
}
