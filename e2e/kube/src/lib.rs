//! Real Kubernetes nodes for tests, one or several, on one Linux machine, without a container engine or
//! registry.
//!
//! * [`programs`]: Kubernetes and etcd (and CoreDNS, helm, crane), built once from committed Go
//!   modules; [`requirements`]: what else the machine must have.
//! * [`node`]: bringing the node up in namespaces of its own, commands inside, taking it down.
//!   [`init`] is its first process, [`control`] talks to it, [`parts`] are what it runs.
//! * [`member`]: which node of a cluster. Workers are namespaces below those of the node with the control
//!   plane, so whatever happens, its end is theirs; they are stopped, cut off and started by name.
//! * [`image`]: images of our programs as OCI archives, for releases as for tests.
//! * [`netpol`] and [`volumes`]: what the node enforces and provides besides Kubernetes itself.
//! * [`audit`]: what was asked of the API server.
//! * [`testing`]: what tests on a cluster use, this node or any other.
#![forbid(unsafe_code)]

pub mod audit;
mod certificates;
mod cgroups;
mod config;
pub mod control;
pub mod image;
pub mod init;
pub mod layout;
pub mod member;
mod namespaces;
pub mod netpol;
mod network;
pub mod node;
pub mod parts;
pub mod programs;
pub mod requirements;
pub mod run;
pub mod testing;
pub mod volumes;
pub mod wait;
mod workers;

/// Tells the person at the terminal what is going on.
#[allow(
    clippy::print_stderr,
    reason = "progress of commands that take minutes"
)]
pub(crate) fn progress(text: &str) {
    eprintln!("    {text}");
}
