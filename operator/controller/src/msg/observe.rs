//! From the children of a cluster to what the planner looks at.

use std::collections::HashSet;

use im_operator_api::{ORDERS_ANNOTATION, labels};
use im_operator_plan::msg::{
    Drain, DrainReason, ObjectRef, Pod, PodId, RebalanceRules, ReplicaSet, Slot, State,
    UpdateRules, Window,
};
use im_operator_plan::{Resolved, Role};
use jiff::Timestamp;

use super::SLOT_POD;
use super::address::Addresses;
use super::leaving;
use crate::cache::views::{PodView, ReplicaSetView, ServiceView};
use crate::cache::{Children, Entry};
use crate::kinds::Kind;
use crate::load::{Load, Reading};

/// What the planner needs besides the children.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed<'a> {
    pub(crate) children: &'a Children,
    /// UID of the ImCluster.
    pub(crate) uid: &'a str,
    pub(crate) cluster: &'a Resolved,
    pub(crate) revision: &'a str,
    pub(crate) load: &'a Load,
    pub(crate) reading: Reading,
    pub(crate) addresses: &'a Addresses<'a>,
    /// When clients were asked to be spread anew, by annotation.
    pub(crate) rebalance: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

impl Observed<'_> {
    /// The planner's state.
    pub(crate) fn state(&self) -> State {
        let spec = &self.cluster.spec.roles.msg;
        let update = &spec.update;
        let replica_sets = self.replica_sets();
        let owned: HashSet<&str> = replica_sets
            .iter()
            .map(|it| it.object.uid.as_str())
            .collect();
        State {
            replicas: count(spec.replicas),
            revision: self.revision.to_owned(),
            rules: UpdateRules {
                max_surge: count(update.max_surge),
                max_unavailable: count(update.max_unavailable),
                min_ready_seconds: count(update.min_ready_seconds),
                progress_deadline_seconds: count(update.progress_deadline_seconds),
            },
            slot_grace_seconds: count(spec.external.slot_grace_seconds),
            load_settle_seconds: self.load_settle_seconds(),
            drain_per_second: count(spec.drain.cluster_rate_per_second).max(1),
            rebalance: RebalanceRules {
                rel_percent: count(spec.rebalance.rel_threshold_percent),
                abs: count(spec.rebalance.abs_threshold),
                per_second: count(spec.rebalance.rate_per_second).max(1),
                window: Window::parse(&spec.rebalance.window),
                asked: self.rebalance,
            },
            max_scale_in_pods: count(spec.autoscaling.max_scale_in_pods),
            max_connections: count(spec.capacity.max_connections),
            drain_max_seconds: count(spec.drain.max_seconds),
            paused: self.cluster.paused,
            revision_history_limit: count(self.cluster.spec.operation.revision_history_limit),
            load_reports: true,
            pods: self.pods(&owned),
            slots: self.slots(),
            replica_sets,
        }
    }

    /// What is known of the load is at most so old: from one report to login and two reads of it.
    fn load_settle_seconds(&self) -> u32 {
        let reads = self.reading.interval + self.reading.interval / 10;
        let report = count(self.cluster.spec.load.report_interval_seconds);
        u32::try_from(reads.as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(report)
            .saturating_add(5)
    }

    fn replica_sets(&self) -> Vec<ReplicaSet> {
        let sets = sets(self.children).filter(|(_, entry, _)| owned(entry, self.uid));
        sets.map(|(name, entry, view)| replica_set(name, entry, view))
            .collect()
    }

    fn pods(&self, replica_sets: &HashSet<&str>) -> Vec<Pod> {
        self.children
            .of(Kind::Pod)
            .filter_map(|(name, entry)| {
                let view = entry.detail.pod()?;
                let (_, _, owner) = view.owner.as_ref()?;
                replica_sets
                    .contains(owner.as_str())
                    .then(|| self.pod(name, entry, view, owner))
            })
            .collect()
    }

    fn pod(&self, name: &str, entry: &Entry, view: &PodView, owner: &str) -> Pod {
        let created = view.created.unwrap_or(Timestamp::UNIX_EPOCH);
        let annotation = |key: &str| view.annotations.get(key).map(String::as_str);
        let drain = annotation(labels::DRAINING).map(|since| Drain {
            since: since.parse().unwrap_or(created),
            reason: DrainReason::parse(annotation(labels::DRAIN_REASON).unwrap_or_default()),
        });
        let on_nodes = &self.cluster.spec.roles.msg.drain.on_nodes;
        let row = self.load.fresh(name, self.now, self.reading);
        let row = row.filter(|row| !matches!(row.state.as_str(), "stale" | "lost"));
        Pod {
            object: object(name, entry),
            replica_set: owner.to_owned(),
            created,
            ready: view.ready,
            ready_changed: view.ready_changed.unwrap_or(created),
            terminating: view.deleted,
            finished: matches!(view.phase.as_str(), "Succeeded" | "Failed"),
            slot: view
                .labels
                .get(labels::SLOT)
                .and_then(|slot| slot.parse().ok()),
            endpoint: annotation(labels::EXTERNAL_ENDPOINT).map(str::to_owned),
            drain,
            leaving: leaving::why(view, self.addresses.nodes, on_nodes),
            order: annotation(ORDERS_ANNOTATION).and_then(|order| order.parse().ok()),
            cordoned: row.is_some_and(|row| matches!(row.state.as_str(), "cordoned" | "draining")),
            connections: row.map(|row| row.connections),
            failure: failure(view),
        }
    }

    fn slots(&self) -> Vec<Slot> {
        self.children
            .of(Kind::Service)
            .filter(|(_, entry)| owned(entry, self.uid))
            .filter_map(|(name, entry)| {
                let view = entry.detail.service()?;
                let index = view.labels.get(labels::SLOT)?.parse().ok()?;
                Some(self.slot(name, entry, view, index))
            })
            .collect()
    }

    fn slot(&self, name: &str, entry: &Entry, view: &ServiceView, index: u32) -> Slot {
        let holder = view
            .annotations
            .get(SLOT_POD)
            .and_then(|text| text.split_once('/'))
            .map(|(name, uid)| PodId {
                name: name.to_owned(),
                uid: uid.to_owned(),
            });
        let pod = holder
            .as_ref()
            .and_then(|holder| self.children.get(Kind::Pod, &holder.name))
            .and_then(|entry| entry.detail.pod());
        Slot {
            index,
            service: object(name, entry),
            bound: view.selector.contains_key(labels::SLOT),
            unused_since: view
                .annotations
                .get(labels::UNUSED_SINCE)
                .and_then(|since| since.parse().ok()),
            address: self.addresses.of(index, view, pod),
            holder,
        }
    }
}

/// ReplicaSets of msg, whoever owns them.
pub(crate) fn sets(children: &Children) -> impl Iterator<Item = (&str, &Entry, &ReplicaSetView)> {
    children.of(Kind::ReplicaSet).filter_map(|(name, entry)| {
        let view = entry.detail.replica_set()?;
        let component = view.labels.get(labels::COMPONENT)?;
        (component == Role::MSG.name()).then_some((name, entry, view))
    })
}

/// Controlled by this ImCluster and not being deleted.
pub(crate) fn owned(entry: &Entry, uid: &str) -> bool {
    entry.seen.controller.as_deref() == Some(uid) && !entry.seen.deleting
}

fn replica_set(name: &str, entry: &Entry, view: &ReplicaSetView) -> ReplicaSet {
    let created = view.created.unwrap_or(Timestamp::UNIX_EPOCH);
    ReplicaSet {
        object: object(name, entry),
        revision: view
            .labels
            .get(labels::REVISION)
            .cloned()
            .unwrap_or_default(),
        replicas: count(view.wanted),
        observed_replicas: count(view.replicas),
        observed: view.observed,
        created,
        changed: entry.seen.changed_by_us().unwrap_or(created),
    }
}

/// Why a pod does not run, in a few words.
fn failure(view: &PodView) -> Option<String> {
    if let Some(failure) = &view.failure {
        return Some(failure.reason.clone());
    }
    let why = view.unscheduled.as_ref()?;
    Some(format!("Unschedulable: {why}"))
}

fn object(name: &str, entry: &Entry) -> ObjectRef {
    ObjectRef {
        name: name.to_owned(),
        uid: entry.seen.uid.clone(),
        resource_version: entry.version.clone(),
    }
}

/// The definition bounds these numbers from below by 0.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
