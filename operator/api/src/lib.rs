//! Types of the `ImCluster` resource: what `kubectl apply` takes and what the operator reports.
//!
//! [`crd`] is the definition that goes to the cluster; `crds/` and `docs/reference/imcluster.md` are
//! generated from it and checked by tests.
//!
//! *Invariant:* a field exists here only if the operator and the servers act on it. Fields that stand
//! in a type have their default in that type, so that an object read by the API server and one read
//! from a file mean the same.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "the derive of the resource writes such items"
)]

pub mod labels;
pub mod manifest;
pub mod server_config;

mod common;
mod crd;
mod drain;
mod error;
mod filter;
mod mysql;
mod network;
mod optional;
mod push;
mod reference;
mod roles;
mod schema;
mod section;
mod spec;
mod status;
mod stores;
#[cfg(feature = "testing")]
pub mod testing;

pub use im_role::Role;

pub use common::*;
pub use crd::*;
pub use drain::*;
pub use error::*;
pub use filter::*;
pub use mysql::*;
pub use network::*;
pub use optional::{OptionalDrain, OptionalRole, Tls, ToldAddress};
pub use push::*;
pub use reference::reference;
pub use roles::*;
pub use section::*;
pub use server_config::server_config;
pub use spec::*;
pub use status::*;
pub use stores::*;
