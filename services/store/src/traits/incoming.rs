//! Incoming hooks: paths of the HTTP API at which whoever has the secret writes to one conversation.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{Peer, UserId};

use crate::{HASH_BYTES, StoreError};

/// A hook to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIncomingHook {
    /// BLAKE3 of the secret.
    pub hash: [u8; HASH_BYTES],
    /// Who its messages are from.
    pub sender: UserId,
    /// Where they go.
    pub to: Peer,
    /// What for.
    pub label: String,
    /// When it was made.
    pub created: UnixSeconds,
    /// Who made it.
    pub made_by: String,
}

/// A hook as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingHookRow {
    /// Id from 1, never given twice.
    pub id: u32,
    /// What was kept.
    pub hook: NewIncomingHook,
}

/// Incoming hooks.
#[async_trait]
pub trait IncomingHookStore: Send + Sync + 'static {
    /// Keeps a hook; its id.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are `most` already, otherwise as every call.
    async fn create_incoming_hook(
        &self,
        hook: &NewIncomingHook,
        most: u32,
    ) -> Result<u32, StoreError>;

    /// Hooks with smaller ids than `before`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// As every call.
    async fn incoming_hooks(
        &self,
        before: u32,
        limit: u32,
    ) -> Result<Vec<IncomingHookRow>, StoreError>;

    /// One hook.
    ///
    /// # Errors
    /// As every call.
    async fn incoming_hook(&self, id: u32) -> Result<Option<IncomingHookRow>, StoreError>;

    /// Forgets a hook.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn remove_incoming_hook(&self, id: u32) -> Result<(), StoreError>;
}
