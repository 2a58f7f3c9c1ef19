//! Followers of the log: how far each has come, and what it must try again.

use async_trait::async_trait;
use bytes::Bytes;
use im_order::{CommitSeq, Partition};

use crate::StoreError;

/// A name that has just been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerHold {
    /// One more than any holder had before.
    pub epoch: u64,
    /// Where to go on.
    pub position: CommitSeq,
}

/// Something that a follower tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerRetry {
    /// What it replaces has the same.
    pub key: Bytes,
    /// Those of one lane never wait for those of another.
    pub lane: u32,
    /// When, unix milliseconds.
    pub due: u64,
    /// How often it was tried.
    pub tries: u32,
    /// The follower's own words.
    pub body: Bytes,
}

/// What a follower stores in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStep {
    /// Which follower.
    pub name: String,
    /// Of which partition.
    pub partition: Partition,
    /// As its holder was told.
    pub epoch: u64,
    /// Everything up to here is done or to be tried again.
    pub position: CommitSeq,
    /// To be tried again.
    pub put: Vec<FollowerRetry>,
    /// Keys of what need not be tried again.
    pub remove: Vec<Bytes>,
}

/// A follower as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerRow {
    /// Its name.
    pub name: String,
    /// Of its last holder.
    pub epoch: u64,
    /// How far it has come.
    pub position: CommitSeq,
    /// How much it is to try again.
    pub retries: u64,
}

/// Positions of followers.
#[async_trait]
pub trait FollowerStore: Send + Sync + 'static {
    /// Takes a name: the next epoch begins, and steps of earlier ones fail. A new name begins at `start`.
    ///
    /// # Errors
    /// As every call.
    async fn hold_follower(
        &self,
        name: &str,
        partition: Partition,
        start: CommitSeq,
    ) -> Result<FollowerHold, StoreError>;

    /// What is due later than `latest` (unix milliseconds) is due then; how much it was.
    ///
    /// # Errors
    /// As every call.
    async fn advance_retries(
        &self,
        name: &str,
        partition: Partition,
        latest: u64,
    ) -> Result<u64, StoreError>;

    /// Stores a step whole or not at all; `false`, and nothing is stored, when another epoch has begun.
    ///
    /// # Errors
    /// As every call.
    async fn step_follower(&self, step: &FollowerStep) -> Result<bool, StoreError>;

    /// What is due in a lane at `until` (unix milliseconds), the longest overdue first, at most `rows`.
    ///
    /// # Errors
    /// As every call.
    async fn due_retries(
        &self,
        name: &str,
        partition: Partition,
        lane: u32,
        until: u64,
        rows: u32,
    ) -> Result<Vec<FollowerRetry>, StoreError>;

    /// How much a follower is to try again.
    ///
    /// # Errors
    /// As every call.
    async fn count_retries(&self, name: &str, partition: Partition) -> Result<u64, StoreError>;

    /// All followers of a partition by name: as many as there were ever.
    ///
    /// # Errors
    /// As every call.
    async fn followers(&self, partition: Partition) -> Result<Vec<FollowerRow>, StoreError>;

    /// Epoch of the last holder of a name; `None` where nobody has held it yet.
    ///
    /// # Errors
    /// As every call.
    async fn follower_epoch(
        &self,
        name: &str,
        partition: Partition,
    ) -> Result<Option<u64>, StoreError>;

    /// Sets the position of a follower: the next epoch begins, so that steps of its holder fail, and of a
    /// subscription nothing is being delivered any more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], otherwise as every call.
    async fn rewind_follower(
        &self,
        name: &str,
        partition: Partition,
        position: CommitSeq,
    ) -> Result<FollowerRow, StoreError>;
}
