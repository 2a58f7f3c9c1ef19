//! Configuration of db-proxy: every durable fact and the order of the log.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db_proxy_attach::BATCH_BYTES;
use crate::units::{ByteSize, Span};
use crate::{
    AccountsConfig, AnswersConfig, AttachConfig, Check, Checker, LinkConfig, StoredConfig,
};

/// The db-proxy role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DbProxyConfig {
    /// Where msg servers reach this server; port 0 lets the kernel choose.
    pub listen: String,
    /// Where administrators' tools reach it, with a secret of their own: loopback, so that they run
    /// beside the server. Empty = nobody administers it.
    pub admin_listen: String,
    /// File with the administrators' secret. Without it `admin-secret` in the data directory, which is
    /// made when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_secret_file: Option<PathBuf>,
    /// Bounds of links to and from other roles.
    pub link: LinkConfig,
    /// The log: storing messages.
    pub writer: WriterConfig,
    /// What one user may store.
    pub stored: StoredConfig,
    /// Read positions.
    pub positions: PositionsConfig,
    /// Publishing to route servers.
    pub publish: PublishConfig,
    /// Links of msg servers.
    pub attach: AttachConfig,
    /// Answers to client queries.
    pub answers: AnswersConfig,
    /// Logins.
    pub accounts: AccountsConfig,
}

impl Default for DbProxyConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:10600".to_owned(),
            admin_listen: "127.0.0.1:10601".to_owned(),
            admin_secret_file: None,
            link: LinkConfig::default(),
            writer: WriterConfig::default(),
            stored: StoredConfig::default(),
            positions: PositionsConfig::default(),
            publish: PublishConfig::default(),
            attach: AttachConfig::default(),
            answers: AnswersConfig::default(),
            accounts: AccountsConfig::default(),
        }
    }
}

/// The writer of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WriterConfig {
    /// Messages that may wait for the writer; beyond it callers wait.
    pub queue_messages: u32,
    /// Bytes of message bodies that may wait for the writer.
    pub queue_bytes: u32,
    /// Messages of one transaction.
    pub batch_messages: usize,
    /// Least time between the starts of two commits when they are busy, milliseconds.
    pub commit_gap_ms: u64,
    /// A commit of at least so many messages is busy; after smaller ones nothing waits.
    pub commit_gap_from_messages: usize,
    /// How long a message that cannot be stored is tried again, seconds; then it is given up without
    /// an acknowledgement.
    pub store_retry_seconds: u64,
    /// First and longest wait between attempts, milliseconds.
    pub retry_min_ms: u64,
    /// Longest wait between attempts, milliseconds.
    pub retry_max_ms: u64,
    /// Largest message body. The default lets a voice message of a minute (about 120 KB) pass twice
    /// over, and keeps a frame with one message below the 409,600 bytes that Android accepts.
    pub max_body_bytes: usize,
    /// Conversations whose newest id is remembered.
    pub cached_conversations: usize,
    /// Groups whose members are remembered.
    pub cached_groups: usize,
    /// Users that are remembered to exist.
    pub cached_users: usize,
    /// Retry keys that are remembered, of all conversations together; so many are read at the start.
    pub retry_keys: u32,
    /// How long a client's message id is recognised, seconds.
    pub client_id_window_seconds: u32,
    /// How long a repeated frame is recognised, seconds.
    pub frame_window_seconds: u32,
    /// Members of one group at most.
    pub max_group_members: usize,
    /// Free space of the store's file system below which large messages are refused, so that small
    /// ones go on as long as possible; on a small file system a tenth of it, if that is less. 0B = off.
    pub free_space_floor: ByteSize,
    /// Messages of more than this are large then, and also while a reader keeps SQLite's log from starting
    /// anew and half of `sqlite.wal_limit_bytes` is used.
    pub large_body: ByteSize,
    /// How often the free space is looked at.
    pub free_space_interval: Span,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            queue_messages: 16_384,
            queue_bytes: 64 << 20,
            batch_messages: 512,
            commit_gap_ms: 1,
            commit_gap_from_messages: 4,
            store_retry_seconds: 30,
            retry_min_ms: 20,
            retry_max_ms: 1_000,
            max_body_bytes: 256 << 10,
            cached_conversations: 250_000,
            cached_groups: 4_096,
            cached_users: 250_000,
            retry_keys: 500_000,
            client_id_window_seconds: 600,
            frame_window_seconds: 30,
            max_group_members: 2_000,
            free_space_floor: ByteSize::mib(512),
            large_body: ByteSize::kib(4),
            free_space_interval: Span::seconds(1),
        }
    }
}

/// Read positions are kept in memory and flushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PositionsConfig {
    /// Longest time before a position is in the store, milliseconds.
    pub flush_ms: u64,
    /// Positions that may wait for a flush; at half of it they are flushed at once, at all of it
    /// read acknowledgements wait.
    pub max_pending: usize,
    /// Positions that are remembered after their flush, so that a repeated one is recognised.
    pub cached: usize,
}

impl Default for PositionsConfig {
    fn default() -> Self {
        Self {
            flush_ms: 500,
            max_pending: 100_000,
            cached: 100_000,
        }
    }
}

/// Publishing to route servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PublishConfig {
    /// Items that may wait for one route server; beyond it messages are left out, and msg servers
    /// read them from the log.
    pub queue_items: usize,
    /// Bytes of bodies that may wait for one route server.
    pub queue_bytes: usize,
    /// Bytes of one batch to a route server; a longer one is split. A single item may be larger.
    pub batch_bytes: ByteSize,
    /// Changes of people that everybody is told of are gathered so long: of each person the last one.
    pub gather: Span,
    /// Changes that are gathered at most; with so many they go at once.
    pub gathered: usize,
    /// Batches in flight to one route server.
    pub in_flight: usize,
    /// Longest time without a word on the position, milliseconds.
    pub position_interval_ms: u64,
    /// How long a list of sessions is waited for, milliseconds.
    pub list_timeout_ms: u64,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self {
            queue_items: 16_384,
            queue_bytes: 32 << 20,
            batch_bytes: ByteSize::mib(4),
            gather: Span::millis(500),
            gathered: 4_096,
            in_flight: 2,
            position_interval_ms: 500,
            list_timeout_ms: 2_000,
        }
    }
}

impl Check for DbProxyConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            listen,
            admin_listen,
            admin_secret_file: _,
            link,
            writer,
            stored,
            positions,
            publish,
            attach,
            answers,
            accounts,
        } = self;
        checker.listen("listen", listen);
        if !admin_listen.is_empty() {
            checker.listen("admin_listen", admin_listen);
        }
        checker.table("link", link);
        checker.table("writer", writer);
        checker.table("stored", stored);
        checker.table("positions", positions);
        checker.table("publish", publish);
        checker.table("attach", attach);
        checker.table("answers", answers);
        checker.table("accounts", accounts);
    }
}

impl Check for WriterConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            queue_messages,
            queue_bytes,
            batch_messages,
            commit_gap_ms,
            commit_gap_from_messages,
            store_retry_seconds,
            retry_min_ms,
            retry_max_ms,
            max_body_bytes,
            cached_conversations,
            cached_groups,
            cached_users,
            retry_keys,
            client_id_window_seconds,
            frame_window_seconds,
            max_group_members,
            free_space_floor: _,
            large_body: _,
            free_space_interval,
        } = self;
        checker.range(
            "free_space_interval",
            free_space_interval,
            &(Span::millis(10)..=Span::seconds(600)),
        );
        checker.range("queue_messages", queue_messages, &(1..=10_000_000));
        checker.range("queue_bytes", queue_bytes, &((1 << 16)..=(1 << 31)));
        checker.range("batch_messages", batch_messages, &(1..=65_536));
        checker.range("commit_gap_ms", commit_gap_ms, &(0..=1_000));
        checker.range(
            "commit_gap_from_messages",
            commit_gap_from_messages,
            &(1..=65_536),
        );
        checker.range("store_retry_seconds", store_retry_seconds, &(1..=600));
        checker.range("retry_min_ms", retry_min_ms, &(1..=60_000));
        checker.range("retry_max_ms", retry_max_ms, &(*retry_min_ms..=60_000));
        checker.range("max_body_bytes", max_body_bytes, &(1_024..=(16 << 20)));
        checker.range(
            "cached_conversations",
            cached_conversations,
            &(1..=100_000_000),
        );
        checker.range("cached_groups", cached_groups, &(1..=10_000_000));
        checker.range("cached_users", cached_users, &(1..=100_000_000));
        checker.range("retry_keys", retry_keys, &(1..=100_000_000));
        checker.range(
            "client_id_window_seconds",
            client_id_window_seconds,
            &(1..=86_400),
        );
        checker.range("frame_window_seconds", frame_window_seconds, &(1..=86_400));
        checker.range("max_group_members", max_group_members, &(2..=100_000));
    }
}

impl Check for PositionsConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            flush_ms,
            max_pending,
            cached,
        } = self;
        // A crash may raise an unread count by what a second of reading changed, not by more.
        checker.range("flush_ms", flush_ms, &(1..=1_000));
        checker.range("max_pending", max_pending, &(1..=100_000_000));
        checker.range("cached", cached, &(1..=100_000_000));
    }
}

impl Check for PublishConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            queue_items,
            queue_bytes,
            batch_bytes,
            gather,
            gathered,
            in_flight,
            position_interval_ms,
            list_timeout_ms,
        } = self;
        checker.range("batch_bytes", batch_bytes, &BATCH_BYTES);
        checker.range("gather", gather, &(Span::millis(1)..=Span::seconds(60)));
        checker.range("gathered", gathered, &(1..=1_000_000));
        checker.range("queue_items", queue_items, &(1..=10_000_000));
        checker.range("queue_bytes", queue_bytes, &((1 << 16)..=(1 << 32)));
        checker.range("in_flight", in_flight, &(1..=1_024));
        // A msg server finds a gap at the end of the log by these announcements.
        checker.range("position_interval_ms", position_interval_ms, &(1..=1_000));
        checker.range("list_timeout_ms", list_timeout_ms, &(1..=60_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        DbProxyConfig::default().validate().unwrap();
    }

    #[test]
    fn keys_out_of_bounds_are_named_with_their_table() {
        let mut config = DbProxyConfig::default();
        config.writer.batch_messages = 0;
        config.positions.flush_ms = 1_001;
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(
            error,
            "writer.batch_messages: must be 1 to 65536, is 0; \
             positions.flush_ms: must be 1 to 1000, is 1001"
        );
    }
}
