//! Pods that were asked to go, or whose node is to go: each gets a successor first, lets its clients go at
//! its share of the cluster's rate, and is committed to removal when it is empty or its time is over.
//!
//! Until then it can be taken back at any time: nothing but its annotation says that it is emptied.

use jiff::{SignedDuration, Timestamp};

use super::order::Order;
use super::scale_in::Guard;
use super::types::{Action, DrainReason};
use super::view::{LivePod, View, add, count};

/// Seconds after which a server that has not said that it takes nobody new is one of an older template,
/// which cannot be asked: it lets its clients go when it is stopped.
const HEARD_SECONDS: i64 = 60;

/// Orders that are not asked for any more, or that would now break the budget; those count in `short`.
pub(super) fn taken_back(view: &View<'_>, short: &mut u32) -> Vec<Action> {
    let mut actions = Vec::new();
    for pod in view.pods.iter().filter(|pod| pod.emptying()) {
        let is_needed = pod.serving && *short > 0;
        if pod.pod.leaving.is_none() || is_needed {
            *short = short.saturating_sub(u32::from(pod.serving));
            actions.push(set(pod, None));
        }
    }
    actions
}

/// Commits what is empty or late, and lets more begin; else divides the rate anew.
pub(super) fn steps(view: &View<'_>) -> Vec<Action> {
    let ended = end(view);
    if !ended.is_empty() {
        return ended;
    }
    let beginning = begin(view);
    let emptied: Vec<&LivePod<'_>> = view.pods.iter().filter(|pod| pod.emptying()).collect();
    let all = count(emptied.iter()) + count(beginning.iter());
    let share = (view.state.drain_per_second / all.max(1)).max(1);
    let mut actions: Vec<Action> = emptied
        .into_iter()
        .filter_map(|pod| match pod.pod.order {
            Some(Order::Drain { since, per_second }) if per_second != share => {
                Some(set(pod, Some(drain(since, share))))
            }
            _ => None,
        })
        .collect();
    // Rates go down before others begin, so that their sum never exceeds the cluster's.
    if actions.is_empty() {
        let begun = beginning.iter();
        actions.extend(begun.map(|pod| set(pod, Some(drain(view.now, share)))));
    }
    actions
}

/// When the time of a pod is over, or it should have been heard of.
pub(super) fn wakes(view: &View<'_>) -> impl Iterator<Item = Timestamp> {
    let emptied = view.pods.iter().filter(|pod| pod.emptying());
    emptied.filter_map(since).flat_map(move |since| {
        let seconds = [HEARD_SECONDS, i64::from(view.state.drain_max_seconds)];
        seconds.map(move |seconds| add(since, SignedDuration::from_secs(seconds)))
    })
}

fn end(view: &View<'_>) -> Vec<Action> {
    let mut staying = view.staying();
    let floor = view.floor();
    if view.available() < floor {
        return Vec::new();
    }
    let mut actions = Vec::new();
    for pod in view.pods.iter().filter(|pod| pod.emptying()) {
        let is_settled = view.set_of(pod).is_some_and(|set| set.deleting() == 0);
        if staying > floor && is_settled && is_over(view, pod) {
            staying -= 1;
            actions.push(Action::CommitDrain {
                pod: pod.pod.object.clone(),
                reason: DrainReason::Requested,
            });
        }
    }
    actions
}

/// It is empty, its time is over, or it does not hear.
fn is_over(view: &View<'_>, pod: &LivePod<'_>) -> bool {
    let Some(since) = since(pod) else {
        return false;
    };
    let later = |seconds: i64| view.now >= add(since, SignedDuration::from_secs(seconds));
    let is_empty = pod.pod.cordoned && pod.pod.connections == Some(0);
    let is_deaf = later(HEARD_SECONDS) && !pod.pod.cordoned && pod.pod.connections.is_some();
    is_empty || is_deaf || later(view.state.drain_max_seconds.into())
}

/// Pods that may begin now: their successors are there, and the rate is enough for one session a second of
/// each.
fn begin<'a, 'b>(view: &'b View<'a>) -> Vec<&'b LivePod<'a>> {
    let floor = view.floor();
    let is_broken = view.pods.iter().any(|pod| pod.active() && view.broken(pod));
    // With room for a successor it comes first, unless a pod that will not come back has taken it.
    let needed = if view.state.rules.max_surge > 0 && !is_broken {
        view.state.replicas
    } else {
        floor
    };
    let (mut available, mut staying) = (view.available(), view.staying());
    let mut rate = count(view.pods.iter().filter(|pod| pod.emptying()));
    let mut guard = Guard::new(view);
    let mut beginning = Vec::new();
    for pod in view
        .pods
        .iter()
        .filter(|pod| pod.leaving() && !pod.emptying())
    {
        let is_settled = view.set_of(pod).is_some_and(|set| set.deleting() == 0);
        let is_free = if pod.available() {
            available > needed
        } else {
            available >= floor
        };
        let is_scale_in = staying > view.max_total();
        if is_settled
            && is_free
            && staying > floor
            && rate < view.state.drain_per_second
            && (!is_scale_in || guard.takes(pod))
        {
            available -= u32::from(pod.available());
            staying -= 1;
            rate += 1;
            beginning.push(pod);
        }
    }
    beginning
}

const fn since(pod: &LivePod<'_>) -> Option<Timestamp> {
    pod.pod.emptied_since()
}

const fn drain(since: Timestamp, per_second: u32) -> Order {
    Order::Drain { since, per_second }
}

pub(super) fn set(pod: &LivePod<'_>, order: Option<Order>) -> Action {
    Action::SetOrder {
        pod: pod.pod.object.clone(),
        order,
    }
}
