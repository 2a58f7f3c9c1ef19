//! Followers of the log: those who do something about messages after they were stored and acknowledged.
//!
//! The log is a follower's outbox. db-proxy keeps a position for its name, and a line for each thing that could
//! not be done at once; a message that nobody need hear of costs nothing but being read. Whoever follows says
//! what is to be done about messages and does it ([`Work`]); here is the rest: one holder of the name,
//! pages, lanes, positions that are kept at most a flush late, what is tried again and when.
//!
//! * `progress` – pure: what is under way, what the store must know of it.
//! * `clock` – the time of what is tried again, which no step of the system's clock moves.
//! * `calls` – what a follower says to db-proxy.
//! * `follow` – puts them together.
//!
//! *Invariants*
//! - At least once: the position moves past a message only when everything about it is done or has its
//!   line in the same transaction. Whoever is killed does again what they cannot know to be done.
//! - No lane waits for another one, and reading waits for a lane for a moment only.
//! - What is here is bounded by the lanes and one page; what waits is in the store, and when as much waits
//!   there as may, nothing more is read.
#![forbid(unsafe_code)]

mod calls;
mod clock;
mod follow;
mod metrics;
mod progress;

pub use calls::{Calls, Ended};
pub use follow::{Follower, Job, Limits, Outcome, Work};
pub use metrics::FollowerMetrics;
