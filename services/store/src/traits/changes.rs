//! The log of changes: what was changed beside messages, in the order in which it was.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;

use crate::StoreError;

/// What was changed, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Changed {
    /// A group: it was made, renamed or given to another member, or its members have changed.
    Group(u32),
    /// A person: new, or of another name, department, status, signature and the like.
    Person(u32),
    /// A department.
    Department(u32),
}

/// A row of the log of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its place, from 1; some may be missing.
    pub seq: CommitSeq,
    /// When.
    pub at: UnixSeconds,
    /// What.
    pub changed: Changed,
    /// The version of a group, the directory stamp of anything else.
    pub value: u32,
}

/// The log of changes. Every transaction that changes a group or the directory writes to it.
#[async_trait]
pub trait ChangeLogStore: Send + Sync + 'static {
    /// Where it ends, 0 for an empty one; what is dropped because it is old moves it as little as anything.
    ///
    /// # Errors
    /// As every call.
    async fn change_log_end(&self) -> Result<CommitSeq, StoreError>;

    /// Rows behind a place in their order, at most `limit`.
    ///
    /// # Errors
    /// As every call.
    async fn changes_after(
        &self,
        after: CommitSeq,
        limit: u32,
    ) -> Result<Vec<ChangeRow>, StoreError>;

    /// Drops rows from before `since`, the oldest first, and those beyond `most`: at most 1,000 of each. How many
    /// have gone.
    ///
    /// # Errors
    /// As every call.
    async fn trim_changes(&self, since: UnixSeconds, most: u32) -> Result<u64, StoreError>;
}
