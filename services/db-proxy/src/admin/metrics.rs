//! What administration counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of administration; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Default)]
pub(crate) struct AdminMetrics {
    done: Counter,
    refused: Counter,
    replayed: Counter,
    refusals_left_out: Counter,
}

impl AdminMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let it = registry.sub_registry_with_prefix("im_db_proxy_administration");
        it.register("changes", "Changes by administrators", this.done.clone());
        it.register(
            "refused_changes",
            "Changes by administrators that were refused or failed",
            this.refused.clone(),
        );
        it.register(
            "repeated_changes",
            "Changes that were answered from their idempotency key",
            this.replayed.clone(),
        );
        it.register(
            "refusals_left_out",
            "Refused requests of the HTTP API without a row in the audit log, beyond those of a minute",
            this.refusals_left_out.clone(),
        );
        this
    }

    pub(super) fn ended(&self, is_done: bool) {
        if is_done { &self.done } else { &self.refused }.inc();
    }

    pub(super) fn replayed(&self) {
        self.replayed.inc();
    }

    pub(super) fn refusal_left_out(&self) {
        self.refusals_left_out.inc();
    }
}
