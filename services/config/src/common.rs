//! Parts that several roles share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Where a process listens for its own administration: `/livez`, `/readyz`, `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Listening address; port 0 lets the kernel choose; empty = no admin listener.
    pub listen: String,
    /// The process counts as stuck when its heartbeat is older than this.
    pub heartbeat: Span,
    /// Connections; a newcomer beyond them takes the place of the one that has waited longest.
    pub max_connections: usize,
    /// Connections of one address.
    pub max_connections_per_address: usize,
    /// Time for the head of a request, and for a connection to wait for its next one.
    pub head_timeout: Span,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            heartbeat: Span::seconds(10),
            max_connections: 256,
            max_connections_per_address: 64,
            head_timeout: Span::seconds(30),
        }
    }
}

impl Check for AdminConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            listen,
            heartbeat,
            max_connections,
            max_connections_per_address,
            head_timeout,
        } = self;
        if !listen.is_empty() {
            checker.listen("listen", listen);
        }
        checker.range(
            "heartbeat",
            heartbeat,
            &(Span::millis(100)..=Span::seconds(600)),
        );
        checker.range("max_connections", max_connections, &(4..=65_536));
        checker.range(
            "max_connections_per_address",
            max_connections_per_address,
            &(1..=65_536),
        );
        let head = Span::millis(100)..=Span::seconds(600);
        checker.range("head_timeout", head_timeout, &head);
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
    /// Ports (8601) of file servers; none where files are not transferred.
    pub file: Vec<String>,
    /// Monitor ports (8410) of http-api servers, to which every role reports; none where nobody asks.
    pub http_api: Vec<String>,
}

impl PeersConfig {
    /// The list of the role with this section of the configuration; `None` for one that nobody dials.
    pub fn of(&self, section: &str) -> Option<&[String]> {
        let Self {
            login,
            route,
            db_proxy,
            file,
            http_api,
        } = self;
        let lists = [
            ("login", login),
            ("route", route),
            ("db_proxy", db_proxy),
            ("file", file),
            ("http_api", http_api),
        ];
        let mut lists = lists.into_iter();
        lists
            .find(|(name, _)| *name == section)
            .map(|(_, list)| list.as_slice())
    }
}

impl Check for PeersConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            login,
            route,
            db_proxy,
            file,
            http_api,
        } = self;
        checker.peers("login", login);
        checker.peers("route", route);
        checker.peers("db_proxy", db_proxy);
        checker.peers("file", file);
        checker.peers("http_api", http_api);
    }
}

/// Bounds of a link between two roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkConfig {
    /// Silence after which a keep-alive ping is sent.
    pub keepalive: Span,
    /// Time for its answer; then the link is closed.
    pub keepalive_timeout: Span,
    /// Time for a connection attempt.
    pub connect_timeout: Span,
    /// First wait between attempts; jitter is added.
    pub backoff_min: Span,
    /// Longest wait between attempts.
    pub backoff_max: Span,
    /// Batches that may wait on a link in each direction.
    pub queue_batches: usize,
    /// Largest batch accepted. Senders cut theirs by their own value: the same everywhere.
    pub max_batch: ByteSize,
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
            keepalive: Span::seconds(2),
            keepalive_timeout: Span::seconds(2),
            connect_timeout: Span::seconds(2),
            backoff_min: Span::millis(50),
            backoff_max: Span::seconds(2),
            queue_batches: 64,
            max_batch: ByteSize::mib(64),
            max_connections: 4_096,
            max_unauthenticated: 256,
            authenticate_within: Span::seconds(5),
        }
    }
}

impl Check for LinkConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            keepalive,
            keepalive_timeout,
            connect_timeout,
            backoff_min,
            backoff_max,
            queue_batches,
            max_batch,
            max_connections,
            max_unauthenticated,
            authenticate_within,
        } = self;
        checker.range(
            "keepalive",
            keepalive,
            &(Span::millis(10)..=Span::seconds(600)),
        );
        checker.range(
            "keepalive_timeout",
            keepalive_timeout,
            &(Span::millis(10)..=Span::seconds(600)),
        );
        checker.range(
            "connect_timeout",
            connect_timeout,
            &(Span::millis(10)..=Span::seconds(600)),
        );
        checker.range(
            "backoff_min",
            backoff_min,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.range(
            "backoff_max",
            backoff_max,
            &(Span::millis(1)..=Span::seconds(600)),
        );
        checker.not_below("backoff_max", backoff_max, "backoff_min", backoff_min);
        checker.range("queue_batches", queue_batches, &(1..=65_536));
        checker.range(
            "max_batch",
            max_batch,
            &(ByteSize::kib(64)..=ByteSize::mib(1_024)),
        );
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
    /// Part of messages, requests, logins and connections that is followed, 0 to 1. Processes that a
    /// message passes follow it when its msg server does, whatever their own ratio is.
    pub ratio: f64,
    /// Bytes in which this process keeps the newest steps of messages that an administrator has armed a trace
    /// of (`POST /api/v1/traces`): 48 for a step. Taken when there is the first.
    pub ring: ByteSize,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            ratio: 0.01,
            ring: ByteSize::kib(512),
        }
    }
}

impl Check for TraceConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            endpoint,
            ratio,
            ring,
        } = self;
        let known_scheme = endpoint.starts_with("http://") || endpoint.is_empty();
        checker.require("endpoint", known_scheme, "start with http://");
        checker.range("ratio", ratio, &(0.0..=1.0));
        let bounds = ByteSize::kib(4)..=ByteSize::mib(4);
        checker.range("ring", ring, &bounds);
    }
}

/// The process that runs one role or all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessConfig {
    /// Threads of the runtime; 0 = one per core, and a single one in a login server that runs alone: a
    /// thread hands out tens of thousands of addresses per second, and more threads wake each other.
    pub worker_threads: usize,
    /// Time for a stop at the first SIGTERM or SIGINT; what is left then is cut.
    pub stop_timeout: Span,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            worker_threads: 0,
            stop_timeout: Span::seconds(28),
        }
    }
}

impl Check for ProcessConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            worker_threads,
            stop_timeout,
        } = self;
        checker.range("worker_threads", worker_threads, &(0..=1024));
        checker.range(
            "stop_timeout",
            stop_timeout,
            &(Span::millis(100)..=Span::seconds(7_200)),
        );
    }
}

/// Where db-proxy keeps what it stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Which store, as a URL: `sqlite:///DIRECTORY` is the embedded one, `mysql://USER@HOST:PORT/DATABASE` one on a
    /// MariaDB or MySQL server, of which the table `mysql` says more. Without it, the embedded store in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Name of this process among those that share the store; empty = name of the host.
    pub name: String,
}

impl Check for StoreConfig {
    fn check(&self, checker: &mut Checker) {
        // Which kinds of stores there are knows whoever opens one.
        let Self { url: _, name } = self;
        checker.length("name", name, 128);
    }
}

/// The embedded store (SQLite).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SqliteConfig {
    /// Reading connections (each is a thread), opened on demand.
    pub readers: u32,
    /// How long a statement waits for a lock that a checkpoint or a backup holds.
    pub busy_timeout: Span,
    /// How long a read waits for a free connection.
    pub acquire_timeout: Span,
    /// Changes of accounts and settings in one transaction at most.
    pub gathered_changes: usize,
    /// Page cache of the connection that stores messages.
    pub writer_cache: ByteSize,
    /// Page cache of each reading connection.
    pub reader_cache: ByteSize,
    /// Write-ahead log in use from which it is copied into the database beside the writer.
    pub checkpoint_at: ByteSize,
    /// Write-ahead log in use from which writes wait until it can start anew.
    pub restart_at: ByteSize,
    /// Write-ahead log in use above which nothing is stored.
    pub wal_limit: ByteSize,
    /// Longest time between two looks at the write-ahead log.
    pub maintenance_interval: Span,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            readers: 4,
            busy_timeout: Span::seconds(5),
            acquire_timeout: Span::seconds(3),
            gathered_changes: 64,
            writer_cache: ByteSize::mib(16),
            reader_cache: ByteSize::mib(2),
            checkpoint_at: ByteSize::mib(64),
            restart_at: ByteSize::mib(64),
            wal_limit: ByteSize::mib(1_024),
            maintenance_interval: Span::millis(250),
        }
    }
}

impl Check for SqliteConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            readers,
            busy_timeout,
            acquire_timeout,
            gathered_changes,
            writer_cache,
            reader_cache,
            checkpoint_at,
            restart_at,
            wal_limit,
            maintenance_interval,
        } = self;
        checker.range("readers", readers, &(1..=64));
        checker.range("gathered_changes", gathered_changes, &(1..=4_096));
        checker.range(
            "busy_timeout",
            busy_timeout,
            &(Span::millis(1)..=Span::seconds(600)),
        );
        checker.range(
            "acquire_timeout",
            acquire_timeout,
            &(Span::millis(1)..=Span::seconds(600)),
        );
        checker.range(
            "writer_cache",
            writer_cache,
            &(ByteSize::kib(64)..=ByteSize::mib(16_384)),
        );
        checker.range(
            "reader_cache",
            reader_cache,
            &(ByteSize::kib(64)..=ByteSize::mib(16_384)),
        );
        let kib = ByteSize::kib(1);
        checker.steps("writer_cache", writer_cache, &kib);
        checker.steps("reader_cache", reader_cache, &kib);
        checker.range(
            "checkpoint_at",
            checkpoint_at,
            &(ByteSize::kib(64)..=ByteSize::mib(1_048_576)),
        );
        checker.range(
            "restart_at",
            restart_at,
            &(ByteSize::kib(64)..=ByteSize::mib(1_048_576)),
        );
        checker.not_below("restart_at", restart_at, "checkpoint_at", checkpoint_at);
        checker.range(
            "wal_limit",
            wal_limit,
            &(ByteSize::kib(64)..=ByteSize::mib(4_194_304)),
        );
        checker.not_below("wal_limit", wal_limit, "restart_at", restart_at);
        checker.range(
            "maintenance_interval",
            maintenance_interval,
            &(Span::millis(1)..=Span::seconds(60)),
        );
    }
}
