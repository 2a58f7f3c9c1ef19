//! What to do next with the msg servers of one cluster: revisions, slots, scale and rolls.
//!
//! [`plan`] is a pure function of what was observed and the time. It is called after each observed
//! change and at [`Outcome::wake_at`], remembers nothing, and each call returns only steps that are
//! safe to take from what was observed. Observations may be old: every action names the object as it
//! was seen ([`ObjectRef`]), and **a write must fail if the object has changed since** (server-side
//! apply with `metadata.uid` and `metadata.resourceVersion`). After a failed write nothing has to
//! be undone: the next call plans again from what is then observed. What the caller itself wrote
//! must be visible in what it observes before it plans again; the writes of others may be late.

mod emptying;
mod order;
mod rebalance;
mod scale_in;
mod slots;
mod summary;
#[cfg(test)]
mod tests;
mod types;
mod view;
mod window;
mod workload;

pub use order::Order;
pub use types::{
    Action, Drain, DrainReason, ObjectRef, Outcome, Pod, PodId, Progress, REMOVAL_COST, ReplicaSet,
    ScaleInLimit, Slot, State, Summary, UpdateRules,
};
pub use window::{RebalanceRules, Window};

use jiff::Timestamp;

/// Plans the next writes for the msg servers of one cluster.
pub fn plan(state: &State, now: Timestamp) -> Outcome {
    let view = view::View::new(state, now);
    let limit = workload::scale_in_limit(&view);
    let (summary, deadline) = summary::summarize(&view, limit);
    if state.paused {
        return Outcome {
            actions: Vec::new(),
            wake_at: None,
            summary,
        };
    }
    let of_slots = slots::steps(&view);
    let mut actions = of_slots.actions;
    actions.extend(workload::actions(&view));
    let spread = rebalance::steps(&view);
    actions.extend(spread.actions);
    let changes = view.changes().chain(deadline).chain(of_slots.wake_at);
    let changes = changes.chain(emptying::wakes(&view)).chain(spread.wake_at);
    let changes = changes.chain(workload::wake(&view));
    let wake_at = changes.filter(|at| *at > now).min();
    Outcome {
        actions,
        wake_at,
        summary,
    }
}
