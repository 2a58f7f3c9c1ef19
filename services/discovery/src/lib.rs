//! Which servers of a role exist: a list that may change while the program runs.
//!
//! A caller gets a watch channel and reacts to changes; it never asks again. The static list serves
//! fixed configurations and tests; in Kubernetes the pods of a Service are listed ([`Kubernetes`]).
#![forbid(unsafe_code)]

mod kubernetes;
mod static_list;

use tokio::sync::watch;

pub use kubernetes::{Kubernetes, KubernetesError, ServiceEndpoints};
pub use static_list::{EndpointError, StaticList};

/// A server that can be dialed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Stable name: key of the ring, and the peer's name in logs. All processes must know a server
    /// by the same name.
    pub name: String,
    /// `host:port`. A host name is resolved anew at every dial.
    pub address: String,
}

/// A source of endpoints of one role.
pub trait Discover: Send + Sync + 'static {
    /// The present endpoints and every later state of the list.
    ///
    /// When the sender is gone the list stays as it was.
    fn watch(&self) -> watch::Receiver<Vec<Endpoint>>;
}
