//! Each rule of revisions and scale on its own. Names of actions: see [`super::support`].

use jiff::SignedDuration;

use super::support::{
    NOW, actions, ago, at, committed, hold, object, planned, pod, set, settled, surged, unready,
};
use crate::msg::{Progress, State};

const NOTHING: [&str; 0] = [];

/// What happens to [`settled`] after a change.
fn after(change: impl FnOnce(&mut State)) -> Vec<String> {
    let mut state = settled();
    change(&mut state);
    actions(&state)
}

#[test]
fn a_settled_cluster_is_left_alone() {
    let outcome = planned(&settled());
    assert_eq!((outcome.actions.len(), outcome.wake_at), (0, None));
    assert_eq!(outcome.summary.progress, Progress::Complete);
    assert_eq!(outcome.summary.current_revision.as_deref(), Some("v1"));
}

#[test]
fn an_empty_cluster_gets_all_pods_at_once() {
    let wanted = after(|state| {
        state.replica_sets.clear();
        state.pods.clear();
        state.slots.clear();
    });
    assert_eq!(
        wanted,
        [
            "ensure 0",
            "ensure 1",
            "ensure 2",
            "ensure 3",
            "create v1 3"
        ]
    );
}

#[test]
fn a_new_revision_starts_with_one_pod_whatever_the_surge() {
    let wanted = after(|state| {
        state.revision = "v2".to_owned();
        state.rules.max_surge = 3;
    });
    assert_eq!(wanted, ["ensure 4", "ensure 5", "create v2 1"]);
}

#[test]
fn once_it_is_available_the_surge_is_used_up() {
    let wanted = after(|state| {
        surged(state);
        state.rules.max_surge = 3;
    });
    assert_eq!(wanted, ["ensure 4", "ensure 5", "scale v2 1→3"]);
}

#[test]
fn a_roll_commits_then_lowers_then_raises() {
    let mut state = settled();
    surged(&mut state);
    at(&mut state, "b").connections = Some(3);
    assert_eq!(actions(&state), ["commit b"]);
    committed(&mut state, "b");
    assert_eq!(actions(&state), ["scale v1 3→2"]);
    state.replica_sets[0].replicas = 2;
    state.replica_sets[0].observed = false;
    assert_eq!(
        actions(&state),
        NOTHING,
        "the ReplicaSet controller has not acted yet"
    );
    state.replica_sets[0].observed = true;
    state.replica_sets[0].observed_replicas = 2;
    at(&mut state, "b").terminating = Some(NOW + SignedDuration::from_secs(600));
    assert_eq!(
        actions(&state),
        NOTHING,
        "the draining pod counts until it is gone"
    );
    state.pods.retain(|pod| pod.object.name != "b");
    assert_eq!(actions(&state), ["unbind 1", "scale v2 1→2"]);
}

#[test]
fn without_surge_a_pod_goes_first() {
    let wanted = after(|state| {
        state.revision = "v2".to_owned();
        state.replica_sets.push(set("v2", 0));
        state.rules.max_surge = 0;
        state.rules.max_unavailable = 1;
    });
    assert_eq!(wanted, ["commit a"]);
}

#[test]
fn a_revert_takes_the_old_set_back() {
    let wanted = after(|state| {
        surged(state);
        unready(state, "n", 3);
        state.revision = "v1".to_owned();
    });
    assert_eq!(
        wanted,
        ["commit n"],
        "the pod that failed goes, no third ReplicaSet comes"
    );
}

#[test]
fn a_failing_revision_stops_at_its_first_pod() {
    let mut state = settled();
    surged(&mut state);
    state.pods[3].created = ago(601);
    unready(&mut state, "n", 601);
    state.pods[3].failure = Some("ImagePullBackOff".to_owned());
    let outcome = planned(&state);
    assert_eq!(outcome.actions, []);
    assert_eq!(outcome.summary.progress, Progress::DeadlineExceeded);
    assert_eq!(outcome.summary.available, 3);
    let message = outcome.summary.message;
    assert!(message.contains("no progress for 600 s"), "{message}");
    assert!(message.contains("pod n: ImagePullBackOff"), "{message}");
}

#[test]
fn the_deadline_and_minimum_ready_time_are_woken_for() {
    let mut state = settled();
    surged(&mut state);
    at(&mut state, "n").created = ago(30);
    at(&mut state, "n").ready_changed = ago(4);
    let in_seconds = |seconds| Some(NOW + SignedDuration::from_secs(seconds));
    assert_eq!(planned(&state).wake_at, in_seconds(6));
    unready(&mut state, "n", 100);
    assert_eq!(planned(&state).wake_at, in_seconds(570));
}

#[test]
fn the_summary_counts_and_estimates() {
    let mut state = settled();
    surged(&mut state);
    at(&mut state, "a").drain = None;
    committed(&mut state, "c");
    at(&mut state, "b").connections = None;
    let summary = planned(&state).summary;
    assert_eq!(
        (summary.replicas, summary.ready, summary.updated),
        (4, 4, 1)
    );
    assert_eq!(
        (summary.available, summary.assignable, summary.draining),
        (3, 2, 1)
    );
    assert_eq!(summary.progress, Progress::NewRevision);
    assert_eq!(summary.current_revision.as_deref(), Some("v1"));
    assert_eq!(
        summary.remaining,
        Some(SignedDuration::from_secs(3 * (20 + 10 + 540)))
    );
    assert!(
        summary.message.contains("at most about 29 min left"),
        "{}",
        summary.message
    );
}

#[test]
fn scaling_up_raises_the_current_set() {
    assert_eq!(
        after(|state| state.replicas = 4),
        ["ensure 4", "scale v1 3→4"]
    );
}

#[test]
fn scaling_down_commits_exactly_the_surplus_with_the_fewest_connections() {
    let wanted = |at_a_time| {
        after(|state| {
            state.replicas = 1;
            state.max_scale_in_pods = at_a_time;
            at(state, "a").connections = Some(5);
            at(state, "c").connections = Some(7);
        })
    };
    assert_eq!(wanted(9), ["commit a", "commit c"]);
    assert_eq!(wanted(1), ["commit a"]);
}

#[test]
fn scaling_to_zero_needs_no_loads() {
    let wanted = after(|state| {
        state.replicas = 0;
        state.pods.iter_mut().for_each(|pod| pod.connections = None);
    });
    assert_eq!(wanted, ["commit a", "commit b", "commit c"]);
}

#[test]
fn victims_are_old_then_unready_then_idle_then_young() {
    let choose = |change: &dyn Fn(&mut State)| {
        after(|state| {
            state.replicas = 2;
            change(state);
        })
    };
    assert_eq!(
        choose(&|state| at(state, "b").created = ago(50)),
        ["commit b"]
    );
    assert_eq!(
        choose(&|state| at(state, "c").connections = Some(2)),
        ["commit c"]
    );
    assert_eq!(choose(&|state| unready(state, "b", 1)), ["commit b"]);
    let old = choose(&|state| {
        state.replica_sets[0].replicas = 2;
        state.replica_sets[0].observed_replicas = 2;
        state.replica_sets.push(set("v0", 1));
        at(state, "c").replica_set = object("v0").uid;
        at(state, "a").connections = Some(1);
    });
    assert_eq!(old, ["commit c"]);
}

#[test]
fn scaling_back_up_cancels_what_was_not_lowered() {
    assert_eq!(after(|state| committed(state, "b")), ["cancel b"]);
    let lowered = after(|state| {
        committed(state, "b");
        state.replica_sets[0].replicas = 2;
    });
    assert_eq!(lowered, NOTHING, "the pod may be gone already");
}

#[test]
fn another_pod_that_went_instead_is_not_counted_twice() {
    let mut state = settled();
    state.replicas = 2;
    state.replica_sets[0] = set("v1", 2);
    committed(&mut state, "a");
    at(&mut state, "c").terminating = Some(NOW + SignedDuration::from_secs(600));
    assert_eq!(actions(&state), ["cancel a"]);
    state.replicas = 1;
    assert_eq!(actions(&state), ["scale v1 2→1"]);
}

#[test]
fn a_commitment_gives_way_when_another_pod_fails() {
    let mut state = settled();
    surged(&mut state);
    committed(&mut state, "a");
    unready(&mut state, "b", 1);
    assert_eq!(actions(&state), ["cancel a"]);
    at(&mut state, "a").drain = None;
    assert_eq!(actions(&state), ["commit b"]);
}

#[test]
fn a_set_is_lowered_only_when_it_has_settled() {
    let unsettled: [fn(&mut State); 3] = [
        |state| state.replica_sets[0].observed = false,
        |state| state.replica_sets[0].observed_replicas = 2,
        |state| drop(state.pods.remove(0)),
    ];
    for change in unsettled {
        let mut state = settled();
        surged(&mut state);
        committed(&mut state, "c");
        change(&mut state);
        let lowered = actions(&state)
            .iter()
            .any(|action| action.starts_with("scale v1"));
        assert!(!lowered, "{:?}", actions(&state));
    }
}

#[test]
fn pods_that_do_not_exist_yet_need_no_commitment() {
    let wanted = after(|state| {
        state.replicas = 3;
        state.replica_sets[0].replicas = 5;
        state.replica_sets[0].observed_replicas = 3;
    });
    assert_eq!(wanted, ["scale v1 5→3"]);
}

#[test]
fn old_empty_sets_are_forgotten_oldest_first() {
    let wanted = after(|state| {
        for (name, age) in [("o1", 9_000), ("o2", 8_000), ("o3", 7_000), ("o4", 9_500)] {
            state.replica_sets.push(set(name, 0));
            state.replica_sets.last_mut().expect("pushed").created = ago(age);
        }
        let mut last = pod("z", "o4", 3);
        last.terminating = Some(NOW);
        state.pods.push(last);
        hold(state);
    });
    assert_eq!(wanted, ["delete o1"], "o4 is older but has a pod");
}

#[test]
fn stuck_pods_hold_nothing_up() {
    let mut state = settled();
    surged(&mut state);
    at(&mut state, "c").terminating = Some(ago(61));
    state.replica_sets[0] = set("v1", 2);
    assert_eq!(actions(&state), ["ensure 4", "scale v2 1→2"]);
    at(&mut state, "c").terminating = Some(ago(59));
    let outcome = planned(&state);
    assert_eq!(outcome.actions, []);
    assert_eq!(outcome.wake_at, Some(NOW + SignedDuration::from_secs(1)));
}

#[test]
fn nothing_grows_while_the_size_of_another_set_is_not_settled() {
    let mut state = settled();
    surged(&mut state);
    state.pods.remove(2);
    state.replica_sets[0] = set("v1", 2);
    state.replica_sets[0].observed = false;
    hold(&mut state);
    assert_eq!(
        actions(&state),
        NOTHING,
        "a third old pod may still be on its way"
    );
    state.replica_sets[0].observed = true;
    assert_eq!(actions(&state), ["scale v2 1→2"]);
}
