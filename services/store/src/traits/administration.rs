//! What only administrators do: other names, people and departments taken out, lists by page.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};

use crate::{GroupRecord, StoreError};

/// Part of a list, ascending by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Part of a name; empty = all.
    pub matching: String,
    /// Only ids above this one.
    pub after: u32,
    /// Most rows.
    pub limit: u32,
}

/// Calls of administrators.
#[async_trait]
pub trait AdministrationStore: Send + Sync + 'static {
    /// Everybody's login name, ascending by id.
    async fn login_names(&self) -> Result<Vec<(UserId, String)>, StoreError>;

    /// Gives a user another login name, with a new directory stamp; their locks stay with the old one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when somebody has the name, [`StoreError::NotFound`].
    async fn rename_account(
        &self,
        user: UserId,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Takes a user out, with a new directory stamp: another name, status left, no password, no push
    /// token, no telephone, e-mail and signature. The nick stays, for what they wrote.
    ///
    /// # Errors
    ///
    /// As [`AdministrationStore::rename_account`].
    async fn remove_account(
        &self,
        user: UserId,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Groups with at least one member: of a user, or of everybody with `None`.
    async fn list_groups(
        &self,
        user: Option<UserId>,
        page: &ListPage,
    ) -> Result<Vec<GroupRecord>, StoreError>;

    /// Gives a group another name and raises its version, so that clients ask for it again.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    async fn rename_group(
        &self,
        group: GroupId,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Makes a member the creator of a group and raises its version, so that clients ask for it again.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without such a group, or when they are no member of it.
    async fn set_group_owner(
        &self,
        group: GroupId,
        owner: UserId,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// How many people are in each department that has any.
    async fn department_sizes(&self) -> Result<Vec<(u32, u32)>, StoreError>;

    /// Gives a department another name, with a new directory stamp.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when one of the same parent has the name, [`StoreError::NotFound`].
    async fn rename_department(
        &self,
        department: u32,
        name: &str,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Puts a department under another parent, 0 for none, with a new directory stamp. Whether the parent
    /// lies below it is for the caller to know.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when one of that parent has the name, [`StoreError::NotFound`].
    async fn move_department(
        &self,
        department: u32,
        parent: u32,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Marks a department as deleted and moves whoever is in it to another one, all with a new directory
    /// stamp. How many people moved.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`].
    async fn remove_department(
        &self,
        department: u32,
        into: u32,
        now: UnixSeconds,
    ) -> Result<u32, StoreError>;
}
