//! Parts that several roles share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;
use crate::{Check, Checker};

/// Where a process listens for its own administration: `/livez`, `/readyz`, `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Listening address; port 0 lets the kernel choose; empty = no admin listener.
    pub listen: String,
    /// The process counts as stuck when its heartbeat is older than this, milliseconds.
    pub heartbeat_ms: u64,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            heartbeat_ms: 10_000,
        }
    }
}

impl Check for AdminConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            listen,
            heartbeat_ms,
        } = self;
        if !listen.is_empty() {
            checker.listen("listen", listen);
        }
        checker.range("heartbeat_ms", heartbeat_ms, &(100..=600_000));
    }
}

/// Peers: a list of `host:port` or `name=host:port`, or one entry `kubernetes:<service>:<port name>`.
///
/// A host name is resolved anew at every dial. The Kubernetes entry stands for all pods of a Service
/// in the namespace of this process, by their pod names, as its EndpointSlices list them.
///
/// All processes must know a route server by the same name: it is the key by which users are
/// spread over route servers.
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

impl Check for PeersConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            login,
            route,
            db_proxy,
        } = self;
        checker.peers("login", login);
        checker.peers("route", route);
        checker.peers("db_proxy", db_proxy);
    }
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
    /// First wait between attempts, milliseconds; jitter is added.
    pub backoff_min_ms: u64,
    /// Longest wait between attempts, milliseconds.
    pub backoff_max_ms: u64,
    /// Batches that may wait on a link in each direction.
    pub queue_batches: usize,
    /// Largest batch accepted, bytes. Senders cut theirs by their own value: the same everywhere.
    pub max_batch_bytes: usize,
    /// Connections of peers that an internal port holds open; one per peer is usual.
    pub max_connections: usize,
    /// Connections beside them whose peer has not presented the secret yet; then a newcomer takes the
    /// place of the one that has been there longest.
    pub max_unauthenticated: usize,
    /// Time that a connection has to present the secret.
    pub authenticate_within: Span,
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
            max_connections: 4_096,
            max_unauthenticated: 256,
            authenticate_within: Span::seconds(5),
        }
    }
}

impl Check for LinkConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            keepalive_ms,
            keepalive_timeout_ms,
            connect_timeout_ms,
            backoff_min_ms,
            backoff_max_ms,
            queue_batches,
            max_batch_bytes,
            max_connections,
            max_unauthenticated,
            authenticate_within,
        } = self;
        checker.range("keepalive_ms", keepalive_ms, &(10..=600_000));
        checker.range(
            "keepalive_timeout_ms",
            keepalive_timeout_ms,
            &(10..=600_000),
        );
        checker.range("connect_timeout_ms", connect_timeout_ms, &(10..=600_000));
        checker.range("backoff_min_ms", backoff_min_ms, &(1..=60_000));
        checker.range(
            "backoff_max_ms",
            backoff_max_ms,
            &(*backoff_min_ms..=600_000),
        );
        checker.range("queue_batches", queue_batches, &(1..=65_536));
        checker.range("max_batch_bytes", max_batch_bytes, &((1 << 16)..=(1 << 30)));
        checker.range("max_connections", max_connections, &(1..=1_000_000));
        checker.range("max_unauthenticated", max_unauthenticated, &(1..=1_000_000));
        checker.range(
            "authenticate_within",
            authenticate_within,
            &(Span::millis(10)..=Span::seconds(600)),
        );
    }
}

/// How a process writes its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Human,
    /// One JSON object per event.
    Json,
}

/// Log lines, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// Levels by module, such as `info,im_msg=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            filter: "info".to_owned(),
        }
    }
}

impl Check for LogConfig {
    fn check(&self, checker: &mut Checker) {
        let Self { format: _, filter } = self;
        checker.require("filter", !filter.is_empty(), "not be empty");
    }
}

/// OpenTelemetry traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TraceConfig {
    /// OTLP/gRPC endpoint such as `http://collector:4317`; empty = no traces.
    pub endpoint: String,
    /// Part of new traces that is kept, 0 to 1.
    pub ratio: f64,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            ratio: 0.01,
        }
    }
}

impl Check for TraceConfig {
    fn check(&self, checker: &mut Checker) {
        let Self { endpoint, ratio } = self;
        let known_scheme = endpoint.starts_with("http://") || endpoint.is_empty();
        checker.require("endpoint", known_scheme, "start with http://");
        checker.range("ratio", ratio, &(0.0..=1.0));
    }
}

/// The process that runs one role or all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessConfig {
    /// Threads of the runtime; 0 = one per core, and a single one in a login server that runs alone: a
    /// thread hands out tens of thousands of addresses per second, and more threads wake each other. A
    /// msg server that runs alone has as many again for its clients.
    pub worker_threads: usize,
    /// Time for a stop at the first SIGTERM or SIGINT, milliseconds; what is left then is cut.
    pub stop_timeout_ms: u64,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            worker_threads: 0,
            stop_timeout_ms: 28_000,
        }
    }
}

impl Check for ProcessConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            worker_threads,
            stop_timeout_ms,
        } = self;
        checker.range("worker_threads", worker_threads, &(0..=1024));
        checker.range("stop_timeout_ms", stop_timeout_ms, &(100..=7_200_000));
    }
}

/// The embedded store (SQLite).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SqliteConfig {
    /// Reading connections (each is a thread), opened on demand.
    pub readers: u32,
    /// How long a statement waits for a lock that a checkpoint or a backup holds, milliseconds.
    pub busy_timeout_ms: u64,
    /// How long a read waits for a free connection, milliseconds.
    pub acquire_timeout_ms: u64,
    /// Page cache of the writing connection, KiB.
    pub writer_cache_kib: u32,
    /// Page cache of each reading connection, KiB.
    pub reader_cache_kib: u32,
    /// Write-ahead log in use from which it is copied into the database beside the writer, bytes.
    pub checkpoint_bytes: u64,
    /// Write-ahead log in use from which writes wait until it can start anew, bytes.
    pub restart_bytes: u64,
    /// Write-ahead log in use above which nothing is stored, bytes.
    pub wal_limit_bytes: u64,
    /// Longest time between two looks at the write-ahead log, milliseconds.
    pub maintenance_interval_ms: u64,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            readers: 4,
            busy_timeout_ms: 5_000,
            acquire_timeout_ms: 3_000,
            writer_cache_kib: 16 * 1024,
            reader_cache_kib: 2 * 1024,
            checkpoint_bytes: 64 << 20,
            restart_bytes: 64 << 20,
            wal_limit_bytes: 1 << 30,
            maintenance_interval_ms: 250,
        }
    }
}

impl Check for SqliteConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            readers,
            busy_timeout_ms,
            acquire_timeout_ms,
            writer_cache_kib,
            reader_cache_kib,
            checkpoint_bytes,
            restart_bytes,
            wal_limit_bytes,
            maintenance_interval_ms,
        } = self;
        checker.range("readers", readers, &(1..=64));
        checker.range("busy_timeout_ms", busy_timeout_ms, &(1..=600_000));
        checker.range("acquire_timeout_ms", acquire_timeout_ms, &(1..=600_000));
        checker.range("writer_cache_kib", writer_cache_kib, &(64..=16_777_216));
        checker.range("reader_cache_kib", reader_cache_kib, &(64..=16_777_216));
        checker.range(
            "checkpoint_bytes",
            checkpoint_bytes,
            &((1 << 16)..=(1 << 40)),
        );
        checker.range(
            "restart_bytes",
            restart_bytes,
            &(*checkpoint_bytes..=(1 << 40)),
        );
        checker.range(
            "wal_limit_bytes",
            wal_limit_bytes,
            &(*restart_bytes..=(1 << 42)),
        );
        checker.range(
            "maintenance_interval_ms",
            maintenance_interval_ms,
            &(1..=60_000),
        );
    }
}
