//! Configuration of the msg role: client connections, sessions, delivery.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker, LinkConfig, MeterConfig};

/// The server that holds client connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MsgConfig {
    /// Stable name of this server among all msg servers; empty = `msg-<host>-<port>`.
    pub name: String,
    /// Where clients connect; port 0 lets the kernel choose.
    pub listen: String,
    /// First address that clients are told; empty = the listening one, or 127.0.0.1 when that is
    /// no single address.
    pub public_ip1: String,
    /// Second address that clients are told; empty = the first.
    pub public_ip2: String,
    /// Port that clients are told; 0 = the listening one.
    pub public_port: u16,
    /// File that holds the address clients are told, `host:port`, instead of the three keys above;
    /// empty = none. It is read anew every second. As long as it is missing, empty or no address,
    /// login servers send nobody here.
    pub public_endpoint_file: PathBuf,
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
    /// Longest frame accepted from a client, bytes with header. The longest that an original client
    /// sends asks for the presence of everybody: about 300 KB at 50,000 people.
    pub max_frame_bytes: u32,
    /// Time from the connection to the completed login, milliseconds.
    pub login_timeout_ms: u32,
    /// Silence after which a PC's connection is closed, milliseconds.
    pub idle_pc_ms: u32,
    /// Silence after which a phone's connection is closed, milliseconds.
    pub idle_mobile_ms: u32,
    /// Connections are searched for expired timeouts this often, milliseconds.
    pub sweep_ms: u32,
    /// Time that a client has to close by itself after it was told that it is kicked, milliseconds.
    pub kick_grace_ms: u32,
    /// Time that a client has to take its last answer and close, milliseconds.
    pub close_grace_ms: u32,
    /// Bytes that may wait for one connection to take them. Beyond it nothing more is pushed to that
    /// connection. The default holds about 7,000 short messages: a minute of a busy group for a
    /// phone that lost its network.
    pub push_budget_bytes: u32,
    /// Bytes of answers that may wait for one connection; one answer may go beyond. Since the number
    /// of open requests is bounded too, only a client that asks and does not read reaches this.
    pub answer_budget_bytes: u32,
    /// A connection beyond its budget is closed after this time, milliseconds.
    pub slow_grace_ms: u32,
    /// A session whose connection has no room for a message gets what it missed from the log as soon as
    /// it takes more. One that has not caught up after this time counts as beyond its budget.
    pub catch_up_time: Span,
    /// Bytes that may wait for all connections together; beyond it a connection that does not take
    /// what is sent is closed like one beyond its own budget.
    pub push_total_bytes: u64,
    /// Messages of one connection that may wait to be stored; then it is read later.
    pub pending_messages: u32,
    /// Bytes of messages of one connection that may wait to be stored; then it is read later.
    pub pending_bytes: u32,
    /// Bytes of messages of all connections that may wait to be stored; then all are read later.
    pub pending_total_bytes: u64,
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
    /// Logins that wait for db-proxy; further ones are told at once that the server is busy.
    pub logins_in_flight: u32,
    /// Distinct users of one presence question; one about more is ignored. The default is more people
    /// than `max_frame_bytes` lets the Mac client ask about with real ids.
    pub presence_ids: u32,
    /// Time for route servers to answer a presence question; then it is answered with what is known.
    pub presence_timeout: Span,
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
    /// Most messages of one batch to db-proxy.
    pub send_batch: u32,
    /// Most bytes of one batch to db-proxy (one message always fits).
    pub send_batch_bytes: u32,
    /// Batches of messages that db-proxy has not answered completely; what comes meanwhile gathers for
    /// the next.
    pub send_batches_in_flight: u32,
    /// How long a message waits for a link to db-proxy, milliseconds; then it is given up without an
    /// acknowledgement. Below the 30 seconds in which db-proxy recognises a message sent again.
    pub send_wait_ms: u32,
    /// In pull mode the log is read this often, milliseconds.
    pub pull_interval_ms: u32,
    /// Least time between two reads of the log that news has caused, milliseconds.
    pub pull_gap_ms: u32,
    /// Messages of one page of the log.
    pub pull_page: u32,
    /// A page that does not come within this time is asked for again, milliseconds.
    pub pull_timeout_ms: u32,
    /// Bytes of live messages kept while the last page of the log is being read.
    pub join_buffer_bytes: u32,
    /// A change of the set of route servers must last this long before sessions are announced anew,
    /// milliseconds.
    pub ring_settle_ms: u32,
    /// Deliveries that touch at least this many connections are paced by `fanout_gap_ms`.
    pub fanout_connections: u32,
    /// Least time between the writes of two such deliveries, milliseconds: frames in between share a
    /// segment, which is nearly the whole cost of a delivery.
    pub fanout_gap_ms: u32,
    /// Signals and presence questions that may wait for a slow route server; beyond it they are
    /// dropped.
    pub route_queue: u32,
    /// Bytes of signals and presence questions that may wait for a slow route server; beyond it they
    /// are dropped.
    pub route_queue_bytes: ByteSize,
    /// Presence notices.
    pub presence: PresenceConfig,
    /// A load report leaves at least this often, milliseconds. Login servers must wait longer than
    /// that (`login.stale_after_ms`).
    pub report_interval_ms: u32,
    /// Sign-ins and sign-outs gather this long before they are reported, milliseconds.
    pub report_delay_ms: u32,
    /// Longest time to close all connections at a stop, seconds.
    pub drain_seconds: u32,
    /// Connections closed per second at a stop; more when `drain_seconds` would not suffice.
    pub drain_rate: u32,
    /// Longest wait for login servers to see that this server is going away, milliseconds.
    pub drain_notice_ms: u32,
    /// Longest wait of one connection for the messages it has sent to be stored, at a stop,
    /// milliseconds.
    pub drain_pending_ms: u32,
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
            public_ip1: String::new(),
            public_ip2: String::new(),
            public_port: 0,
            public_endpoint_file: PathBuf::new(),
            link: LinkConfig::default(),
            backlog: 1_024,
            accept_rate: 0,
            max_connections: 100_000,
            max_connections_per_address: 20_000,
            max_sessions: 0,
            soft_max_sessions: 0,
            max_frame_bytes: 1 << 20,
            login_timeout_ms: 15_000,
            idle_pc_ms: 120_000,
            idle_mobile_ms: 300_000,
            sweep_ms: 1_000,
            kick_grace_ms: 1_000,
            close_grace_ms: 1_000,
            push_budget_bytes: 1 << 20,
            answer_budget_bytes: 64 << 20,
            slow_grace_ms: 1_000,
            catch_up_time: Span::seconds(30),
            push_total_bytes: 256 << 20,
            pending_messages: 64,
            pending_bytes: 256 << 10,
            pending_total_bytes: 64 << 20,
            pending_queries: 16,
            pending_query_bytes: ByteSize::kib(2_560),
            pending_query_total: ByteSize::mib(64),
            queries_in_flight: 4_096,
            logins_in_flight: 4_096,
            presence_ids: 100_000,
            presence_timeout: Span::seconds(10),
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
            send_batch: 256,
            send_batch_bytes: 4 << 20,
            send_batches_in_flight: 2,
            send_wait_ms: 20_000,
            pull_interval_ms: 200,
            pull_gap_ms: 5,
            pull_page: 500,
            pull_timeout_ms: 10_000,
            join_buffer_bytes: 16 << 20,
            ring_settle_ms: 200,
            fanout_connections: 64,
            fanout_gap_ms: 4,
            route_queue: 10_000,
            route_queue_bytes: ByteSize::mib(16),
            presence: PresenceConfig::default(),
            report_interval_ms: 1_000,
            report_delay_ms: 20,
            drain_seconds: 20,
            drain_rate: 1_000,
            drain_notice_ms: 2_000,
            drain_pending_ms: 3_000,
        }
    }
}

impl MsgConfig {
    /// Longest time that a stop takes with these bounds; `process.stop_timeout_ms` must not be
    /// shorter.
    pub fn longest_stop(&self) -> Duration {
        let millis = [
            self.drain_notice_ms,
            self.drain_pending_ms,
            self.close_grace_ms,
            // The last words to route servers.
            400,
        ];
        let millis = millis.into_iter().map(u64::from).sum();
        Duration::from_secs(self.drain_seconds.into()) + Duration::from_millis(millis)
    }
}

/// Milliseconds.
const HOUR: u32 = 3_600_000;

impl Check for MsgConfig {
    #[allow(clippy::too_many_lines, reason = "one line per key")]
    fn check(&self, checker: &mut Checker) {
        let Self {
            name,
            listen,
            public_ip1: _,
            public_ip2: _,
            public_port: _,
            public_endpoint_file: _,
            link,
            backlog,
            accept_rate,
            max_connections,
            max_connections_per_address,
            max_sessions: _,
            soft_max_sessions: _,
            max_frame_bytes,
            login_timeout_ms,
            idle_pc_ms,
            idle_mobile_ms,
            sweep_ms,
            kick_grace_ms,
            close_grace_ms,
            push_budget_bytes,
            answer_budget_bytes,
            slow_grace_ms,
            catch_up_time,
            push_total_bytes,
            pending_messages,
            pending_bytes,
            pending_total_bytes,
            pending_queries,
            pending_query_bytes,
            pending_query_total,
            queries_in_flight,
            logins_in_flight,
            presence_ids,
            presence_timeout,
            signal_bytes,
            login_frame_bytes,
            partial_login_total,
            partial_total,
            rate_limit,
            rate_burst,
            meter,
            turn_frames,
            turn_time,
            send_batch,
            send_batch_bytes,
            send_batches_in_flight,
            send_wait_ms,
            pull_interval_ms,
            pull_gap_ms,
            pull_page,
            pull_timeout_ms,
            join_buffer_bytes,
            ring_settle_ms,
            fanout_connections,
            fanout_gap_ms,
            route_queue,
            route_queue_bytes,
            presence: PresenceConfig { notify: _ },
            report_interval_ms,
            report_delay_ms,
            drain_seconds,
            drain_rate,
            drain_notice_ms,
            drain_pending_ms,
        } = self;
        checker.range("name", &name.len(), &(0..=128));
        checker.listen("listen", listen);
        checker.table("link", link);
        checker.range("backlog", backlog, &(1..=65_535));
        checker.range("accept_rate", accept_rate, &(0..=1_000_000));
        checker.range("max_connections", max_connections, &(1..=10_000_000));
        checker.range(
            "max_connections_per_address",
            max_connections_per_address,
            &(0..=10_000_000),
        );
        checker.range("max_frame_bytes", max_frame_bytes, &(1_024..=(64 << 20)));
        checker.range("login_timeout_ms", login_timeout_ms, &(10..=HOUR));
        checker.range("idle_pc_ms", idle_pc_ms, &(10..=24 * HOUR));
        checker.range("idle_mobile_ms", idle_mobile_ms, &(10..=24 * HOUR));
        checker.range("sweep_ms", sweep_ms, &(1..=60_000));
        checker.range("kick_grace_ms", kick_grace_ms, &(1..=60_000));
        checker.range("close_grace_ms", close_grace_ms, &(1..=60_000));
        checker.range("push_budget_bytes", push_budget_bytes, &(4_096..=(1 << 30)));
        checker.range(
            "answer_budget_bytes",
            answer_budget_bytes,
            &(4_096..=(1 << 30)),
        );
        checker.range("slow_grace_ms", slow_grace_ms, &(1..=60_000));
        let times = Span::millis(10)..=Span::seconds(600);
        checker.range("catch_up_time", catch_up_time, &times);
        checker.at_least(
            "push_total_bytes",
            push_total_bytes,
            &u64::from(*push_budget_bytes),
        );
        checker.range("pending_messages", pending_messages, &(1..=65_536));
        checker.range("pending_bytes", pending_bytes, &(1_024..=(1 << 30)));
        checker.at_least(
            "pending_total_bytes",
            pending_total_bytes,
            &u64::from(*pending_bytes),
        );
        checker.range("pending_queries", pending_queries, &(1..=65_535));
        checker.at_least(
            "pending_query_bytes",
            pending_query_bytes,
            &ByteSize::kib(4),
        );
        checker.at_least(
            "pending_query_total",
            pending_query_total,
            pending_query_bytes,
        );
        checker.range("queries_in_flight", queries_in_flight, &(1..=1_000_000));
        checker.range("logins_in_flight", logins_in_flight, &(1..=1_000_000));
        checker.range("presence_ids", presence_ids, &(1..=10_000_000));
        let times = Span::millis(10)..=Span::seconds(600);
        checker.range("presence_timeout", presence_timeout, &times);
        let frame = ByteSize::bytes(u64::from(*max_frame_bytes));
        let sizes = ByteSize::bytes(256)..=ByteSize::mib(64);
        checker.range("signal_bytes", signal_bytes, &sizes);
        checker.range("login_frame_bytes", login_frame_bytes, &sizes);
        checker.at_least(
            "partial_login_total",
            partial_login_total,
            login_frame_bytes,
        );
        checker.at_least("partial_total", partial_total, &frame);
        checker.range("rate_limit", rate_limit, &(0..=1_000_000));
        checker.range("rate_burst", rate_burst, &(1..=1_000_000));
        checker.table("meter", meter);
        checker.range("turn_frames", turn_frames, &(1..=65_536));
        let turns = Span::millis(1)..=Span::millis(100);
        checker.range("turn_time", turn_time, &turns);
        checker.range("send_batch", send_batch, &(1..=65_536));
        // A link refuses batches above its bound.
        let most = u32::try_from(link.max_batch_bytes / 2)
            .unwrap_or(u32::MAX)
            .max(1_024);
        checker.range("send_batch_bytes", send_batch_bytes, &(1_024..=most));
        checker.range("send_batches_in_flight", send_batches_in_flight, &(1..=64));
        checker.range("send_wait_ms", send_wait_ms, &(0..=25_000));
        checker.range("pull_interval_ms", pull_interval_ms, &(1..=60_000));
        checker.range("pull_gap_ms", pull_gap_ms, &(0..=60_000));
        checker.range("pull_page", pull_page, &(1..=100_000));
        checker.range("pull_timeout_ms", pull_timeout_ms, &(10..=600_000));
        checker.range("join_buffer_bytes", join_buffer_bytes, &(1_024..=(1 << 30)));
        checker.range("ring_settle_ms", ring_settle_ms, &(0..=60_000));
        checker.range("fanout_connections", fanout_connections, &(1..=10_000_000));
        checker.range("fanout_gap_ms", fanout_gap_ms, &(0..=100));
        checker.range("route_queue", route_queue, &(1..=10_000_000));
        let most = ByteSize::mib(1_024);
        checker.range(
            "route_queue_bytes",
            route_queue_bytes,
            &(ByteSize::kib(64)..=most),
        );
        checker.range("report_interval_ms", report_interval_ms, &(1..=60_000));
        checker.range("report_delay_ms", report_delay_ms, &(0..=50));
        checker.range("drain_seconds", drain_seconds, &(0..=3_600));
        checker.range("drain_rate", drain_rate, &(1..=10_000_000));
        checker.range("drain_notice_ms", drain_notice_ms, &(0..=60_000));
        checker.range("drain_pending_ms", drain_pending_ms, &(0..=60_000));
    }
}

#[cfg(test)]
mod tests;
