//! Lists of addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses and networks such as `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// What is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be addresses or networks such as 192.0.2.0/24, has {0:?}")]
pub struct NotANetwork(pub String);

impl Networks {
    /// Reads a list.
    ///
    /// # Errors
    /// An entry is neither an address nor a network.
    pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<Self, NotANetwork> {
        let of = |text: &str| {
            let text = text.trim();
            let network = text.parse::<IpNet>().ok();
            network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        };
        let entries = list.iter().map(AsRef::as_ref);
        let entries = entries.map(|text| of(text).ok_or_else(|| NotANetwork(text.to_owned())));
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is in one of them. An IPv4 address inside an IPv6 one counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_of_its_family() {
        let networks = Networks::parse(&["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"]).unwrap();
        let is_in = |text: &str| networks.contains(text.parse().unwrap());
        for inside in [
            "192.0.2.7",
            "::ffff:192.0.2.7",
            "10.255.0.1",
            "2001:db8:1::1",
        ] {
            assert!(is_in(inside), "{inside}");
        }
        for outside in ["192.0.2.8", "11.0.0.1", "2001:db9::1", "::1"] {
            assert!(!is_in(outside), "{outside}");
        }
        assert!(!Networks::default().contains([192, 0, 2, 7].into()));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for wrong in ["", "192.0.2.0/33", "example.com", "10.0.0"] {
            let error = Networks::parse(&["::1", wrong]).unwrap_err();
            assert_eq!(error, NotANetwork(wrong.to_owned()));
        }
    }
}
