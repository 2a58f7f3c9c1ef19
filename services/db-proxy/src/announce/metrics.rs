//! What sending announcements counts.

use im_store::AnnouncementStep;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Default)]
pub(crate) struct AnnounceMetrics {
    running: Gauge,
    sent: Counter,
    refused: Counter,
    failures: Counter,
}

impl AnnounceMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let it = registry.sub_registry_with_prefix("im_db_proxy_announcements");
        it.register(
            "running",
            "Whether an announcement is being sent",
            this.running.clone(),
        );
        it.register(
            "messages",
            "Messages of announcements, each counted with its step",
            this.sent.clone(),
        );
        it.register(
            "refused_messages",
            "People to whom an announcement could not be sent",
            this.refused.clone(),
        );
        it.register(
            "failures",
            "Steps of announcements that are made again, since the store failed or has no room",
            this.failures.clone(),
        );
        this
    }

    pub(super) fn running(&self, is_running: bool) {
        self.running.set(i64::from(is_running));
    }

    pub(super) fn step(&self, step: &AnnouncementStep) {
        self.sent.inc_by(step.sent.into());
        self.refused.inc_by(step.refused.into());
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
