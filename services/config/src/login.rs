//! Configuration of the login role.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
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
    /// Base URL of the image store that clients are told, with the trailing slash. As the host of
    /// `http://*:8700/` stands that at which a client asked. all-in-one tells that of its own msfs server
    /// unless this says another.
    pub msfs: String,
    /// File with such a base URL, which is read again and again; as long as it has none, `msfs` counts. Empty:
    /// none.
    pub msfs_file: PathBuf,
    /// URL of the list of links that clients are told, with a host as `msfs` may have it. all-in-one tells that
    /// of its own http-api server unless this says another.
    pub discovery: String,
    /// Msg servers kept, those just lost included; one more is refused.
    pub max_servers: usize,
    /// A msg server whose last report is older is not handed out.
    pub stale_after: Span,
    /// A report stream that ends after this much silence counts as lost contact and not as the end of
    /// the msg server.
    pub silence: Span,
    /// When there is no fresh report at all, the last known addresses are handed out up to this age.
    pub last_known: Span,
    /// Login servers that hand out addresses side by side: each takes what it hands out itself this
    /// many times.
    pub replicas: u32,
    /// File with the number of login servers, which is read again and again; as long as it has none,
    /// `replicas` counts. Empty: none.
    pub replicas_file: PathBuf,
    /// A hand-out counts until the msg server reports a session more, or this long.
    pub reservation: Span,
    /// Hand-outs that a msg server may have pending before they count as load.
    pub reservation_slack: u32,
    /// When a client without an address is asked to try again; it is told whole seconds.
    pub retry_after: Span,
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
    /// Longest request.
    pub max_request: ByteSize,
    /// Time until the first bytes of a client.
    pub first_bytes: Span,
    /// Silence after which an HTTP connection is closed.
    pub http_idle: Span,
    /// Time for a whole HTTP request.
    pub http_request: Span,
    /// Time for a whole binary request.
    pub client_timeout: Span,
    /// Time a client has to take its answer and close.
    pub linger: Span,
    /// Msg servers that have a load metric of their own, the first ones by name.
    pub labelled_servers: usize,
}

impl LoginConfig {
    /// How many login servers an installation may have.
    pub const REPLICAS: RangeInclusive<u32> = 1..=1_000;

    /// Longest URL that clients are told, bytes: the original cuts its whole answer at 1023, and some clients
    /// read no more.
    pub const MAX_URL: usize = 256;
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            http_listen: "0.0.0.0:8080".to_owned(),
            client_listen: "0.0.0.0:8008".to_owned(),
            control_listen: "0.0.0.0:8100".to_owned(),
            link: LinkConfig::default(),
            msfs: "http://127.0.0.1:8700/".to_owned(),
            msfs_file: PathBuf::new(),
            discovery: "http://127.0.0.1:8400/api/discovery".to_owned(),
            max_servers: 2_048,
            stale_after: Span::seconds(6),
            silence: Span::seconds(3),
            last_known: Span::seconds(60),
            replicas: 1,
            replicas_file: PathBuf::new(),
            reservation: Span::seconds(30),
            reservation_slack: 64,
            retry_after: Span::seconds(3),
            max_connections: 4_096,
            max_connections_per_address: 1_024,
            reserved_connections: 512,
            reserved_per_network: 16,
            max_request: ByteSize::kib(1),
            first_bytes: Span::seconds(5),
            http_idle: Span::seconds(5),
            http_request: Span::seconds(10),
            client_timeout: Span::seconds(10),
            linger: Span::seconds(1),
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
            msfs_file: _,
            discovery,
            max_servers,
            stale_after,
            silence,
            last_known,
            replicas,
            replicas_file: _,
            reservation,
            reservation_slack,
            retry_after,
            max_connections,
            max_connections_per_address,
            reserved_connections,
            reserved_per_network,
            max_request,
            first_bytes,
            http_idle,
            http_request,
            client_timeout,
            linger,
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
        checker.length("msfs", msfs, Self::MAX_URL);
        checker.length("discovery", discovery, Self::MAX_URL);
        checker.range("max_servers", max_servers, &(1..=65_000));
        checker.range(
            "stale_after",
            stale_after,
            &(Span::millis(10)..=Span::seconds(600)),
        );
        checker.range("silence", silence, &(Span::millis(1)..=Span::seconds(600)));
        checker.range(
            "last_known",
            last_known,
            &(Span::ZERO..=Span::seconds(3_600)),
        );
        checker.range("replicas", replicas, &Self::REPLICAS);
        checker.range(
            "reservation",
            reservation,
            &(Span::ZERO..=Span::seconds(300)),
        );
        checker.range("reservation_slack", reservation_slack, &(0..=1_000_000));
        checker.range(
            "retry_after",
            retry_after,
            &(Span::ZERO..=Span::seconds(3_600)),
        );
        checker.steps("retry_after", retry_after, &Span::seconds(1));
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
        checker.range(
            "max_request",
            max_request,
            &(ByteSize::bytes(64)..=ByteSize::kib(64)),
        );
        checker.range(
            "first_bytes",
            first_bytes,
            &(Span::millis(1)..=Span::seconds(3_600)),
        );
        checker.range(
            "http_idle",
            http_idle,
            &(Span::millis(1)..=Span::seconds(3_600)),
        );
        checker.range(
            "http_request",
            http_request,
            &(Span::millis(1)..=Span::seconds(3_600)),
        );
        checker.range(
            "client_timeout",
            client_timeout,
            &(Span::millis(1)..=Span::seconds(3_600)),
        );
        checker.range("linger", linger, &(Span::millis(1)..=Span::seconds(60)));
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
