//! A settled cluster to start a rule's test from.

use jiff::{SignedDuration, Timestamp};

use crate::msg::{
    Action, Drain, DrainReason, ObjectRef, Outcome, Pod, PodId, RebalanceRules, ReplicaSet, Slot,
    State, UpdateRules, plan,
};

/// The time at which the tests plan.
pub(super) const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// `seconds` before [`NOW`].
pub(super) fn ago(seconds: i64) -> Timestamp {
    NOW - SignedDuration::from_secs(seconds)
}

pub(super) fn object(name: &str) -> ObjectRef {
    ObjectRef {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
    }
}

pub(super) fn set(revision: &str, replicas: u32) -> ReplicaSet {
    ReplicaSet {
        object: object(revision),
        revision: revision.to_owned(),
        replicas,
        observed_replicas: replicas,
        observed: true,
        created: ago(5_000),
        changed: ago(5_000),
    }
}

/// An available pod with a slot.
pub(super) fn pod(name: &str, revision: &str, slot: u32) -> Pod {
    Pod {
        object: object(name),
        replica_set: object(revision).uid,
        created: ago(5_000),
        ready: true,
        ready_changed: ago(4_000),
        terminating: None,
        finished: false,
        slot: Some(slot),
        endpoint: Some(address(slot)),
        drain: None,
        leaving: None,
        order: None,
        cordoned: false,
        connections: Some(100),
        failure: None,
    }
}

pub(super) fn address(slot: u32) -> String {
    format!("10.0.0.{slot}:8000")
}

/// A slot that nobody has.
pub(super) fn free(index: u32) -> Slot {
    let service = object(&format!("slot-{index}"));
    Slot {
        index,
        service,
        holder: None,
        bound: false,
        unused_since: Some(ago(5)),
        address: Some(address(index)),
    }
}

/// Three available pods `a`, `b`, `c` of revision `v1`, slots 0 to 3, surge 1.
pub(super) fn settled() -> State {
    let names = ["a", "b", "c"];
    let mut state = State {
        replicas: 3,
        revision: "v1".to_owned(),
        rules: UpdateRules {
            max_surge: 1,
            max_unavailable: 0,
            min_ready_seconds: 10,
            progress_deadline_seconds: 600,
        },
        slot_grace_seconds: 3_600,
        load_settle_seconds: 0,
        drain_per_second: 500,
        rebalance: RebalanceRules::default(),
        max_scale_in_pods: 1,
        max_connections: 20_000,
        drain_max_seconds: 540,
        paused: false,
        revision_history_limit: 2,
        load_reports: true,
        replica_sets: vec![set("v1", 3)],
        pods: (0..)
            .zip(names)
            .map(|(slot, name)| pod(name, "v1", slot))
            .collect(),
        slots: Vec::new(),
    };
    state.slots = (0..4).map(free).collect();
    hold(&mut state);
    state
}

/// Binds the slots to the pods that have their labels.
pub(super) fn hold(state: &mut State) {
    for slot in &mut state.slots {
        let holder = state.pods.iter().find(|pod| pod.slot == Some(slot.index));
        slot.bound = holder.is_some();
        slot.unused_since = slot.unused_since.filter(|_| holder.is_none());
        slot.holder = holder.map(|pod| PodId {
            name: pod.object.name.clone(),
            uid: pod.object.uid.clone(),
        });
    }
}

/// The pod of this name.
pub(super) fn at<'a>(state: &'a mut State, name: &str) -> &'a mut Pod {
    state
        .pods
        .iter_mut()
        .find(|pod| pod.object.name == name)
        .expect("a pod of this name")
}

/// Makes a pod unready since `seconds`.
pub(super) fn unready(state: &mut State, name: &str, seconds: i64) {
    let pod = at(state, name);
    pod.ready = false;
    pod.ready_changed = ago(seconds);
}

/// Commits a pod.
pub(super) fn committed(state: &mut State, name: &str) {
    at(state, name).drain = Some(Drain {
        since: ago(5),
        reason: DrainReason::ScaleDown,
    });
}

/// Adds a revision with one available pod `n` on slot 3 and wants it.
pub(super) fn surged(state: &mut State) {
    state.revision = "v2".to_owned();
    state.replica_sets.push(set("v2", 1));
    state.pods.push(pod("n", "v2", 3));
    hold(state);
}

pub(super) fn planned(state: &State) -> Outcome {
    plan(state, NOW)
}

/// The actions in short: `commit a`, `scale v1 3→2`, `bind 0 a`.
pub(super) fn actions(state: &State) -> Vec<String> {
    planned(state).actions.iter().map(short).collect()
}

fn short(action: &Action) -> String {
    match action {
        Action::CreateReplicaSet { revision, replicas } => format!("create {revision} {replicas}"),
        Action::Scale {
            replica_set,
            from,
            to,
        } => format!("scale {} {from}→{to}", replica_set.name),
        Action::DeleteReplicaSet { replica_set } => format!("delete {}", replica_set.name),
        Action::EnsureSlot { index } => format!("ensure {index}"),
        Action::BindSlot { index, pod, .. } => format!("bind {index} {}", pod.name),
        Action::UnbindSlot { index, .. } => format!("unbind {index}"),
        Action::MarkSlot { index, .. } => format!("mark {index}"),
        Action::ReleaseSlot { index, .. } => format!("release {index}"),
        Action::SetEndpoint { pod, endpoint } => format!("endpoint {} {endpoint}", pod.name),
        Action::SetOrder { pod, order } => match order {
            Some(order) => format!("order {} {order}", pod.name),
            None => format!("order {} nothing", pod.name),
        },
        Action::CommitDrain { pod, .. } => format!("commit {}", pod.name),
        Action::CancelDrain { pod } => format!("cancel {}", pod.name),
    }
}
