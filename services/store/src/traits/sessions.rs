//! A user's view of his conversations: read positions, recent sessions, unread counts.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_core::{Conversation, UserId};

use crate::{StoreError, StoredMessage};

/// How far a user has read a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPosition {
    /// Reader.
    pub user: UserId,
    /// What was read.
    pub conversation: Conversation,
    /// Newest id read; positions only grow.
    pub read_id: u32,
}

/// One row of a user's conversation list, with what recents and unread derive from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Which conversation.
    pub conversation: Conversation,
    /// Newest id read by this user.
    pub read_id: u32,
    /// Pairs: `low_sent` of the newest message up to `read_id` (0 for none).
    pub low_sent_at_read: u32,
    /// Ids after `read_id` and `joined_id` and below the newest one that no message has: a restore
    /// skipped them.
    pub skipped: u32,
    /// Groups: ids up to this one lie before the join and are not shown. Pairs: 0.
    pub joined_id: u32,
    /// The session was removed when the newest id was this: it is shown again once there is a newer
    /// message. `None` = not removed.
    pub removed_at: Option<u32>,
    /// Newest message; a conversation without one is not listed. Its body is empty when it is longer
    /// than the preview that was asked for.
    pub newest: StoredMessage,
    /// Last activity.
    pub updated: UnixSeconds,
}

impl MemberView {
    /// How many messages after the read position were sent to `user` by others.
    ///
    /// Pairs count exactly. Groups count everything after the read position: whoever stores a group
    /// message moves its sender's position to it.
    pub fn unread(&self, user: UserId) -> u32 {
        let newest = self.newest.msg_id.get().saturating_sub(self.skipped);
        match self.conversation {
            Conversation::Group(_) => newest.saturating_sub(self.read_id.max(self.joined_id)),
            Conversation::Pair(low, _) => {
                let all = newest.saturating_sub(self.read_id);
                let by_low = self.newest.low_sent.saturating_sub(self.low_sent_at_read);
                if user == low {
                    all.saturating_sub(by_low)
                } else {
                    by_low
                }
            }
        }
    }
}

/// Bounds of a list of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Conversations at most; the most recent ones.
    pub rows: u32,
    /// Bytes of all of them at most, [`MESSAGE_BYTES`](crate::MESSAGE_BYTES) and the body of the newest
    /// message each.
    pub bytes: usize,
    /// Longest body of a newest message that is given.
    pub body: usize,
}

impl Preview {
    /// So many conversations of any size.
    pub const fn rows(rows: u32) -> Self {
        Self {
            rows,
            bytes: usize::MAX,
            body: usize::MAX,
        }
    }
}

/// What a user has not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// The most recent conversations with unread messages.
    pub views: Vec<MemberView>,
    /// Unread messages of all conversations, those left out included.
    pub total: u64,
}

/// Read positions and recent sessions.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Conversations of a user that he is a member of and that have a message, most recent first,
    /// active later than `updated_after` (strictly; 0 = all), within `limit`, removed ones left out.
    ///
    /// Most recent = by the time of the newest message, then by log position. A group is listed once
    /// it has a message newer than the user's joining; former members have no session.
    async fn recent_sessions(
        &self,
        user: UserId,
        updated_after: UnixSeconds,
        limit: Preview,
    ) -> Result<Vec<MemberView>, StoreError>;

    /// The same without time and removal filters, but only conversations in which others have written
    /// something above the read position or the newest one pending in `positions` (unflushed
    /// positions win). Positions of other users are ignored.
    async fn unread_sessions(
        &self,
        user: UserId,
        positions: &[ReadPosition],
        limit: Preview,
    ) -> Result<Unread, StoreError>;

    /// Stored read position of a user; 0 when he has read nothing or is no member.
    async fn read_position(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<u32, StoreError>;

    /// Stores positions; one that is not ahead of the stored one changes nothing, one beyond the
    /// newest id counts as the newest id, and those of users without a member row are skipped.
    async fn store_read_positions(&self, positions: &[ReadPosition]) -> Result<(), StoreError>;

    /// Removes a conversation from the user's list and marks it read. `false` when it was not
    /// listed.
    async fn remove_session(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<bool, StoreError>;

    /// Users with whom `user` has a pair conversation active since `since`, his group
    /// co-members and his department's people; at most `limit`.
    async fn related_users(
        &self,
        user: UserId,
        since: UnixSeconds,
        limit: u32,
    ) -> Result<Vec<UserId>, StoreError>;
}
