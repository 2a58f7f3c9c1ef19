//! The log of messages and the conversations that it is made of.

use async_trait::async_trait;
use bytes::Bytes;
use im_core::time::UnixSeconds;
use im_core::{Conversation, MsgId, RetryKey, UserId};
use im_order::{CommitSeq, Fence};

use crate::{ReadPosition, StoreError};

/// What the writer must know of a conversation before it can add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationState {
    /// Row number of the conversation.
    pub row: ConversationRow,
    /// Newest id, 0 for none; behind a gap that no message has followed yet, the last one skipped.
    pub last_id: u32,
    /// Log position of the newest message; 0 for none.
    pub last_seq: CommitSeq,
    /// Pairs: how many of the messages the user with the lower id has sent. Groups: 0.
    pub low_sent: u32,
}

/// Row number of a conversation, chosen by the writer, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationRow(pub i64);

/// A retry key and the message that was stored under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentKey {
    /// Key of the send.
    pub key: RetryKey,
    /// Id it got.
    pub msg_id: MsgId,
    /// Its log position.
    pub seq: CommitSeq,
    /// When it was stored.
    pub time: UnixSeconds,
}

/// One message to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Log position, the previous one plus one.
    pub seq: CommitSeq,
    /// Conversation.
    pub row: ConversationRow,
    /// Id in the conversation, the previous one plus one; see [`ConversationState::last_id`].
    pub msg_id: MsgId,
    /// Author.
    pub sender: UserId,
    /// `IM.BaseDefine.MsgType`.
    pub msg_type: u32,
    /// When it was stored.
    pub time: UnixSeconds,
    /// Pairs: `low_sent` after this message.
    pub low_sent: u32,
    /// Retry key, if the send had one.
    pub key: Option<RetryKey>,
    /// Opaque body.
    pub body: Bytes,
}

/// A conversation that gets its first message in this batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewConversation {
    /// Row number, the greatest one plus one.
    pub row: ConversationRow,
    /// Which conversation.
    pub conversation: Conversation,
}

/// One transaction of the writer.
#[derive(Clone, Debug, Default)]
pub struct AppendBatch {
    /// On what condition it is stored; its span is that of the messages.
    pub fence: Fence,
    /// Pairs that start here; both get a member row. (Groups start with the group.)
    pub new_conversations: Vec<NewConversation>,
    /// Messages in log order.
    pub messages: Vec<MessageRow>,
}

/// One entry of the log as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Which conversation it belongs to.
    pub conversation: Conversation,
    /// The message.
    pub message: StoredMessage,
}

/// A message as history shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Log position.
    pub seq: CommitSeq,
    /// Id in the conversation.
    pub msg_id: MsgId,
    /// Author.
    pub sender: UserId,
    /// `IM.BaseDefine.MsgType`.
    pub msg_type: u32,
    /// When it was stored.
    pub time: UnixSeconds,
    /// Pairs: `low_sent` after this message.
    pub low_sent: u32,
    /// Opaque body.
    pub body: Bytes,
}

/// Bytes that a message costs a reader besides its body.
pub const MESSAGE_BYTES: usize = 96;

/// Where a read of messages stops: at most so many, of at most so many bytes together (bodies and
/// [`MESSAGE_BYTES`] each). The first one comes whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Messages.
    pub rows: u32,
    /// Bytes.
    pub bytes: usize,
}

impl ReadLimit {
    /// So many messages of any size.
    pub const fn rows(rows: u32) -> Self {
        Self {
            rows,
            bytes: usize::MAX,
        }
    }
}

/// Room for messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Free bytes of the file system that they are stored on, and all of them; `None` when that is not
    /// known.
    pub disk: Option<(u64, u64)>,
    /// Something keeps the store's log from starting again, and half of what it may grow to is used.
    pub log_held: bool,
}

/// Storing and reading messages.
#[async_trait]
pub trait MessageStore: Send + Sync + 'static {
    /// Newest log position, and the greatest conversation row in use.
    async fn log_end(&self) -> Result<(CommitSeq, ConversationRow), StoreError>;

    /// Ids that a conversation skips when it starts: its first message has the next one. 0 in a store
    /// that was never restored.
    async fn skipped_ids(&self) -> Result<u32, StoreError>;

    /// Retry keys of the newest messages of the log, oldest first: of at most `max_messages`
    /// messages, none of them stored before `since`.
    async fn recent_keys(
        &self,
        since: UnixSeconds,
        max_messages: u32,
    ) -> Result<Vec<RecentKey>, StoreError>;

    /// Newest own message of each sender in each group, as the position up to which he has read it:
    /// among the newest `max_messages` of the log that were stored at most `seconds` before its last
    /// one. In no particular order.
    async fn recent_group_senders(
        &self,
        seconds: u32,
        max_messages: u32,
    ) -> Result<Vec<ReadPosition>, StoreError>;

    /// State of each conversation that exists, in the order asked.
    async fn conversation_states(
        &self,
        wanted: &[Conversation],
    ) -> Result<Vec<Option<ConversationState>>, StoreError>;

    /// Stores a batch whole or not at all; durable on return.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the log has another owner, [`StoreError::Outdated`] when it does not end
    /// where the batch begins or when a row or id of the batch is in use, otherwise as every call.
    async fn append(&self, batch: &AppendBatch) -> Result<(), StoreError>;

    /// Log entries after a position in log order, within `limit`. Only an empty list means that there
    /// is nothing.
    async fn read_log(
        &self,
        after: CommitSeq,
        limit: ReadLimit,
    ) -> Result<Vec<LogEntry>, StoreError>;

    /// Newest first: ids ≤ `from` (`None` = from the newest), not below `oldest`, within `limit`.
    async fn history(
        &self,
        conversation: Conversation,
        from: Option<MsgId>,
        oldest: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// Oldest first: ids > `after`, within `limit`.
    async fn history_after(
        &self,
        conversation: Conversation,
        after: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// The named messages, newest first, not below `oldest`, within `limit`.
    async fn by_ids(
        &self,
        conversation: Conversation,
        ids: &[u32],
        oldest: u32,
        limit: ReadLimit,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// How much room there is for messages.
    async fn room(&self) -> Result<Room, StoreError>;

    /// Newest id of a conversation, `None` when it has no message.
    async fn latest_id(&self, conversation: Conversation) -> Result<Option<MsgId>, StoreError>;
}
