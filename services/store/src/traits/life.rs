//! The life of an open store beside what it holds.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use tokio_util::sync::CancellationToken;

use crate::{ChangeCounts, LogUse, RosterStore, StoreError};

/// What a store needs while it is open, and its end.
#[async_trait]
pub trait StoreLife: Send + Sync + 'static {
    /// Maintains the store until told to stop. What fails is logged and tried again.
    async fn run_maintenance(&self, stop: CancellationToken);

    /// What operators are shown of it.
    fn usage(&self) -> StoreUsage;

    /// When the store was last copied, as far as it knows. May read a small file.
    async fn last_backup(&self) -> Option<UnixSeconds> {
        None
    }

    /// Who shares the store; `None` for one that its process has for itself.
    fn roster(&self) -> Option<&dyn RosterStore> {
        None
    }

    /// Closes the store once nobody uses it any more: everything is where it belongs then.
    ///
    /// # Errors
    /// It could not be closed in order; what was stored is stored all the same.
    async fn close(&self) -> Result<(), StoreError>;
}

/// What operators are shown of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreUsage {
    /// Its write-ahead log.
    pub log: LogUse,
    /// Changes beside messages, and their transactions.
    pub changes: ChangeCounts,
}
