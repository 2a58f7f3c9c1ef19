//! Accounts: credentials, profiles, login failures.

use async_trait::async_trait;
use im_core::UserId;

use crate::StoreError;

/// What a login is checked against.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whose.
    pub user: UserId,
    /// PHC string, or `$teamtalk$SALT$MD5HEX` of an imported account.
    pub hash: String,
    /// Employment status; only 0 (active) may log in.
    pub status: u32,
}

/// Replaces a hash that is still the one that was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct NewHash {
    /// Whose.
    pub user: UserId,
    /// The hash that was read; if it has changed meanwhile nothing is written.
    pub expected: String,
    /// PHC string to store.
    pub hash: String,
}

/// Everything of `IM.BaseDefine.UserInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProfile {
    /// Id.
    pub id: UserId,
    /// Login name.
    pub name: String,
    /// Shown name.
    pub nick: String,
    /// 0 unknown, 1 male, 2 female.
    pub sex: u32,
    /// Department id, 0 for none.
    pub department: u32,
    /// Telephone.
    pub phone: String,
    /// E-mail.
    pub email: String,
    /// Domain (pinyin) name.
    pub domain: String,
    /// Avatar URL.
    pub avatar: String,
    /// Signature.
    pub signature: String,
    /// Employment status: 0 active, 1 trial, 2 regular, 3 left, 4 intern.
    pub status: u32,
}

/// A profile with the stamp of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The profile.
    pub profile: UserProfile,
    /// Stamp (unix seconds, strictly increasing per directory transaction).
    pub stamp: u32,
}

/// Part of the directory in stamp order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPage {
    /// Changed users, ascending by (stamp, id). Always ends between stamps.
    pub users: Vec<DirectoryEntry>,
    /// Whether more follow.
    pub more: bool,
}

/// Failed logins of one (name, address).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Unix seconds of each failure inside the window, oldest first.
    pub times: Vec<u32>,
}

/// Accounts and profiles.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Credentials by exact login name.
    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, StoreError>;

    /// Replaces a hash; `false` when it was not the expected one any more.
    async fn replace_hash(&self, new: &NewHash) -> Result<bool, StoreError>;

    /// Profiles of those users that exist, ascending by id.
    async fn profiles(&self, ids: &[UserId]) -> Result<Vec<UserProfile>, StoreError>;

    /// Profile by exact login name.
    async fn profile_by_name(&self, name: &str) -> Result<Option<UserProfile>, StoreError>;

    /// Profiles whose name or nick contains `matching`, after an id, ascending.
    async fn find_profiles(
        &self,
        matching: &str,
        after: u32,
        limit: u32,
    ) -> Result<Vec<UserProfile>, StoreError>;

    /// Sets the hash of a user.
    async fn set_hash(&self, user: UserId, hash: &str) -> Result<(), StoreError>;

    /// Sets the employment status with a new directory stamp.
    async fn set_status(&self, user: UserId, status: u32, now: u32) -> Result<(), StoreError>;

    /// Sets the signature with a new directory stamp.
    async fn set_signature(&self, user: UserId, text: &str, now: u32) -> Result<(), StoreError>;

    /// Sets the avatar URL with a new directory stamp.
    async fn set_avatar(&self, user: UserId, url: &str, now: u32) -> Result<(), StoreError>;

    /// Night shield of pushes; `None` when the user does not exist.
    async fn push_shield(&self, user: UserId) -> Result<Option<u32>, StoreError>;

    /// Sets the night shield; `false` when the user does not exist.
    async fn set_push_shield(&self, user: UserId, status: u32) -> Result<bool, StoreError>;

    /// Failures of a (name, address) not older than `since`.
    async fn login_failures(
        &self,
        name: &str,
        address: &str,
        since: u32,
    ) -> Result<Failures, StoreError>;

    /// Adds a failure; drops those older than `since` and, of the whole table, the oldest pairs
    /// beyond `max_pairs`.
    async fn add_login_failure(
        &self,
        name: &str,
        address: &str,
        now: u32,
        since: u32,
        max_pairs: u32,
    ) -> Result<(), StoreError>;

    /// Forgets the failures of a (name, address).
    async fn clear_login_failures(&self, name: &str, address: &str) -> Result<(), StoreError>;
}
