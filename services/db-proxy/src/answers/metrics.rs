//! What queries count.

use im_proto_rpc::v1::answer::Outcome;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum OutcomeValue {
    Answered,
    Silent,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: OutcomeValue,
}

/// Counters of queries. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerMetrics {
    queries: Family<OutcomeLabel, Counter>,
    grouping_refused: Counter,
    directory_builds: Counter,
}

impl AnswerMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "im_db_proxy_queries",
            "Queries by outcome",
            this.queries.clone(),
        );
        registry.register(
            "im_db_proxy_refused_groupings",
            "Groups not made and people not added because of the bounds per hour",
            this.grouping_refused.clone(),
        );
        registry.register(
            "im_db_proxy_directory_builds",
            "Directory answers built; the others were shared",
            this.directory_builds.clone(),
        );
        this
    }

    pub(super) fn grouping_refused(&self) {
        self.grouping_refused.inc();
    }

    pub(super) fn directory_built(&self) {
        self.directory_builds.inc();
    }

    #[cfg(test)]
    pub(super) fn directory_builds(&self) -> u64 {
        self.directory_builds.get()
    }

    pub(super) fn answered(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Answered => OutcomeValue::Answered,
            Outcome::Silent => OutcomeValue::Silent,
            Outcome::Failed => OutcomeValue::Failed,
        };
        self.queries.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
