//! Spreading clients anew over the pods, as after growth.
//!
//! Pods that have too many let go what is beyond the mean; login servers send those who come back to the
//! pods that have the fewest. So nobody gets more than the mean by it, and it ends. It is about pods of the
//! current revision alone, and nothing is spread while pods come or go for another reason.

use jiff::{SignedDuration, Timestamp};

use super::emptying::set;
use super::order::Order;
use super::types::Action;
use super::view::{LivePod, Set, View, add, count};

/// Seconds for which a request counts.
const ASKED_SECONDS: i64 = 600;

/// What is to be done, and when there will be more.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) actions: Vec<Action>,
    pub(super) wake_at: Option<Timestamp>,
}

pub(super) fn steps(view: &View<'_>) -> Steps {
    let rules = &view.state.rebalance;
    let asked_until = rules
        .asked
        .filter(|asked| *asked <= view.now)
        .map(|asked| add(asked, SignedDuration::from_secs(ASKED_SECONDS)));
    let is_asked = asked_until.is_some_and(|until| view.now < until);
    let sheds: Vec<&LivePod<'_>> = (view.pods.iter())
        .filter(|pod| pod.active() && !pod.committed())
        .filter(|pod| matches!(pod.pod.order, Some(Order::Shed { .. })))
        .collect();
    let is_time = is_asked || rules.window.is_open(view.now);
    if !is_time || !is_calm(view) {
        let is_uneven = !full(view, is_asked).is_empty();
        return Steps {
            actions: sheds.into_iter().map(|pod| set(pod, None)).collect(),
            wake_at: rules.window.turns(view.now).filter(|_| is_uneven),
        };
    }
    if !sheds.is_empty() {
        let ends = sheds.iter().map(|pod| end(view, pod));
        let last = ends.max().unwrap_or(view.now);
        return if last <= view.now {
            Steps {
                actions: sheds.into_iter().map(|pod| set(pod, None)).collect(),
                wake_at: None,
            }
        } else {
            Steps {
                actions: Vec::new(),
                wake_at: Some(last),
            }
        };
    }
    let full = full(view, is_asked);
    let share = (rules.per_second / count(full.iter()).max(1)).max(1);
    let most = usize::try_from(rules.per_second).unwrap_or(usize::MAX);
    Steps {
        actions: (full.into_iter().take(most))
            .map(|(pod, sessions)| {
                let order = Order::Shed {
                    since: view.now,
                    sessions,
                    per_second: share,
                };
                set(pod, Some(order))
            })
            .collect(),
        wake_at: None,
    }
}

/// When an order has been carried out, and what is known of the load is that of after it.
fn end(view: &View<'_>, pod: &LivePod<'_>) -> Timestamp {
    let Some(Order::Shed {
        since,
        sessions,
        per_second,
    }) = pod.pod.order
    else {
        return view.now;
    };
    // Its volume shows the order some seconds later, and who has messages on their way goes last.
    let seconds = i64::from(sessions / per_second.max(1)) + 10;
    let settle = i64::from(view.state.load_settle_seconds);
    add(since, SignedDuration::from_secs(seconds + settle))
}

/// No pod comes or goes, and the load of all is known.
fn is_calm(view: &View<'_>) -> bool {
    let is_quiet = |pod: &LivePod<'_>| {
        pod.current && pod.available() && pod.pod.leaving.is_none() && pod.pod.connections.is_some()
    };
    let size: u32 = view.sets.iter().map(Set::size).sum();
    let replicas = view.state.replicas;
    size == replicas
        && count(view.pods.iter().filter(|pod| !pod.stuck)) == replicas
        && view.pods.iter().filter(|pod| !pod.stuck).all(is_quiet)
        && view.load_settled().is_none_or(|at| at <= view.now)
}

/// Pods that have too many connections, each with how many are beyond the mean.
fn full<'a, 'b>(view: &'b View<'a>, is_asked: bool) -> Vec<(&'b LivePod<'a>, u32)> {
    let rules = &view.state.rebalance;
    let pods = || view.pods.iter().filter(|pod| pod.available());
    let connections = |pod: &LivePod<'_>| u64::from(pod.pod.connections.unwrap_or(0));
    let (all, number): (u64, u64) = (pods().map(connections).sum(), count(pods()).into());
    let mean = all.div_ceil(number.max(1));
    let abs = if is_asked { 0 } else { rules.abs.into() };
    pods()
        .filter(|pod| {
            let has = connections(pod);
            has > mean + abs && has * 100 * number > all * u64::from(rules.rel_percent)
        })
        .map(|pod| {
            let beyond = connections(pod).saturating_sub(mean);
            (pod, u32::try_from(beyond).unwrap_or(u32::MAX))
        })
        .collect()
}
