//! A simulated cluster: API objects with resource versions, and watches that lag.

use std::collections::BTreeSet;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, rngs::StdRng};

use crate::msg::{
    Action, Drain, ObjectRef, Pod, PodId, RebalanceRules, ReplicaSet, Slot, State, UpdateRules,
};

/// Longest drain in the simulation, in seconds.
const GRACE: i64 = 100;

/// A pod with what only its kubelet knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SimPod {
    pub(super) pod: Pod,
    pub(super) scheduled: bool,
    pub(super) node_lost: bool,
    /// When it becomes ready if nothing prevents it.
    pub(super) starts: Timestamp,
    /// When it is gone, once terminating.
    pub(super) ends: Timestamp,
    pub(super) cost: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SimSet {
    pub(super) set: ReplicaSet,
    pub(super) generation: u64,
    pub(super) observed_generation: u64,
}

/// How far a client of the API server has followed each kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    pub(super) sets: usize,
    pub(super) pods: usize,
    pub(super) slots: usize,
}

/// Every version of every kind; a watch sees a prefix of each.
#[derive(Default)]
pub(super) struct History {
    pub(super) sets: Vec<Rc<Vec<SimSet>>>,
    pub(super) pods: Vec<Rc<Vec<SimPod>>>,
    slots: Vec<Rc<Vec<Slot>>>,
}

pub(super) struct Cluster {
    pub(super) now: Timestamp,
    pub(super) want: State,
    pub(super) sets: Vec<SimSet>,
    pub(super) pods: Vec<SimPod>,
    pub(super) slots: Vec<Slot>,
    /// Revisions whose pods never become ready.
    pub(super) bad: BTreeSet<String>,
    pub(super) planner: Watch,
    pub(super) controller: Watch,
    pub(super) history: History,
    pub(super) version: u64,
}

impl Cluster {
    pub(super) fn new(replicas: u32, rules: UpdateRules) -> Self {
        let mut cluster = Self {
            now: Timestamp::from_second(1_700_000_000).expect("a valid time"),
            want: State {
                replicas,
                revision: "r0".to_owned(),
                rules,
                slot_grace_seconds: 60,
                load_settle_seconds: 10,
                drain_per_second: 50,
                rebalance: RebalanceRules::default(),
                max_scale_in_pods: 1,
                max_connections: 1_000,
                drain_max_seconds: 100,
                paused: false,
                revision_history_limit: 2,
                load_reports: true,
                replica_sets: Vec::new(),
                pods: Vec::new(),
                slots: Vec::new(),
            },
            sets: Vec::new(),
            pods: Vec::new(),
            slots: Vec::new(),
            bad: BTreeSet::new(),
            planner: Watch::default(),
            controller: Watch::default(),
            history: History::default(),
            version: 0,
        };
        cluster.record();
        cluster
    }

    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(super) fn new_object(&mut self, name: &str) -> ObjectRef {
        let version = self.next_version();
        ObjectRef {
            name: name.to_owned(),
            uid: format!("uid-{version}"),
            resource_version: version.to_string(),
        }
    }

    /// Adds what has changed to the watch history.
    pub(super) fn record(&mut self) {
        if self
            .history
            .sets
            .last()
            .is_none_or(|last| **last != self.sets)
        {
            self.history.sets.push(Rc::new(self.sets.clone()));
        }
        if self
            .history
            .pods
            .last()
            .is_none_or(|last| **last != self.pods)
        {
            self.history.pods.push(Rc::new(self.pods.clone()));
        }
        if self
            .history
            .slots
            .last()
            .is_none_or(|last| **last != self.slots)
        {
            self.history.slots.push(Rc::new(self.slots.clone()));
        }
    }

    pub(super) fn newest(&self) -> Watch {
        Watch {
            sets: self.history.sets.len() - 1,
            pods: self.history.pods.len() - 1,
            slots: self.history.slots.len() - 1,
        }
    }

    /// Both clients see everything.
    pub(super) fn catch_up(&mut self) {
        self.planner = self.newest();
        self.controller = self.newest();
    }

    /// Each watch moves on, not necessarily to the end.
    pub(super) fn follow(&mut self, random: &mut StdRng) {
        let newest = self.newest();
        for watch in [&mut self.planner, &mut self.controller] {
            watch.sets = random.random_range(watch.sets..=newest.sets);
            watch.pods = random.random_range(watch.pods..=newest.pods);
            watch.slots = random.random_range(watch.slots..=newest.slots);
        }
    }

    /// The ReplicaSet controller has seen every change of a pod.
    pub(super) fn controller_sees_pods(&mut self) {
        self.controller.pods = self.newest().pods;
    }

    /// What the planner's caches hold.
    pub(super) fn observed(&self) -> State {
        let mut state = self.want.clone();
        state.replica_sets = self.history.sets[self.planner.sets]
            .iter()
            .map(SimSet::observe)
            .collect();
        state.pods = self.history.pods[self.planner.pods]
            .iter()
            .map(|pod| pod.pod.clone())
            .collect();
        state.slots = self.history.slots[self.planner.slots].to_vec();
        state
    }

    /// What is true.
    pub(super) fn truth(&self) -> State {
        let mut state = self.want.clone();
        state.replica_sets = self.sets.iter().map(SimSet::observe).collect();
        state.pods = self.pods.iter().map(|pod| pod.pod.clone()).collect();
        state.slots = self.slots.clone();
        state
    }

    /// Changes a pod if it has not changed since it was seen.
    fn patch_pod(&mut self, seen: &ObjectRef, change: impl FnOnce(&mut SimPod)) -> bool {
        let version = self.next_version();
        let found = self.pods.iter_mut().find(|pod| pod.pod.object == *seen);
        found.map(|pod| change_pod(pod, version, change)).is_some()
    }

    fn patch_slot(
        &mut self,
        seen: &ObjectRef,
        change: impl FnOnce(&mut Slot),
    ) -> Option<ObjectRef> {
        let version = self.next_version();
        let slot = self.slots.iter_mut().find(|slot| slot.service == *seen)?;
        change(slot);
        slot.service.resource_version = version.to_string();
        Some(slot.service.clone())
    }

    /// Does one action as the controller would, but at most `writes` writes of it. The
    /// planner's caches contain the result before it plans again.
    pub(super) fn apply(&mut self, action: &Action, writes: usize) {
        if writes > 0 {
            self.write(action, writes);
        }
        self.record();
        let newest = self.newest();
        match action {
            Action::CreateReplicaSet { .. }
            | Action::Scale { .. }
            | Action::DeleteReplicaSet { .. } => self.planner.sets = newest.sets,
            Action::EnsureSlot { .. }
            | Action::UnbindSlot { .. }
            | Action::MarkSlot { .. }
            | Action::ReleaseSlot { .. } => self.planner.slots = newest.slots,
            Action::BindSlot { .. } => {
                self.planner.slots = newest.slots;
                self.planner.pods = newest.pods;
            }
            _ => self.planner.pods = newest.pods,
        }
    }

    fn write(&mut self, action: &Action, writes: usize) {
        let now = self.now;
        match action {
            Action::CreateReplicaSet { revision, replicas } => self.create_set(revision, *replicas),
            Action::Scale {
                replica_set, to, ..
            } => {
                let version = self.next_version();
                if let Some(sim) = self
                    .sets
                    .iter_mut()
                    .find(|sim| sim.set.object == *replica_set)
                {
                    sim.set.replicas = *to;
                    sim.set.changed = now;
                    sim.set.object.resource_version = version.to_string();
                    sim.generation += 1;
                }
            }
            Action::DeleteReplicaSet { replica_set } => {
                let before = self.sets.len();
                self.sets.retain(|sim| sim.set.object != *replica_set);
                let owned: Vec<_> = (self.pods.iter())
                    .filter(|pod| pod.pod.replica_set == replica_set.uid)
                    .map(|pod| pod.pod.object.uid.clone())
                    .collect();
                if self.sets.len() < before {
                    for uid in &owned {
                        self.terminate(uid);
                    }
                }
            }
            Action::EnsureSlot { index } => {
                if !self.slots.iter().any(|slot| slot.index == *index) {
                    let service = self.new_object(&format!("slot-{index}"));
                    let index = *index;
                    let slot = Slot {
                        index,
                        service,
                        holder: None,
                        bound: false,
                        unused_since: None,
                        address: None,
                    };
                    self.slots.push(slot);
                }
            }
            Action::BindSlot {
                index,
                service,
                pod,
            } => self.bind(*index, service, pod, writes),
            Action::UnbindSlot {
                index,
                service,
                was,
            } => {
                let alive = was.as_ref().is_some_and(|was| {
                    self.pods.iter().any(|sim| {
                        sim.pod.object.uid == was.uid
                            && !sim.pod.finished
                            && sim.pod.slot.is_none_or(|slot| slot == *index)
                    })
                });
                if !alive {
                    self.patch_slot(service, |slot| {
                        slot.holder = None;
                        slot.bound = false;
                        slot.unused_since = Some(now);
                    });
                }
            }
            Action::MarkSlot { service, .. } => {
                self.patch_slot(service, |slot| slot.unused_since = Some(now));
            }
            Action::ReleaseSlot { index, service } => {
                let used = |sim: &SimPod| !sim.pod.finished && sim.pod.slot == Some(*index);
                let same = |slot: &Slot| slot.service == *service;
                assert!(
                    !self.slots.iter().any(same) || !self.pods.iter().any(used),
                    "slot {index} of a live pod is given back"
                );
                self.slots.retain(|slot| slot.service != *service);
            }
            Action::SetEndpoint { pod, endpoint } => {
                self.patch_pod(pod, |sim| sim.pod.endpoint = Some(endpoint.clone()));
            }
            Action::CommitDrain { pod, reason } => {
                self.patch_pod(pod, |sim| {
                    sim.pod.drain = Some(Drain {
                        since: now,
                        reason: *reason,
                    });
                    sim.cost = crate::msg::REMOVAL_COST;
                });
            }
            Action::CancelDrain { pod } => {
                self.patch_pod(pod, |sim| {
                    sim.pod.drain = None;
                    sim.pod.order = None;
                    sim.cost = 0;
                });
            }
            Action::SetOrder { pod, order } => {
                self.patch_pod(pod, |sim| sim.pod.order.clone_from(order));
            }
        }
    }

    fn create_set(&mut self, revision: &str, replicas: u32) {
        if self.sets.iter().any(|sim| sim.set.revision == revision) {
            return;
        }
        let set = ReplicaSet {
            object: self.new_object(&format!("demo-msg-{revision}")),
            revision: revision.to_owned(),
            replicas,
            observed_replicas: 0,
            observed: false,
            created: self.now,
            changed: self.now,
        };
        self.sets.push(SimSet {
            set,
            generation: 1,
            observed_generation: 0,
        });
    }

    fn bind(&mut self, index: u32, service: &ObjectRef, pod: &ObjectRef, writes: usize) {
        let holder = PodId {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        };
        let seen = self.slots.iter().find(|slot| slot.service == *service);
        let Some(seen) = seen.map(|slot| slot.holder.clone()) else {
            return;
        };
        let mut service = service.clone();
        let mut writes = writes;
        if seen.as_ref() != Some(&holder) {
            let claimed = self.patch_slot(&service, |slot| {
                slot.holder = Some(holder);
                slot.unused_since = None;
            });
            let Some(claimed) = claimed else { return };
            service = claimed;
            writes -= 1;
        }
        if writes > 0 && self.patch_pod(pod, |sim| sim.pod.slot = Some(index)) && writes > 1 {
            self.patch_slot(&service, |slot| slot.bound = true);
        }
    }

    /// Starts the end of a pod, as a deletion does.
    pub(super) fn terminate(&mut self, uid: &str) {
        let (version, now) = (self.next_version(), self.now);
        if let Some(sim) = self.pods.iter_mut().find(|sim| sim.pod.object.uid == uid)
            && sim.pod.terminating.is_none()
        {
            change_pod(sim, version, |sim| {
                sim.pod.terminating = Some(now + SignedDuration::from_secs(GRACE));
                sim.ends = now + SignedDuration::from_secs(GRACE / 4);
            });
        }
    }

    /// Changes a pod as its kubelet or a user would.
    pub(super) fn change(&mut self, uid: &str, change: impl FnOnce(&mut SimPod)) {
        let version = self.next_version();
        if let Some(sim) = self.pods.iter_mut().find(|sim| sim.pod.object.uid == uid) {
            change_pod(sim, version, change);
        }
    }
}

impl SimSet {
    fn observe(&self) -> ReplicaSet {
        let mut set = self.set.clone();
        set.observed = self.observed_generation == self.generation;
        set
    }
}

pub(super) fn change_pod(sim: &mut SimPod, version: u64, change: impl FnOnce(&mut SimPod)) {
    change(sim);
    sim.pod.object.resource_version = version.to_string();
}
