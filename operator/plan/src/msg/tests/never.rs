//! What must never happen, by the numbers of the project's list, and the rules of slots.

use jiff::SignedDuration;

use super::support::{
    NOW, actions, address, ago, at, committed, free, hold, planned, pod, set, settled, surged,
    unready,
};
use crate::msg::{PodId, Progress};

const NOTHING: [&str; 0] = [];

#[test]
fn must_never_3_roll_because_the_operator_restarted() {
    let mut state = settled();
    state.pods.reverse();
    state.slots.reverse();
    assert_eq!(actions(&state), NOTHING);
    committed(&mut state, "a");
    state.replicas = 2;
    at(&mut state, "b").connections = Some(0);
    assert_eq!(
        actions(&state),
        ["scale v1 3→2"],
        "nobody else is chosen after a restart"
    );
}

#[test]
fn must_never_4_take_more_than_the_budget() {
    let mut state = settled();
    surged(&mut state);
    assert_eq!(
        actions(&state),
        ["commit a"],
        "one surplus pod, one commitment"
    );
    unready(&mut state, "c", 5);
    assert_eq!(
        actions(&state),
        ["commit c"],
        "the one that is missing anyway"
    );
    unready(&mut state, "b", 5);
    assert_eq!(
        actions(&state),
        NOTHING,
        "two are available, three are wanted"
    );
    unready(&mut state, "c", 70);
    assert_eq!(
        actions(&state),
        ["commit c"],
        "broken for long, and replaced already"
    );
    state.rules.max_unavailable = 1;
    assert_eq!(actions(&state), ["commit b", "commit c"]);
}

#[test]
fn must_never_4_take_pods_while_the_new_ones_are_not_available() {
    let mut state = settled();
    surged(&mut state);
    let waiting: [fn(&mut crate::msg::Pod); 5] = [
        |pod| pod.ready = false,
        |pod| pod.ready_changed = ago(9),
        |pod| pod.endpoint = None,
        |pod| pod.endpoint = Some("10.9.9.9:1".to_owned()),
        |pod| pod.terminating = Some(NOW),
    ];
    for change in waiting {
        let mut state = state.clone();
        change(&mut state.pods[3]);
        let taken = actions(&state)
            .iter()
            .any(|action| action.starts_with("commit"));
        assert!(!taken, "{:?}", actions(&state));
    }
    state.slots[3].address = None;
    assert_eq!(actions(&state), NOTHING);
}

#[test]
fn must_never_5_remove_a_pod_that_is_not_committed() {
    let mut state = settled();
    state.replicas = 2;
    assert_eq!(
        actions(&state),
        ["commit a"],
        "the ReplicaSet is not lowered yet"
    );
}

#[test]
fn must_never_9_poll() {
    let mut state = settled();
    assert_eq!(planned(&state).wake_at, None);
    unready(&mut state, "a", 700);
    let outcome = planned(&state);
    assert_eq!(outcome.wake_at, None, "the deadline has passed");
    assert_eq!(outcome.summary.progress, Progress::DeadlineExceeded);
}

#[test]
fn must_never_10_take_unknown_load_for_none() {
    let mut state = settled();
    state.replicas = 2;
    at(&mut state, "a").connections = None;
    at(&mut state, "b").connections = Some(9_000);
    at(&mut state, "c").connections = Some(9_001);
    assert_eq!(actions(&state), NOTHING);
    at(&mut state, "a").connections = Some(9_002);
    assert_eq!(actions(&state), ["commit b"]);
    state.pods.iter_mut().for_each(|pod| pod.connections = None);
    let outcome = planned(&state);
    assert_eq!(outcome.actions, []);
    let message = outcome.summary.message;
    assert!(
        message.contains("until their connections are known"),
        "{message}"
    );
    state.load_reports = false;
    assert_eq!(actions(&state), ["commit a"]);
    state.load_reports = true;
    unready(&mut state, "c", 1);
    assert_eq!(
        actions(&state),
        ["commit c"],
        "an unready pod needs no load"
    );
}

#[test]
fn must_never_19_reuse_a_slot_that_still_serves() {
    let mut state = settled();
    state.slots.pop();
    state.rules.max_surge = 0;
    at(&mut state, "c").terminating = Some(NOW + SignedDuration::from_secs(600));
    let mut successor = pod("d", "v1", 9);
    (successor.slot, successor.endpoint) = (None, None);
    state.pods.push(successor);
    assert_eq!(actions(&state), NOTHING, "the successor waits");
    at(&mut state, "c").terminating = Some(ago(61));
    assert_eq!(
        actions(&state),
        ["ensure 3"],
        "one more for a pod that is stuck"
    );
    state.pods.remove(2);
    assert_eq!(actions(&state), ["unbind 2"]);
    state.slots[2] = free(2);
    assert_eq!(actions(&state), ["bind 2 d"]);
}

#[test]
fn must_never_20_act_while_paused() {
    let mut state = settled();
    surged(&mut state);
    state.replicas = 1;
    state.paused = true;
    state.slots.clear();
    let outcome = planned(&state);
    assert_eq!((outcome.actions.len(), outcome.wake_at), (0, None));
    assert_eq!(outcome.summary.progress, Progress::Paused);
}

#[test]
fn a_new_pod_gets_the_lowest_free_slot_then_its_endpoint() {
    let mut state = settled();
    state.replica_sets[0] = set("v1", 4);
    state.replicas = 4;
    let mut new = pod("d", "v1", 3);
    (new.slot, new.endpoint) = (None, None);
    state.slots.extend([free(5), free(4)]);
    state.pods.push(new);
    assert_eq!(actions(&state), ["bind 3 d"]);
    state.pods[3].slot = Some(3);
    assert_eq!(actions(&state), ["bind 3 d"], "interrupted after the label");
    state.slots[3].holder = Some(PodId {
        name: "d".to_owned(),
        uid: "uid-d".to_owned(),
    });
    assert_eq!(
        actions(&state),
        ["bind 3 d"],
        "interrupted before the selector"
    );
    state.slots[3].bound = true;
    state.slots[3].address = None;
    assert_eq!(actions(&state), NOTHING);
    state.slots[3].address = Some(address(3));
    assert_eq!(actions(&state), ["endpoint d 10.0.0.3:8000"]);
}

#[test]
fn an_interrupted_claim_is_taken_up_again() {
    let mut state = settled();
    state.slots[2].bound = false;
    (state.pods[2].slot, state.pods[2].endpoint) = (None, None);
    assert_eq!(actions(&state), ["bind 2 c"]);
}

#[test]
fn an_address_that_moves_is_advertised_anew() {
    let mut state = settled();
    state.slots[1].address = Some("10.1.1.1:8000".to_owned());
    assert_eq!(actions(&state), ["endpoint b 10.1.1.1:8000"]);
    state.slots[1].address = None;
    assert_eq!(actions(&state), NOTHING, "what was advertised stays");
}

#[test]
fn slots_that_no_pod_needs_are_given_back_when_their_grace_is_over() {
    let mut state = settled();
    state.replicas = 0;
    (state.pods, state.replica_sets[0]) = (Vec::new(), set("v1", 0));
    hold(&mut state);
    // One stays for a pod of a surge. The time of last use of one is not known.
    for (slot, age) in [(0, 9_999), (1, 3_599), (3, 3_600)] {
        state.slots[slot].unused_since = Some(ago(age));
    }
    state.slots[2].unused_since = None;
    let outcome = planned(&state);
    assert_eq!(actions(&state), ["release 3", "mark 2"]);
    assert_eq!(outcome.wake_at, Some(NOW + SignedDuration::from_secs(1)));
    state.slots.truncate(2);
    state.slots[1].unused_since = Some(ago(3_600));
    assert_eq!(actions(&state), ["release 1"]);
    state.slots.truncate(1);
    let outcome = planned(&state);
    assert_eq!((outcome.actions.len(), outcome.wake_at), (0, None));
}

#[test]
fn slots_of_pods_that_go_stay_until_the_pods_are_gone() {
    let mut state = settled();
    state.replicas = 1;
    state.max_scale_in_pods = 2;
    state.slots[3].unused_since = Some(ago(9_999));
    assert_eq!(
        actions(&state),
        ["release 3", "commit a", "commit b"],
        "three pods, three slots"
    );
    state.slots.pop();
    let end = NOW + SignedDuration::from_secs(600);
    for name in ["a", "b"] {
        committed(&mut state, name);
        at(&mut state, name).terminating = Some(end);
    }
    state.replica_sets[0] = set("v1", 1);
    assert_eq!(actions(&state), NOTHING);
    state.pods.retain(|pod| pod.object.name == "c");
    assert_eq!(actions(&state), ["unbind 0", "unbind 1"]);
    hold(&mut state);
    for (slot, age) in [(0, 9_999), (1, 9_999)] {
        state.slots[slot].unused_since = Some(ago(age));
    }
    assert_eq!(
        actions(&state),
        ["release 1"],
        "slot 2 is used, 0 is for a surge"
    );
}

#[test]
fn a_slot_that_is_free_but_needed_is_neither_marked_nor_given_back() {
    let mut state = settled();
    state.slots[3].unused_since = None;
    assert_eq!(actions(&state), NOTHING);
    state.slots[3].unused_since = Some(ago(1_000_000));
    let outcome = planned(&state);
    assert_eq!((outcome.actions.len(), outcome.wake_at), (0, None));
}

#[test]
fn deleted_slots_come_back() {
    let mut state = settled();
    state.slots.remove(1);
    assert_eq!(actions(&state), ["ensure 1"]);
    state.slots.insert(1, free(1));
    assert_eq!(actions(&state)[0], "bind 1 b", "the pod keeps its slot");
}

#[test]
fn a_slot_of_a_finished_pod_is_free() {
    let mut state = settled();
    at(&mut state, "b").finished = true;
    assert_eq!(actions(&state), ["unbind 1"]);
}

#[test]
fn a_pod_whose_label_was_tampered_with_moves() {
    let mut state = settled();
    state.slots[2] = free(2);
    at(&mut state, "c").slot = Some(0);
    assert_eq!(actions(&state), ["bind 2 c"]);
}
