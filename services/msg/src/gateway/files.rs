//! File servers as requests see them, and what they were asked.
//!
//! - [`servers`]: a link each, with an outbox that its task empties in order, and the choice among them.
//! - [`jobs`]: requests of clients that wait for their answers.

mod jobs;
mod servers;

pub(crate) use jobs::{Asked, Job, Jobs, Offer, Step};
pub(crate) use servers::{FileLink, FileServers};
