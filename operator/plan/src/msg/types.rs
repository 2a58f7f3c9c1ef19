//! What the planner sees and what it answers.

use jiff::{SignedDuration, Timestamp};

use super::order::Order;
use super::window::RebalanceRules;

/// Value of `controller.kubernetes.io/pod-deletion-cost` on a pod that is committed to removal.
pub const REMOVAL_COST: i32 = i32::MIN;

/// An object as it was observed. Writes carry all three, so that they fail if it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// The identity of a pod over its whole life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodId {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// Everything the planner looks at, for one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Msg pods wanted; 0 is allowed.
    pub replicas: u32,
    /// Revision hash that all pods should have.
    pub revision: String,
    /// How a roll may proceed.
    pub rules: UpdateRules,
    /// Seconds after its last use for which a slot that no pod needs stays.
    pub slot_grace_seconds: u32,
    /// Pods that may let their clients go at a time because fewer are wanted.
    pub max_scale_in_pods: u32,
    /// Client connections that one pod takes.
    pub max_connections: u32,
    /// Seconds after the end of a pod for which what is known of the load may be older than that.
    pub load_settle_seconds: u32,
    /// Sessions per second that pods which are emptied let go, all together. Not zero.
    pub drain_per_second: u32,
    /// When clients are spread anew.
    pub rebalance: RebalanceRules,
    /// Longest drain of one pod in seconds, also of one that is emptied; used for the estimate of remaining time.
    pub drain_max_seconds: u32,
    /// Nothing may be changed.
    pub paused: bool,
    /// Old empty ReplicaSets to keep.
    pub revision_history_limit: u32,
    /// Whether msg servers report load at all. If not, an unknown number of connections does not
    /// hold a scale-down back.
    pub load_reports: bool,
    /// The msg ReplicaSets that this cluster owns, in any order; those being deleted are left out.
    pub replica_sets: Vec<ReplicaSet>,
    /// All pods of these ReplicaSets, terminating and finished ones included, in any order.
    pub pods: Vec<Pod>,
    /// Slots whose Service exists, in any order.
    pub slots: Vec<Slot>,
}

/// `roles.msg.update` of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateRules {
    /// Pods that may exist beyond `replicas`.
    pub max_surge: u32,
    /// Pods that may be missing from `replicas`. Not zero together with `max_surge`.
    pub max_unavailable: u32,
    /// Seconds for which a pod must be ready before it counts as available.
    pub min_ready_seconds: u32,
    /// Seconds without progress after which the summary says so.
    pub progress_deadline_seconds: u32,
}

/// A ReplicaSet of msg pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// The object as observed.
    pub object: ObjectRef,
    /// Revision hash of its pod template.
    pub revision: String,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `status.replicas`: pods that the ReplicaSet controller has seen, without terminating ones.
    pub observed_replicas: u32,
    /// `status.observedGeneration` equals `metadata.generation`.
    pub observed: bool,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// When the operator last changed it: `time` of its entry in `metadata.managedFields`, else
    /// the creation.
    pub changed: Timestamp,
}

/// A msg pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// The object as observed.
    pub object: ObjectRef,
    /// UID of the ReplicaSet that owns it.
    pub replica_set: String,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// The condition `Ready` is true.
    pub ready: bool,
    /// `lastTransitionTime` of the condition `Ready`; the creation while there is none.
    pub ready_changed: Timestamp,
    /// `metadata.deletionTimestamp`, the time when its grace period ends.
    pub terminating: Option<Timestamp>,
    /// Phase `Succeeded` or `Failed`: no container runs any more, none will.
    pub finished: bool,
    /// Label `imcluster.io/slot`.
    pub slot: Option<u32>,
    /// Annotation `imcluster.io/external-endpoint`, `host:port`.
    pub endpoint: Option<String>,
    /// The commitment to remove it.
    pub drain: Option<Drain>,
    /// Why it is to be emptied and go: its annotation `imcluster.io/drain`, or its node.
    pub leaving: Option<String>,
    /// What its server is asked for, from the annotation `imcluster.io/orders`.
    pub order: Option<Order>,
    /// It says that it takes nobody new.
    pub cordoned: bool,
    /// Client connections; `None` while unknown or out of date, which is never taken for zero.
    pub connections: Option<u32>,
    /// Why it does not run, for the message, e.g. `CrashLoopBackOff`.
    pub failure: Option<String>,
}

impl Pod {
    /// Since when its server is asked to let all clients go.
    pub const fn emptied_since(&self) -> Option<Timestamp> {
        match self.order {
            Some(Order::Drain { since, .. }) => Some(since),
            _ => None,
        }
    }

    /// It is emptied, committed to removal, or terminating.
    pub const fn is_going(&self) -> bool {
        self.emptied_since().is_some() || self.drain.is_some() || self.terminating.is_some()
    }
}

/// The commitment to remove a pod, kept in its annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Annotation `imcluster.io/draining`.
    pub since: Timestamp,
    /// Annotation `imcluster.io/drain-reason`; `ScaleDown` where it cannot be read.
    pub reason: DrainReason,
}

/// Why a pod is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainReason {
    /// It has an old revision.
    Upgrade,
    /// There are more pods than wanted.
    ScaleDown,
    /// It was asked to go, or its node is to go, and it is empty or its time is over.
    Requested,
}

impl DrainReason {
    /// The word for annotations and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upgrade => "Upgrade",
            Self::ScaleDown => "ScaleDown",
            Self::Requested => "Requested",
        }
    }

    /// Reads the word from an annotation; anything unknown is a scale-down.
    pub fn parse(word: &str) -> Self {
        [Self::Upgrade, Self::Requested]
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .unwrap_or(Self::ScaleDown)
    }
}

/// A slot: a stable address for one msg pod at a time, made of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The index in its name, from 0.
    pub index: u32,
    /// The Service as observed.
    pub service: ObjectRef,
    /// The pod for which it is taken, from the Service's annotation `imcluster.io/slot-pod`
    /// (`name/uid`).
    pub holder: Option<PodId>,
    /// The Service selects the slot label (of the holder), not every msg pod.
    pub bound: bool,
    /// When it was last used, from the Service's annotation `imcluster.io/unused-since`; `None` if that
    /// is not known or it is in use.
    pub unused_since: Option<Timestamp>,
    /// Address that clients use, `host:port`, once known.
    pub address: Option<String>,
}

/// One write. All of them may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create the ReplicaSet of a revision.
    CreateReplicaSet {
        /// Revision hash.
        revision: String,
        /// `spec.replicas`.
        replicas: u32,
    },
    /// Set `spec.replicas`.
    Scale {
        /// The ReplicaSet.
        replica_set: ObjectRef,
        /// `spec.replicas` as observed.
        from: u32,
        /// `spec.replicas` from now on.
        to: u32,
    },
    /// Delete an old ReplicaSet that has no pods.
    DeleteReplicaSet {
        /// The ReplicaSet; its UID is a precondition of the deletion.
        replica_set: ObjectRef,
    },
    /// Create the Service of a slot, selecting every msg pod.
    EnsureSlot {
        /// Index of the slot.
        index: u32,
    },
    /// Give a slot to a pod, in this order: the holder annotation on the Service (skipped if it
    /// names the pod already), the slot label on the pod, the slot label in the Service's selector.
    /// Stop at the first write that fails.
    BindSlot {
        /// Index of the slot.
        index: u32,
        /// The slot's Service.
        service: ObjectRef,
        /// The pod.
        pod: ObjectRef,
    },
    /// Free a slot whose pod is gone: no holder annotation, the Service selects every msg pod, and the
    /// annotation `imcluster.io/unused-since` says from when on (now).
    /// First read the pod `was` from the API server: if it still exists, is not finished, and
    /// either carries this slot's label or no slot label, do nothing.
    UnbindSlot {
        /// Index of the slot.
        index: u32,
        /// The slot's Service.
        service: ObjectRef,
        /// The holder to be gone.
        was: Option<PodId>,
    },
    /// Write the annotation `imcluster.io/unused-since` (now) on a free slot's Service that has none.
    MarkSlot {
        /// Index of the slot.
        index: u32,
        /// The slot's Service.
        service: ObjectRef,
    },
    /// Delete the Service of a free slot; its UID and `resourceVersion` are preconditions.
    ReleaseSlot {
        /// Index of the slot.
        index: u32,
        /// The slot's Service.
        service: ObjectRef,
    },
    /// Write the annotation `imcluster.io/external-endpoint`.
    SetEndpoint {
        /// The pod.
        pod: ObjectRef,
        /// `host:port`.
        endpoint: String,
    },
    /// Commit a pod to removal: the annotations `imcluster.io/draining` (now) and
    /// `imcluster.io/drain-reason`, and [`REMOVAL_COST`] as deletion cost, in one write.
    CommitDrain {
        /// The pod.
        pod: ObjectRef,
        /// Why.
        reason: DrainReason,
    },
    /// Write the annotation `imcluster.io/orders`, or remove it.
    SetOrder {
        /// The pod.
        pod: ObjectRef,
        /// What its server is asked for.
        order: Option<Order>,
    },
    /// Remove the annotations of a commitment, deletion cost included, and what the server is asked for.
    CancelDrain {
        /// The pod.
        pod: ObjectRef,
    },
}

/// The planner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Writes to do now. They do not depend on each other: one may fail without the others.
    pub actions: Vec<Action>,
    /// When to plan again if nothing is observed before; `None`: only after a change.
    pub wake_at: Option<Timestamp>,
    /// For status, conditions and events.
    pub summary: Summary,
}

/// Where the msg role stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Pods that run or are to run, without terminating ones.
    pub replicas: u32,
    /// Of these, ready ones.
    pub ready: u32,
    /// Of these, pods of the wanted revision.
    pub updated: u32,
    /// Pods that count as available: ready for long enough, with an advertised address, and not
    /// committed to removal.
    pub available: u32,
    /// Of these, pods whose load is known (all of them where load reports are disabled).
    pub assignable: u32,
    /// Pods that are emptied, committed to removal or terminating.
    pub draining: u32,
    /// The revision of most available pods; the wanted one once a roll is complete.
    pub current_revision: Option<String>,
    /// State of the role, for the condition `Progressing`.
    pub progress: Progress,
    /// One sentence for the condition, with an estimate of the remaining time during a roll.
    pub message: String,
    /// Upper bound of the remaining time of a roll that meets no obstacle.
    pub remaining: Option<SignedDuration>,
    /// Why fewer pods are wanted than can be had now.
    pub limit: Option<ScaleInLimit>,
}

/// Why a scale-in waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleInLimit {
    /// The connections of some pod are not known, or were reported too long ago.
    LoadUnknown,
    /// The pods that would stay have too little room for all clients.
    TooFull {
        /// How many would stay.
        rest: u32,
    },
}

/// State of the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is changed because the cluster is paused.
    Paused,
    /// Everything is as wanted.
    Complete,
    /// Pods are being replaced by the wanted revision.
    NewRevision,
    /// The number of available pods differs from the wanted one.
    Scaling,
    /// As the two before, but without progress for longer than the deadline. What serves goes on.
    DeadlineExceeded,
}

impl Progress {
    /// Reason of the condition `Progressing`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Paused => "Paused",
            Self::Complete => "RolloutComplete",
            Self::NewRevision => "NewRevision",
            Self::Scaling => "Scaling",
            Self::DeadlineExceeded => "ProgressDeadlineExceeded",
        }
    }
}
