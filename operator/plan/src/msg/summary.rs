//! Counts, progress and the sentence for people.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::types::{Progress, ScaleInLimit, Summary};
use super::view::{LivePod, Set, View, add, count, ready_for_long};

/// Seconds that a pod is taken to need from creation to readiness, for the estimate.
const START_SECONDS: i64 = 20;

/// The summary, and when the deadline passes unless there is progress.
pub(super) fn summarize(
    view: &View<'_>,
    limit: Option<ScaleInLimit>,
) -> (Summary, Option<Timestamp>) {
    let of = |filter: &dyn Fn(&&LivePod<'_>) -> bool| count(view.pods.iter().filter(filter));
    let available = of(&|pod| pod.available());
    let known = |pod: &LivePod<'_>| !view.state.load_reports || pod.pod.connections.is_some();
    let rolling = view.old_pods().next().is_some()
        || view.sets.iter().any(|set| !set.current && set.size() > 0);
    let complete = !rolling
        && available == view.state.replicas
        && view
            .current_set()
            .is_some_and(|set| set.committed == 0 && set.size() == available);
    // What waits for clients to leave is not late.
    let deadline = (!complete && !view.state.paused && limit.is_none())
        .then(|| deadline(view, rolling))
        .flatten();
    let progress = if view.state.paused {
        Progress::Paused
    } else if complete {
        Progress::Complete
    } else if deadline.is_some_and(|deadline| view.now >= deadline) {
        Progress::DeadlineExceeded
    } else if rolling {
        Progress::NewRevision
    } else {
        Progress::Scaling
    };
    let remaining = rolling.then(|| remaining(view));
    let mut summary = Summary {
        replicas: of(&|pod| pod.active()),
        ready: of(&|pod| pod.active() && pod.pod.ready),
        updated: of(&|pod| pod.active() && pod.current),
        available,
        assignable: of(&|pod| pod.available() && known(pod)),
        draining: of(&|pod| pod.committed() || pod.emptying() || !pod.active()),
        current_revision: current_revision(view, complete),
        progress,
        message: String::new(),
        remaining,
        limit,
    };
    summary.message = message(view, &summary, rolling);
    (summary, deadline)
}

/// The revision of most available pods; an old one wins a tie.
fn current_revision(view: &View<'_>, complete: bool) -> Option<String> {
    if complete {
        return Some(view.state.revision.clone());
    }
    let mut available: BTreeMap<&str, u32> = BTreeMap::new();
    for pod in view.pods.iter().filter(|pod| pod.available()) {
        if let Some(set) = pod.set.and_then(|index| view.sets.get(index)) {
            *available.entry(set.set.revision.as_str()).or_default() += 1;
        }
    }
    let most = available
        .into_iter()
        .max_by_key(|(revision, pods)| (*pods, *revision != view.state.revision));
    most.map(|(revision, _)| revision.to_owned())
}

/// When the time without progress is over. `None` while a pod drains, which has its own limit.
///
/// During a roll a pod that is ready now and then is no progress; without one, a pod that has just
/// become unready gets the whole time to come back.
fn deadline(view: &View<'_>, rolling: bool) -> Option<Timestamp> {
    if view.pods.iter().any(|pod| {
        let is_going = !pod.active() && !pod.stuck && (pod.committed() || !pod.current);
        is_going || pod.emptying()
    }) {
        return None;
    }
    let sets = view.sets.iter().filter(|set| set.current || set.size() > 0);
    let pods = view
        .pods
        .iter()
        .filter(|pod| pod.active())
        .flat_map(|live| {
            let pod = live.pod;
            let turn = if live.serving {
                Some(ready_for_long(view.state, pod))
            } else {
                (!rolling).then_some(pod.ready_changed)
            };
            let created = live.current.then_some(pod.created);
            [created, turn, pod.drain.map(|drain| drain.since)]
                .into_iter()
                .flatten()
        });
    let last = sets
        .map(|set: &Set<'_>| set.set.changed)
        .chain(pods)
        .max()?;
    let limit = SignedDuration::from_secs(view.state.rules.progress_deadline_seconds.into());
    Some(add(last, limit))
}

/// Each batch of old pods waits for its successors to become available, then drains.
fn remaining(view: &View<'_>) -> SignedDuration {
    let rules = view.state.rules;
    let step = rules.max_surge.saturating_add(rules.max_unavailable).max(1);
    let batches = count(view.old_pods()).div_ceil(step);
    let each = START_SECONDS
        + i64::from(rules.min_ready_seconds)
        + i64::from(view.state.drain_max_seconds);
    SignedDuration::from_secs(i64::from(batches) * each)
}

fn message(view: &View<'_>, summary: &Summary, rolling: bool) -> String {
    let wanted = view.state.replicas;
    let mut text = format!("{} of {wanted} msg pods are available", summary.available);
    if rolling {
        text += &format!(
            "; {} have revision {}, {} of older revisions remain",
            summary.updated,
            view.state.revision,
            count(view.old_pods())
        );
    }
    if summary.draining > 0 {
        text += &format!("; {} drain", summary.draining);
    }
    if summary.progress == Progress::DeadlineExceeded {
        let limit = view.state.rules.progress_deadline_seconds;
        text += &format!("; no progress for {limit} s, pods that serve stay");
    } else if let (Progress::NewRevision, Some(left)) = (summary.progress, summary.remaining) {
        text += &format!("; at most about {} min left", (left.as_secs() + 59) / 60);
    }
    if let Some(limit) = summary.limit {
        text += &format!("; {}", limit.message());
    }
    let failed = (view.pods.iter())
        .filter(|pod| pod.active() && !pod.available())
        .filter_map(|pod| Some((&pod.pod.object.name, pod.pod.failure.as_ref()?)))
        .min();
    if let Some((pod, failure)) = failed {
        text += &format!("; pod {pod}: {failure}");
    }
    if summary.progress == Progress::Paused {
        text += "; nothing is changed while the cluster is paused";
    }
    text
}
