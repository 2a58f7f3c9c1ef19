//! The log of changes: what was changed beside messages, in the order in which it was.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;

use crate::StoreError;

/// A file that waits for its receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadyFile {
    /// Its task, under which it is fetched; one file has one.
    pub task: String,
    /// Who has sent it.
    pub from: UserId,
    /// Who may fetch it.
    pub to: UserId,
    /// As its sender calls it.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// When it was whole, by the clock of its file server.
    pub stored: UnixSeconds,
}

/// What was changed, by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Changed {
    /// A group: it was made, renamed or given to another member, or its members have changed.
    Group(u32),
    /// A person: new, or of another name, department, status, signature and the like.
    Person(u32),
    /// A department.
    Department(u32),
    /// A file is whole and can be fetched.
    File(ReadyFile),
}

/// A row of the log of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its place, from 1; some may be missing.
    pub seq: CommitSeq,
    /// When.
    pub at: UnixSeconds,
    /// What.
    pub changed: Changed,
    /// The version of a group, the directory stamp of a person or department, 0 of a file.
    pub value: u32,
}

/// The log of changes. Every transaction that changes a group or the directory writes to it, and so does that which
/// notes a file.
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

    /// Writes that a file is ready; nothing where that is among the rows already. Whether it was new.
    ///
    /// # Errors
    /// As every call.
    async fn note_ready_file(&self, file: &ReadyFile) -> Result<bool, StoreError>;

    /// Drops rows from before `since`, the oldest first, and those beyond `most`: at most 1,000 of each. How many
    /// have gone.
    ///
    /// # Errors
    /// As every call.
    async fn trim_changes(&self, since: UnixSeconds, most: u32) -> Result<u64, StoreError>;
}
