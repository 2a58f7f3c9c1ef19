//! The writer: the one task that adds to the log.
//!
//! It takes a job, drains what else is queued, decides everything purely (`plan`), commits once, and
//! then answers and publishes. Group changes pass the same task, so membership and messages have one
//! order.
//!
//! *Invariants*: no result "stored" before the commit; after any failure nothing that the batch
//! touched is remembered; sends of one link are stored in their order.

mod commit;
mod groups;
mod handle;
mod held;
mod job;
mod load;
mod pace;
mod plan;
mod retries;
mod screen;
mod task;

pub use handle::{
    ChangeMembers, CreateGroup, GroupRefusal, MembersChanged, Notice, WriterError, WriterHandle,
};
pub use job::{Incoming, SendBatch, SendRules, SendSink};
pub use task::MAX_JOB_SENDS;
pub(crate) use task::{Writer, WriterParts};

#[cfg(test)]
mod tests;
