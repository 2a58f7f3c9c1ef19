//! The msg role: holds client connections and sessions, passes requests on, and delivers.
//!
//! It knows frames and sessions and nothing else: accounts, conversations, groups and every other rule
//! live in db-proxy, presence lives in route servers. State here is connections only, so a msg
//! server may be killed at any time.
//!
//! Three layers on the sockets of `im-transport`, each a folder with a page that tells what it is:
//! `connection` (frames, queues, bounds), `session` (who is logged in), `gateway` (requests,
//! delivery, links). A layer uses those before it only; `server` puts them together.
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

mod clock;
mod connection;
mod env;
mod gateway;
mod ids;
mod metrics;
mod requests;
mod server;
mod session;

pub use server::{Bound, Control, ControlError, Deps, Server, ServerError};

#[cfg(test)]
mod tests;
