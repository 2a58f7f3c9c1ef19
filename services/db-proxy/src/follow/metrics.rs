//! What links of followers count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use im_order::CommitSeq;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A follower's name: there are few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByName {
    follower: String,
}

/// Counters of the links; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Default)]
pub(crate) struct FollowMetrics {
    count: Arc<AtomicUsize>,
    links: Gauge,
    refused: Counter,
    positions: Family<ByName, Gauge>,
    retries: Family<ByName, Gauge>,
    dropped_changes: Counter,
}

impl FollowMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let it = registry.sub_registry_with_prefix("im_db_proxy_follower");
        it.register("links", "Links of followers of the log", this.links.clone());
        it.register(
            "refused",
            "Links and calls of followers beyond their bounds, or of no sense",
            this.refused.clone(),
        );
        it.register(
            "position",
            "Position in the log up to which a follower has come",
            this.positions.clone(),
        );
        it.register(
            "retries",
            "What a follower is to try again",
            this.retries.clone(),
        );
        it.register(
            "dropped_changes",
            "Changes of groups and of the directory that were dropped because they were old or too many",
            this.dropped_changes.clone(),
        );
        this
    }

    /// Counts a link while the value lives; `None` beyond `most`.
    pub(super) fn link(&self, most: usize) -> Option<HeldLink> {
        if self.count.fetch_add(1, Ordering::AcqRel) >= most {
            self.count.fetch_sub(1, Ordering::AcqRel);
            self.refused();
            return None;
        }
        self.links.inc();
        Some(HeldLink(self.clone()))
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn dropped_changes(&self, count: u64) {
        self.dropped_changes.inc_by(count);
    }

    pub(super) fn stands(&self, name: &str, position: CommitSeq, retries: u64) {
        let follower = name.to_owned();
        let position = i64::try_from(position.to_wire()).unwrap_or(i64::MAX);
        let retries = i64::try_from(retries).unwrap_or(i64::MAX);
        let label = ByName { follower };
        self.positions.get_or_create(&label).set(position);
        self.retries.get_or_create(&label).set(retries);
    }

    #[cfg(test)]
    pub(super) fn times_refused(&self) -> u64 {
        self.refused.get()
    }
}

/// A link that is counted.
pub(super) struct HeldLink(FollowMetrics);

impl Drop for HeldLink {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.links.dec();
    }
}
