//! What push counts.

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::choose::{Left, Way};
use crate::provider::Lane;

im_core::label_values! {
    /// What became of an attempt.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Fate {
        /// The provider took the notice.
        Taken,
        /// The device is gone, and forgotten.
        Gone,
        /// The provider will never take it.
        Rejected,
        /// It is tried again.
        Later,
        /// It was not tried: the provider is left alone.
        Paused,
        /// It has become too old.
        Expired,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    provider: Lane,
    result: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: Lane,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWay {
    way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Left,
}

/// Counters of push; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    attempts: Family<ByResult, Counter>,
    paused: Family<ByProvider, Gauge>,
    notices: Family<ByWay, Counter>,
    left_out: Family<ByReason, Counter>,
    presence_unknown: Counter,
}

impl Metrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        for &provider in Lane::ALL {
            init_series(&this.attempts, Fate::ALL, |result| ByResult {
                provider,
                result,
            });
        }
        init_series(&this.paused, Lane::ALL, |provider| ByProvider { provider });
        init_series(&this.notices, Way::ALL, |way| ByWay { way });
        init_series(&this.left_out, Left::ALL, |reason| ByReason { reason });
        let it = registry.sub_registry_with_prefix("im_push");
        it.register(
            "attempts",
            "Attempts to hand a notice to its provider, by what became of them",
            this.attempts.clone(),
        );
        it.register(
            "paused",
            "1 while a provider is left alone because it does not answer",
            this.paused.clone(),
        );
        it.register(
            "notices",
            "Notices made, by whether they show something",
            this.notices.clone(),
        );
        it.register(
            "left_out",
            "Devices not told of a message, by the reason",
            this.left_out.clone(),
        );
        it.register(
            "presence_unknown",
            "Questions who is online that a route server did not answer in time",
            this.presence_unknown.clone(),
        );
        this
    }

    pub(crate) fn attempt(&self, provider: Lane, result: Fate) {
        let label = ByResult { provider, result };
        self.attempts.get_or_create(&label).inc();
    }

    pub(crate) fn paused(&self, provider: Lane, is_paused: bool) {
        let gauge = self.paused.get_or_create(&ByProvider { provider });
        gauge.set(is_paused.into());
    }

    pub(crate) fn notice(&self, way: Way) {
        self.notices.get_or_create(&ByWay { way }).inc();
    }

    pub(crate) fn left_out(&self, reason: Left) {
        self.left_out.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn presence_unknown(&self) {
        self.presence_unknown.inc();
    }

    #[cfg(test)]
    pub(crate) fn times_unknown(&self) -> u64 {
        self.presence_unknown.get()
    }

    #[cfg(test)]
    pub(crate) fn attempts(&self, provider: Lane, result: Fate) -> u64 {
        let label = ByResult { provider, result };
        self.attempts.get_or_create(&label).get()
    }
}
