//! Configuration of db-proxy: every durable fact and the order of the log.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db_proxy_attach::BATCH_BYTES;
use crate::units::{ByteSize, Span};
use crate::{
    AccountsConfig, AdministrationConfig, AnswersConfig, AttachConfig, Check, Checker,
    FilterConfig, FollowConfig, LinkConfig, RetentionConfig, StoredConfig,
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
    /// A server of your own that is asked before messages are stored.
    pub filter: FilterConfig,
    /// What one user may store.
    pub stored: StoredConfig,
    /// How long bodies of messages are kept.
    pub retention: RetentionConfig,
    /// Read positions.
    pub positions: PositionsConfig,
    /// Publishing to route servers.
    pub publish: PublishConfig,
    /// Links of msg servers.
    pub attach: AttachConfig,
    /// Links of followers of the log.
    pub follow: FollowConfig,
    /// Answers to client queries.
    pub answers: AnswersConfig,
    /// Logins.
    pub accounts: AccountsConfig,
    /// What administration keeps.
    pub administration: AdministrationConfig,
}

impl Default for DbProxyConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:10600".to_owned(),
            admin_listen: "127.0.0.1:10601".to_owned(),
            admin_secret_file: None,
            link: LinkConfig::default(),
            writer: WriterConfig::default(),
            filter: FilterConfig::default(),
            stored: StoredConfig::default(),
            retention: RetentionConfig::default(),
            positions: PositionsConfig::default(),
            publish: PublishConfig::default(),
            attach: AttachConfig::default(),
            follow: FollowConfig::default(),
            answers: AnswersConfig::default(),
            accounts: AccountsConfig::default(),
            administration: AdministrationConfig::default(),
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
    pub queue_size: ByteSize,
    /// Messages of one transaction.
    pub batch_messages: usize,
    /// Least time between the starts of two commits while there is much to store, so that one takes
    /// more messages. 0s = never.
    pub commit_gap: Span,
    /// Much is so many messages in a `commit_gap`, on average over 25 of them; below it nothing waits.
    pub commit_gap_from_messages: u32,
    /// How long a message that cannot be stored is tried again; then it is given up without
    /// an acknowledgement.
    pub store_retry: Span,
    /// First wait between attempts; it doubles.
    pub retry_min: Span,
    /// Longest wait between attempts.
    pub retry_max: Span,
    /// Largest message body. The default lets a voice message of a minute (about 120 KB) pass twice
    /// over, and keeps a frame with one message below the 409,600 bytes that Android accepts.
    pub max_body: ByteSize,
    /// Conversations whose newest id is remembered.
    pub cached_conversations: usize,
    /// Groups whose members are remembered.
    pub cached_groups: usize,
    /// Users that are remembered to exist.
    pub cached_users: usize,
    /// Retry keys that are remembered, of all conversations together; so many are read at the start.
    pub retry_keys: u32,
    /// How long a client's message id is recognised.
    pub client_id_window: Span,
    /// How long a repeated frame is recognised.
    pub frame_window: Span,
    /// Members of one group at most.
    pub max_group_members: usize,
    /// Free space of the store's file system below which large messages are refused, so that small
    /// ones go on as long as possible; on a small file system a tenth of it, if that is less. 0B = off.
    pub free_space_floor: ByteSize,
    /// Messages of more than this are large then, and also while a reader keeps SQLite's log from starting
    /// anew and half of `sqlite.wal_limit` is used.
    pub large_body: ByteSize,
    /// How often the free space is looked at.
    pub free_space_interval: Span,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            queue_messages: 16_384,
            queue_size: ByteSize::mib(64),
            batch_messages: 512,
            commit_gap: Span::millis(2),
            commit_gap_from_messages: 6,
            store_retry: Span::seconds(30),
            retry_min: Span::millis(20),
            retry_max: Span::seconds(1),
            max_body: ByteSize::kib(256),
            cached_conversations: 250_000,
            cached_groups: 4_096,
            cached_users: 250_000,
            retry_keys: 500_000,
            client_id_window: Span::seconds(600),
            frame_window: Span::seconds(30),
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
    /// Longest time before a position is in the store.
    pub flush_interval: Span,
    /// Positions that may wait for a flush; at half of it they are flushed at once, at all of it
    /// read acknowledgements wait.
    pub max_pending: usize,
    /// Positions that are remembered after their flush, so that a repeated one is recognised.
    pub cached: usize,
}

impl Default for PositionsConfig {
    fn default() -> Self {
        Self {
            flush_interval: Span::millis(500),
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
    pub queue_size: ByteSize,
    /// Bytes of one batch to a route server; a longer one is split. A single item may be larger.
    pub batch_bytes: ByteSize,
    /// Changes of people that everybody is told of are gathered so long: of each person the last one.
    pub gather: Span,
    /// Changes that are gathered at most; with so many they go at once.
    pub gathered: usize,
    /// Batches in flight to one route server.
    pub in_flight: usize,
    /// Longest time without a word on the position.
    pub position_interval: Span,
    /// How long a list of sessions is waited for.
    pub list_timeout: Span,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self {
            queue_items: 16_384,
            queue_size: ByteSize::mib(32),
            batch_bytes: ByteSize::mib(4),
            gather: Span::millis(500),
            gathered: 4_096,
            in_flight: 2,
            position_interval: Span::millis(500),
            list_timeout: Span::seconds(2),
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
            filter,
            stored,
            retention,
            positions,
            publish,
            attach,
            follow,
            answers,
            accounts,
            administration,
        } = self;
        checker.listen("listen", listen);
        if !admin_listen.is_empty() {
            checker.listen("admin_listen", admin_listen);
        }
        checker.table("link", link);
        checker.table("writer", writer);
        checker.table("filter", filter);
        let half = usize::try_from(attach.calls_per_link / 2).unwrap_or(usize::MAX);
        checker.require(
            "filter.waiting_messages",
            !filter.is_on() || filter.waiting_messages <= half,
            "be at most half of attach.calls_per_link, so that other messages find room",
        );
        checker.table("stored", stored);
        checker.table("retention", retention);
        checker.table("positions", positions);
        checker.table("publish", publish);
        checker.table("attach", attach);
        checker.table("follow", follow);
        checker.table("answers", answers);
        checker.table("accounts", accounts);
        checker.table("administration", administration);
    }
}

impl Check for WriterConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            queue_messages,
            queue_size,
            batch_messages,
            commit_gap,
            commit_gap_from_messages,
            store_retry,
            retry_min,
            retry_max,
            max_body,
            cached_conversations,
            cached_groups,
            cached_users,
            retry_keys,
            client_id_window,
            frame_window,
            max_group_members,
            free_space_floor,
            large_body,
            free_space_interval,
        } = self;
        checker.range(
            "free_space_interval",
            free_space_interval,
            &(Span::millis(10)..=Span::seconds(600)),
        );
        checker.range(
            "free_space_floor",
            free_space_floor,
            &(ByteSize::ZERO..=ByteSize::mib(1 << 20)),
        );
        checker.range(
            "large_body",
            large_body,
            &(ByteSize::ZERO..=ByteSize::mib(16)),
        );
        checker.range("queue_messages", queue_messages, &(1..=10_000_000));
        checker.range(
            "queue_size",
            queue_size,
            &(ByteSize::kib(64)..=ByteSize::mib(2_048)),
        );
        checker.range("batch_messages", batch_messages, &(1..=65_536));
        checker.range("commit_gap", commit_gap, &(Span::ZERO..=Span::seconds(1)));
        checker.range(
            "commit_gap_from_messages",
            commit_gap_from_messages,
            &(1..=65_536),
        );
        checker.range(
            "store_retry",
            store_retry,
            &(Span::seconds(1)..=Span::seconds(600)),
        );
        checker.range(
            "retry_min",
            retry_min,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.range(
            "retry_max",
            retry_max,
            &(Span::millis(1)..=Span::seconds(60)),
        );
        checker.not_below("retry_max", retry_max, "retry_min", retry_min);
        checker.range(
            "max_body",
            max_body,
            &(ByteSize::kib(1)..=ByteSize::mib(16)),
        );
        checker.range(
            "cached_conversations",
            cached_conversations,
            &(1..=100_000_000),
        );
        checker.range("cached_groups", cached_groups, &(1..=10_000_000));
        checker.range("cached_users", cached_users, &(1..=100_000_000));
        checker.range("retry_keys", retry_keys, &(1..=100_000_000));
        checker.range(
            "client_id_window",
            client_id_window,
            &(Span::seconds(1)..=Span::days(1)),
        );
        checker.range(
            "frame_window",
            frame_window,
            &(Span::seconds(1)..=Span::days(1)),
        );
        // The store keeps whole seconds.
        checker.steps("client_id_window", client_id_window, &Span::seconds(1));
        checker.steps("frame_window", frame_window, &Span::seconds(1));
        checker.range("max_group_members", max_group_members, &(2..=100_000));
    }
}

impl Check for PositionsConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            flush_interval,
            max_pending,
            cached,
        } = self;
        // A crash may raise an unread count by what a second of reading changed, not by more.
        checker.range(
            "flush_interval",
            flush_interval,
            &(Span::millis(1)..=Span::seconds(1)),
        );
        checker.range("max_pending", max_pending, &(1..=100_000_000));
        checker.range("cached", cached, &(1..=100_000_000));
    }
}

impl Check for PublishConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            queue_items,
            queue_size,
            batch_bytes,
            gather,
            gathered,
            in_flight,
            position_interval,
            list_timeout,
        } = self;
        checker.range("batch_bytes", batch_bytes, &BATCH_BYTES);
        checker.range("gather", gather, &(Span::millis(1)..=Span::seconds(60)));
        checker.range("gathered", gathered, &(1..=1_000_000));
        checker.range("queue_items", queue_items, &(1..=10_000_000));
        checker.range(
            "queue_size",
            queue_size,
            &(ByteSize::kib(64)..=ByteSize::mib(4_096)),
        );
        checker.range("in_flight", in_flight, &(1..=1_024));
        // A msg server finds a gap at the end of the log by these announcements.
        checker.range(
            "position_interval",
            position_interval,
            &(Span::millis(1)..=Span::seconds(1)),
        );
        checker.range(
            "list_timeout",
            list_timeout,
            &(Span::millis(1)..=Span::seconds(60)),
        );
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
    fn messages_that_wait_for_a_filter_leave_room_on_a_link_for_others() {
        let with = |calls_per_link: u32| {
            let mut config = DbProxyConfig::default();
            config.filter.url = "http://127.0.0.1:1/".to_owned();
            config.filter.secret_file = Some("secret".into());
            config.attach.calls_per_link = calls_per_link;
            config.validate().map_err(|error| error.to_string())
        };
        assert_eq!(with(8_192), Ok(()));
        let error = with(8_191).unwrap_err();
        assert!(error.contains("filter.waiting_messages"), "{error}");
    }

    #[test]
    fn keys_out_of_bounds_are_named_with_their_table() {
        let mut config = DbProxyConfig::default();
        config.writer.batch_messages = 0;
        config.positions.flush_interval = Span::millis(1_001);
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(
            error,
            "writer.batch_messages: must be 1 to 65536, is 0; \
             positions.flush_interval: must be 1ms to 1s, is 1001ms"
        );
    }
}
