//! Simulated clusters with random wishes and faults.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::cluster::Cluster;
use super::faults::{change_wish, fault, random_rules};
use crate::msg::{Action, Outcome, Pod, Progress, ReplicaSet, State, plan};

/// Steps of one simulated cluster before it is left in peace.
const STEPS: usize = 400;

/// Simulated clusters of each test: more than 10⁵ steps together.
const CLUSTERS: u64 = 150;

/// A pod that serves, found without the planner's help.
fn serves(state: &State, now: Timestamp, pod: &Pod) -> bool {
    let ready_for = now.duration_since(pod.ready_changed).as_secs();
    let slot = state.slots.iter().find(|slot| pod.slot == Some(slot.index));
    pod.terminating.is_none()
        && !pod.finished
        && pod.drain.is_none()
        && pod.emptied_since().is_none()
        && pod.ready
        && ready_for >= i64::from(state.rules.min_ready_seconds)
        && slot.is_some_and(|slot| {
            slot.bound && slot.address.is_some() && slot.address == pod.endpoint
        })
}

fn serving(state: &State, now: Timestamp) -> usize {
    state
        .pods
        .iter()
        .filter(|pod| serves(state, now, pod))
        .count()
}

fn floor(state: &State) -> usize {
    state.replicas.saturating_sub(state.rules.max_unavailable) as usize
}

/// Pods that exist, terminating ones included, or will.
fn total(state: &State) -> usize {
    let active = |pod: &&Pod| pod.terminating.is_none() && !pod.finished;
    let sets = state.replica_sets.iter().map(|set| {
        let of_set = |pod: &&Pod| pod.replica_set == set.object.uid;
        state
            .pods
            .iter()
            .filter(of_set)
            .filter(active)
            .count()
            .max(set.replicas as usize)
    });
    sets.sum::<usize>()
        + state
            .pods
            .iter()
            .filter(|pod| pod.terminating.is_some())
            .count()
}

fn sizes(state: &State) -> u32 {
    state.replica_sets.iter().map(|set| set.replicas).sum()
}

/// No two live pods share a slot, and none loses the one that it has.
fn check_slots(state: &State, known: &mut BTreeMap<String, u32>) {
    let live = || state.pods.iter().filter(|pod| !pod.finished);
    let mut used = BTreeMap::new();
    for pod in live() {
        let uid = &pod.object.uid;
        let before = known.get(uid);
        assert!(
            before.is_none() || pod.slot.as_ref() == before,
            "{uid} lost its slot {before:?}"
        );
        if let Some(slot) = pod.slot {
            assert_eq!(
                used.insert(slot, uid),
                None,
                "slot {slot} has two live pods"
            );
            known.insert(uid.clone(), slot);
        }
    }
    for slot in state.slots.iter().filter(|slot| slot.bound) {
        let owner = used.get(&slot.index);
        let holder = slot.holder.as_ref().map(|holder| &holder.uid);
        assert!(
            owner.is_none() || owner.copied() == holder,
            "slot {} leads elsewhere",
            slot.index
        );
    }
}

/// The planner takes no more than the budget of what it sees.
fn check_outcome(seen: &State, now: Timestamp, outcome: &Outcome) {
    if seen.paused {
        assert_eq!(outcome.actions, [], "paused");
    }
    let mut after = seen.clone();
    for action in &outcome.actions {
        match action {
            Action::CommitDrain { pod, .. } => {
                let pod = after
                    .pods
                    .iter_mut()
                    .find(|seen| seen.object == *pod)
                    .expect("seen");
                assert_eq!(
                    (pod.drain, pod.terminating),
                    (None, None),
                    "committed twice"
                );
                let reason = crate::msg::DrainReason::ScaleDown;
                pod.drain = Some(crate::msg::Drain { since: now, reason });
            }
            Action::Scale {
                replica_set,
                from,
                to,
            } => {
                let set = seen
                    .replica_sets
                    .iter()
                    .find(|set| set.object == *replica_set);
                assert_eq!(set.expect("seen").replicas, *from);
                let pods = || {
                    let of_set = |pod: &&Pod| pod.replica_set == replica_set.uid;
                    let active = |pod: &&Pod| pod.terminating.is_none() && !pod.finished;
                    seen.pods.iter().filter(of_set).filter(active)
                };
                let committed = pods().filter(|pod| pod.drain.is_some()).count();
                let kept = pods().count() - committed;
                assert!(
                    *to as usize >= kept,
                    "{from} → {to} would hit one of {kept} others"
                );
            }
            _ => {}
        }
    }
    let (before, after) = (serving(seen, now), serving(&after, now));
    assert!(
        after >= before.min(floor(seen)),
        "{before} → {after} of {}",
        seen.replicas
    );
    if let Some(at) = outcome.wake_at {
        assert!(at > now, "wakes in the past");
    }
}

/// Plans from what the planner sees, and does it with more or less success.
fn operator(cluster: &mut Cluster, random: &mut StdRng, failures: f64) {
    let seen = cluster.observed();
    let outcome = plan(&seen, cluster.now);
    check_outcome(&seen, cluster.now, &outcome);
    let limit = seen.replicas + seen.rules.max_surge;
    for action in &outcome.actions {
        let before = sizes(&cluster.truth());
        let writes = if random.random_bool(failures) {
            random.random_range(0..3)
        } else {
            9
        };
        cluster.apply(action, writes);
        let after = sizes(&cluster.truth());
        assert!(
            after <= before.max(limit),
            "{action:?}: {before} → {after} of {limit}"
        );
    }
}

/// Runs everything without faults until nothing is left to do.
fn settle(cluster: &mut Cluster, random: &mut StdRng) -> Outcome {
    let mut known = BTreeMap::new();
    for _ in 0..2_000 {
        cluster.load_balancers();
        let moved = cluster.kubelets();
        cluster.catch_up();
        cluster.replica_set_controller();
        cluster.catch_up();
        let outcome = plan(&cluster.observed(), cluster.now);
        if outcome.actions.is_empty() && !moved {
            let next = cluster
                .next_event()
                .into_iter()
                .chain(outcome.wake_at)
                .min();
            let Some(next) = next else { return outcome };
            cluster.now = next;
        }
        operator(cluster, random, 0.0);
        check_slots(&cluster.truth(), &mut known);
    }
    let outcome = plan(&cluster.observed(), cluster.now);
    panic!("no end: {outcome:#?} of {:#?}", cluster.truth());
}

/// What must hold once nothing is left to do.
fn check_end(cluster: &Cluster, outcome: &Outcome) {
    let (state, summary) = (cluster.truth(), &outcome.summary);
    assert_eq!(
        summary.progress,
        Progress::Complete,
        "{summary:?} of {state:#?}"
    );
    assert_eq!(summary.available, state.replicas);
    assert_eq!(serving(&state, cluster.now), state.replicas as usize);
    let old: Vec<_> = state
        .replica_sets
        .iter()
        .filter(|set| set.revision != state.revision)
        .collect();
    let empty = |set: &&&ReplicaSet| {
        !state
            .pods
            .iter()
            .any(|pod| !pod.finished && pod.replica_set == set.object.uid)
    };
    assert!(
        old.iter().filter(empty).count() <= state.revision_history_limit as usize,
        "{old:?}"
    );
    assert!(old.iter().all(|set| set.replicas == 0), "{old:?}");
    let active = |pod: &&Pod| pod.terminating.is_none() && !pod.finished;
    assert!(
        state
            .pods
            .iter()
            .filter(active)
            .all(|pod| pod.drain.is_none())
    );
    for slot in &state.slots {
        let mut owners = state.pods.iter().filter(|pod| pod.slot == Some(slot.index));
        assert!(
            !slot.bound || owners.clone().any(|pod| !pod.finished),
            "{slot:?}"
        );
        assert!(slot.bound || !owners.any(|pod| active(&pod)), "{slot:?}");
    }
}

/// Slots that no pod needs are given back.
fn check_number_of_slots(state: &State) {
    let live = state.pods.iter().filter(|pod| !pod.finished);
    let lost = live.clone().filter(|pod| pod.terminating.is_some()).count();
    let least = (state.replicas + state.rules.max_surge) as usize;
    let most = (least + lost).max(live.count());
    let slots = state.slots.len();
    assert!(
        (least..=most).contains(&slots),
        "{slots} slots, {least} to {most} are of use: {:?}",
        state.slots
    );
}

/// Lets the cluster come to rest as it is, then with a good revision and all loads known.
fn end(cluster: &mut Cluster, random: &mut StdRng) {
    cluster.want.paused = false;
    let outcome = settle(cluster, random);
    let stopped = outcome.summary.progress;
    assert!(
        matches!(stopped, Progress::Complete | Progress::DeadlineExceeded)
            || outcome.summary.limit.is_some(),
        "{stopped:?}"
    );
    cluster.bad.clear();
    cluster.want.load_reports = false;
    let starts = cluster.now;
    cluster.pods.iter_mut().for_each(|sim| sim.starts = starts);
    let outcome = settle(cluster, random);
    check_end(cluster, &outcome);
    check_number_of_slots(&cluster.truth());
}

/// Everything that can go wrong goes wrong. The budget is checked on what the planner saw.
#[test]
fn clusters_with_faults_keep_their_slots_and_come_to_rest() {
    for seed in 0..CLUSTERS {
        let mut random = StdRng::seed_from_u64(seed);
        let rules = random_rules(&mut random);
        let mut cluster = Cluster::new(random.random_range(0..=6), rules);
        let (mut revisions, mut known) = (0, BTreeMap::new());
        for _ in 0..STEPS {
            match random.random_range(0..100) {
                0..40 => operator(&mut cluster, &mut random, 0.2),
                40..60 => cluster.replica_set_controller(),
                60..75 => drop(cluster.kubelets()),
                75..80 => cluster.load_balancers(),
                80..83 => cluster.catch_up(),
                83..86 => change_wish(&mut cluster, &mut random, &mut revisions),
                86..90 => fault(&mut cluster, &mut random),
                _ => cluster.now += SignedDuration::from_secs(random.random_range(0..=20)),
            }
            cluster.follow(&mut random);
            check_slots(&cluster.truth(), &mut known);
        }
        end(&mut cluster, &mut random);
    }
}

/// Nothing breaks but the operator's writes and its memory; watches lag. So every loss of a serving
/// pod is the planner's doing, and the budget is checked on what is true.
#[test]
fn without_faults_the_budget_is_never_exceeded() {
    for seed in 0..CLUSTERS {
        let mut random = StdRng::seed_from_u64(seed);
        let rules = random_rules(&mut random);
        let mut cluster = Cluster::new(random.random_range(0..=6), rules);
        let (mut revisions, mut known) = (0, BTreeMap::new());
        for _ in 0..STEPS {
            let before = cluster.truth();
            let (served, at) = (serving(&before, cluster.now), cluster.now);
            match random.random_range(0..100) {
                0..40 => operator(&mut cluster, &mut random, 0.2),
                40..60 => {
                    cluster.controller_sees_pods();
                    cluster.replica_set_controller();
                }
                60..80 => drop(cluster.kubelets()),
                80..84 => cluster.load_balancers(),
                84..86 => cluster.catch_up(),
                86..88 => change_wish(&mut cluster, &mut random, &mut revisions),
                _ => cluster.now += SignedDuration::from_secs(random.random_range(0..=20)),
            }
            cluster.follow(&mut random);
            let after = cluster.truth();
            check_slots(&after, &mut known);
            let same = (&before.rules, before.replicas) == (&after.rules, after.replicas);
            if same {
                let serve = serving(&after, cluster.now);
                assert!(
                    serve >= served.min(floor(&after)),
                    "seed {seed}: {served} → {serve} at {at}"
                );
                let limit = (after.replicas + after.rules.max_surge) as usize;
                let (was, is) = (total(&before), total(&after));
                assert!(
                    is <= was.max(limit),
                    "seed {seed}: {was} → {is} of {limit} at {at}"
                );
            }
        }
        end(&mut cluster, &mut random);
    }
}

/// Nodes go one after the other: every pod that was on one is replaced and emptied within the budget, the
/// others stay, and it ends.
#[test]
fn every_pod_that_is_asked_to_go_is_replaced_within_the_budget_and_it_ends() {
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let rules = random_rules(&mut random);
        let mut cluster = Cluster::new(random.random_range(1..=6), rules);
        settle(&mut cluster, &mut random);
        let uids = |cluster: &Cluster| -> Vec<String> {
            let pods = cluster.pods.iter();
            pods.map(|sim| sim.pod.object.uid.clone()).collect()
        };
        let all = uids(&cluster);
        let (gone, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(|_| random.random_bool(0.5));
        for uid in &gone {
            cluster.change(uid, |sim| sim.pod.leaving = Some("node".to_owned()));
        }
        cluster.record();
        for _ in 0..STEPS {
            let before = cluster.truth();
            let (served, at) = (serving(&before, cluster.now), cluster.now);
            match random.random_range(0..100) {
                0..40 => operator(&mut cluster, &mut random, 0.2),
                40..60 => {
                    cluster.controller_sees_pods();
                    cluster.replica_set_controller();
                }
                60..80 => drop(cluster.kubelets()),
                80..84 => cluster.load_balancers(),
                _ => cluster.now += SignedDuration::from_secs(random.random_range(0..=20)),
            }
            cluster.follow(&mut random);
            let after = cluster.truth();
            let serve = serving(&after, cluster.now);
            assert!(
                serve >= served.min(floor(&after)),
                "seed {seed}: {served} → {serve} at {at}"
            );
            let limit = (after.replicas + after.rules.max_surge) as usize;
            let (was, is) = (total(&before), total(&after));
            assert!(is <= was.max(limit), "seed {seed}: {was} → {is} at {at}");
        }
        let outcome = settle(&mut cluster, &mut random);
        check_end(&cluster, &outcome);
        let left = uids(&cluster);
        assert!(stay.iter().all(|uid| left.contains(uid)), "seed {seed}");
        assert!(!gone.iter().any(|uid| left.contains(uid)), "seed {seed}");
    }
}
