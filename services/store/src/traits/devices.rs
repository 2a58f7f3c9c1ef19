//! Devices that are told of messages.

use async_trait::async_trait;
use im_core::{ClientType, UserId};

use crate::StoreError;

/// A device of a user, under the token by which its provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushTarget {
    /// Owner.
    pub user: UserId,
    /// Kind of phone.
    pub client_type: ClientType,
    /// Token.
    pub token: String,
    /// Epoch of the session that registered it; 0 = not known.
    pub session: u64,
}

/// A target, and what else decides whether it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The device.
    pub target: PushTarget,
    /// Its user wants no notices at night.
    pub night_shield: bool,
}

/// Several devices per user, one owner per token.
#[async_trait]
pub trait DeviceStore: Send + Sync + 'static {
    /// Stores a target; takes the token from whoever had it. Beyond `most` targets of its user those that
    /// were stored first are forgotten.
    ///
    /// # Errors
    /// As every call.
    async fn set_push_target(&self, target: &PushTarget, most: u32) -> Result<(), StoreError>;

    /// Forgets the targets that a session has registered; if it has registered none, all of its user that
    /// are of this kind of phone.
    ///
    /// # Errors
    /// As every call.
    async fn clear_push_targets(
        &self,
        user: UserId,
        client_type: ClientType,
        session: u64,
    ) -> Result<(), StoreError>;

    /// Forgets a target if it still is the one that this session registered; `false` when it is not.
    ///
    /// # Errors
    /// As every call.
    async fn drop_push_target(&self, token: &str, session: u64) -> Result<bool, StoreError>;

    /// Targets of these users, by user and in the order in which they were stored.
    ///
    /// # Errors
    /// As every call.
    async fn push_targets(&self, users: &[UserId]) -> Result<Vec<Told>, StoreError>;
}
