//! Where connections come from, as far as bounds and limiters tell senders apart.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A part of the address space that is bounded as one.
///
/// IPv4 addresses inside IPv6 ones count as what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    /// What one subscriber has: an IPv4 address, or the /64 of an IPv6 one.
    pub fn host(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        })
    }

    /// What one operator usually has: the /24 of an IPv4 address, or the /56 of an IPv6 one.
    pub fn site(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72))),
        })
    }

    /// Its first address.
    pub const fn first(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> String {
        Network::host(text.parse().unwrap()).to_string()
    }

    fn site(text: &str) -> String {
        Network::site(text.parse().unwrap()).to_string()
    }

    #[test]
    fn a_subscriber_is_an_ipv4_address_or_a_slash_64() {
        assert_eq!(host("192.0.2.77"), "192.0.2.77");
        assert_eq!(host("::ffff:192.0.2.77"), "192.0.2.77");
        assert_eq!(host("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn an_operator_is_a_slash_24_or_a_slash_56() {
        assert_eq!(site("192.0.2.77"), "192.0.2.0");
        assert_eq!(site("::ffff:192.0.2.77"), "192.0.2.0");
        assert_eq!(site("2001:db8:1:2ff:3:4:5:6"), "2001:db8:1:200::");
    }
}
