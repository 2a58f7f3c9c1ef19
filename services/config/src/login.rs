//! Configuration of the login role.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;
use crate::{Check, Checker, LinkConfig};

/// The dispatcher that tells clients which msg server to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginConfig {
    /// Where clients ask by HTTP; port 0 lets the kernel choose.
    pub http_listen: String,
    /// Where clients ask by the binary protocol.
    pub client_listen: String,
    /// Where msg servers report their load.
    pub control_listen: String,
    /// Bounds of the links of msg servers.
    pub link: LinkConfig,
    /// Base URL of the image store that clients are told, with the trailing slash.
    pub msfs: String,
    /// URL of the page of links that clients are told.
    pub discovery: String,
    /// Msg servers kept, those just lost included; one more is refused.
    pub max_servers: usize,
    /// A msg server whose last report is older is not handed out, milliseconds.
    pub stale_after_ms: u64,
    /// A report stream that ends after this much silence counts as lost contact and not as the end of
    /// the msg server, milliseconds.
    pub silence_ms: u64,
    /// When there is no fresh report at all, the last known addresses are handed out up to this age,
    /// milliseconds.
    pub last_known_ms: u64,
    /// Login servers that hand out addresses side by side: each takes what it hands out itself this
    /// many times.
    pub replicas: u32,
    /// A hand-out counts until the msg server reports a session more, or this long, milliseconds.
    pub reservation_ms: u64,
    /// Hand-outs that a msg server may have pending before they count as load.
    pub reservation_slack: u32,
    /// Seconds after which a client without an address is asked to try again.
    pub retry_after_s: u32,
    /// Open client connections of each port; then a newcomer takes the place of the one silent longest.
    pub max_connections: usize,
    /// Open client connections of one IPv4 address or IPv6 /64 on each port, and a quarter of those of a
    /// /24 or /56; then a newcomer takes the place of the one from there that has been silent longest.
    pub max_connections_per_address: usize,
    /// Places of each port that only networks (/24, /56) with few connections get; half of the places at
    /// most.
    pub reserved_connections: usize,
    /// Connections up to which a network may use what is reserved.
    pub reserved_per_network: usize,
    /// Bytes of a request.
    pub max_request_bytes: usize,
    /// Time until the first bytes of a client.
    pub first_bytes: Span,
    /// Silence after which an HTTP connection is closed, milliseconds.
    pub http_idle_ms: u64,
    /// Time for a whole HTTP request, milliseconds.
    pub http_request_ms: u64,
    /// Time for a whole binary request, milliseconds.
    pub client_timeout_ms: u64,
    /// Time a client has to take its answer and close, milliseconds.
    pub linger_ms: u64,
    /// Msg servers that have a load metric of their own, the first ones by name.
    pub labelled_servers: usize,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            http_listen: "0.0.0.0:8080".to_owned(),
            client_listen: "0.0.0.0:8008".to_owned(),
            control_listen: "0.0.0.0:8100".to_owned(),
            link: LinkConfig::default(),
            msfs: "http://127.0.0.1:8700/".to_owned(),
            discovery: "http://127.0.0.1/api/discovery".to_owned(),
            max_servers: 2_048,
            stale_after_ms: 6_000,
            silence_ms: 3_000,
            last_known_ms: 60_000,
            replicas: 1,
            reservation_ms: 30_000,
            reservation_slack: 64,
            retry_after_s: 3,
            max_connections: 4_096,
            max_connections_per_address: 1_024,
            reserved_connections: 512,
            reserved_per_network: 16,
            max_request_bytes: 1_024,
            first_bytes: Span::seconds(5),
            http_idle_ms: 5_000,
            http_request_ms: 10_000,
            client_timeout_ms: 10_000,
            linger_ms: 1_000,
            labelled_servers: 64,
        }
    }
}

impl Check for LoginConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            http_listen,
            client_listen,
            control_listen,
            link,
            msfs,
            discovery,
            max_servers,
            stale_after_ms,
            silence_ms,
            last_known_ms,
            replicas,
            reservation_ms,
            reservation_slack,
            retry_after_s,
            max_connections,
            max_connections_per_address,
            reserved_connections,
            reserved_per_network,
            max_request_bytes,
            first_bytes,
            http_idle_ms,
            http_request_ms,
            client_timeout_ms,
            linger_ms,
            labelled_servers,
        } = self;
        checker.listen("http_listen", http_listen);
        checker.listen("client_listen", client_listen);
        checker.listen("control_listen", control_listen);
        checker.table("link", link);
        // Clients append a path to it.
        checker.require(
            "msfs",
            msfs.is_empty() || msfs.ends_with('/'),
            "end with a slash",
        );
        // The original cuts its whole answer at 1023 bytes, and some clients read no more.
        checker.range("msfs", &msfs.len(), &(0..=256));
        checker.range("discovery", &discovery.len(), &(0..=256));
        checker.range("max_servers", max_servers, &(1..=65_000));
        checker.range("stale_after_ms", stale_after_ms, &(10..=600_000));
        checker.range("silence_ms", silence_ms, &(1..=600_000));
        checker.range("last_known_ms", last_known_ms, &(0..=3_600_000));
        checker.range("replicas", replicas, &(1..=1_000));
        checker.range("reservation_ms", reservation_ms, &(0..=300_000));
        checker.range("reservation_slack", reservation_slack, &(0..=1_000_000));
        checker.range("retry_after_s", retry_after_s, &(0..=3_600));
        checker.range("max_connections", max_connections, &(1..=1_000_000));
        checker.range(
            "max_connections_per_address",
            max_connections_per_address,
            &(1..=1_000_000),
        );
        checker.range(
            "reserved_connections",
            reserved_connections,
            &(0..=1_000_000),
        );
        checker.range(
            "reserved_per_network",
            reserved_per_network,
            &(0..=1_000_000),
        );
        checker.range("max_request_bytes", max_request_bytes, &(64..=65_536));
        checker.range(
            "first_bytes",
            first_bytes,
            &(Span::millis(1)..=Span::seconds(3_600)),
        );
        checker.range("http_idle_ms", http_idle_ms, &(1..=3_600_000));
        checker.range("http_request_ms", http_request_ms, &(1..=3_600_000));
        checker.range("client_timeout_ms", client_timeout_ms, &(1..=3_600_000));
        checker.range("linger_ms", linger_ms, &(1..=60_000));
        checker.range("labelled_servers", labelled_servers, &(0..=4_096));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        LoginConfig::default().validate().unwrap();
    }

    #[test]
    fn a_store_url_without_a_slash_is_named() {
        let config = LoginConfig {
            msfs: "http://x:8700".to_owned(),
            ..LoginConfig::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "msfs: must end with a slash");
    }
}
