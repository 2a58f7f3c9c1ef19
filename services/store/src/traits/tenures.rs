//! Who may add to the log.

use async_trait::async_trait;
use im_order::{Ownership, Partition};

use crate::StoreError;

/// Taking partitions of the log.
#[async_trait]
pub trait TenureStore: Send + Sync + 'static {
    /// Takes a partition: its next tenure begins. When this returns, nothing of an earlier tenure is
    /// stored any more.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the store contradicts itself about where the log ends, otherwise as
    /// every call.
    async fn take(&self, partition: Partition) -> Result<Ownership, StoreError>;

    /// The tenure in which a partition is, and where its log ends.
    ///
    /// # Errors
    /// As every call.
    async fn ownership(&self, partition: Partition) -> Result<Ownership, StoreError>;
}
