//! What one role opens to another.

use crate::Role;

/// A kind of link: a two-way stream of batches between two roles.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Word for logs and metrics.
    pub kind: &'static str,
    /// Path of its gRPC method.
    pub path: &'static str,
    /// Who dials.
    pub from: Role,
    /// Who serves.
    pub to: Role,
    /// At which of its listeners.
    pub listener: &'static str,
    /// Which end is rolled out first.
    pub rollout: Rollout,
}

/// Which end of a link gets a new revision first. The other waits until all pods of it have theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Who serves: it knows what a newer caller says.
    Server,
    /// Who dials.
    Caller,
    /// Who dials; but a server that does not exist yet starts beside its callers, since it replaces nothing
    /// that they know.
    CallerUnlessNew,
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Link {}
