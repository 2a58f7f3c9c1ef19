//! Everything that a store holds, out of it and into a new one.

use async_trait::async_trait;
use im_order::Fence;
use tokio::sync::mpsc::{Receiver, Sender};

use crate::{Content, StoreError};

/// Reading a store as a whole, and filling a new one.
#[async_trait]
pub trait ContentStore: Send + Sync + 'static {
    /// Sends all rows as they are at one moment: the counts first, the end last. Memory holds one page beside what waits
    /// in the channel, and waits for whoever receives.
    ///
    /// # Errors
    /// As every call; [`StoreError::Unavailable`] when nobody receives any more.
    async fn read_contents(&self, to: Sender<Content>) -> Result<(), StoreError>;

    /// Fills a store that nobody has used, in one transaction: whatever ends before [`Content::End`] leaves nothing behind. Tenures
    /// of the log go on as they are here.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] for a store that has rows, [`StoreError::Fenced`] when the log has another owner,
    /// [`StoreError::Corrupt`] for rows that cannot be, otherwise as every call.
    async fn fill(&self, fence: Fence, from: Receiver<Content>) -> Result<(), StoreError>;
}
