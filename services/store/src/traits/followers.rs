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
}
