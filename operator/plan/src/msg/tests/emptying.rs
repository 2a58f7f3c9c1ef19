//! Pods that are asked to go: a successor first, then their clients at a rate, then the pod.

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::support::{NOW, actions, ago, at, hold, planned, pod, set, settled, unready};
use crate::msg::{Action, Order, Pod, State, plan};

const NOTHING: [&str; 0] = [];

fn ask(state: &mut State, names: &[&str]) {
    for name in names {
        at(state, name).leaving = Some("upgrade".to_owned());
    }
}

/// Is asked since then, at this rate.
fn drain(since: Timestamp, per_second: u32) -> Order {
    Order::Drain { since, per_second }
}

/// [`settled`] with a fourth pod `d`, as the successor of one.
fn replaced() -> State {
    let mut state = settled();
    state.replica_sets = vec![set("v1", 4)];
    state.pods.push(pod("d", "v1", 3));
    hold(&mut state);
    state
}

#[test]
fn a_successor_comes_first_then_the_clients_go_then_the_pod() {
    let mut state = settled();
    ask(&mut state, &["b"]);
    assert_eq!(actions(&state), ["scale v1 3→4"]);
    let mut state = replaced();
    ask(&mut state, &["b"]);
    unready(&mut state, "d", 5);
    assert_eq!(actions(&state), NOTHING, "the successor is not ready");
    at(&mut state, "d").ready = true;
    at(&mut state, "d").ready_changed = ago(4);
    assert_eq!(actions(&state), NOTHING, "nor for long enough");
    at(&mut state, "d").ready_changed = ago(10);
    let order = format!("order b drain {NOW} 500");
    assert_eq!(actions(&state), [order]);
    at(&mut state, "b").order = Some(drain(NOW, 500));
    let outcome = planned(&state);
    assert_eq!(outcome.actions, []);
    let heard = NOW + SignedDuration::from_secs(60);
    assert_eq!(outcome.wake_at, Some(heard));
    assert_eq!(outcome.summary.draining, 1);
    assert_eq!(outcome.summary.available, 3);
    at(&mut state, "b").connections = Some(0);
    assert_eq!(actions(&state), NOTHING, "it still takes newcomers");
    at(&mut state, "b").cordoned = true;
    assert_eq!(actions(&state), ["commit b"]);
    at(&mut state, "b").drain = Some(crate::msg::Drain {
        since: NOW,
        reason: crate::msg::DrainReason::Requested,
    });
    assert_eq!(actions(&state), ["scale v1 4→3"]);
    at(&mut state, "b").leaving = None;
    assert_eq!(actions(&state), ["cancel b"], "before the delete");
}

#[test]
fn it_goes_when_its_time_is_over_and_one_that_cannot_hear_is_stopped_instead() {
    let mut state = replaced();
    ask(&mut state, &["b"]);
    at(&mut state, "b").cordoned = true;
    at(&mut state, "b").order = Some(drain(ago(539), 500));
    assert_eq!(actions(&state), NOTHING);
    at(&mut state, "b").order = Some(drain(ago(540), 500));
    assert_eq!(actions(&state), ["commit b"]);
    at(&mut state, "b").order = Some(drain(ago(60), 500));
    assert_eq!(actions(&state), NOTHING);
    at(&mut state, "b").cordoned = false;
    assert_eq!(actions(&state), ["commit b"], "of an older template");
    at(&mut state, "b").connections = None;
    assert_eq!(actions(&state), NOTHING, "nobody knows");
}

#[test]
fn what_is_taken_back_stops_and_so_does_what_would_break_the_budget() {
    let mut state = replaced();
    ask(&mut state, &["b"]);
    at(&mut state, "b").order = Some(drain(ago(5), 500));
    let mut failed = state.clone();
    unready(&mut failed, "c", 1);
    assert_eq!(actions(&failed), ["order b nothing"]);
    at(&mut state, "b").leaving = None;
    assert_eq!(actions(&state), ["order b nothing"]);
    at(&mut state, "b").order = None;
    assert_eq!(actions(&state), ["commit a"], "the one too many");
}

#[test]
fn the_rate_of_the_cluster_is_shared_and_goes_down_before_another_begins() {
    let mut state = replaced();
    state.rules.max_surge = 2;
    state.slots.push(super::support::free(4));
    state.replica_sets = vec![set("v1", 5)];
    state.pods.push(pod("e", "v1", 4));
    hold(&mut state);
    ask(&mut state, &["a", "b"]);
    at(&mut state, "a").order = Some(drain(ago(5), 500));
    let since = ago(5);
    assert_eq!(actions(&state), [format!("order a drain {since} 250")]);
    at(&mut state, "a").order = Some(drain(since, 250));
    assert_eq!(actions(&state), [format!("order b drain {NOW} 250")]);
    state.drain_per_second = 1;
    at(&mut state, "a").order = Some(drain(since, 1));
    assert_eq!(actions(&state), NOTHING, "one after the other");
}

#[test]
fn without_room_for_a_successor_the_pod_goes_first() {
    let mut state = settled();
    (state.rules.max_surge, state.rules.max_unavailable) = (0, 1);
    ask(&mut state, &["b", "c"]);
    assert_eq!(actions(&state), [format!("order b drain {NOW} 500")]);
    state.replicas = 0;
    assert_eq!(actions(&state).len(), 3, "nobody is to be served");
}

fn serving(state: &State) -> u32 {
    let serves = |pod: &&Pod| {
        let is_emptied = matches!(pod.order, Some(Order::Drain { .. }));
        pod.ready && pod.drain.is_none() && pod.terminating.is_none() && !is_emptied
    };
    u32::try_from(state.pods.iter().filter(serves).count()).unwrap()
}

/// Whatever the state: what is done never leaves fewer serving than the budget says, and the rates together
/// never exceed the cluster's.
#[test]
fn no_drain_of_a_hundred_thousand_states_breaks_the_budget_or_the_rate() {
    let mut random = StdRng::seed_from_u64(11);
    let (mut begun, mut ended) = (0, 0);
    for _ in 0..100_000 {
        let size: u32 = random.random_range(1..=6);
        let mut state = settled();
        state.replicas = random.random_range(0..=size);
        state.rules.max_surge = random.random_range(0..=2);
        state.rules.max_unavailable =
            random.random_range(u32::from(state.rules.max_surge == 0)..=2);
        state.drain_per_second = random.random_range(1..=9);
        state.replica_sets = vec![set("v1", size)];
        state.pods = (0..size)
            .map(|slot| pod(&format!("p{slot}"), "v1", slot))
            .collect();
        state.slots = (0..9).map(super::support::free).collect();
        hold(&mut state);
        let share = random.random_range(1..=state.drain_per_second);
        let mut left = state.drain_per_second;
        for pod in &mut state.pods {
            pod.leaving = random.random_bool(0.4).then(|| "node".to_owned());
            if random.random_bool(0.3) && left >= share {
                left -= share;
                pod.order = Some(drain(ago(random.random_range(0..=600)), share));
                pod.cordoned = random.random_bool(0.8);
                pod.connections = Some(random.random_range(0..=1));
            }
            if random.random_bool(0.1) {
                pod.ready = false;
                pod.ready_changed = ago(random.random_range(0..=90));
            }
        }
        let floor = state.replicas.saturating_sub(state.rules.max_unavailable);
        let before = serving(&state);
        let mut after = state.clone();
        for action in plan(&state, NOW).actions {
            match action {
                Action::SetOrder { pod, order } => {
                    let pod = after.pods.iter_mut().find(|it| it.object == pod).unwrap();
                    begun += u32::from(pod.order.is_none());
                    pod.order = order;
                }
                Action::CommitDrain { pod, reason } => {
                    let pod = after.pods.iter_mut().find(|it| it.object == pod).unwrap();
                    ended += u32::from(pod.order.is_some());
                    pod.drain = Some(crate::msg::Drain { since: NOW, reason });
                }
                Action::Scale { to, .. } => {
                    assert!(to <= size.max(state.replicas + state.rules.max_surge));
                }
                _ => {}
            }
        }
        assert!(serving(&after) >= before.min(floor), "{state:#?}");
        let rates = after.pods.iter().filter(|pod| pod.drain.is_none());
        let rates = rates.filter_map(|pod| match pod.order {
            Some(Order::Drain { per_second, .. }) => Some(per_second),
            _ => None,
        });
        let sum: u32 = rates.sum();
        assert!(sum <= state.drain_per_second, "{sum} of {state:#?}");
    }
    assert!(begun > 1_000 && ended > 1_000, "{begun} {ended}");
}
