//! Taking over what another installation has stored: rows with the ids that they have there.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, MsgId, UserId};
use im_order::Fence;

use crate::{
    AppendBatch, ConversationRow, DepartmentRecord, DiscoveryItem, GroupRecord, StoreError,
    UserProfile,
};

/// An account that is taken over. Whoever is there under the id is changed; a hash that a login has renewed since
/// stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredAccount {
    /// What everybody sees. The name must be nobody else's.
    pub profile: UserProfile,
    /// As [`Credentials::hash`](crate::Credentials::hash); empty without a password.
    pub hash: String,
    /// Pushes are silenced at night.
    pub push_shield: u32,
}

/// A group that is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferredGroup {
    /// The group. Whatever is there under its id is changed.
    pub record: GroupRecord,
    /// Row number of its conversation, where that is new.
    pub row: ConversationRow,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it was changed last.
    pub updated: UnixSeconds,
}

/// A member of a group that is taken over, or somebody who has left it. The group is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferredMember {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub user: UserId,
    /// Whether they are a member now.
    pub active: bool,
    /// Ids up to this one lie before the joining.
    pub joined_id: u32,
    /// Newest id that they have read.
    pub read_id: u32,
    /// First joining.
    pub created: UnixSeconds,
    /// Last joining or leaving.
    pub updated: UnixSeconds,
}

/// What of a conversation is one user's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferredView {
    /// Whose.
    pub user: UserId,
    /// Which conversation; one without a row of the user is passed over.
    pub conversation: Conversation,
    /// Newest id read, whatever it was before; `None`: as it is.
    pub read_id: Option<u32>,
    /// The session was removed when the newest id was this; `None`: as it is.
    pub removed_at: Option<u32>,
    /// Pushes of this group are silenced or not; `None`: as it is.
    pub shield: Option<bool>,
}

/// Something that whoever moves data writes about how far it is, under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferState {
    /// At most 190 bytes.
    pub name: String,
    /// In the words of whoever wrote it.
    pub value: Vec<u8>,
}

/// Rows that are written in one transaction. Their number is bounded by who makes them: some thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferBatch {
    /// Departments; their stamps are given anew. One that is there with other values is changed.
    pub departments: Vec<DepartmentRecord>,
    /// Accounts.
    pub accounts: Vec<TransferredAccount>,
    /// Links that clients show, by their ids.
    pub discovery_items: Vec<(u32, DiscoveryItem)>,
    /// Groups.
    pub groups: Vec<TransferredGroup>,
    /// Members.
    pub members: Vec<TransferredMember>,
    /// Views.
    pub views: Vec<TransferredView>,
    /// States.
    pub states: Vec<TransferState>,
    /// When.
    pub now: UnixSeconds,
}

/// Messages that are taken over, in one transaction with how far that is.
#[derive(Clone, Debug, Default)]
pub struct TransferredMessages {
    /// The messages.
    pub batch: AppendBatch,
    /// Up to where both people have read the pairs that the batch adds to, and who they are.
    pub read: Vec<(ConversationRow, [UserId; 2], MsgId)>,
    /// States.
    pub states: Vec<TransferState>,
}

/// Taking data over. A store that has never done so has no table for the states.
#[async_trait]
pub trait TransferStore: Send + Sync + 'static {
    /// Makes the table of states when missing.
    ///
    /// # Errors
    /// As every call.
    async fn begin_transfer(&self) -> Result<(), StoreError>;

    /// States whose names begin so, by name; all of them are in memory.
    ///
    /// # Errors
    /// As every call; [`StoreError::Unavailable`] before [`Self::begin_transfer`].
    async fn transfer_states(&self, prefix: &str) -> Result<Vec<TransferState>, StoreError>;

    /// Writes rows, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the log has another owner, [`StoreError::Outdated`] when it ends elsewhere or a
    /// name or row is somebody else's, otherwise as every call.
    async fn transfer(&self, fence: Fence, batch: &TransferBatch) -> Result<(), StoreError>;

    /// As [`MessageStore::append`](crate::MessageStore::append), with read positions and states.
    ///
    /// # Errors
    /// As that.
    async fn transfer_messages(&self, messages: &TransferredMessages) -> Result<(), StoreError>;
}
