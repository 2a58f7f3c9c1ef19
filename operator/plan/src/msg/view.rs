//! What was observed, counted once for all rules.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::order::Order;
use super::slots::Owners;
use super::types::{Pod, ReplicaSet, State};

/// How long after the end of its grace period a terminating pod is taken for stuck, as on a lost
/// node. It keeps its slot, and nothing waits for it any more.
const STUCK_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// How long a pod must have been unready before it may go although too few others are available.
const BROKEN_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// A pod that runs or may still run.
pub(super) struct LivePod<'a> {
    pub(super) pod: &'a Pod,
    /// Index of its ReplicaSet in [`View::sets`]; `None` if that is being deleted.
    pub(super) set: Option<usize>,
    /// It has the wanted revision.
    pub(super) current: bool,
    /// Ready for long enough, with an advertised address, and not terminating: available unless
    /// committed.
    pub(super) serving: bool,
    /// Terminating beyond its grace period.
    pub(super) stuck: bool,
}

impl LivePod<'_> {
    /// Counted by its ReplicaSet.
    pub(super) const fn active(&self) -> bool {
        self.pod.terminating.is_none()
    }

    pub(super) const fn committed(&self) -> bool {
        self.pod.drain.is_some()
    }

    /// It lets its clients go before it is committed.
    pub(super) const fn emptying(&self) -> bool {
        self.active() && !self.committed() && matches!(self.pod.order, Some(Order::Drain { .. }))
    }

    /// It is to be emptied, and replaced by one of its revision.
    pub(super) const fn leaving(&self) -> bool {
        self.active() && self.current && !self.committed() && self.pod.leaving.is_some()
    }

    pub(super) const fn available(&self) -> bool {
        self.serving && !self.committed() && !self.emptying()
    }
}

/// A ReplicaSet with the pods that count.
pub(super) struct Set<'a> {
    pub(super) set: &'a ReplicaSet,
    pub(super) current: bool,
    /// Pods that are not terminating.
    pub(super) active: u32,
    /// Active pods that are committed to removal.
    pub(super) committed: u32,
    /// Pods of any state, finished ones left out.
    pub(super) live: u32,
}

impl Set<'_> {
    /// Pods that exist or will.
    pub(super) fn size(&self) -> u32 {
        self.set.replicas.max(self.active)
    }

    /// Pods that the ReplicaSet controller is about to delete.
    pub(super) const fn deleting(&self) -> u32 {
        self.active.saturating_sub(self.set.replicas)
    }

    /// Pods that the ReplicaSet controller is about to create.
    pub(super) const fn missing(&self) -> u32 {
        self.set.replicas.saturating_sub(self.active)
    }

    /// Pods that stay.
    pub(super) fn staying(&self) -> u32 {
        self.size() - self.committed.max(self.deleting())
    }

    /// The ReplicaSet controller has seen the specification and the pods that we see.
    pub(super) const fn observed(&self) -> bool {
        self.set.observed && self.set.observed_replicas == self.active
    }
}

/// The state, classified.
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) now: Timestamp,
    pub(super) pods: Vec<LivePod<'a>>,
    pub(super) sets: Vec<Set<'a>>,
    pub(super) owners: Owners,
}

impl<'a> View<'a> {
    pub(super) fn new(state: &'a State, now: Timestamp) -> Self {
        let live: Vec<&Pod> = state.pods.iter().filter(|pod| !pod.finished).collect();
        let owners = Owners::new(&live, &state.slots);
        let addresses: HashMap<u32, &str> = (state.slots.iter())
            .filter(|slot| slot.bound)
            .filter_map(|slot| Some((slot.index, slot.address.as_deref()?)))
            .collect();
        let mut sets: Vec<Set<'_>> = (state.replica_sets.iter())
            .map(|set| Set {
                set,
                current: set.revision == state.revision,
                active: 0,
                committed: 0,
                live: 0,
            })
            .collect();
        let by_uid: HashMap<&str, usize> = (state.replica_sets.iter().enumerate())
            .map(|(index, set)| (set.object.uid.as_str(), index))
            .collect();
        let mut pods = Vec::with_capacity(live.len());
        for pod in live {
            let index = by_uid.get(pod.replica_set.as_str()).copied();
            let set = index.and_then(|index| sets.get_mut(index));
            let current = set.as_ref().is_some_and(|set| set.current);
            if let Some(set) = set {
                set.live += 1;
                if pod.terminating.is_none() {
                    set.active += 1;
                    set.committed += u32::from(pod.drain.is_some());
                }
            }
            let address = owners
                .slot_of(&pod.object.uid)
                .filter(|slot| pod.slot == Some(*slot));
            let address = address.and_then(|slot| addresses.get(&slot).copied());
            pods.push(LivePod {
                pod,
                set: index,
                current,
                serving: pod.terminating.is_none()
                    && index.is_some()
                    && pod.ready
                    && now >= ready_for_long(state, pod)
                    && address.is_some()
                    && pod.endpoint.as_deref() == address,
                stuck: pod
                    .terminating
                    .is_some_and(|end| now >= add(end, STUCK_AFTER)),
            });
        }
        Self {
            state,
            now,
            pods,
            sets,
            owners,
        }
    }

    pub(super) fn current_set(&self) -> Option<&Set<'a>> {
        self.sets.iter().find(|set| set.current)
    }

    /// The ReplicaSet of a pod.
    pub(super) fn set_of(&self, pod: &LivePod<'_>) -> Option<&Set<'a>> {
        self.sets.get(pod.set?)
    }

    /// Pods of the current revision that are wanted: those that leave have one each in their place, as far
    /// as more may exist.
    pub(super) fn wanted(&self) -> u32 {
        let leaving = count(self.pods.iter().filter(|pod| pod.leaving()));
        match self.state.replicas {
            0 => 0,
            replicas => replicas.saturating_add(leaving),
        }
    }

    /// When a pod was gone last, as far as free slots tell.
    pub(super) fn last_gone(&self) -> Option<Timestamp> {
        let slots = self.state.slots.iter();
        slots.filter_map(|slot| slot.unused_since).max()
    }

    /// Until when what is known of the load may not know yet where the clients of the last one went.
    pub(super) fn load_settled(&self) -> Option<Timestamp> {
        let settle = SignedDuration::from_secs(self.state.load_settle_seconds.into());
        self.last_gone().map(|gone| add(gone, settle))
    }

    /// Pods that must stay available.
    pub(super) const fn floor(&self) -> u32 {
        self.state
            .replicas
            .saturating_sub(self.state.rules.max_unavailable)
    }

    /// Pods that may exist, those included that drain.
    pub(super) const fn max_total(&self) -> u32 {
        self.state
            .replicas
            .saturating_add(self.state.rules.max_surge)
    }

    /// Available pods, less those that somebody else's lowering of a ReplicaSet may hit.
    pub(super) fn available(&self) -> u32 {
        let available = count(self.pods.iter().filter(|pod| pod.available()));
        let at_risk = self
            .sets
            .iter()
            .map(|set| set.deleting().saturating_sub(set.committed));
        available.saturating_sub(at_risk.sum())
    }

    /// Pods that exist or will and are not on their way out.
    pub(super) fn staying(&self) -> u32 {
        self.sets.iter().map(Set::staying).sum()
    }

    /// Every pod that exists or will, except stuck ones.
    pub(super) fn total(&self) -> u32 {
        let going = |pod: &&LivePod<'_>| (!pod.active() || pod.set.is_none()) && !pod.stuck;
        self.sets.iter().map(Set::size).sum::<u32>() + count(self.pods.iter().filter(going))
    }

    /// Unready for so long that nobody should count on its return.
    pub(super) fn broken(&self, pod: &LivePod<'_>) -> bool {
        !pod.pod.ready && self.now >= add(pod.pod.ready_changed, BROKEN_AFTER)
    }

    /// Pods of an old revision that still run, stuck ones left out.
    pub(super) fn old_pods(&self) -> impl Iterator<Item = &LivePod<'a>> {
        self.pods.iter().filter(|pod| !pod.current && !pod.stuck)
    }

    /// The moments at which something changes by the mere passing of time.
    pub(super) fn changes(&self) -> impl Iterator<Item = Timestamp> {
        self.pods.iter().map(|pod| match pod.pod.terminating {
            Some(end) => add(end, STUCK_AFTER),
            None if pod.pod.ready => ready_for_long(self.state, pod.pod),
            None => add(pod.pod.ready_changed, BROKEN_AFTER),
        })
    }
}

/// When a ready pod has been ready for long enough.
pub(super) fn ready_for_long(state: &State, pod: &Pod) -> Timestamp {
    add(
        pod.ready_changed,
        SignedDuration::from_secs(state.rules.min_ready_seconds.into()),
    )
}

/// `at` and `later`, at most the end of time.
pub(super) fn add(at: Timestamp, later: SignedDuration) -> Timestamp {
    at.checked_add(later).unwrap_or(Timestamp::MAX)
}

/// The number of items, which is bounded by what a cluster can hold.
pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
