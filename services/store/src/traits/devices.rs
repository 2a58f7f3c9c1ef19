//! Push tokens of phones.

use async_trait::async_trait;
use im_core::{ClientType, UserId};

use crate::StoreError;

/// A phone's push token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceToken {
    /// Owner.
    pub user: UserId,
    /// Kind of phone.
    pub client_type: ClientType,
    /// Token.
    pub token: String,
}

/// One token per user, one owner per token.
#[async_trait]
pub trait DeviceStore: Send + Sync + 'static {
    /// Stores a user's token; takes it from whoever had it.
    async fn set_device_token(&self, token: &DeviceToken) -> Result<(), StoreError>;

    /// Forgets a user's token.
    async fn clear_device_token(&self, user: UserId) -> Result<(), StoreError>;

    /// Tokens of those users that have one.
    async fn device_tokens(&self, users: &[UserId]) -> Result<Vec<DeviceToken>, StoreError>;
}
