//! What a plan costs for the msg pods of the largest cluster.
//!
//! CPU time, since nothing in it waits: what else the machine does meanwhile is left out.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use im_operator_plan::msg::{
    Action, ObjectRef, Pod, PodId, Progress, RebalanceRules, ReplicaSet, Slot, State, UpdateRules,
    plan,
};
use jiff::{SignedDuration, Timestamp};

use crate::measure::{self, count, percentile};
use crate::report::{Outcome, Row};

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("roll_ms", "CPU of a plan in a roll, p99", "ms").at_most(20.0),
    Row::plain("roll_p50_ms", "the same, p50", "ms"),
    Row::plain("settled_ms", "CPU of a plan with nothing to do, p99", "ms").at_most(20.0),
    Row::plain("settled_p50_ms", "the same, p50", "ms"),
    Row::plain("actions", "writes of the plan in a roll", ""),
    Row::plain("pods", "msg pods wanted", ""),
];

/// Plans of each kind that are measured.
const PLANS: usize = 200;

/// The time at which everything is planned.
const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// Runs it.
pub(super) fn run(pods: u32) -> anyhow::Result<Outcome> {
    let settled = cluster(pods, 0, 0);
    // Surge of a tenth: new pods are there, old ones are to go.
    let surge = (pods / 10).max(1);
    let roll = cluster(pods, surge, pods * 6 / 10);
    let outcome = plan(&settled, NOW);
    let done = outcome.summary.progress == Progress::Complete;
    anyhow::ensure!(
        done && outcome.actions.is_empty(),
        "not settled: {outcome:?}"
    );
    let drains = plan(&roll, NOW).actions;
    let drains = drains
        .iter()
        .filter(|action| matches!(action, Action::CommitDrain { .. }))
        .count();
    anyhow::ensure!(drains > 0, "the roll has nothing to do");
    let (roll, settled) = (times(&roll)?, times(&settled)?);
    Ok(Outcome {
        figures: BTreeMap::from([
            ("roll_ms", percentile(&roll, 0.99)),
            ("roll_p50_ms", percentile(&roll, 0.5)),
            ("settled_ms", percentile(&settled, 0.99)),
            ("settled_p50_ms", percentile(&settled, 0.5)),
            ("actions", count(drains)),
            ("pods", f64::from(pods)),
        ]),
        notes: Vec::new(),
    })
}

fn times(state: &State) -> anyhow::Result<Vec<Duration>> {
    let time = |_| {
        let start = measure::thread_cpu()?;
        black_box(plan(black_box(state), NOW));
        Ok(measure::thread_cpu()?.saturating_sub(start))
    };
    (0..PLANS).map(time).collect()
}

/// A cluster of available pods with a slot each, of which the first `old` have an old revision and
/// `surge` are more than wanted.
fn cluster(wanted: u32, surge: u32, old: u32) -> State {
    let total = wanted + surge;
    let revision = |index| if index < old { "v1" } else { "v2" };
    let mut replica_sets = vec![replica_set("v2", total - old)];
    if old > 0 {
        replica_sets.push(replica_set("v1", old));
    }
    State {
        replicas: wanted,
        revision: "v2".to_owned(),
        rules: UpdateRules {
            max_surge: surge,
            max_unavailable: 0,
            min_ready_seconds: 10,
            progress_deadline_seconds: 600,
        },
        slot_grace_seconds: 3_600,
        max_scale_in_pods: 1,
        max_connections: 20_000,
        load_settle_seconds: 0,
        drain_per_second: 500,
        rebalance: RebalanceRules::default(),
        drain_max_seconds: 540,
        paused: false,
        revision_history_limit: 2,
        load_reports: true,
        replica_sets,
        pods: (0..total)
            .map(|index| pod(index, revision(index)))
            .collect(),
        slots: (0..total).map(slot).collect(),
    }
}

fn ago(seconds: i64) -> Timestamp {
    NOW - SignedDuration::from_secs(seconds)
}

fn object(name: String) -> ObjectRef {
    ObjectRef {
        uid: format!("uid-{name}"),
        name,
        resource_version: "1".to_owned(),
    }
}

fn replica_set(revision: &str, replicas: u32) -> ReplicaSet {
    ReplicaSet {
        object: object(revision.to_owned()),
        revision: revision.to_owned(),
        replicas,
        observed_replicas: replicas,
        observed: true,
        created: ago(5_000),
        changed: ago(5_000),
    }
}

fn pod(index: u32, revision: &str) -> Pod {
    Pod {
        object: object(format!("pod-{index}")),
        replica_set: object(revision.to_owned()).uid,
        created: ago(5_000),
        ready: true,
        ready_changed: ago(4_000),
        terminating: None,
        finished: false,
        slot: Some(index),
        endpoint: Some(address(index)),
        drain: None,
        connections: Some(100 + index % 7),
        cordoned: false,
        leaving: None,
        order: None,
        failure: None,
    }
}

fn slot(index: u32) -> Slot {
    let holder = object(format!("pod-{index}"));
    Slot {
        index,
        service: object(format!("slot-{index}")),
        holder: Some(PodId {
            name: holder.name,
            uid: holder.uid,
        }),
        bound: true,
        unused_since: None,
        address: Some(address(index)),
    }
}

fn address(index: u32) -> String {
    format!("msg-{index}.example:8000")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_roll_has_something_to_do_and_a_settled_cluster_has_nothing() {
        let outcome = super::run(20).unwrap();
        assert!((outcome.figures["actions"] - 2.0).abs() < 1e-9);
    }
}
