//! The directory: users and departments with stamps for incremental sync, and its import.
//!
//! Each directory transaction has one stamp, `max(now, last + 1)`, so that "changed since" is strict
//! and misses nothing; an import takes a stamp per thousand rows, so that pages can end between
//! stamps.

use async_trait::async_trait;
use im_core::time::UnixSeconds;

use crate::{DirectoryPage, StoreError};

/// A department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepartmentRecord {
    /// Id.
    pub id: u32,
    /// Parent, 0 for the root.
    pub parent: u32,
    /// Name.
    pub name: String,
    /// Display order.
    pub priority: u32,
    /// 0 valid, 1 deleted.
    pub status: u32,
    /// Stamp of its last change.
    pub stamp: UnixSeconds,
}

/// One checked user of an import; `None` = leave as it is (or the default for a new user).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedUser {
    /// Wanted id of a new user; must agree with that of an existing one.
    pub id: Option<u32>,
    /// Login name.
    pub name: String,
    /// Hash to store.
    pub hash: Option<String>,
    /// Shown name (default: the login name).
    pub nick: Option<String>,
    /// 0, 1 or 2.
    pub sex: Option<u32>,
    /// Path of department names from the root; made when missing.
    pub department: Option<Vec<String>>,
    /// Telephone.
    pub phone: Option<String>,
    /// E-mail.
    pub email: Option<String>,
    /// Domain name.
    pub domain: Option<String>,
    /// Avatar URL.
    pub avatar: Option<String>,
    /// Employment status.
    pub status: Option<u32>,
    /// Signature.
    pub signature: Option<String>,
}

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct DirectoryImport {
    /// Users in file order, names unique.
    pub users: Vec<ImportedUser>,
    /// When.
    pub now: UnixSeconds,
}

/// A value that an import gives somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Name of the column.
    pub field: &'static str,
    /// As before; of a hash only whether there is one.
    pub before: String,
    /// As after.
    pub after: String,
}

/// Somebody whom an import adds or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportChange {
    /// Index into `users`.
    pub place: usize,
    /// New rather than changed.
    pub added: bool,
    /// What is new, in the order of the columns; of somebody new what is not empty.
    pub fields: Vec<FieldChange>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// New users.
    pub added: u32,
    /// Changed users.
    pub updated: u32,
    /// Users that were as wanted: their stamp is untouched.
    pub unchanged: u32,
    /// New departments.
    pub departments_added: u32,
    /// Index into `users` and reason of rows that contradict the store (id taken, id mismatch). When
    /// there is one, nothing was applied.
    pub conflicts: Vec<(usize, String)>,
    /// Users whose status became something other than 0: their sessions must end.
    pub disabled: Vec<im_core::UserId>,
    /// Whom it added and changed, in file order.
    pub changes: Vec<ImportChange>,
}

/// Directory reads and imports.
#[async_trait]
pub trait DirectoryStore: Send + Sync + 'static {
    /// Users changed strictly after `stamp` (0: everybody whose status is not 3), ascending by
    /// stamp, at most about `limit` rows, ending between stamps.
    async fn users_since(
        &self,
        stamp: UnixSeconds,
        limit: u32,
    ) -> Result<DirectoryPage, StoreError>;

    /// Newest stamp of all.
    async fn directory_stamp(&self) -> Result<UnixSeconds, StoreError>;

    /// Greatest stamp of a user that is not above this one, 0 for none: whoever asks since one of
    /// those between the two gets the same answer.
    async fn stamp_before(&self, stamp: UnixSeconds) -> Result<UnixSeconds, StoreError>;

    /// Departments changed strictly after `stamp`, ascending by stamp.
    async fn departments_since(
        &self,
        stamp: UnixSeconds,
    ) -> Result<Vec<DepartmentRecord>, StoreError>;

    /// Applies a file whole or not at all.
    async fn import(&self, import: &DirectoryImport) -> Result<ImportOutcome, StoreError>;

    /// What [`DirectoryStore::import`] would do; nothing is changed.
    async fn rehearse_import(&self, import: &DirectoryImport) -> Result<ImportOutcome, StoreError>;
}
