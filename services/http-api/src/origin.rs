//! Where a request comes from.

use std::net::IpAddr;

use axum::http::HeaderMap;
use im_config::Networks;
use im_http::Peer;

/// Where a request comes from, and how; an extension of every request.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The caller's address: behind a proxy that is trusted, what the proxy says.
    pub(crate) address: IpAddr,
    /// Whether nobody between the caller and this machine can have read it: TLS, loopback, or a trusted
    /// proxy, which ends TLS.
    pub(crate) secret: bool,
    /// Number of the request.
    pub(crate) request_id: String,
}

/// Header in which proxies name those who came to them, the last one at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";

impl Origin {
    /// Numbers a request and looks where it comes from.
    pub(crate) fn of(peer: &Peer, headers: &HeaderMap, proxies: &Networks) -> Self {
        let direct = peer.address.ip().to_canonical();
        let is_proxy = proxies.contains(direct);
        let forwarded = is_proxy.then(|| forwarded(headers)).flatten();
        Self {
            address: forwarded.unwrap_or(direct),
            secret: peer.secure || direct.is_loopback() || is_proxy,
            request_id: format!("{:016x}", rand::random::<u64>()),
        }
    }
}

/// The address that the nearest proxy has added; earlier ones are what somebody said to it.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let last = last.to_str().ok()?.rsplit(',').next()?.trim();
    let bare = last.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().ok().map(|it| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(from: &str, secure: bool, forwarded: Option<&str>) -> Origin {
        let peer = Peer {
            address: from.parse().unwrap(),
            local: "192.0.2.1:8400".parse().unwrap(),
            secure,
        };
        let mut headers = HeaderMap::new();
        if let Some(text) = forwarded {
            headers.insert(FORWARDED_FOR, text.parse().unwrap());
        }
        let proxies = Networks::parse(&["10.0.0.0/8"]).unwrap();
        Origin::of(&peer, &headers, &proxies)
    }

    #[test]
    fn only_a_trusted_proxy_says_where_a_request_comes_from() {
        let address = |from, said| origin(from, false, Some(said)).address.to_string();
        assert_eq!(address("10.0.0.1:1", "203.0.113.9"), "203.0.113.9");
        assert_eq!(address("10.0.0.1:1", "1.1.1.1, 203.0.113.9"), "203.0.113.9");
        assert_eq!(address("10.0.0.1:1", "[2001:db8::1]"), "2001:db8::1");
        assert_eq!(address("10.0.0.1:1", "unknown"), "10.0.0.1");
        assert_eq!(address("192.0.2.9:1", "203.0.113.9"), "192.0.2.9");
    }

    #[test]
    fn plain_http_is_secret_on_this_machine_and_behind_a_trusted_proxy_only() {
        let secret = |from, secure| origin(from, secure, None).secret;
        assert!(secret("127.0.0.1:1", false) && secret("[::1]:1", false));
        assert!(secret("10.0.0.1:1", false));
        assert!(!secret("192.0.2.9:1", false) && secret("192.0.2.9:1", true));
        assert!(secret("[::ffff:127.0.0.1]:1", false));
    }

    #[test]
    fn requests_have_numbers_of_their_own() {
        let number = || origin("127.0.0.1:1", false, None).request_id;
        let (one, other) = (number(), number());
        assert!(one.len() == 16 && one != other);
    }
}
