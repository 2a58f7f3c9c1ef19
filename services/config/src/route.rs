//! Configuration of the route role.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker, LinkConfig};

/// The presence directory and message bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteConfig {
    /// Where msg servers and db-proxies reach this server; port 0 lets the kernel choose.
    pub listen: String,
    /// Bounds of the links.
    pub link: LinkConfig,
    /// Sessions kept; a login beyond is not confirmed.
    pub max_sessions: usize,
    /// Msg servers kept, those just lost included; one more is refused.
    pub max_servers: usize,
    /// Time a lost msg server has to come back before its users go offline.
    pub lost_server_grace: Span,
    /// Presence changes are gathered this long.
    pub presence_tick: Span,
    /// The position in the log is announced on every link at least this often.
    pub announce_interval: Span,
    /// Results, kicks and presence that wait for a slow msg server (a presence tick counts each of
    /// its users); beyond it the link is closed.
    pub max_waiting_items: usize,
    /// The same in bytes: `max_waiting_items` weighed.
    pub max_waiting: ByteSize,
    /// Logins that wait for the writer; a login beyond is not confirmed.
    pub max_waiting_logins: usize,
    /// Sessions in one answer to an operator's question.
    pub max_listed_sessions: usize,
    /// What has gathered for a msg server is sent when it has this size, even if more input is there.
    pub gather_size: ByteSize,
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8200".to_owned(),
            link: LinkConfig::default(),
            max_sessions: 2_000_000,
            max_servers: 2_048,
            lost_server_grace: Span::seconds(3),
            presence_tick: Span::millis(200),
            announce_interval: Span::millis(500),
            max_waiting_items: 262_144,
            max_waiting: ByteSize::mib(32),
            max_waiting_logins: 65_536,
            max_listed_sessions: 100_000,
            gather_size: ByteSize::mib(1),
        }
    }
}

impl Check for RouteConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            listen,
            link,
            max_sessions,
            max_servers,
            lost_server_grace,
            presence_tick,
            announce_interval,
            max_waiting_items,
            max_waiting,
            max_waiting_logins,
            max_listed_sessions,
            gather_size,
        } = self;
        checker.listen("listen", listen);
        checker.table("link", link);
        checker.range("max_sessions", max_sessions, &(1..=100_000_000));
        checker.range("max_servers", max_servers, &(1..=65_000));
        checker.range(
            "lost_server_grace",
            lost_server_grace,
            &(Span::ZERO..=Span::seconds(60)),
        );
        checker.range(
            "presence_tick",
            presence_tick,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        // A msg server finds a gap at the end of the log by these announcements.
        checker.range(
            "announce_interval",
            announce_interval,
            &(Span::millis(1)..=Span::seconds(1)),
        );
        checker.range("max_waiting_items", max_waiting_items, &(1..=100_000_000));
        checker.range(
            "max_waiting",
            max_waiting,
            &(ByteSize::kib(64)..=ByteSize::mib(4_096)),
        );
        checker.range("max_waiting_logins", max_waiting_logins, &(1..=100_000_000));
        checker.range(
            "max_listed_sessions",
            max_listed_sessions,
            &(1..=100_000_000),
        );
        checker.range(
            "gather_size",
            gather_size,
            &(ByteSize::bytes(1)..=ByteSize::mib(1_024)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        RouteConfig::default().validate().unwrap();
    }

    #[test]
    fn a_key_out_of_bounds_is_named() {
        let config = RouteConfig {
            announce_interval: Span::millis(1_001),
            ..RouteConfig::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "announce_interval: must be 1ms to 1s, is 1001ms");
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = toml::from_str::<RouteConfig>("presence_tik_ms = 5")
            .unwrap_err()
            .to_string();
        assert!(error.contains("presence_tik_ms"), "{error}");
    }
}
