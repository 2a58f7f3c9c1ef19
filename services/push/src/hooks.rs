//! Deliveries to subscriptions: receivers that are told over HTTP of what is stored.
//!
//! One replica holds the name `subscriptions`. There are two logs, that of messages and that of changes, and
//! beside them the sessions that come and go, which nobody stores. In each log
//! that it is about, a subscription has a position of its own and a task of its own, with one request under way at
//! a time: so events come in log order, and a receiver that is slow or down
//! delays itself. What is not delivered yet waits in the log and nowhere else.
//!
//! * `event` – which messages and changes a subscription is about, and how they are told; pure.
//! * `batch` – which events go into one request; pure.
//! * `tail` – the newest page of a log, read once for all whose position is there.
//! * `attempt` – one signed request, and what its answer means.
//! * `courier` – what the tasks of one subscription share.
//! * `line` – the task that delivers in order: opens, tries, closes, gives up.
//! * `passing` – the task that tells a subscription of sessions, once and while they are remembered.
//! * `again` – makes a delivery once more that has ended.
//! * `run` – holds the name, and has a task for each subscription in each log.
//!
//! *Invariants*
//! - At least once, but for sessions, and under one id: before the first attempt the delivery is in the store with the part of
//!   the log that it is about. Whoever comes after a kill sends the same events under the same id.
//! - The position passes events when they were taken or given up, in the transaction that says so.
//! - At most [`CALLS`] calls of db-proxy are open, however many subscriptions there are.

mod again;
mod attempt;
mod batch;
mod courier;
mod event;
mod line;
mod metrics;
mod passing;
mod run;
mod tail;

pub(crate) use metrics::HookMetrics;
pub(crate) use run::Deliveries;

/// Calls of db-proxy that are open at the same time beside those that read the ends of the logs and ask what there is:
/// fewer than any db-proxy allows on one link (`db_proxy.follow.calls_per_link`).
const CALLS: usize = 4;
