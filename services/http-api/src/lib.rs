//! The http-api role: what back offices and administrators do over HTTP.
//!
//! Two interfaces on one port: the two calls of the original server, and an API of our own under `/api/v1`
//! with tokens, described by an OpenAPI document that is made from the code. It keeps nothing: every call
//! becomes one of db-proxy's administration service, which judges it, carries it out and writes it down with
//! who asked, or a question to one of the servers that report here (`monitor`). Nothing depends on this role.
//!
//! *Invariants*
//! - Whoever shows no token that is good here and now changes nothing and learns nothing, aside from the
//!   document, the version, and the original calls where they are switched on for their address.
//! - What an endpoint needs is said once, in the document; the check reads it there.
//! - Every connection, head, body, request and wait is bounded; one token or address uses no more than its
//!   part of what all share.
//! - A secret of a token is compared in constant time and is in no log and no answer but the one that made it.
#![forbid(unsafe_code)]
#![allow(clippy::needless_for_each, reason = "code that utoipa's macros make")]

mod caller;
mod cursor;
mod db_proxy;
mod discovery;
mod document;
mod extract;
mod metrics;
mod monitor;
mod origin;
mod original;
mod problem;
mod refusals;
mod server;
mod service;
mod slots;
mod token;
mod v1;
mod verb;

pub use document::document;
pub use metrics::Metrics;
pub use monitor::Monitor;
pub use server::{Bound, Deps, Server, ServerError};
