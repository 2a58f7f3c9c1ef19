//! What the writer, the publisher and the read positions count.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::reject::RejectReason;

/// Label of refused messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: RejectReason,
}

/// How many things the writer remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memories {
    pub(crate) conversations: usize,
    pub(crate) groups: usize,
    pub(crate) users: usize,
    pub(crate) retry_keys: usize,
}

/// Counters of the writer, the publisher and the read positions; cheap to clone. `Default` counts
/// without showing it to anybody.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    batch_messages: Histogram,
    commit_seconds: Histogram,
    queued: Gauge,
    stored: Counter,
    repeated: Counter,
    refused: Family<ReasonLabel, Counter>,
    failed: Counter,
    store_errors: Counter,
    cached_conversations: Gauge,
    cached_groups: Gauge,
    cached_users: Gauge,
    cached_positions: Gauge,
    changes_told_early: Counter,
    incomplete_lists: Counter,
    retry_keys: Gauge,
    publish_drops: Counter,
    publish_lag: Gauge,
    publish_links: Gauge,
    positions_pending: Gauge,
    position_flushes: Counter,
    gathered_changes: Counter,
    free_space: Gauge,
    space: Gauge,
    stored_users: Gauge,
    stored_limited: Counter,
    filter_messages: Gauge,
    filter_bytes: Gauge,
    filter_turned_away: Counter,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            batch_messages: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            queued: Gauge::default(),
            stored: Counter::default(),
            repeated: Counter::default(),
            refused: Family::default(),
            failed: Counter::default(),
            store_errors: Counter::default(),
            cached_conversations: Gauge::default(),
            cached_groups: Gauge::default(),
            cached_users: Gauge::default(),
            cached_positions: Gauge::default(),
            changes_told_early: Counter::default(),
            incomplete_lists: Counter::default(),
            retry_keys: Gauge::default(),
            publish_drops: Counter::default(),
            publish_lag: Gauge::default(),
            publish_links: Gauge::default(),
            positions_pending: Gauge::default(),
            position_flushes: Counter::default(),
            gathered_changes: Counter::default(),
            free_space: Gauge::default(),
            space: Gauge::default(),
            stored_users: Gauge::default(),
            stored_limited: Counter::default(),
            filter_messages: Gauge::default(),
            filter_bytes: Gauge::default(),
            filter_turned_away: Counter::default(),
        }
    }
}

impl Metrics {
    /// Counters that this registry shows, as the role's (`im_db_proxy`).
    pub fn register(registry: &mut Registry) -> Self {
        let inner = Inner::default();
        im_runtime::init_series(&inner.refused, RejectReason::ALL, |reason| ReasonLabel {
            reason,
        });
        let it = registry.sub_registry_with_prefix("im_db_proxy");
        it.register(
            "batch_messages",
            "Messages per commit",
            inner.batch_messages.clone(),
        );
        it.register(
            "commit_seconds",
            "Time of one commit",
            inner.commit_seconds.clone(),
        );
        it.register(
            "queued_messages",
            "Messages waiting for the writer",
            inner.queued.clone(),
        );
        it.register(
            "stored_messages",
            "Messages committed",
            inner.stored.clone(),
        );
        it.register(
            "repeated_messages",
            "Sends recognised as retries",
            inner.repeated.clone(),
        );
        it.register(
            "refused_messages",
            "Sends refused by a rule",
            inner.refused.clone(),
        );
        it.register(
            "filter_waiting_messages",
            "Messages that wait for a verdict of the filter, or behind one",
            inner.filter_messages.clone(),
        );
        it.register(
            "filter_waiting_bytes",
            "Bytes that messages cost that wait for the filter",
            inner.filter_bytes.clone(),
        );
        it.register(
            "filter_turned_away",
            "Messages given up because too much waited for the filter",
            inner.filter_turned_away.clone(),
        );
        it.register(
            "failed_messages",
            "Sends given up unstored",
            inner.failed.clone(),
        );
        it.register(
            "store_errors",
            "Failed attempts of the writer",
            inner.store_errors.clone(),
        );
        it.register(
            "cached_conversations",
            "Conversations remembered by the writer",
            inner.cached_conversations.clone(),
        );
        it.register(
            "cached_groups",
            "Groups remembered by the writer",
            inner.cached_groups.clone(),
        );
        it.register(
            "cached_users",
            "People that the writer remembers to exist",
            inner.cached_users.clone(),
        );
        it.register(
            "cached_positions",
            "Read positions remembered after their flush",
            inner.cached_positions.clone(),
        );
        it.register(
            "changes_told_early",
            "Times that so many changes of people had gathered that all were told at once",
            inner.changes_told_early.clone(),
        );
        it.register(
            "incomplete_lists",
            "Lists of sessions that a route server did not answer in time",
            inner.incomplete_lists.clone(),
        );
        it.register(
            "retry_keys",
            "Retry keys remembered",
            inner.retry_keys.clone(),
        );
        it.register(
            "publish_dropped_messages",
            "Messages left out for a route server, to be read from the log",
            inner.publish_drops.clone(),
        );
        it.register(
            "publish_lag_messages",
            "Log entries that the slowest route server has not confirmed",
            inner.publish_lag.clone(),
        );
        it.register(
            "publish_links",
            "Route servers linked",
            inner.publish_links.clone(),
        );
        it.register(
            "pending_positions",
            "Read positions waiting for their flush",
            inner.positions_pending.clone(),
        );
        it.register(
            "position_flushes",
            "Flushes of read positions",
            inner.position_flushes.clone(),
        );
        it.register(
            "gathered_changes",
            "Changes of people that a later one replaced before anybody was told",
            inner.gathered_changes.clone(),
        );
        it.register(
            "free_space_bytes",
            "Free space of the store's file system",
            inner.free_space.clone(),
        );
        it.register(
            "space_bytes",
            "Size of the store's file system",
            inner.space.clone(),
        );
        it.register(
            "stored_users",
            "People whose stored bytes are counted: they have stored something lately",
            inner.stored_users.clone(),
        );
        it.register(
            "stored_limited",
            "Messages whose senders were told to wait, since they have stored as much as they may",
            inner.stored_limited.clone(),
        );
        Self(Arc::new(inner))
    }

    pub(crate) fn change_replaced(&self) {
        self.0.gathered_changes.inc();
    }

    /// Free bytes of the store's file system, and all of them.
    pub(crate) fn space(&self, free: u64, all: u64) {
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.free_space.set(bytes(free));
        self.0.space.set(bytes(all));
    }

    pub(crate) fn stored_users(&self, users: usize) {
        set(&self.0.stored_users, users);
    }

    pub(crate) fn stored_limited(&self) {
        self.0.stored_limited.inc();
    }

    pub(crate) fn committed(&self, messages: usize, seconds: f64) {
        self.0
            .batch_messages
            .observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
        self.0.commit_seconds.observe(seconds);
        self.0.stored.inc_by(messages as u64);
    }

    pub(crate) fn repeated(&self, messages: u64) {
        self.0.repeated.inc_by(messages);
    }

    /// A message will never be stored.
    pub fn refused(&self, reason: RejectReason) {
        self.0.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// So many messages are given up unstored.
    pub fn failed(&self, messages: usize) {
        self.0.failed.inc_by(messages as u64);
    }

    pub(crate) fn filter_turned_away(&self, messages: usize) {
        self.0.filter_turned_away.inc_by(messages as u64);
    }

    /// What waits for the filter, and what it costs, bytes.
    pub(crate) fn filter_waiting(&self, messages: usize, bytes: usize) {
        set(&self.0.filter_messages, messages);
        set(&self.0.filter_bytes, bytes);
    }

    /// Messages that wait for the filter, and what they cost, bytes.
    pub fn waiting_for_filter(&self) -> (i64, i64) {
        (self.0.filter_messages.get(), self.0.filter_bytes.get())
    }

    pub(crate) fn store_error(&self) {
        self.0.store_errors.inc();
    }

    pub(crate) fn queue(&self, messages: usize) {
        set(&self.0.queued, messages);
    }

    pub(crate) fn memories(&self, memories: Memories) {
        set(&self.0.cached_conversations, memories.conversations);
        set(&self.0.cached_groups, memories.groups);
        set(&self.0.cached_users, memories.users);
        set(&self.0.retry_keys, memories.retry_keys);
    }

    pub(crate) fn changes_told_early(&self) {
        self.0.changes_told_early.inc();
    }

    pub(crate) fn list_incomplete(&self) {
        self.0.incomplete_lists.inc();
    }

    pub(crate) fn publish_dropped(&self) {
        self.0.publish_drops.inc();
    }

    pub(crate) fn publish_lag(&self, entries: u64) {
        self.0
            .publish_lag
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    pub(crate) fn publish_links(&self, links: usize) {
        set(&self.0.publish_links, links);
    }

    pub(crate) fn positions(&self, pending: usize, cached: usize) {
        set(&self.0.positions_pending, pending);
        set(&self.0.cached_positions, cached);
    }

    pub(crate) fn positions_flushed(&self) {
        self.0.position_flushes.inc();
    }

    #[cfg(test)]
    pub(crate) fn times_told_early(&self) -> u64 {
        self.0.changes_told_early.get()
    }

    #[cfg(test)]
    pub(crate) fn totals(&self) -> (u64, u64, u64) {
        (
            self.0.stored.get(),
            self.0.repeated.get(),
            self.0.failed.get(),
        )
    }
}

fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
