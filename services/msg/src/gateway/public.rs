//! The address that clients are told.

use std::net::{IpAddr, SocketAddr};

use im_config::MsgConfig;

/// Longest name of a host.
const MAX_HOST: usize = 253;

/// Where clients connect. Hosts are addresses or names; whoever dials looks names up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) ip1: String,
    pub(crate) ip2: String,
    pub(crate) port: u16,
}

impl Public {
    /// What configuration says, or the address of the listening port.
    pub(crate) fn of(config: &MsgConfig, bound: SocketAddr) -> Self {
        let ip1 = match config.public_ip1.as_str() {
            "" if bound.ip().is_unspecified() => IpAddr::from([127, 0, 0, 1]).to_string(),
            "" => bound.ip().to_string(),
            ip => ip.to_owned(),
        };
        let ip2 = match config.public_ip2.as_str() {
            "" => ip1.clone(),
            ip => ip.to_owned(),
        };
        let port = match config.public_port {
            0 => bound.port(),
            port => port,
        };
        Self { ip1, ip2, port }
    }

    /// Reads `host:port`, an IPv6 address in brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let address = rest.strip_suffix(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                address
            }
            None => host,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name = (1..=MAX_HOST).contains(&host.len()) && host.chars().all(is_plain);
        if !is_name && host.parse::<std::net::Ipv6Addr>().is_err() {
            return None;
        }
        Some(Self {
            ip1: host.to_owned(),
            ip2: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_understood() {
        for (text, host, port) in [
            ("192.0.2.7:30123\n", "192.0.2.7", 30_123),
            (
                " msg-0.chat.example.com:8000 ",
                "msg-0.chat.example.com",
                8_000,
            ),
            ("[2001:db8::7]:8000", "2001:db8::7", 8_000),
        ] {
            let public = Public::parse(text).unwrap();
            assert_eq!((public.ip1.as_str(), public.port), (host, port));
            assert_eq!(public.ip2, host);
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "[host]:80",
            "[::1:80",
            "a b:80",
            "a:1\nb:2",
            "http://a:80",
        ] {
            assert_eq!(Public::parse(text), None, "{text:?}");
        }
    }
}
