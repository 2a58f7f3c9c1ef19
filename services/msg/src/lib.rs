//! The msg role: holds client connections and sessions, passes requests on, and delivers.
//!
//! It knows frames and sessions and nothing else: accounts, conversations, groups and every other rule
//! live in db-proxy, presence lives in route servers. State here is connections only, so a msg
//! server may be killed at any time.
//!
//! *Invariants*
//! - A message is acknowledged only after db-proxy said that it is committed.
//! - A session gets every message after its cursor exactly once and in commit order, or its
//!   connection is closed (module `delivery`).
//! - No push goes before the login answer, and the user of a request is the session's, whatever the
//!   client says.
//! - Everything per connection is bounded, and a connection beyond a bound is read later or closed;
//!   nothing that was read is dropped for lack of room.
#![forbid(unsafe_code)]

mod conn;
mod db;
mod delivery;
mod handle;
mod load;
mod metrics;
mod pace;
mod public;
mod read;
mod routes;
mod server;
mod sessions;
mod shared;
mod sweep;

pub use server::{Bound, Deps, Server, ServerError};

/// Readiness condition: a link to db-proxy.
pub(crate) const DB_PROXY_LINK: &str = "msg_db_proxy_link";
/// Readiness condition: a route server that the writer reaches.
pub(crate) const ROUTE_LINK: &str = "msg_route_link";

/// A random number that is not 0.
fn random_id() -> u64 {
    rand::random_range(1..=u64::MAX)
}

#[cfg(test)]
mod tests;
