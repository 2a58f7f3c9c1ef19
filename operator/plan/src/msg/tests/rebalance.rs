//! Spreading clients anew: when, whom, and that it ends.

use std::collections::{BTreeSet, VecDeque};

use jiff::SignedDuration;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::support::{NOW, actions, ago, at, committed, hold, planned, pod, set, settled};
use crate::msg::{Action, Order, State, Window, plan};

const NOTHING: [&str; 0] = [];

/// As many pods as there are numbers of connections, spread anew at any time.
fn with(connections: &[u32]) -> State {
    let mut state = settled();
    let size = u32::try_from(connections.len()).unwrap();
    state.replicas = size;
    state.max_connections = 100_000;
    state.rebalance.window = Window::Always;
    state.load_settle_seconds = 30;
    state.replica_sets = vec![set("v1", size)];
    state.pods = (0..)
        .zip(connections)
        .map(|(slot, connections)| {
            let mut pod = pod(&format!("p{slot}"), "v1", slot);
            pod.connections = Some(*connections);
            pod
        })
        .collect();
    state.slots = (0..=size).map(super::support::free).collect();
    for slot in &mut state.slots {
        slot.unused_since = Some(ago(100));
    }
    hold(&mut state);
    state
}

#[test]
fn pods_beyond_both_thresholds_let_go_what_is_beyond_the_mean() {
    let mut state = with(&[6_000, 5_000, 1_000, 0]);
    assert_eq!(
        actions(&state),
        [
            format!("order p0 shed {NOW} 3000 50"),
            format!("order p1 shed {NOW} 2000 50")
        ]
    );
    state.rebalance.abs = 2_000;
    let order = format!("order p0 shed {NOW} 3000 100");
    assert_eq!(actions(&state), [order]);
    state.rebalance.rel_percent = 300;
    assert_eq!(actions(&state), NOTHING);
    state.rebalance.rel_percent = 110;
    state.rebalance.window = Window::Never;
    assert_eq!(actions(&state), NOTHING, "off");
    state.rebalance.asked = Some(ago(1));
    assert_eq!(
        actions(&state).len(),
        2,
        "a request looks at no absolute number"
    );
    for asked in [ago(600), NOW + SignedDuration::from_secs(1)] {
        state.rebalance.asked = Some(asked);
        assert_eq!(actions(&state), NOTHING, "{asked}");
    }
}

#[test]
fn nothing_is_spread_while_pods_come_or_go_and_what_is_under_way_stops() {
    let order = |sessions| {
        Some(Order::Shed {
            since: ago(5),
            sessions,
            per_second: 100,
        })
    };
    let even = with(&[6_000, 0, 0]);
    let reasons: [fn(&mut State); 6] = [
        |state| state.replicas = 4,
        |state| state.revision = "v2".to_owned(),
        |state| committed(state, "p1"),
        |state| at(state, "p2").ready = false,
        |state| at(state, "p2").connections = None,
        |state| at(state, "p2").leaving = Some("node".to_owned()),
    ];
    for reason in reasons {
        let mut state = even.clone();
        reason(&mut state);
        let shed = |state: &State| {
            let of = actions(state).into_iter();
            of.filter(|it| it.starts_with("order p0"))
                .collect::<Vec<_>>()
        };
        assert_eq!(shed(&state), NOTHING);
        at(&mut state, "p0").order = order(4_000);
        assert_eq!(shed(&state), ["order p0 nothing"]);
    }
    let mut state = even;
    at(&mut state, "p0").order = order(4_000);
    let outcome = planned(&state);
    assert_eq!(outcome.actions, []);
    // 40 s, ten for the volume, and until the load is known as it is afterwards.
    let end = ago(5) + SignedDuration::from_secs(40 + 10 + 30);
    assert_eq!(outcome.wake_at, Some(end));
    at(&mut state, "p0").order = Some(Order::Shed {
        since: ago(40),
        sessions: 0,
        per_second: 100,
    });
    assert_eq!(actions(&state), ["order p0 nothing"]);
}

/// Clients that are let go come back on the pod that has the fewest, as login servers send them.
#[test]
fn it_ends_nobody_moves_back_and_hardly_anybody_moves_twice() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let pods = random.random_range(2..=12);
        let mut homes: Vec<VecDeque<u32>> = vec![VecDeque::new(); pods];
        // Some pods are new and empty, others have what they had.
        let mut next = 0;
        for home in &mut homes {
            if random.random_bool(0.6) {
                let count: u32 = random.random_range(0..=6_000);
                home.extend(next..next + count);
                next += count;
            }
        }
        let mut state = with(&vec![0; pods]);
        state.rebalance.abs = 0;
        let (mut now, mut moves) = (NOW, vec![0_u32; next as usize]);
        let mut pairs: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut rounds = 0;
        loop {
            for (pod, home) in state.pods.iter_mut().zip(&homes) {
                pod.connections = Some(u32::try_from(home.len()).unwrap());
            }
            let outcome = plan(&state, now);
            for action in &outcome.actions {
                let Action::SetOrder { pod, order } = action else {
                    panic!("{action:?}");
                };
                let from = state.pods.iter().position(|it| it.object == *pod).unwrap();
                state.pods[from].order = *order;
                let Some(Order::Shed { sessions, .. }) = order else {
                    continue;
                };
                rounds += 1;
                for _ in 0..*sessions {
                    let user = homes[from].pop_front().unwrap();
                    let to = (0..pods).min_by_key(|to| homes[*to].len()).unwrap();
                    homes[to].push_back(user);
                    moves[user as usize] += 1;
                    if from != to {
                        pairs.insert((from, to));
                    }
                }
            }
            if outcome.actions.is_empty() {
                let Some(at) = outcome.wake_at else { break };
                now = at;
            }
            assert!(rounds <= 2 * pods, "seed {seed}: no end");
        }
        for (from, to) in &pairs {
            assert!(
                !pairs.contains(&(*to, *from)),
                "seed {seed}: {from} and {to}"
            );
        }
        let users = moves.len();
        let moved: u32 = moves.iter().sum();
        assert!(
            moved as usize * 10 <= users * 11,
            "seed {seed}: {moved} of {users}"
        );
        let most = homes.iter().map(VecDeque::len).max().expect("pods");
        assert!(
            most * pods * 100 <= 115 * users.max(100),
            "seed {seed}: {most} of {users} on {pods}"
        );
    }
}
