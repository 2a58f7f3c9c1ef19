//! Accounts: credentials, profiles, login failures.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;

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
    /// What was verified last, if anything was.
    pub remembered: Option<Remembered>,
}

/// Bytes of the MAC over verified credentials.
pub const MAC_BYTES: usize = 32;

/// A login that was verified. A new hash or status drops it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// MAC over the credentials; opaque to the store.
    pub mac: [u8; MAC_BYTES],
    /// When.
    pub at: UnixSeconds,
}

/// What is stored of a login that was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedLogin {
    /// Whose.
    pub user: UserId,
    /// The hash that was verified; if it has changed meanwhile nothing is written.
    pub hash: String,
    /// PHC string to store in its place, with current parameters.
    pub new_hash: Option<String>,
    /// What is remembered, of active people only; `None` forgets what was.
    pub remembered: Option<Remembered>,
}

/// What an account is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountKind {
    /// A person, who logs in with a password.
    #[default]
    Person,
    /// A bot, which shows a token to the HTTP API.
    Bot,
    /// A bot that was removed.
    FormerBot,
}

/// Everything of `IM.BaseDefine.UserInfo`, and what the account is.
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
    /// What it is.
    pub kind: AccountKind,
}

/// A profile with the stamp of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The profile.
    pub profile: UserProfile,
    /// Stamp: the time of its change, strictly increasing per directory transaction.
    pub stamp: UnixSeconds,
}

/// Part of the directory in stamp order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPage {
    /// Changed users, ascending by (stamp, id). Always ends between stamps.
    pub users: Vec<DirectoryEntry>,
    /// Whether more follow.
    pub more: bool,
}

/// The address that stands for all of them in [`NewFailure`].
pub const EVERY_ADDRESS: &str = "*";

/// A failed login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFailure<'a> {
    /// The name that was tried.
    pub name: &'a str,
    /// Whether somebody has it.
    pub known: bool,
    /// Where it counts: an address, the network around it, [`EVERY_ADDRESS`].
    pub addresses: &'a [&'a str],
    /// When.
    pub now: UnixSeconds,
    /// Older failures are dropped, and so are those after `now`.
    pub since: UnixSeconds,
    /// Names and addresses kept at most, of names that somebody has and of others apart.
    pub max_pairs: u32,
    /// More failures than this, and those of a known name at [`EVERY_ADDRESS`], are kept beyond
    /// `max_pairs`.
    pub kept_above: u32,
}

/// Failures of one name that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginFailures {
    /// Login name.
    pub name: String,
    /// An address, a network or [`EVERY_ADDRESS`].
    pub address: String,
    /// How many.
    pub count: u32,
    /// When the last one was.
    pub newest: UnixSeconds,
    /// Where they stand in the list: those behind have smaller places.
    pub place: u128,
}

/// Which failures are listed.
#[derive(Clone, Copy, Debug)]
pub struct FailureQuery<'a> {
    /// Login name; empty = all.
    pub name: &'a str,
    /// Only more than so many.
    pub above: u32,
    /// Failures before this time do not count.
    pub since: UnixSeconds,
    /// Nor do those after this one.
    pub now: UnixSeconds,
    /// Only those behind this place.
    pub behind: Option<u128>,
    /// Most rows that are looked at.
    pub limit: u32,
}

/// Part of the failures, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailurePage {
    /// What was found.
    pub failures: Vec<LoginFailures>,
    /// Where the next part begins; `None` when nothing follows.
    pub next: Option<u128>,
}

/// Accounts and profiles.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Credentials of a person by exact login name. A bot has none, as whoever is not there.
    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, StoreError>;

    /// Profiles of those users that exist, ascending by id.
    async fn profiles(&self, ids: &[UserId]) -> Result<Vec<UserProfile>, StoreError>;

    /// Profile by exact login name.
    async fn profile_by_name(&self, name: &str) -> Result<Option<UserProfile>, StoreError>;

    /// Profiles of people whose name or nick contains `matching`, after an id, ascending.
    async fn find_profiles(
        &self,
        matching: &str,
        after: u32,
        limit: u32,
    ) -> Result<Vec<UserProfile>, StoreError>;

    /// Sets the hash of a person.
    async fn set_hash(&self, user: UserId, hash: &str) -> Result<(), StoreError>;

    /// Sets the employment status with a new directory stamp.
    async fn set_status(
        &self,
        user: UserId,
        status: u32,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Sets the signature with a new directory stamp.
    async fn set_signature(
        &self,
        user: UserId,
        text: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Sets the avatar URL with a new directory stamp.
    async fn set_avatar(&self, user: UserId, url: &str, now: UnixSeconds)
    -> Result<(), StoreError>;

    /// Night shield of pushes; `None` when the user does not exist.
    async fn push_shield(&self, user: UserId) -> Result<Option<u32>, StoreError>;

    /// Sets the night shield; `false` when the user does not exist.
    async fn set_push_shield(&self, user: UserId, status: u32) -> Result<bool, StoreError>;

    /// Stores verified logins, in one transaction; for each in order whether it was written.
    async fn store_logins(&self, logins: &[VerifiedLogin]) -> Result<Vec<bool>, StoreError>;

    /// Sets the time of what is remembered of these users, where it is older than `before`.
    async fn renew_remembered(
        &self,
        users: &[UserId],
        now: UnixSeconds,
        before: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// How many failures of a name at each of these addresses lie from `since` to `now`, in the order
    /// asked. A failure after `now` was counted by a clock that was ahead, and does not count.
    async fn login_failures(
        &self,
        name: &str,
        addresses: &[&str],
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Vec<u32>, StoreError>;

    /// Adds a failure at all its addresses. Gives their counts with it, in the same order. Of all
    /// failures those that are too old are dropped, and the oldest beyond the bounds.
    async fn add_login_failure(&self, failure: &NewFailure<'_>) -> Result<Vec<u32>, StoreError>;

    /// Forgets the failures of a name at the first of these addresses, and takes them from the counts
    /// at the others.
    async fn clear_login_failures(&self, name: &str, addresses: &[&str]) -> Result<(), StoreError>;

    /// Names and addresses with so many failures, newest first.
    async fn list_login_failures(
        &self,
        query: &FailureQuery<'_>,
    ) -> Result<FailurePage, StoreError>;

    /// Forgets all failures of a name; how many addresses there were.
    async fn forget_login_failures(&self, name: &str) -> Result<u64, StoreError>;
}
