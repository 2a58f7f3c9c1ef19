//! What queries count.

use im_proto_rpc::v1::answer::Outcome;
use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

im_core::label_values! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum OutcomeValue {
        Answered,
        Silent,
        Failed,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: OutcomeValue,
}

im_core::label_values! {
    /// A bound of an answer that somebody has reached.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(super) enum Bound {
        /// Ids that a request names.
        Ids,
        /// Groups that a request names.
        GroupInfos,
        /// Length of an avatar's address.
        Avatar,
        /// Length of a signature.
        Signature,
        /// Length of a push token.
        Token,
        /// Devices of a person that are told of messages.
        PushTargets,
        /// Length of a group's name.
        GroupName,
        /// Members of a group.
        GroupMembers,
        /// Groups that somebody has made.
        Groups,
        /// Messages of one page of history.
        History,
        /// Messages asked for by their ids.
        ById,
        /// Conversations in the list of recent ones.
        Recent,
        /// Conversations in the list of unread ones.
        Unread,
        /// Bytes of the directory.
        Directory,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BoundLabel {
    bound: Bound,
}

/// Counters of queries. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub struct AnswerMetrics {
    queries: Family<OutcomeLabel, Counter>,
    grouping_refused: Counter,
    directory_builds: Counter,
    bounds: Family<BoundLabel, Counter>,
    told_members: Counter,
}

impl AnswerMetrics {
    /// Counters that this registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        init_series(&this.queries, OutcomeValue::ALL, |outcome| OutcomeLabel {
            outcome,
        });
        init_series(&this.bounds, Bound::ALL, |bound| BoundLabel { bound });
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
        registry.register(
            "im_db_proxy_answer_bounds",
            "Requests that reached a bound of answers",
            this.bounds.clone(),
        );
        registry.register(
            "im_db_proxy_told_members",
            "Member ids in notices of changed groups, for all who were told",
            this.told_members.clone(),
        );
        this
    }

    pub(super) fn grouping_refused(&self) {
        self.grouping_refused.inc();
    }

    /// A request has reached a bound.
    pub(super) fn reached(&self, bound: Bound) {
        self.bounds.get_or_create(&BoundLabel { bound }).inc();
    }

    #[cfg(test)]
    pub(super) fn times_reached(&self, bound: Bound) -> u64 {
        self.bounds.get_or_create(&BoundLabel { bound }).get()
    }

    /// So many people were told of so many members.
    pub(super) fn told_members(&self, people: usize, members: usize) {
        let ids = people.saturating_mul(members);
        self.told_members
            .inc_by(u64::try_from(ids).unwrap_or(u64::MAX));
    }

    #[cfg(test)]
    pub(super) fn members_told(&self) -> u64 {
        self.told_members.get()
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
