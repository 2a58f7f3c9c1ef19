//! What a follower counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of a follower; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub struct FollowerMetrics {
    pub(crate) holds: Gauge,
    pub(crate) messages: Counter,
    pub(crate) position: Gauge,
    pub(crate) lag_seconds: Gauge,
    pub(crate) running: Gauge,
    pub(crate) retries: Gauge,
    pub(crate) put_off: Counter,
    pub(crate) full: Counter,
}

impl FollowerMetrics {
    /// How far it is, for a dump: each gauge by its name.
    pub fn show(&self) -> [(&'static str, i64); 5] {
        [
            ("holds", self.holds.get()),
            ("position", self.position.get()),
            ("lag_seconds", self.lag_seconds.get()),
            ("running", self.running.get()),
            ("retries", self.retries.get()),
        ]
    }

    /// Counters that this registry shows, under the name of the role.
    pub fn register(registry: &mut Registry, role: &str) -> Self {
        let this = Self::default();
        let it = registry.sub_registry_with_prefix(format!("im_{role}_follower"));
        it.register(
            "holds",
            "1 while this process holds the follower's name",
            this.holds.clone(),
        );
        it.register(
            "messages",
            "Messages read from the log",
            this.messages.clone(),
        );
        it.register(
            "position",
            "Position in the log up to which messages have been looked at",
            this.position.clone(),
        );
        it.register(
            "lag_seconds",
            "Age of the newest message that was looked at while there were newer ones; 0 without any",
            this.lag_seconds.clone(),
        );
        it.register("running", "Jobs that are being tried", this.running.clone());
        it.register(
            "retries",
            "Jobs that are to be tried again, as the store knows them",
            this.retries.clone(),
        );
        it.register(
            "put_off",
            "Jobs put off because their lane was full for too long",
            this.put_off.clone(),
        );
        it.register(
            "full",
            "Times at which nothing was read because as much is to be tried again as may",
            this.full.clone(),
        );
        this
    }
}
