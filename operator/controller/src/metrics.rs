//! Metrics under controller-runtime's names, so that dashboards made for other operators work, and
//! `imcluster_*` for each cluster. No label holds anything unbounded: pods and users never appear.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The one controller, as controller-runtime would name it.
const CONTROLLER: &str = "imcluster";

/// All metrics of the operator. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) reconciles: Family<ResultLabels, Counter>,
    pub(crate) reconcile_errors: Family<ControllerLabels, Counter>,
    pub(crate) reconcile_seconds: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    pub(crate) max_concurrent: Family<ControllerLabels, Gauge>,
    pub(crate) active_workers: Family<ControllerLabels, Gauge>,
    pub(crate) queue_depth: Family<QueueLabels, Gauge>,
    pub(crate) queue_adds: Family<QueueLabels, Counter>,
    pub(crate) queue_seconds: Family<QueueLabels, Histogram, fn() -> Histogram>,
    pub(crate) queue_retries: Family<QueueLabels, Counter>,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) leader: Family<QueueLabels, Gauge>,
    pub(crate) lease_transitions: Gauge,
    pub(crate) watch_errors: Family<WatchLabels, Counter>,
    condition: Family<ConditionLabels, Gauge>,
    connections: Family<ClusterLabels, Gauge>,
    capacity: Family<ClusterLabels, Gauge>,
    draining: Family<ClusterLabels, Gauge>,
    drain_deadline: Family<ClusterLabels, Gauge>,
    slots: Family<SlotLabels, Gauge>,
    restarts: Family<RestartLabels, Counter>,
    drift: Family<ClusterLabels, Counter>,
    pub(crate) rollout_seconds: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    load_age: Family<ClusterLabels, Gauge<f64, AtomicU64>>,
    series: Arc<std::sync::Mutex<Series>>,
}

/// Which series a cluster has, so that they can be removed with it.
type Series = std::collections::HashMap<ClusterLabels, Vec<Removal>>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Removal {
    Condition(ConditionLabels),
    Slot(SlotLabels),
    Restart(RestartLabels),
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ControllerLabels {
    controller: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct QueueLabels {
    name: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    controller: &'static str,
    result: Outcome,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(
    non_camel_case_types,
    reason = "the label values of controller-runtime"
)]
pub(crate) enum Outcome {
    success,
    error,
    requeue_after,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) code: String,
    pub(crate) method: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct WatchLabels {
    pub(crate) kind: &'static str,
}

/// One ImCluster.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ClusterLabels {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabels {
    namespace: String,
    name: String,
    r#type: String,
    status: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SlotLabels {
    namespace: String,
    name: String,
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RestartLabels {
    namespace: String,
    name: String,
    role: String,
    reason: String,
}

/// What one cluster shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClusterFigures {
    /// (type, status) of each condition.
    pub(crate) conditions: Vec<(String, String)>,
    pub(crate) connections: Option<i64>,
    pub(crate) capacity: i64,
    pub(crate) draining: i64,
    /// Unix seconds; 0 without drains.
    pub(crate) drain_deadline: i64,
    /// (state, slots in it).
    pub(crate) slots: Vec<(String, i64)>,
    pub(crate) load_age_seconds: Option<f64>,
}

fn short_times() -> Histogram {
    // 1 ms … 32 s
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

fn long_times() -> Histogram {
    // 1 s … 9 h
    Histogram::new(exponential_buckets(1.0, 2.0, 16))
}

pub(crate) const CONTROLLER_LABELS: ControllerLabels = ControllerLabels {
    controller: CONTROLLER,
};
pub(crate) const QUEUE_LABELS: QueueLabels = QueueLabels { name: CONTROLLER };

impl Metrics {
    /// Makes and registers all metrics.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let it = Self::unregistered();
        let r = registry;
        r.register(
            "controller_runtime_reconcile",
            "Reconciliations by result",
            it.reconciles.clone(),
        );
        r.register(
            "controller_runtime_reconcile_errors",
            "Reconciliations that failed",
            it.reconcile_errors.clone(),
        );
        r.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of a reconciliation",
            it.reconcile_seconds.clone(),
        );
        r.register(
            "controller_runtime_max_concurrent_reconciles",
            "Clusters worked on at once at most",
            it.max_concurrent.clone(),
        );
        r.register(
            "controller_runtime_active_workers",
            "Clusters being worked on",
            it.active_workers.clone(),
        );
        r.register(
            "workqueue_depth",
            "Clusters that wait",
            it.queue_depth.clone(),
        );
        r.register("workqueue_adds", "WorkQueue", it.queue_adds.clone());
        r.register(
            "workqueue_queue_duration_seconds",
            "From the first trigger to the start of the work",
            it.queue_seconds.clone(),
        );
        r.register(
            "workqueue_retries",
            "Retries after errors",
            it.queue_retries.clone(),
        );
        r.register(
            "rest_client_requests",
            "Requests to the API server",
            it.requests.clone(),
        );
        r.register(
            "leader_election_master_status",
            "1 while this replica holds the lease",
            it.leader.clone(),
        );
        r.register(
            "im_operator_lease_transitions",
            "How often the lease has changed its holder, as of the last time that this replica took it",
            it.lease_transitions.clone(),
        );
        r.register(
            "im_operator_watch_errors",
            "Interrupted watches",
            it.watch_errors.clone(),
        );
        r.register(
            "imcluster_condition",
            "Conditions: 1 for the present status",
            it.condition.clone(),
        );
        r.register(
            "imcluster_msg_connections",
            "Client connections, as the login servers know them",
            it.connections.clone(),
        );
        r.register(
            "imcluster_msg_capacity",
            "Connections that all msg pods may hold",
            it.capacity.clone(),
        );
        r.register(
            "imcluster_draining_pods",
            "Msg pods committed to removal",
            it.draining.clone(),
        );
        r.register(
            "imcluster_drain_deadline_seconds",
            "Unix time at which the first of the drains under way ends at the latest; 0 without drains",
            it.drain_deadline.clone(),
        );
        r.register("imcluster_slot_state", "Slots by state", it.slots.clone());
        r.register(
            "imcluster_restarts",
            "Rolls that the operator started",
            it.restarts.clone(),
        );
        r.register(
            "imcluster_drift_corrections",
            "Objects that were edited or deleted by others and put right",
            it.drift.clone(),
        );
        r.register(
            "imcluster_rollout_duration_seconds",
            "Duration of finished rolls of msg",
            it.rollout_seconds.clone(),
        );
        r.register(
            "imcluster_load_age_seconds",
            "Age of the last load figures at the last look",
            it.load_age.clone(),
        );
        it
    }

    /// Metrics that nobody reads.
    pub(crate) fn unregistered() -> Self {
        Self {
            reconciles: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_seconds: Family::new_with_constructor(short_times),
            max_concurrent: Family::default(),
            active_workers: Family::default(),
            queue_depth: Family::default(),
            queue_adds: Family::default(),
            queue_seconds: Family::new_with_constructor(short_times),
            queue_retries: Family::default(),
            requests: Family::default(),
            leader: Family::default(),
            lease_transitions: Gauge::default(),
            watch_errors: Family::default(),
            condition: Family::default(),
            connections: Family::default(),
            capacity: Family::default(),
            draining: Family::default(),
            drain_deadline: Family::default(),
            slots: Family::default(),
            restarts: Family::default(),
            drift: Family::default(),
            rollout_seconds: Family::new_with_constructor(long_times),
            load_age: Family::default(),
            series: Arc::default(),
        }
    }

    /// Counts one reconciliation.
    pub(crate) fn reconciled(&self, result: Outcome, seconds: f64) {
        let labels = ResultLabels {
            controller: CONTROLLER,
            result,
        };
        self.reconciles.get_or_create_owned(&labels).inc();
        if result == Outcome::error {
            self.reconcile_errors
                .get_or_create_owned(&CONTROLLER_LABELS)
                .inc();
            self.queue_retries.get_or_create_owned(&QUEUE_LABELS).inc();
        }
        self.reconcile_seconds
            .get_or_create_owned(&CONTROLLER_LABELS)
            .observe(seconds);
    }

    /// Shows what a cluster is now.
    pub(crate) fn show(&self, cluster: &ClusterLabels, figures: &ClusterFigures) {
        let mut series = self.series();
        let known = series.entry(cluster.clone()).or_default();
        known.retain(|removal| !self.forget_state(removal));
        for (condition, present) in &figures.conditions {
            for status in ["True", "False", "Unknown"] {
                let labels = ConditionLabels {
                    namespace: cluster.namespace.clone(),
                    name: cluster.name.clone(),
                    r#type: condition.clone(),
                    status: status.to_owned(),
                };
                let value = i64::from(present == status);
                self.condition.get_or_create_owned(&labels).set(value);
                known.push(Removal::Condition(labels));
            }
        }
        for (state, count) in &figures.slots {
            let labels = SlotLabels {
                namespace: cluster.namespace.clone(),
                name: cluster.name.clone(),
                state: state.clone(),
            };
            self.slots.get_or_create_owned(&labels).set(*count);
            known.push(Removal::Slot(labels));
        }
        if let Some(connections) = figures.connections {
            self.connections
                .get_or_create_owned(cluster)
                .set(connections);
        }
        if let Some(age) = figures.load_age_seconds {
            self.load_age.get_or_create_owned(cluster).set(age);
        }
        self.capacity
            .get_or_create_owned(cluster)
            .set(figures.capacity);
        self.draining
            .get_or_create_owned(cluster)
            .set(figures.draining);
        self.drain_deadline
            .get_or_create_owned(cluster)
            .set(figures.drain_deadline);
    }

    /// Counts a roll and its reason.
    pub(crate) fn restarted(&self, cluster: &ClusterLabels, role: &str, reason: &str) {
        let labels = RestartLabels {
            namespace: cluster.namespace.clone(),
            name: cluster.name.clone(),
            role: role.to_owned(),
            reason: reason.to_owned(),
        };
        self.restarts.get_or_create_owned(&labels).inc();
        let removal = Removal::Restart(labels);
        let mut series = self.series();
        let known = series.entry(cluster.clone()).or_default();
        if !known.contains(&removal) {
            known.push(removal);
        }
    }

    /// Counts an object that was put right.
    pub(crate) fn drifted(&self, cluster: &ClusterLabels) {
        self.drift.get_or_create_owned(cluster).inc();
    }

    /// Removes every series of a cluster that is gone.
    pub(crate) fn forget(&self, cluster: &ClusterLabels) {
        for removal in self.series().remove(cluster).unwrap_or_default() {
            if !self.forget_state(&removal)
                && let Removal::Restart(labels) = &removal
            {
                self.restarts.remove(labels);
            }
        }
        self.connections.remove(cluster);
        self.capacity.remove(cluster);
        self.draining.remove(cluster);
        self.drain_deadline.remove(cluster);
        self.drift.remove(cluster);
        self.load_age.remove(cluster);
    }

    /// Removes a series that shows a state; counters stay as long as their cluster.
    fn forget_state(&self, removal: &Removal) -> bool {
        match removal {
            Removal::Condition(labels) => self.condition.remove(labels),
            Removal::Slot(labels) => self.slots.remove(labels),
            Removal::Restart(_) => false,
        }
    }

    fn series(&self) -> std::sync::MutexGuard<'_, Series> {
        self.series
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
