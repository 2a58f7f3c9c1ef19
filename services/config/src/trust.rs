//! Whose certificates are trusted outside, and which addresses inside requests may go to.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Check, Checker, Networks};

/// Roots of trust for servers outside, such as push providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// File with the certificates (PEM) that are trusted instead of the roots that the program carries, which
    /// are those of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Networks such as `10.1.2.0/24` inside to which subscriptions may send: to every other address that is
    /// not one of the Internet, such as those of this machine and of private networks, they may not.
    pub hook_networks: Vec<String>,
}

impl TrustConfig {
    /// Where subscriptions may send.
    pub fn hook_reach(&self) -> HookReach {
        // An entry that is none was refused before.
        HookReach(Networks::parse(&self.hook_networks).unwrap_or_default())
    }
}

/// Where requests may go whose URL somebody outside has chosen.
#[derive(Clone, Debug, Default)]
pub struct HookReach(Networks);

impl HookReach {
    /// Whether requests may go to this address: to the Internet, and to networks that were named.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.contains(address)
    }

    /// Whether requests may go to this host as far as it says: a name is judged by its addresses, when it is
    /// reached. Brackets around an IPv6 address are part of the host of a URL.
    pub fn admits_host(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(address) => self.admits(address),
            Err(_) => {
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                let is_local = name == "localhost" || name.ends_with(".localhost");
                !is_local || self.admits(IpAddr::from([127, 0, 0, 1]))
            }
        }
    }
}

/// Whether an address is one of the Internet, by the registries of special addresses of IANA (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => {
            let [a, b, c, _] = it.octets();
            let is_special = a == 0
                || it.is_private()
                || it.is_loopback()
                || it.is_link_local()
                || it.is_documentation()
                || it.is_multicast()
                || a >= 240
                // Shared by customers of one provider; protocol assignments; benchmarks.
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19));
            !is_special
        }
        IpAddr::V6(it) => {
            let [first, second, third, ..] = it.segments();
            // The Internet is 2000::/3. Inside it: protocol assignments with Teredo (2001::/23),
            // documentation, and 6to4, which carries any IPv4 address.
            let is_special = (first == 0x2001 && (second < 0x200 || second == 0x0db8))
                || first == 0x2002
                || (first == 0x3fff && second < 0x1000)
                || (first == 0x2620 && second == 0x4f && third == 0x8000);
            first & 0xe000 == 0x2000 && !is_special
        }
    }
}

impl Check for TrustConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            ca_file: _,
            hook_networks,
        } = self;
        checker.require(
            "hook_networks",
            Networks::parse(hook_networks).is_ok(),
            "be addresses or networks such as 192.0.2.0/24",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: [&str; 22] = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
        "2002:7f00:1::",
    ];

    #[test]
    fn addresses_inside_are_refused_unless_their_network_is_named() {
        let reach = HookReach::default();
        for inside in INSIDE {
            assert!(!reach.admits(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
        ] {
            assert!(reach.admits(outside.parse().unwrap()), "{outside}");
        }
        let trust = TrustConfig {
            hook_networks: vec!["127.0.0.0/8".to_owned(), "fc00::/7".to_owned()],
            ..TrustConfig::default()
        };
        let reach = trust.hook_reach();
        for named in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::5"] {
            assert!(reach.admits(named.parse().unwrap()), "{named}");
        }
        assert!(!reach.admits("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_host_is_judged_where_it_says_an_address() {
        let reach = HookReach::default();
        for inside in [
            "127.0.0.1",
            "[::1]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
        ] {
            assert!(!reach.admits_host(inside), "{inside}");
        }
        for unknown in [
            "example.com",
            "localhost.example.com",
            "1.1.1.1",
            "[2606:4700::1]",
        ] {
            assert!(reach.admits_host(unknown), "{unknown}");
        }
        let trust = TrustConfig {
            hook_networks: vec!["127.0.0.0/8".to_owned()],
            ..TrustConfig::default()
        };
        assert!(trust.hook_reach().admits_host("localhost"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let trust = TrustConfig {
            hook_networks: vec!["inside".to_owned()],
            ..TrustConfig::default()
        };
        let error = trust.validate().unwrap_err().to_string();
        assert!(error.contains("hook_networks"), "{error}");
    }
}
