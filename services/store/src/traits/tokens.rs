//! Tokens of the HTTP API.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;

use crate::{HASH_BYTES, StoreError};

/// A token to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// BLAKE3 of the secret.
    pub hash: [u8; HASH_BYTES],
    /// Whose.
    pub owner: String,
    /// What for.
    pub label: String,
    /// What it allows; words without spaces.
    pub scopes: Vec<String>,
    /// From where it is good; empty = everywhere. Words without spaces.
    pub addresses: Vec<String>,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it ends.
    pub expires: UnixSeconds,
    /// Who made it.
    pub made_by: String,
    /// Whose account it acts as; `None` for nobody's.
    pub bot: Option<UserId>,
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Id from 1, never given twice.
    pub id: u32,
    /// What was kept.
    pub token: NewToken,
    /// When it was revoked.
    pub revoked: Option<UnixSeconds>,
    /// The begin of the day (UTC) on which it was used last.
    pub used: Option<UnixSeconds>,
}

/// Tokens.
#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    /// Keeps a token, and drops those that ended or were revoked before `since`; its id.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are `most` already, otherwise as every call.
    async fn create_token(
        &self,
        token: &NewToken,
        since: UnixSeconds,
        most: u32,
    ) -> Result<u32, StoreError>;

    /// Tokens of an owner, or of everybody with "", newest first: those with smaller ids than `before`, at
    /// most `limit`.
    ///
    /// # Errors
    /// As every call.
    async fn tokens(
        &self,
        owner: &str,
        before: u32,
        limit: u32,
    ) -> Result<Vec<TokenRow>, StoreError>;

    /// One token.
    ///
    /// # Errors
    /// As every call.
    async fn token(&self, id: u32) -> Result<Option<TokenRow>, StoreError>;

    /// Revokes a token; what was revoked before stays so from then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn revoke_token(&self, id: u32, now: UnixSeconds) -> Result<(), StoreError>;

    /// Notes the day of a token's last use, when it is a later one.
    ///
    /// # Errors
    /// As every call.
    async fn note_token_use(&self, id: u32, day: UnixSeconds) -> Result<(), StoreError>;
}
