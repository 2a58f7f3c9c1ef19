//! Where a login comes from, as far as bounds and locks tell places apart.

use std::net::{IpAddr, Ipv6Addr};

/// Longest text that stands for an address which is none, bytes.
const MAX_TEXT: usize = 64;

/// An address and the network around it.
///
/// The *address* is one IPv4 address, or the /64 of an IPv6 one: whoever has one of its addresses has
/// all of them. The *network* is the /24 or /48 around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) address: String,
    pub(super) network: String,
}

impl Origin {
    /// The origin of a remote IP address; a text that is none stands for itself.
    pub(super) fn of(text: &str) -> Self {
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                Self {
                    address: address.to_string(),
                    network: format!("{a}.{b}.{c}.0/24"),
                }
            }
            Ok(IpAddr::V6(address)) => {
                let bits = address.to_bits();
                let prefix = |length: u32| {
                    let kept = bits & (u128::MAX << (128 - length));
                    format!("{}/{length}", Ipv6Addr::from_bits(kept))
                };
                Self {
                    address: prefix(64),
                    network: prefix(48),
                }
            }
            Err(_) => {
                let end = text.floor_char_boundary(MAX_TEXT);
                let text = text.get(..end).unwrap_or_default().to_owned();
                Self {
                    address: text.clone(),
                    network: text,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_their_network() {
        for (text, address, network) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
            (
                "2001:db8:1:2:ffff::",
                "2001:db8:1:2::/64",
                "2001:db8:1::/48",
            ),
            ("2001:db8:1:3::4", "2001:db8:1:3::/64", "2001:db8:1::/48"),
            ("::1", "::/64", "::/48"),
            ("somewhere", "somewhere", "somewhere"),
        ] {
            let origin = Origin::of(text);
            assert_eq!(
                (origin.address.as_str(), origin.network.as_str()),
                (address, network),
                "{text}"
            );
        }
    }

    #[test]
    fn a_text_that_is_no_address_is_cut() {
        let origin = Origin::of(&"ä".repeat(100));
        assert_eq!(origin.address, "ä".repeat(32));
    }
}
