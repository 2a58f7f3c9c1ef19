//! A smaller number of pods: one at a time, the emptiest first, and only while the rest has room.

use jiff::SignedDuration;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::support::{NOW, actions, at, committed, hold, planned, pod, set, settled, unready};
use crate::msg::{Action, Progress, ScaleInLimit, State};

const NOTHING: [&str; 0] = [];

/// Pods `p0`, `p1` … of one revision with so many connections each.
fn with(connections: &[Option<u32>], replicas: u32) -> State {
    let mut state = settled();
    state.replicas = replicas;
    state.max_connections = 1_000;
    state.replica_sets = vec![set("v1", u32::try_from(connections.len()).unwrap())];
    state.pods = (0..)
        .zip(connections)
        .map(|(slot, connections)| {
            let mut pod = pod(&format!("p{slot}"), "v1", slot);
            pod.connections = *connections;
            pod
        })
        .collect();
    state.slots = (0..u32::try_from(connections.len()).unwrap())
        .map(super::support::free)
        .collect();
    hold(&mut state);
    state
}

#[test]
fn pods_go_one_at_a_time_and_the_next_when_the_last_is_gone() {
    let mut state = with(&[Some(30), Some(10), Some(20), Some(40)], 2);
    assert_eq!(actions(&state), ["commit p1"]);
    committed(&mut state, "p1");
    assert_eq!(actions(&state), ["scale v1 4→3"]);
    state.replica_sets = vec![set("v1", 3)];
    at(&mut state, "p1").terminating = Some(NOW + SignedDuration::from_secs(500));
    assert_eq!(actions(&state), NOTHING, "it lets its clients go");
    at(&mut state, "p1").terminating = Some(NOW - SignedDuration::from_secs(61));
    assert_eq!(
        actions(&state).last().map(String::as_str),
        Some("commit p2"),
        "on a lost node"
    );
    state.pods.remove(1);
    assert_eq!(
        actions(&state).last().map(String::as_str),
        Some("commit p2")
    );
}

#[test]
fn the_number_stays_while_the_rest_could_not_carry_everybody() {
    // Two and a half pods' worth of clients.
    let mut state = with(&[Some(900), Some(800), Some(800)], 1);
    let outcome = planned(&state);
    assert_eq!(outcome.actions, []);
    assert_eq!(
        outcome.summary.limit,
        Some(ScaleInLimit::TooFull { rest: 2 })
    );
    assert_eq!(outcome.summary.progress, Progress::Scaling);
    assert_eq!(
        outcome.wake_at, None,
        "it is not late, however long it lasts"
    );
    let message = outcome.summary.message;
    assert!(
        message.contains("2 would be filled beyond 85 %"),
        "{message}"
    );
    // 1,700 of two are 85 %.
    for pod in &mut state.pods {
        pod.connections = Some(567);
    }
    assert_eq!(actions(&state), NOTHING, "1,701");
    at(&mut state, "p0").connections = Some(566);
    assert_eq!(actions(&state), ["commit p0"]);
    state.replicas = 0;
    assert_eq!(actions(&state).len(), 3, "nobody is to be served");
}

#[test]
fn clients_of_pods_that_go_count_and_what_is_not_known_is_not_room() {
    let mut state = with(&[Some(400), Some(400), Some(400), Some(850)], 1);
    state.max_scale_in_pods = 2;
    committed(&mut state, "p0");
    state.replica_sets = vec![set("v1", 3)];
    at(&mut state, "p0").terminating = Some(NOW + SignedDuration::from_secs(500));
    let limit = |state: &State| planned(state).summary.limit;
    assert_eq!(limit(&state), Some(ScaleInLimit::TooFull { rest: 2 }));
    at(&mut state, "p3").connections = Some(400);
    assert_eq!(actions(&state), ["commit p1"]);
    at(&mut state, "p3").connections = None;
    assert_eq!(limit(&state), Some(ScaleInLimit::LoadUnknown));
    assert_eq!(actions(&state), NOTHING);
    unready(&mut state, "p3", 5);
    assert_eq!(
        actions(&state),
        ["commit p3"],
        "a pod that is not ready serves nobody"
    );
    // One of which login knows clients is guarded as the others are: its probe came late.
    at(&mut state, "p3").connections = Some(10);
    committed(&mut state, "p1");
    state.replica_sets = vec![set("v1", 2)];
    at(&mut state, "p1").terminating = Some(NOW + SignedDuration::from_secs(500));
    assert_eq!(actions(&state), NOTHING);
}

#[test]
fn a_roll_at_the_same_number_is_not_held_up_but_one_that_shrinks_is() {
    let mut state = with(&[Some(950), Some(950), Some(950)], 3);
    state.revision = "v2".to_owned();
    state.replica_sets.push(set("v2", 1));
    state.pods.push(pod("n", "v2", 3));
    state.slots.push(super::support::free(3));
    hold(&mut state);
    assert_eq!(actions(&state), ["commit p0"]);
    assert_eq!(planned(&state).summary.limit, None);
    state.replicas = 1;
    let outcome = planned(&state);
    assert_eq!(outcome.actions, []);
    assert_eq!(
        outcome.summary.limit,
        Some(ScaleInLimit::TooFull { rest: 3 })
    );
    state
        .pods
        .iter_mut()
        .for_each(|pod| pod.connections = Some(9));
    assert_eq!(actions(&state), ["commit p0"], "one at a time");
}

/// Whatever the figures: never more at a time than allowed, never the fuller one first, and the rest has
/// room for everybody.
#[test]
fn no_scale_in_of_twenty_thousand_leaves_too_little_room() {
    let mut random = StdRng::seed_from_u64(7);
    let mut taken = 0;
    for _ in 0..20_000 {
        let pods = random.random_range(1..=8);
        let most = random.random_range(1..=1_000);
        let known = random.random_bool(0.9);
        let connections: Vec<Option<u32>> = (0..pods)
            .map(|_| {
                Some(random.random_range(0..=most)).filter(|_| known || random.random_bool(0.8))
            })
            .collect();
        let mut state = with(&connections, random.random_range(1..=8));
        state.max_scale_in_pods = random.random_range(1..=3);
        let victims: Vec<u32> = (planned(&state).actions.iter())
            .filter_map(|action| match action {
                Action::CommitDrain { pod, .. } => Some(pod.uid.clone()),
                _ => None,
            })
            .map(|uid| {
                let found = state.pods.iter().find(|pod| pod.object.uid == uid);
                found.and_then(|pod| pod.connections).expect("known")
            })
            .collect();
        let count = u32::try_from(victims.len()).unwrap();
        taken += count;
        assert!(count <= state.max_scale_in_pods);
        assert!(count == 0 || pods - count >= state.replicas);
        if count > 0 {
            let all: u32 = connections.iter().map(|it| it.expect("all known")).sum();
            assert!(all * 100 <= (pods - count) * 1_000 * 85, "{state:#?}");
            let mut order: Vec<u32> = connections.iter().flatten().copied().collect();
            order.sort_unstable();
            assert_eq!(victims, order[..victims.len()]);
        }
    }
    assert!(taken > 2_000, "{taken}");
}
