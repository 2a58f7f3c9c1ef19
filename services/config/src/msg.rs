//! Configuration of the msg role: client connections, sessions, delivery.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{LinkConfig, MeterConfig};

/// The server that holds client connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MsgConfig {
    /// Stable name of this server among all msg servers; empty = `msg-<host>-<port>`.
    pub name: String,
    /// Where clients connect; port 0 lets the kernel choose.
    pub listen: String,
    /// Where administrators and the operator ask this server to take nobody new, or to let sessions go;
    /// whoever connects shows the installation's secret. Empty = nowhere, and in all-in-one always.
    pub admin_listen: String,
    /// First address that clients are told, an IP address or a name; empty = the listening one. When
    /// that is no single address, such as 0.0.0.0: with everything in one process the one on which the
    /// client came (`*`), otherwise 127.0.0.1.
    pub public_ip1: String,
    /// Second address that clients are told; empty = the first.
    pub public_ip2: String,
    /// Port that clients are told; 0 = the listening one.
    pub public_port: u16,
    /// File that holds the address clients are told, `host:port`, instead of the three keys above;
    /// empty = none. It is read anew every second. As long as it is missing, empty or no address,
    /// login servers send nobody here.
    pub public_endpoint_file: PathBuf,
    /// File that asks this server to let clients go, read anew every second; empty = none. Its one line is
    /// `drain KEY RATE`: nobody new is taken, and all go, so many a second; or `shed KEY SESSIONS RATE`: so
    /// many sessions go, the idlest first, once for each key. Missing or empty, what is under way ends.
    pub orders_file: PathBuf,
    /// Bounds of the links to other roles.
    pub link: LinkConfig,
    /// Connections that wait in the kernel to be accepted.
    pub backlog: u32,
    /// Client connections taken in per second, and at once; further ones wait in the kernel. 0 = no
    /// bound.
    pub accept_rate: u32,
    /// Open client connections; further ones are closed at once.
    pub max_connections: u32,
    /// Open client connections of one address (of one /64 with IPv6); 0 = no bound. The default lets
    /// a large office share one address, but no address take more than a fifth of all connections.
    pub max_connections_per_address: u32,
    /// Logged-in sessions beyond which login servers stop handing this server out; 0 = no bound.
    pub max_sessions: u32,
    /// Logged-in sessions beyond which login servers prefer others; 0 = no bound.
    pub soft_max_sessions: u32,
    /// Longest frame accepted from a client, with its header. The longest that an original client
    /// sends asks for the presence of everybody: about 300 KB at 50,000 people.
    pub max_frame: ByteSize,
    /// Time from the connection to the completed login.
    pub login_timeout: Span,
    /// Silence after which a PC's connection is closed.
    pub idle_pc: Span,
    /// Silence after which a phone's connection is closed.
    pub idle_mobile: Span,
    /// Connections are searched for expired timeouts this often.
    pub sweep_interval: Span,
    /// Time that a client has to close by itself after it was told that it is kicked.
    pub kick_grace: Span,
    /// Time that a client has to take its last answer and close.
    pub close_grace: Span,
    /// Bytes that may wait for one connection to take them. Beyond it nothing more is pushed to that
    /// connection. The default holds about 7,000 short messages: a minute of a busy group for a
    /// phone that lost its network.
    pub push_budget: ByteSize,
    /// Bytes of answers that may wait for one connection; one answer may go beyond. Since the number
    /// of open requests is bounded too, only a client that asks and does not read reaches this.
    pub answer_budget: ByteSize,
    /// A connection beyond its budget is closed after this time.
    pub slow_grace: Span,
    /// A session whose connection has no room for a message gets what it missed from the log as soon as
    /// it takes more. One that has not caught up after this time counts as beyond its budget.
    pub catch_up_time: Span,
    /// Bytes that may wait for all connections together; beyond it a connection that does not take
    /// what is sent is closed like one beyond its own budget.
    pub push_total: ByteSize,
    /// Messages of one connection that may wait to be stored; then it is read later.
    pub pending_messages: u32,
    /// Bytes of messages of one connection that may wait to be stored; then it is read later.
    pub pending_size: ByteSize,
    /// Bytes of messages of all connections that may wait to be stored; then all are read later.
    pub pending_total: ByteSize,
    /// Other requests of one connection that may wait for their answers; then it is read later.
    pub pending_queries: u32,
    /// Bytes of other requests of one connection that may wait for their answers, with what they cost
    /// here; then it is read later. The default holds one question for the presence of 100,000 people.
    pub pending_query_bytes: ByteSize,
    /// Bytes of other requests of all connections that may wait for their answers; then nobody who asks
    /// is read.
    pub pending_query_total: ByteSize,
    /// Requests that db-proxy has not answered; further ones wait here.
    pub queries_in_flight: u32,
    /// Logins that wait for db-proxy. Over it the newest login of the network that has most (IPv4 /24, IPv6
    /// /56) is told that the server is busy, which is the further one itself if no other has more.
    pub logins_in_flight: u32,
    /// Distinct users of one presence question; one about more is ignored. The default is more people
    /// than `max_frame` lets the Mac client ask about with real ids.
    pub presence_ids: u32,
    /// Time for route servers to answer a presence question; then it is answered with what is known.
    pub presence_timeout: Span,
    /// Time for file servers to answer a request about files; then it fails.
    pub file_timeout: Span,
    /// Longest signal to another user; longer ones are ignored.
    pub signal_bytes: ByteSize,
    /// Longest frame before login.
    pub login_frame_bytes: ByteSize,
    /// Bytes of parts of frames that all connections may keep before login; beyond it the connection
    /// whose part is oldest is cut.
    pub partial_login_total: ByteSize,
    /// The same after login.
    pub partial_total: ByteSize,
    /// Messages per second of one connection; beyond it the connection is read later, nothing is
    /// dropped. 0 = no limit, and the table `meter` does not count either.
    pub rate_limit: u32,
    /// Messages that a connection may send at once before `rate_limit` counts.
    pub rate_burst: u32,
    /// Rates of all other commands, and bytes.
    pub meter: MeterConfig,
    /// Frames of one connection that are worked on before other tasks get their turn.
    pub turn_frames: u32,
    /// Longest time that one connection is worked on before other tasks get their turn; a frame that
    /// is begun is ended.
    pub turn_time: Span,
    /// Threads for connections of clients in a msg server that runs alone, apart from those of links and
    /// delivery; 0 = they share the threads of the process, where turns bound how long anything waits.
    /// Own threads make a delivery to a large group about a quarter dearer.
    pub client_threads: usize,
    /// Most messages of one batch to db-proxy.
    pub send_batch: u32,
    /// Most bytes of one batch to db-proxy (one message always fits).
    pub send_batch_size: ByteSize,
    /// Batches of messages that db-proxy has not answered completely; what comes meanwhile gathers for
    /// the next.
    pub send_batches_in_flight: u32,
    /// How long a message waits for a link to db-proxy; then it is given up without an
    /// acknowledgement. Below the 30 seconds in which db-proxy recognises a message sent again.
    pub send_wait: Span,
    /// In pull mode the log is read this often.
    pub pull_interval: Span,
    /// Least time between two reads of the log that news has caused.
    pub pull_gap: Span,
    /// Messages of one page of the log.
    pub pull_page: u32,
    /// A page that does not come within this time is asked for again.
    pub pull_timeout: Span,
    /// Bytes of live messages kept while the last page of the log is being read.
    pub join_buffer: ByteSize,
    /// A change of the set of route servers must last this long before sessions are announced anew.
    pub ring_settle: Span,
    /// Deliveries that touch at least this many connections are paced by `fanout_gap`.
    pub fanout_connections: u32,
    /// Least time between the writes of two such deliveries: frames in between share a
    /// segment, which is nearly the whole cost of a delivery.
    pub fanout_gap: Span,
    /// Signals and presence questions that may wait for a slow route server; beyond it they are
    /// dropped.
    pub route_queue: u32,
    /// Bytes of signals and presence questions that may wait for a slow route server; beyond it they
    /// are dropped.
    pub route_queue_bytes: ByteSize,
    /// Presence notices.
    pub presence: PresenceConfig,
    /// A load report leaves at least this often. Login servers must wait longer than
    /// that (`login.stale_after`).
    pub report_interval: Span,
    /// Sign-ins and sign-outs gather this long before they are reported.
    pub report_delay: Span,
    /// Longest time to close all connections at a stop.
    pub drain_time: Span,
    /// Connections closed per second at a stop; more when `drain_time` would not suffice.
    pub drain_rate: u32,
    /// Longest wait for login servers to see that this server is going away.
    pub drain_notice: Span,
    /// Longest wait of one connection for the messages it has sent to be stored, at a stop.
    pub drain_pending: Span,
}

/// Who is told that a user's PC came or went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PresenceNotify {
    /// Every PC, as original clients expect.
    #[default]
    All,
    /// PCs of users with a recent conversation, a shared group or the same department.
    Related,
    /// Nobody; clients can still ask.
    None,
}

/// Presence notices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PresenceConfig {
    /// Who is told.
    pub notify: PresenceNotify,
}

impl Default for MsgConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            listen: "0.0.0.0:8000".to_owned(),
            admin_listen: String::new(),
            public_ip1: String::new(),
            public_ip2: String::new(),
            public_port: 0,
            public_endpoint_file: PathBuf::new(),
            orders_file: PathBuf::new(),
            link: LinkConfig::default(),
            backlog: 1_024,
            accept_rate: 0,
            max_connections: 100_000,
            max_connections_per_address: 20_000,
            max_sessions: 0,
            soft_max_sessions: 0,
            max_frame: ByteSize::mib(1),
            login_timeout: Span::seconds(15),
            idle_pc: Span::seconds(120),
            idle_mobile: Span::seconds(300),
            sweep_interval: Span::seconds(1),
            kick_grace: Span::seconds(1),
            close_grace: Span::seconds(1),
            push_budget: ByteSize::mib(1),
            answer_budget: ByteSize::mib(64),
            slow_grace: Span::seconds(1),
            catch_up_time: Span::seconds(30),
            push_total: ByteSize::mib(256),
            pending_messages: 64,
            pending_size: ByteSize::kib(256),
            pending_total: ByteSize::mib(64),
            pending_queries: 16,
            pending_query_bytes: ByteSize::kib(2_560),
            pending_query_total: ByteSize::mib(64),
            queries_in_flight: 4_096,
            logins_in_flight: 4_096,
            presence_ids: 100_000,
            presence_timeout: Span::seconds(10),
            file_timeout: Span::seconds(5),
            signal_bytes: ByteSize::kib(8),
            login_frame_bytes: ByteSize::kib(4),
            partial_login_total: ByteSize::mib(16),
            partial_total: ByteSize::mib(128),
            // Three times what the original lets pass: a client that pauses 20 ms after each
            // acknowledgement is not held up.
            rate_limit: 60,
            rate_burst: 64,
            meter: MeterConfig::default(),
            turn_frames: 256,
            turn_time: Span::millis(1),
            client_threads: 0,
            send_batch: 256,
            send_batch_size: ByteSize::mib(4),
            send_batches_in_flight: 2,
            send_wait: Span::seconds(20),
            pull_interval: Span::millis(200),
            pull_gap: Span::millis(5),
            pull_page: 500,
            pull_timeout: Span::seconds(10),
            join_buffer: ByteSize::mib(16),
            ring_settle: Span::millis(200),
            fanout_connections: 64,
            fanout_gap: Span::millis(4),
            route_queue: 10_000,
            route_queue_bytes: ByteSize::mib(16),
            presence: PresenceConfig::default(),
            report_interval: Span::seconds(1),
            report_delay: Span::millis(20),
            drain_time: Span::seconds(20),
            drain_rate: 1_000,
            drain_notice: Span::seconds(2),
            drain_pending: Span::seconds(3),
        }
    }
}

impl MsgConfig {
    /// Longest time that a stop takes with these bounds; `process.stop_timeout` must not be
    /// shorter.
    pub fn longest_stop(&self) -> Duration {
        let parts = [
            self.drain_time,
            self.drain_notice,
            self.drain_pending,
            self.close_grace,
            // The last words to route servers.
            Span::millis(400),
        ];
        parts.into_iter().map(Span::duration).sum()
    }
}

mod check;

#[cfg(test)]
mod tests;
