//! Signed requests to servers outside, for the roles that send some: push, and db-proxy's before-send filter.
//!
//! * `trust` – TLS: whose certificates are trusted, and which are shown.
//! * `http` – requests over a pool of connections, and the addresses that they may go to.
//! * `signature` – signs requests as Standard Webhooks has it.
//! * `gate` – leaves a server alone that does not answer; pure.
//!
//! *Invariants*
//! - Redirections are not followed: whoever moves a server changes the configuration.
//! - No answer is read beyond its bound.
#![forbid(unsafe_code)]

mod gate;
mod http;
pub mod signature;
pub mod trust;

pub use gate::Gate;
pub use http::{Http, HttpError, NotAdmitted, Reply, Version};
pub use signature::Key;
pub use trust::TrustError;
