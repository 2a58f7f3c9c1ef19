//! From a specification to Kubernetes objects: pure functions, no input or output, no clock.
//!
//! [`validate`](validate::validate) judges an ImCluster and fills in what it leaves open;
//! [`build`](build::build) makes every child of it. What changes with the load or with single pods
//! is built apart: [`slots`], [`mirror`], [`build::msg_replica_set`]. [`msg`] plans what happens to the
//! pods of msg next.
//!
//! *Invariant:* the same inputs give the same objects, and a pod template is stored under the hash of
//! its inputs: a newer operator applies the stored one and so replaces no pod.
#![forbid(unsafe_code)]

pub mod build;
pub mod documents;
pub mod lists;
pub mod mirror;
pub mod msg;
pub mod names;
pub mod proof;
pub mod quantity;
pub mod settings;
pub mod slots;
pub mod validate;

mod config;
mod database;
mod filter;
mod hints;
mod merge;
mod network;
mod object;
mod pod;
mod push;
mod references;
mod resolved;
mod revision;
mod services;
mod workload;

pub use im_operator_api::{KnownRoles, Role, SpecError};

pub use build::{Child, Desired, MsgTemplate, Planned, Stage};
pub use object::{Owner, kept};
pub use references::{Reference, ReferenceKind};
pub use resolved::Resolved;
pub use revision::{Stored, Templates};
pub use settings::Settings;
