//! What is kept of meters over restarts.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;

use crate::StoreError;

/// How many bytes of messages a user has stored and not earned again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredLevel {
    /// Whose.
    pub user: UserId,
    /// How many.
    pub bytes: u64,
    /// When it was so many.
    pub at: UnixSeconds,
}

/// Meters.
#[async_trait]
pub trait MeterStore: Send + Sync + 'static {
    /// All levels, ascending by user.
    async fn stored_levels(&self) -> Result<Vec<StoredLevel>, StoreError>;

    /// Writes levels in one transaction; those of 0 bytes are forgotten.
    async fn store_levels(&self, levels: &[StoredLevel]) -> Result<(), StoreError>;
}
