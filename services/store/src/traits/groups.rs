//! Groups, their members and versions.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{GroupId, UserId};
use im_order::Fence;

use crate::{ConversationRow, StoreError};

/// Kind of a group (`IM.BaseDefine.GroupType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// Fixed: made by administrators, changed by its creator.
    Normal,
    /// Temporary: made by anybody.
    Temporary,
}

/// A group without its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// Id.
    pub id: GroupId,
    /// Display name.
    pub name: String,
    /// Avatar URL, may be empty.
    pub avatar: String,
    /// Who made it; `None`: administrators, as nobody's.
    pub creator: Option<UserId>,
    /// Kind.
    pub group_type: GroupType,
    /// Starts at 1, plus one on each member change.
    pub version: u32,
}

/// A group to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Row number of its conversation, chosen by the writer.
    pub row: ConversationRow,
    /// Display name.
    pub name: String,
    /// Avatar URL.
    pub avatar: String,
    /// Who makes it; `None`: administrators, as nobody's.
    pub creator: Option<UserId>,
    /// Kind.
    pub group_type: GroupType,
    /// Members, without duplicates.
    pub members: Vec<UserId>,
    /// When.
    pub now: UnixSeconds,
}

/// An active member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Who.
    pub user: UserId,
    /// Ids up to this one lie before his (last) joining.
    pub joined_id: u32,
    /// Pushes of this group are silenced.
    pub shielded: bool,
}

/// Direction of a member change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Users join; those who left before join anew.
    Add,
    /// Users leave; their row is kept as left.
    Remove,
}

/// A member change to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChange {
    /// Which group.
    pub group: GroupId,
    /// Direction.
    pub change: MemberChange,
    /// Whom; only users that it really changes.
    pub users: Vec<UserId>,
    /// Who does it (`None` = an administrator), kept with the rows.
    pub by: Option<UserId>,
    /// Newest id of the conversation now: joins start after it.
    pub last_id: u32,
    /// When.
    pub now: UnixSeconds,
}

/// Groups and memberships.
#[async_trait]
pub trait GroupStore: Send + Sync + 'static {
    /// Makes a group with its conversation and member rows.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the log has another owner, [`StoreError::Outdated`] when it ends elsewhere
    /// or when the row is in use, otherwise as every call.
    async fn create_group(&self, fence: Fence, group: &NewGroup) -> Result<GroupId, StoreError>;

    /// Applies a member change and raises the version; returns the new version.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the log has another owner, [`StoreError::Outdated`] when it ends elsewhere,
    /// [`StoreError::NotFound`] without such a group, otherwise as every call.
    async fn change_members(&self, fence: Fence, change: &GroupChange) -> Result<u32, StoreError>;

    /// How many groups of this kind a user has made.
    async fn groups_created_by(&self, user: UserId, kind: GroupType) -> Result<u32, StoreError>;

    /// The groups that exist among those asked.
    async fn groups(&self, ids: &[GroupId]) -> Result<Vec<GroupRecord>, StoreError>;

    /// All groups of a user, or of everybody with `None`, most recently changed first.
    async fn groups_of(&self, user: Option<UserId>) -> Result<Vec<GroupRecord>, StoreError>;

    /// Active members of a group, ascending by user; empty when it does not exist.
    async fn members(&self, group: GroupId) -> Result<Vec<GroupMember>, StoreError>;

    /// One active member of a group; `None` for everybody else.
    async fn member(
        &self,
        group: GroupId,
        user: UserId,
    ) -> Result<Option<GroupMember>, StoreError> {
        Ok(self
            .members(group)
            .await?
            .into_iter()
            .find(|member| member.user == user))
    }

    /// Silences a member's pushes or ends that; `false` when he is not a member.
    async fn set_shield(
        &self,
        group: GroupId,
        user: UserId,
        shielded: bool,
    ) -> Result<bool, StoreError>;
}
