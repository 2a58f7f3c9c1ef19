//! Configuration of the http-api role.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker, MonitorConfig, Networks, Rate};

/// The HTTP API for back offices and administrators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpApiConfig {
    /// Whether all-in-one runs this role.
    pub enabled: bool,
    /// Where callers connect; port 0 lets the kernel choose.
    pub listen: String,
    /// Where other servers report, over gRPC with the installation's secret: without `secret_file` nobody
    /// can, and in all-in-one nobody needs to. Empty = nowhere.
    pub monitor_listen: String,
    /// What is known of the other servers.
    pub monitor: MonitorConfig,
    /// Administrators' port of db-proxy, `host:port`; not used by all-in-one, which knows its own.
    pub db_proxy: String,
    /// File with the administrators' secret, which db-proxy asks for; not used by all-in-one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_secret_file: Option<PathBuf>,
    /// PEM file with the certificate chain for HTTPS; with it the port takes HTTPS beside HTTP. A changed
    /// file counts within seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Addresses and networks of proxies that end TLS: tokens are taken from them over plain HTTP, and the
    /// last address in their `X-Forwarded-For` is that of the caller.
    pub trusted_proxies: Vec<String>,
    /// The two calls of the original server.
    pub original: OriginalCallsConfig,
    /// Whether tokens with `messages:read` may read what people write to each other.
    pub read_messages: bool,
    /// Largest body of a request.
    pub max_body: ByteSize,
    /// Largest file of people that is imported; one at a time is in memory, about four times its size.
    pub max_import: ByteSize,
    /// Time for an import, from its head until every line of its file is judged.
    pub import_timeout: Span,
    /// Time for a request, from its head to its answer.
    pub request_timeout: Span,
    /// Requests that are worked on at the same time; more are answered 503.
    pub max_requests: usize,
    /// Requests of bots that wait for messages, beside `max_requests`, about 40 KiB each with their connections;
    /// more are answered 503.
    pub bot_waiters: usize,
    /// Requests of one bot that wait for messages; more are answered 429.
    pub waiters_per_bot: usize,
    /// Requests of one token.
    pub token_rate: Rate,
    /// Requests of one IPv4 address or IPv6 /64, whatever they show.
    pub address_rate: Rate,
    /// Messages of one incoming hook.
    pub hook_rate: Rate,
    /// Largest body of a request to an incoming hook.
    pub max_hook_body: ByteSize,
    /// Tokens, and as many addresses and hooks, whose requests are counted; beyond it those that have asked for
    /// nothing for longest are forgotten.
    pub counted_callers: usize,
    /// How long a token that was looked up is good without another look: a revoked one is refused after
    /// this time at the latest. 0s looks every time.
    pub token_memory: Span,
    /// Tokens that are remembered.
    pub remembered_tokens: usize,
    /// Longest head of a request, its first line included.
    pub max_head: ByteSize,
    /// Open connections; then a newcomer takes the place of the one silent longest.
    pub max_connections: usize,
    /// Open connections of one IPv4 address or IPv6 /64, and a quarter of those of a /24 or /56; then a
    /// newcomer takes the place of the one from there that has been silent longest.
    pub max_connections_per_address: usize,
    /// Places that only networks (/24, /56) with few connections get; half of the places at most.
    pub reserved_connections: usize,
    /// Connections up to which a network may use what is reserved.
    pub reserved_per_network: usize,
    /// Time for the head of a request, for the handshake of TLS, and between two requests of a connection.
    pub head_timeout: Span,
    /// How long a client may send a body or take an answer more slowly than `least_rate`.
    pub body_grace: Span,
    /// Bytes per second that a client must send or take, on average over `body_grace`.
    pub least_rate: ByteSize,
    /// Time a client has to take its answer and close.
    pub linger: Span,
    /// Time that requests have to end at a stop.
    pub stop_grace: Span,
}

/// `POST /query/CreateGroup` and `POST /query/ChangeMembers`, as the original server has them: without
/// a token, so only for callers that these lists name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OriginalCallsConfig {
    /// Whether they are served.
    pub enabled: bool,
    /// Addresses and networks that may call them; empty = all, as the original.
    pub addresses: Vec<String>,
    /// Values of `app_key` that are accepted; empty = any or none, as the original.
    pub app_keys: Vec<String>,
}

impl Default for OriginalCallsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            addresses: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
            app_keys: Vec::new(),
        }
    }
}

impl Default for HttpApiConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "0.0.0.0:8400".to_owned(),
            monitor_listen: "0.0.0.0:8410".to_owned(),
            monitor: MonitorConfig::default(),
            db_proxy: "127.0.0.1:10601".to_owned(),
            admin_secret_file: None,
            certificate_file: None,
            key_file: None,
            trusted_proxies: Vec::new(),
            original: OriginalCallsConfig::default(),
            read_messages: false,
            max_body: ByteSize::mib(1),
            max_import: ByteSize::mib(64),
            import_timeout: Span::seconds(600),
            request_timeout: Span::seconds(30),
            max_requests: 256,
            bot_waiters: 256,
            waiters_per_bot: 4,
            token_rate: Rate {
                burst: 1_000,
                per_minute: 12_000,
            },
            address_rate: Rate {
                burst: 2_000,
                per_minute: 24_000,
            },
            hook_rate: Rate {
                burst: 30,
                per_minute: 60,
            },
            max_hook_body: ByteSize::kib(64),
            counted_callers: 10_000,
            token_memory: Span::seconds(3),
            remembered_tokens: 1_000,
            max_head: ByteSize::kib(16),
            max_connections: 512,
            max_connections_per_address: 128,
            reserved_connections: 64,
            reserved_per_network: 8,
            head_timeout: Span::seconds(10),
            body_grace: Span::seconds(10),
            least_rate: ByteSize::kib(4),
            linger: Span::seconds(2),
            stop_grace: Span::seconds(3),
        }
    }
}

/// Longest entry of the list of app keys, bytes.
const MAX_APP_KEY: usize = 256;

/// Entries of a list.
const MAX_ENTRIES: usize = 1_000;

impl Check for OriginalCallsConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            enabled: _,
            addresses,
            app_keys,
        } = self;
        networks(checker, "addresses", addresses);
        let is_key = |key: &String| (1..=MAX_APP_KEY).contains(&key.len());
        checker.require(
            "app_keys",
            app_keys.len() <= MAX_ENTRIES && app_keys.iter().all(is_key),
            "be 1,000 texts of 1 to 256 bytes at most",
        );
    }
}

fn networks(checker: &mut Checker, key: &str, list: &[String]) {
    let rule = "be 1,000 entries at most";
    checker.require(key, list.len() <= MAX_ENTRIES, rule);
    if let Err(error) = Networks::parse(list) {
        checker.violation(key, error.to_string());
    }
}

impl Check for HttpApiConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            enabled: _,
            listen,
            monitor_listen,
            monitor,
            db_proxy,
            admin_secret_file: _,
            certificate_file,
            key_file,
            trusted_proxies,
            original,
            read_messages: _,
            max_body,
            max_import,
            import_timeout,
            request_timeout,
            max_requests,
            bot_waiters,
            waiters_per_bot,
            token_rate,
            address_rate,
            hook_rate,
            max_hook_body,
            counted_callers,
            token_memory,
            remembered_tokens,
            max_head,
            max_connections,
            max_connections_per_address,
            reserved_connections,
            reserved_per_network,
            head_timeout,
            body_grace,
            least_rate,
            linger,
            stop_grace,
        } = self;
        checker.listen("listen", listen);
        if !monitor_listen.is_empty() {
            checker.listen("monitor_listen", monitor_listen);
        }
        checker.table("monitor", monitor);
        checker.listen("db_proxy", db_proxy);
        checker.require(
            "key_file",
            certificate_file.is_some() == key_file.is_some(),
            "stand beside certificate_file, and not without it",
        );
        networks(checker, "trusted_proxies", trusted_proxies);
        checker.table("original", original);
        let (kib, mib) = (ByteSize::kib(1), ByteSize::mib(1));
        checker.range("max_body", max_body, &(kib..=ByteSize::mib(64)));
        checker.range("max_import", max_import, &(kib..=ByteSize::mib(256)));
        let time = Span::millis(10)..=Span::seconds(3_600);
        checker.range("request_timeout", request_timeout, &time);
        checker.range("import_timeout", import_timeout, &time);
        checker.range("max_requests", max_requests, &(1..=100_000));
        checker.range("bot_waiters", bot_waiters, &(1..=100_000));
        checker.range("waiters_per_bot", waiters_per_bot, &(1..=1_000));
        checker.range("max_hook_body", max_hook_body, &(kib..=ByteSize::mib(1)));
        for (key, rate) in [
            ("token_rate", token_rate),
            ("address_rate", address_rate),
            ("hook_rate", hook_rate),
        ] {
            checker.range(&format!("{key}.burst"), &rate.burst, &(1..=10_000));
            let per_minute = 1..=60_000;
            checker.range(&format!("{key}.per_minute"), &rate.per_minute, &per_minute);
        }
        checker.range("counted_callers", counted_callers, &(1..=10_000_000));
        let memory = Span::seconds(0)..=Span::seconds(5);
        checker.range("token_memory", token_memory, &memory);
        checker.range("remembered_tokens", remembered_tokens, &(1..=1_000_000));
        let head = ByteSize::kib(8)..=ByteSize::kib(64);
        checker.range("max_head", max_head, &head);
        let connections = 1..=1_000_000;
        checker.range("max_connections", max_connections, &connections);
        checker.range(
            "max_connections_per_address",
            max_connections_per_address,
            &connections,
        );
        let reserve = 0..=1_000_000;
        checker.range("reserved_connections", reserved_connections, &reserve);
        checker.range("reserved_per_network", reserved_per_network, &reserve);
        checker.range("head_timeout", head_timeout, &time);
        checker.range("body_grace", body_grace, &time);
        checker.range("least_rate", least_rate, &(ByteSize::bytes(1)..=mib));
        let short = Span::millis(1)..=Span::seconds(60);
        checker.range("linger", linger, &short);
        checker.range("stop_grace", stop_grace, &short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl FnOnce(&mut HttpApiConfig)) -> Result<(), String> {
        let mut config = HttpApiConfig::default();
        change(&mut config);
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(judged(|_| {}), Ok(()));
    }

    #[test]
    fn a_certificate_has_a_key_and_a_key_a_certificate() {
        let file = || Some(PathBuf::from("a.pem"));
        assert!(judged(|config| config.certificate_file = file()).is_err());
        assert!(judged(|config| config.key_file = file()).is_err());
        let both = judged(|config| {
            config.certificate_file = file();
            config.key_file = file();
        });
        assert_eq!(both, Ok(()));
    }

    #[test]
    fn lists_hold_networks_and_keys_that_are_some() {
        let of = |text: &str| vec![text.to_owned()];
        assert_eq!(judged(|c| c.trusted_proxies = of("10.0.0.0/8")), Ok(()));
        assert!(judged(|c| c.trusted_proxies = of("proxy")).is_err());
        assert!(judged(|c| c.original.addresses = of("10.0.0.0/99")).is_err());
        assert!(judged(|c| c.original.app_keys = of("")).is_err());
        assert!(judged(|c| c.original.app_keys = of(&"x".repeat(257))).is_err());
        assert_eq!(judged(|c| c.original.app_keys = of("key")), Ok(()));
    }
}
