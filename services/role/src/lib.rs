//! What a role is, as a value: its names, its listeners, whom it dials, how it is rolled out.
//!
//! One [`Table`] has all roles and the links between them. From it follow the commands of the program, the
//! order in which a process binds and stops its roles, peers, ports, Services, probes, NetworkPolicies and
//! the stages of a roll-out. What one role does and no other stays code where it is done.
//!
//! *Invariant*: no dependencies. Whoever knows roles can use this.
#![forbid(unsafe_code)]

mod imd;
mod link;
mod page;
mod role;
mod table;

pub use imd::{TABLE, link as links};
pub use link::{Link, Rollout};
pub use page::page;
pub use role::{
    Drain, Kubernetes, Listener, Reach, Resources, Role, Service, Spec, Told, Workload,
};
pub use table::Table;
