//! What administration counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of administration; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminMetrics {
    done: Counter,
    refused: Counter,
    replayed: Counter,
    refusals_left_out: Counter,
    bot_waiters: Gauge,
    refused_bot_waiters: Counter,
    bot_messages: Counter,
}

/// A request of a bot that waits or reads, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting(AdminMetrics);

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
        it.register(
            "bot_waiters",
            "Requests of bots that wait for messages",
            this.bot_waiters.clone(),
        );
        it.register(
            "refused_bot_waiters",
            "Requests of bots that found no room to wait",
            this.refused_bot_waiters.clone(),
        );
        it.register(
            "bot_messages",
            "Messages that bots were told of",
            this.bot_messages.clone(),
        );
        this
    }

    pub(super) fn waiter(&self) -> Waiting {
        self.bot_waiters.inc();
        Waiting(self.clone())
    }

    pub(super) fn waiter_refused(&self) {
        self.refused_bot_waiters.inc();
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

impl Waiting {
    /// It was answered with so many messages.
    pub(super) fn told(&self, messages: usize) {
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        self.0.bot_messages.inc_by(messages);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.bot_waiters.dec();
    }
}
