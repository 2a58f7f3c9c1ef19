//! ReplicaSets and commitments: scale, rolls and history.
//!
//! A pod is removed in two steps, each seen in the cluster before the next is planned: the
//! commitment on the pod, then the lowering of its ReplicaSet by one. A drain led by the operator
//! belongs between the two.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::emptying;
use super::scale_in::Guard;
use super::types::{Action, DrainReason, ReplicaSet, ScaleInLimit};
use super::view::{LivePod, Set, View};

/// What is to be done about ReplicaSets and commitments: the first kind of step for which there is
/// something to do, because each one changes what the others count.
pub(super) fn actions(view: &View<'_>) -> Vec<Action> {
    let steps = [create, cancel, lower, raise, commit, emptying::steps];
    let mut actions = steps
        .iter()
        .map(|step| step(view))
        .find(|step| !step.is_empty())
        .unwrap_or_default();
    actions.extend(forget(view));
    actions
}

fn create(view: &View<'_>) -> Vec<Action> {
    if view.current_set().is_some() {
        return Vec::new();
    }
    let revision = view.state.revision.clone();
    vec![Action::CreateReplicaSet {
        revision,
        replicas: wanted(view, None),
    }]
}

/// The size up to which the current ReplicaSet may grow now. It does not grow while the size of
/// another is not settled, and as long as old pods stay and none of the new revision has become
/// available, it is one pod that tries.
fn wanted(view: &View<'_>, current: Option<&Set<'_>>) -> u32 {
    if view
        .sets
        .iter()
        .any(|set| !set.current && !set.set.observed)
    {
        return 0;
    }
    let others = view.total() - current.map_or(0, Set::size);
    let wanted = view.wanted().min(view.max_total().saturating_sub(others));
    let old_stay = view
        .sets
        .iter()
        .any(|set| !set.current && set.staying() > 0);
    let proved = view.pods.iter().any(|pod| pod.current && pod.available());
    if old_stay && !proved {
        wanted.min(1)
    } else {
        wanted
    }
}

/// Commitments that are no longer needed, or that would now break the budget, and whose ReplicaSet
/// has not been lowered.
fn cancel(view: &View<'_>) -> Vec<Action> {
    let mut committed: Vec<&LivePod<'_>> = (view.pods.iter())
        .filter(|pod| pod.active() && pod.committed())
        .filter(|pod| view.set_of(pod).is_some_and(|set| set.deleting() == 0))
        .collect();
    committed.sort_by_key(|pod| (Reverse(pod.current), Reverse(pod.serving), pod.pod.created));
    let staying = view.current_set().map_or(0, Set::staying);
    let mut needed = view.state.replicas.saturating_sub(staying);
    let mut short = view.floor().saturating_sub(view.available());
    let mut actions = emptying::taken_back(view, &mut short);
    for pod in committed {
        // Of one that was asked to go the successor is there already, or comes after it.
        let is_asked = pod
            .pod
            .drain
            .is_some_and(|it| it.reason == DrainReason::Requested);
        let is_wanted = if is_asked {
            pod.pod.leaving.is_none()
        } else {
            needed > 0
        };
        if (pod.current && is_wanted) || (pod.serving && short > 0) {
            needed = needed.saturating_sub(u32::from(pod.current));
            short = short.saturating_sub(u32::from(pod.serving));
            actions.push(Action::CancelDrain {
                pod: pod.pod.object.clone(),
            });
        }
    }
    actions
}

/// Lowers each ReplicaSet by its committed pods, once it has as many pods as it should have, and by
/// pods that do not exist yet and are not wanted any more.
fn lower(view: &View<'_>) -> Vec<Action> {
    let mut spare = view.staying().saturating_sub(view.floor());
    let enough = view.available() >= view.floor();
    let mut actions = Vec::new();
    for set in view.sets.iter().filter(|set| set.observed()) {
        let surplus = if set.current {
            set.staying().saturating_sub(view.wanted())
        } else {
            set.staying()
        };
        let less = if set.missing() == 0 && set.deleting() == 0 {
            set.committed
        } else if enough {
            set.missing().min(surplus).min(spare)
        } else {
            0
        };
        if less > 0 {
            if set.missing() > 0 {
                spare -= less;
            }
            actions.push(scale(set.set, set.set.replicas - less));
        }
    }
    actions
}

/// Raises the current ReplicaSet as far as the total allows.
fn raise(view: &View<'_>) -> Vec<Action> {
    let Some(set) = view.current_set().filter(|set| set.deleting() == 0) else {
        return Vec::new();
    };
    let wanted = wanted(view, Some(set));
    if wanted > set.set.replicas {
        vec![scale(set.set, wanted)]
    } else {
        Vec::new()
    }
}

/// Commits pods to removal within the budget.
fn commit(view: &View<'_>) -> Vec<Action> {
    let floor = view.floor();
    let mut staying = view.staying();
    let mut available = view.available();
    let mut surplus = surplus(view);
    let mut guard = Guard::new(view);
    let mut actions = Vec::new();
    for victim in victims(view) {
        if staying <= floor || (victim.current && surplus == 0) {
            continue;
        }
        let free = if victim.available() {
            available > floor
        } else {
            available >= floor || view.broken(victim)
        };
        // Up to `max_surge` pods more than wanted are those of a roll, whose successors are there.
        let is_scale_in = victim.current || staying > view.max_total();
        if !free || (is_scale_in && !guard.takes(victim)) {
            continue;
        }
        staying -= 1;
        available -= u32::from(victim.available());
        let reason = if victim.current {
            surplus -= 1;
            DrainReason::ScaleDown
        } else {
            DrainReason::Upgrade
        };
        actions.push(Action::CommitDrain {
            pod: victim.pod.object.clone(),
            reason,
        });
    }
    actions
}

/// Pods of the current revision beyond the wanted number.
fn surplus(view: &View<'_>) -> u32 {
    let staying = view.current_set().map_or(0, Set::staying);
    staying.saturating_sub(view.wanted())
}

/// Pods that may be chosen, in the order of choice: old, asked to go, unready, unavailable, with the fewest
/// connections (unknown last), youngest.
fn victims<'a, 'b>(view: &'b View<'a>) -> Vec<&'b LivePod<'a>> {
    let mut victims: Vec<&LivePod<'_>> = (view.pods.iter())
        .filter(|pod| pod.active() && !pod.committed())
        .filter(|pod| view.set_of(pod).is_some_and(|set| set.deleting() == 0))
        .collect();
    victims.sort_by(|a, b| {
        let key = |live: &LivePod<'_>| {
            let pod = live.pod;
            let load = (pod.connections.is_none(), pod.connections);
            (
                live.current,
                pod.leaving.is_none(),
                pod.ready,
                live.serving,
                load,
                Reverse(pod.created),
            )
        };
        key(a)
            .cmp(&key(b))
            .then_with(|| a.pod.object.name.cmp(&b.pod.object.name))
    });
    victims
}

/// Fewer pods are wanted than there are.
fn is_shrinking(view: &View<'_>) -> bool {
    surplus(view) > 0 || view.staying() > view.max_total()
}

/// While fewer are wanted: when the load is known as it is after the last pod went.
pub(super) fn wake(view: &View<'_>) -> Option<Timestamp> {
    view.load_settled().filter(|_| is_shrinking(view))
}

/// Why fewer pods are wanted than can be had now.
pub(super) fn scale_in_limit(view: &View<'_>) -> Option<ScaleInLimit> {
    is_shrinking(view)
        .then(|| Guard::new(view).limit())
        .flatten()
}

/// Deletes old empty ReplicaSets beyond the limit, the oldest first.
fn forget(view: &View<'_>) -> Vec<Action> {
    let mut empty: Vec<&ReplicaSet> = (view.sets.iter())
        .filter(|set| !set.current && set.live == 0 && set.size() == 0 && set.observed())
        .map(|set| set.set)
        .collect();
    empty.sort_by(|a, b| (a.created, &a.object.name).cmp(&(b.created, &b.object.name)));
    let kept = usize::try_from(view.state.revision_history_limit).unwrap_or(usize::MAX);
    let surplus = empty.len().saturating_sub(kept);
    (empty.into_iter().take(surplus))
        .map(|set| Action::DeleteReplicaSet {
            replica_set: set.object.clone(),
        })
        .collect()
}

fn scale(set: &ReplicaSet, to: u32) -> Action {
    Action::Scale {
        replica_set: set.object.clone(),
        from: set.replicas,
        to,
    }
}
