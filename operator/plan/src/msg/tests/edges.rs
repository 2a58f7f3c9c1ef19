//! Rules at their edges: what is counted, what is told, and what counts as progress.

use jiff::SignedDuration;

use super::support::{
    NOW, actions, ago, at, committed, free, object, planned, pod, set, settled, surged, unready,
};
use crate::msg::{DrainReason, Progress, State, Summary};

fn summary(change: impl FnOnce(&mut State)) -> Summary {
    let mut state = settled();
    change(&mut state);
    planned(&state).summary
}

fn progress(change: impl FnOnce(&mut State)) -> Progress {
    summary(change).progress
}

/// Goes while it is told when it has to be gone.
fn leaves(state: &mut State, name: &str) {
    at(state, name).terminating = Some(NOW + SignedDuration::from_secs(600));
}

#[test]
fn words_are_those_that_annotations_and_conditions_have() {
    for (reason, word) in [
        (DrainReason::Upgrade, "Upgrade"),
        (DrainReason::ScaleDown, "ScaleDown"),
    ] {
        assert_eq!((reason.as_str(), DrainReason::parse(word)), (word, reason));
    }
    assert_eq!(DrainReason::parse("?"), DrainReason::ScaleDown);
    for (progress, word) in [
        (Progress::Paused, "Paused"),
        (Progress::Complete, "RolloutComplete"),
        (Progress::NewRevision, "NewRevision"),
        (Progress::Scaling, "Scaling"),
        (Progress::DeadlineExceeded, "ProgressDeadlineExceeded"),
    ] {
        assert_eq!(progress.reason(), word);
    }
}

#[test]
fn people_are_told_what_is_there_and_no_more() {
    let told = |change: fn(&mut State)| summary(change).message;
    assert_eq!(told(|_| {}), "3 of 3 msg pods are available");
    assert_eq!(
        told(|state| {
            surged(state);
            committed(state, "c");
        }),
        "3 of 3 msg pods are available; 1 have revision v2, 3 of older revisions remain; 1 drain; \
         at most about 29 min left"
    );
    assert_eq!(
        told(|state| {
            surged(state);
            at(state, "n").created = ago(700);
            unready(state, "n", 700);
            at(state, "n").failure = Some("no image".to_owned());
            // Neither who serves nor who goes has failed.
            at(state, "a").failure = Some("nothing".to_owned());
        }),
        "3 of 3 msg pods are available; 1 have revision v2, 3 of older revisions remain; no progress \
         for 600 s, pods that serve stay; pod n: no image"
    );
    assert_eq!(
        told(|state| {
            leaves(state, "b");
            at(state, "b").failure = Some("killed".to_owned());
            state.paused = true;
        }),
        "2 of 3 msg pods are available; 1 drain; nothing is changed while the cluster is paused"
    );
}

#[test]
fn who_goes_is_counted_as_draining_and_nowhere_else() {
    let counted = summary(|state| {
        leaves(state, "a");
        committed(state, "b");
    });
    assert_eq!(
        (counted.replicas, counted.ready, counted.updated),
        (2, 2, 2)
    );
    assert_eq!((counted.available, counted.draining), (1, 2));
    let unknown = |state: &mut State| at(state, "b").connections = None;
    assert_eq!(summary(unknown).assignable, 2);
    let without_reports = summary(|state| {
        unknown(state);
        state.load_reports = false;
    });
    assert_eq!(without_reports.assignable, 3);
}

#[test]
fn a_pod_that_is_wanted_after_all_stays_although_the_budget_would_let_it_go() {
    let mut state = settled();
    state.rules.max_unavailable = 1;
    committed(&mut state, "b");
    assert_eq!(actions(&state), ["cancel b"]);
}

#[test]
fn the_revision_of_most_pods_is_the_present_one_and_the_old_one_wins_a_tie() {
    let of_new = |names: &[&str], gone: &[&str]| {
        let present = summary(|state| {
            state.revision = "v2".to_owned();
            state.replica_sets.push(set("v2", 2));
            for name in names {
                at(state, name).replica_set = object("v2").uid;
            }
            state
                .pods
                .retain(|pod| !gone.contains(&pod.object.name.as_str()));
        });
        present.current_revision
    };
    assert_eq!(of_new(&["a", "b"], &[]).as_deref(), Some("v2"));
    assert_eq!(of_new(&["a"], &[]).as_deref(), Some("v1"));
    assert_eq!(of_new(&["a"], &["b"]).as_deref(), Some("v1"));
}

#[test]
fn a_roll_is_complete_when_nothing_is_left_to_come_or_to_go() {
    assert_eq!(progress(|_| {}), Progress::Complete);
    // Something has just happened.
    let an_old_set_has_pods_to_come = |state: &mut State| {
        state.replica_sets.push(set("v0", 1));
        changed(state, 1);
    };
    assert_eq!(progress(an_old_set_has_pods_to_come), Progress::NewRevision);
    let one_is_to_go = |state: &mut State| {
        committed(state, "b");
        state.replicas = 2;
        changed(state, 0);
    };
    assert_eq!(progress(one_is_to_go), Progress::Scaling);
    let one_is_to_come = |state: &mut State| {
        state.replica_sets[0].replicas = 4;
        changed(state, 0);
    };
    assert_eq!(progress(one_is_to_come), Progress::Scaling);
}

/// Progress where a pod has been unready for longer than the deadline.
fn with(change: fn(&mut State)) -> Progress {
    progress(|state| {
        unready(state, "c", 700);
        change(state);
    })
}

/// A ReplicaSet was changed a second ago.
fn changed(state: &mut State, set: usize) {
    state.replica_sets[set].changed = ago(1);
}

#[test]
fn the_deadline_waits_for_pods_that_drain_and_for_no_other() {
    assert_eq!(with(|_| {}), Progress::DeadlineExceeded);
    assert_eq!(
        with(|state| leaves(state, "a")),
        Progress::DeadlineExceeded,
        "somebody has deleted it"
    );
    assert_eq!(
        with(|state| {
            leaves(state, "a");
            committed(state, "a");
        }),
        Progress::Scaling
    );
    assert_eq!(
        with(|state| {
            at(state, "a").replica_set = "gone".to_owned();
            leaves(state, "a");
        }),
        Progress::NewRevision,
        "of an old revision"
    );
    assert_eq!(
        with(|state| {
            committed(state, "a");
            at(state, "a").drain.as_mut().expect("committed").since = ago(800);
            at(state, "a").terminating = Some(ago(61));
        }),
        Progress::DeadlineExceeded,
        "it is stuck"
    );
}

#[test]
fn what_counts_as_progress() {
    assert_eq!(with(|state| changed(state, 0)), Progress::Scaling);
    assert_eq!(
        with(|state| {
            state.replica_sets.push(set("v0", 0));
            changed(state, 1);
        }),
        Progress::DeadlineExceeded,
        "an empty set of another revision"
    );
    assert_eq!(
        with(|state| {
            state.revision = "v2".to_owned();
            state.replica_sets.push(set("v2", 0));
            changed(state, 1);
        }),
        Progress::NewRevision,
        "the wanted one, although it is empty"
    );
    assert_eq!(
        with(|state| {
            committed(state, "a");
            state.replicas = 2;
        }),
        Progress::Scaling,
        "a commitment"
    );
    assert_eq!(
        with(|state| at(state, "b").created = ago(9)),
        Progress::Scaling
    );
    assert_eq!(
        with(|state| at(state, "b").ready_changed = ago(20)),
        Progress::Scaling,
        "it serves since ten seconds"
    );
    let flickers = |rolls: bool| {
        progress(|state| {
            surged(state);
            at(state, "n").created = ago(700);
            unready(state, "n", 5);
            if !rolls {
                state.replica_sets.remove(0);
                state.pods.retain(|pod| pod.object.name == "n");
            }
        })
    };
    assert_eq!(flickers(true), Progress::DeadlineExceeded);
    assert_eq!(flickers(false), Progress::Scaling);
}

#[test]
fn an_unready_pod_may_go_after_a_minute_although_too_few_are_available() {
    let choose = |seconds| {
        let mut state = settled();
        surged(&mut state);
        unready(&mut state, "b", 5);
        unready(&mut state, "c", seconds);
        actions(&state)
    };
    assert_eq!(choose(59), [""; 0]);
    assert_eq!(choose(60), ["commit c"]);
}

#[test]
fn a_pod_without_an_address_hides_no_load_and_goes_first() {
    let mut state = settled();
    state.replicas = 2;
    let hidden = at(&mut state, "b");
    (hidden.connections, hidden.endpoint) = (None, None);
    assert_eq!(actions(&state), ["endpoint b 10.0.0.1:8000", "commit b"]);
}

#[test]
fn one_load_that_is_not_known_is_enough_to_wait() {
    let waits = |change: fn(&mut crate::msg::State)| {
        let mut state = settled();
        state.replicas = 1;
        change(&mut state);
        let message = planned(&state).summary.message;
        message.contains("until their connections are known")
    };
    assert!(!waits(|_| ()));
    assert!(waits(|state| at(state, "a").connections = None));
    let settled_number = |state: &mut crate::msg::State| {
        at(state, "a").connections = None;
        state.replicas = 3;
    };
    assert!(!waits(settled_number), "nothing is to go");
}

#[test]
fn labels_beyond_the_last_slot_are_ignored() {
    let labelled = |slot: u32| {
        let mut state = settled();
        state.slots[2] = free(2);
        at(&mut state, "c").slot = Some(slot);
        actions(&state)
    };
    assert_eq!(labelled(10_000), ["bind 2 c"]);
    assert_eq!(labelled(9_999), ["ensure 9999"]);
}

#[test]
fn a_set_whose_pods_are_not_all_seen_is_not_forgotten() {
    let mut state = settled();
    for (name, age) in [("o1", 9_000), ("o2", 8_000), ("o3", 7_000)] {
        state.replica_sets.push(set(name, 0));
        state.replica_sets.last_mut().expect("pushed").created = ago(age);
    }
    assert_eq!(actions(&state), ["delete o1"]);
    state.replica_sets[1].observed = false;
    assert_eq!(actions(&state), [""; 0], "two are kept");
    state.replica_sets[1] = set("o1", 0);
    state.replica_sets[1].created = ago(9_000);
    state.revision_history_limit = 0;
    let mut last = pod("z", "o2", 3);
    (last.slot, last.endpoint, last.terminating) = (None, None, Some(NOW));
    state.pods.push(last);
    assert_eq!(actions(&state), ["delete o1", "delete o3"]);
}

#[test]
fn a_slot_is_given_back_by_whichever_trace_of_its_pod_is_left() {
    for (named, bound) in [(true, false), (false, true)] {
        let mut state = settled();
        let gone = state.slots[0].holder.clone();
        assert!(gone.is_some());
        let slot = state.slots.last_mut().expect("there are some");
        assert!(slot.holder.is_none() && !slot.bound);
        (slot.holder, slot.bound) = (gone.filter(|_| named), bound);
        if let Some(holder) = &mut slot.holder {
            holder.uid = "uid-gone".to_owned();
        }
        let index = slot.index;
        assert_eq!(actions(&state), [format!("unbind {index}")], "{named}");
    }
}

#[test]
fn what_is_complete_has_no_deadline() {
    let mut state = settled();
    for pod in &mut state.pods {
        (pod.created, pod.ready_changed) = (ago(100), ago(90));
    }
    assert_eq!(planned(&state).summary.progress, Progress::Complete);
    assert_eq!(planned(&state).wake_at, None);
    at(&mut state, "a").ready = false;
    at(&mut state, "a").ready_changed = ago(80);
    assert_eq!(planned(&state).summary.progress, Progress::Scaling);
    assert!(planned(&state).wake_at.is_some());
}

#[test]
fn each_pod_that_is_to_go_counts_before_the_next_one_is_chosen() {
    let mut state = settled();
    (state.replicas, state.rules.max_unavailable) = (1, 1);
    state.max_scale_in_pods = 9;
    assert_eq!(actions(&state).len(), 2, "no more than are too many");

    let mut state = settled();
    surged(&mut state);
    state.rules.max_unavailable = 1;
    for name in ["a", "b", "c", "n"] {
        unready(&mut state, name, 100);
    }
    assert_eq!(actions(&state).len(), 2, "no more than may be missing");
}

#[test]
fn where_nothing_older_stays_nothing_is_proved_before_more_pods_come() {
    let mut state = settled();
    state.replicas = 5;
    for name in ["a", "b", "c"] {
        unready(&mut state, name, 5);
    }
    assert!(actions(&state).contains(&"scale v1 3→5".to_owned()));
    // One that is kept for the way back has no pods that could stay.
    state.replica_sets.push(set("v0", 0));
    assert!(actions(&state).contains(&"scale v1 3→5".to_owned()));
}

#[test]
fn the_moment_in_which_nobody_counts_on_an_unready_pod_any_more_is_waited_for() {
    let mut state = settled();
    for pod in &mut state.pods {
        (pod.created, pod.ready_changed) = (ago(100), ago(90));
    }
    unready(&mut state, "a", 20);
    assert_eq!(
        planned(&state).wake_at,
        Some(NOW + SignedDuration::from_secs(40))
    );
}
