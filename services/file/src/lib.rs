//! The file role: passes files from one client to another, and keeps those for people who are not there.
//!
//! A msg server opens a task between two people ([`TaskId`]) and tells both of it; they come to the
//! client port with it. `tasks` is the pure core that decides what every frame of a task does; `hub` holds
//! it with the connections and carries out what it says, `serve` reads a connection, `link` answers msg
//! servers. Files for people who are not there are blobs, whose names are those of their tasks.
//!
//! *Invariants*
//! - A task is 128 random bits, bound to two people and a deadline, and looked at on every frame.
//! - A block that is passed on is not decoded beyond its head, and not copied once it is whole.
//! - One block of a transfer is on its way at a time, so that is what a transfer holds.
//! - What one person may have here is bounded, in tasks, files and bytes.
#![forbid(unsafe_code)]

mod conn;
mod control;
mod hub;
mod id;
mod link;
mod metrics;
mod serve;
mod server;
mod tasks;

pub use control::{Control, ControlError};
pub use id::{TaskId, TaskIdError};
pub use link::Attach;
pub use server::{Bound, Deps, Server, ServerError};
