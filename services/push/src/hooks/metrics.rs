//! What deliveries to subscriptions count.

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

im_core::label_values! {
    /// What a receiver said to a request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) enum Told {
        /// It has taken it.
        Taken,
        /// It answered something else.
        Refused,
        /// Nothing, or not in time.
        Silent,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: Told,
}

/// Counters of deliveries; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct HookMetrics {
    pub(super) holds: Gauge,
    pub(super) lines: Gauge,
    failing: Gauge,
    attempts: Family<ByResult, Counter>,
    pub(super) events: Counter,
    pub(super) given_up: Counter,
    pub(super) lost: Counter,
}

impl HookMetrics {
    /// How many there are, for a dump: each gauge by its name.
    pub(crate) fn show(&self) -> [(&'static str, i64); 3] {
        [
            ("holds", self.holds.get()),
            ("open", self.lines.get()),
            ("failing", self.failing.get()),
        ]
    }

    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        init_series(&this.attempts, Told::ALL, |result| ByResult { result });
        let it = registry.sub_registry_with_prefix("im_push_subscriptions");
        it.register(
            "holds",
            "1 while this process delivers to subscriptions",
            this.holds.clone(),
        );
        it.register(
            "open",
            "Subscriptions that this process delivers to",
            this.lines.clone(),
        );
        it.register(
            "failing",
            "Subscriptions whose receiver has not taken the last request",
            this.failing.clone(),
        );
        it.register(
            "attempts",
            "Requests to receivers, by what they said",
            this.attempts.clone(),
        );
        it.register(
            "events",
            "Events that receivers have taken",
            this.events.clone(),
        );
        it.register(
            "given_up",
            "Events that receivers did not take for too long",
            this.given_up.clone(),
        );
        it.register(
            "lost_sessions",
            "Sessions that came or went of which a receiver was not told: it did not take the request, or took one too late",
            this.lost.clone(),
        );
        this
    }

    pub(super) fn attempt(&self, result: Told) {
        self.attempts.get_or_create(&ByResult { result }).inc();
    }

    /// Counts a subscription as failing while the value lives.
    pub(super) fn failing(&self) -> Counted {
        Counted::in_gauge(&self.failing)
    }
}

/// Counts one in a gauge while it lives.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn in_gauge(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
