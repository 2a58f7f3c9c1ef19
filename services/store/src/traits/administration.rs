//! What only administrators do: other names, people and departments taken out, lists by page.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};

use crate::{GroupRecord, StoreError, UserProfile};

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

/// People by login name, each condition besides the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeopleQuery {
    /// What the name begins with, byte by byte; empty = anything.
    pub prefix: String,
    /// Department that they are in.
    pub department: Option<u32>,
    /// Employment status.
    pub status: Option<u32>,
    /// Only names behind this one, which has the prefix too.
    pub after: Option<String>,
    /// Most rows.
    pub limit: u32,
}

/// Calls of administrators.
#[async_trait]
pub trait AdministrationStore: Send + Sync + 'static {
    /// Everybody's login name, those of bots included, ascending by id.
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

    /// People by login name, bots left out, in the order of its bytes. Costs the rows that are given, however many stand
    /// before them; with department and status together, the people of the department.
    ///
    /// # Errors
    /// As every call.
    async fn people_by_name(&self, query: &PeopleQuery) -> Result<Vec<UserProfile>, StoreError>;

    /// How many members each of these groups has; those without any are missing.
    ///
    /// # Errors
    /// As every call.
    async fn group_sizes(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, u32)>, StoreError>;

    /// Login names of the members of these groups, ascending by group and id of the member.
    ///
    /// # Errors
    /// As every call.
    async fn group_member_names(
        &self,
        groups: &[GroupId],
    ) -> Result<Vec<(GroupId, String)>, StoreError>;

    /// Members of a group with greater ids than `after`, ascending, at most `limit`.
    ///
    /// # Errors
    /// As every call.
    async fn group_members_after(
        &self,
        group: GroupId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<UserProfile>, StoreError>;

    /// Makes the department at the end of a path of names, with those above it that are missing, with a new
    /// directory stamp; its id. One that was removed comes back.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it is there already, otherwise as every call.
    async fn create_department(&self, path: &[String], now: UnixSeconds)
    -> Result<u32, StoreError>;
}
