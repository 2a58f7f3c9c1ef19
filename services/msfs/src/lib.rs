//! The msfs role: pictures and avatars over HTTP, as the original clients send and fetch them.
//!
//! A picture comes as a form (POST, what the original clients do) or as the body itself (PUT), goes to the
//! blob store as it comes, and gets a name that nobody can guess. It is given out whole, in part, or scaled to
//! one of the sizes that clients ask for; what is scaled is kept. Names, forms, kinds of pictures and
//! ranges are pure parts of their own; connections, their pace and quotas are those of `im-http`.
//!
//! *Invariants*
//! - What a client sends decides neither where it is stored, nor as what it is served, nor under which host it
//!   is told to be.
//! - Every connection, byte, pixel, wait and job is bounded by configuration, and each bound by address as
//!   well where one client could use all of it.
//! - No file is read or written and no picture scaled on the threads of connections.
#![forbid(unsafe_code)]

mod answer;
mod conditions;
mod download;
mod form;
mod metrics;
mod name;
mod picture;
mod probe;
mod scale;
mod scaler;
mod server;
mod service;
mod upload;

pub use metrics::{Answered, Metrics, Request};
pub use probe::ProbeError;
pub use server::{Deps, Server, ServerError};
