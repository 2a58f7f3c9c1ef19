//! Processes that share a store, of which one owns its log.

use async_trait::async_trait;
use im_order::{Roster, Tenure};

use crate::StoreError;

/// One start of a process that shares a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// The name of the process, the same after a restart; at most 255 bytes.
    pub name: &'a str,
    /// Which start: a number that no other start has.
    pub instance: u64,
}

/// The table in which processes say that they are there, and who of them has the log.
#[async_trait]
pub trait RosterStore: Send + Sync + 'static {
    /// A process has started; an earlier start of the same name has ended by that.
    ///
    /// # Errors
    /// As every call.
    async fn join(&self, me: Start<'_>) -> Result<(), StoreError>;

    /// Counts the beat of a process on, and reads who else is there. A process that is missing in the answer, or
    /// is there with another instance, has been replaced by a later start of its name.
    ///
    /// # Errors
    /// As every call.
    async fn beat(&self, me: Start<'_>) -> Result<Roster, StoreError>;

    /// Takes the log if it still is in this tenure; whether it was. From then on nobody takes it through this
    /// store but in the name of this process.
    ///
    /// # Errors
    /// As every call; whether it was taken is not known then, and the next beat tells.
    async fn claim(&self, me: Start<'_>, seen: Tenure) -> Result<bool, StoreError>;

    /// Leaves: the log is for others, if this process still has it, and nobody waits for it to take it again.
    ///
    /// # Errors
    /// As every call; others wait then until this process is silent.
    async fn give(&self, me: Start<'_>) -> Result<(), StoreError>;
}
