//! Parts that several roles share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a role listens for its own administration: `/livez`, `/readyz`, `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Listening address; port 0 lets the kernel choose; absent = no admin listener.
    pub listen: Option<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: Some("127.0.0.1:0".to_owned()) }
    }
}

/// Static peers, `host:port` each. A name is resolved anew at every dial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeersConfig {
    /// Control ports (8100) of login servers.
    pub login: Vec<String>,
    /// Ports (8200) of route servers.
    pub route: Vec<String>,
    /// Port (10600) of db-proxy.
    pub db_proxy: Vec<String>,
}

/// Bounds of a link between two roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkConfig {
    /// Silence after which a keep-alive ping is sent, milliseconds.
    pub keepalive_ms: u64,
    /// Time for its answer, milliseconds; then the link is closed.
    pub keepalive_timeout_ms: u64,
    /// Time for a connection attempt, milliseconds.
    pub connect_timeout_ms: u64,
    /// First and longest wait between attempts, milliseconds; jitter is added.
    pub backoff_min_ms: u64,
    /// Longest wait between attempts, milliseconds.
    pub backoff_max_ms: u64,
    /// Batches that may wait on a link in each direction.
    pub queue_batches: usize,
    /// Largest batch accepted, bytes.
    pub max_batch_bytes: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            keepalive_ms: 2_000,
            keepalive_timeout_ms: 2_000,
            connect_timeout_ms: 2_000,
            backoff_min_ms: 50,
            backoff_max_ms: 2_000,
            queue_batches: 64,
            max_batch_bytes: 64 << 20,
        }
    }
}
