//! Session: who is logged in here.
//!
//! - [`Sessions`]: the registry of logged-in sessions by user, and the logins that wait for their
//!   route server. A session is in one of the two from the moment it is registered until it leaves.
//! - [`takeover`]: which sessions a kick ends, those included whose login is about to be answered.
//!
//! Lock order: pending logins, the registry, a connection's queue.

mod registry;
mod sessions;
pub(crate) mod takeover;

pub(crate) use registry::slice_of;
pub(crate) use sessions::{PendingLogin, Sessions};
