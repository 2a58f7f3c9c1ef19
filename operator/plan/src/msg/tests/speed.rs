//! How long a plan takes for the largest cluster.

use std::time::Duration;

use super::support::{actions, free, hold, pod, set, settled};

/// Prints the time; machines differ too much for a limit.
#[test]
#[allow(
    clippy::disallowed_types,
    reason = "nothing runs on a paused clock here"
)]
fn print_the_time_for_a_thousand_pods() {
    let mut state = settled();
    state.replicas = 1_000;
    state.rules.max_surge = 100;
    state.revision = "v2".to_owned();
    state.replica_sets = vec![set("v1", 600), set("v2", 500)];
    let name = |index: u32| (format!("p{index}"), if index < 600 { "v1" } else { "v2" });
    state.pods = (0..1_100)
        .map(|index| pod(&name(index).0, name(index).1, index))
        .collect();
    state.slots = (0..1_100).map(free).collect();
    hold(&mut state);
    assert_eq!(actions(&state).len(), 100);
    let time = || {
        let start = std::time::Instant::now();
        let planned = super::support::planned(&state);
        assert_eq!(planned.actions.len(), 100);
        start.elapsed()
    };
    let times: Vec<Duration> = (0..20).map(|_| time()).collect();
    println!(
        "plan of 1,100 pods in a roll: best {:?}, worst {:?}",
        times.iter().min(),
        times.iter().max()
    );
}
