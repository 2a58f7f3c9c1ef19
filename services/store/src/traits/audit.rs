//! The audit log and idempotency keys: what is written with a change, in its transaction.

use std::sync::Arc;

use async_trait::async_trait;
use im_core::time::UnixSeconds;

use crate::{Store, StoreError};

/// Bytes of a hash of the audit log and of a digest of a request.
pub const HASH_BYTES: usize = 32;

/// Whether something was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was.
    Done,
    /// Whoever asked was not allowed to.
    Refused,
}

/// A row of the audit log without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditNote {
    /// When.
    pub at: UnixSeconds,
    /// Who.
    pub actor: String,
    /// What they showed.
    pub credential: String,
    /// From where.
    pub address: String,
    /// Number of the request at whoever was asked first; may be empty.
    pub request: String,
    /// What was asked for.
    pub action: String,
    /// Of what.
    pub target: String,
    /// As it was.
    pub before: String,
    /// As it is.
    pub after: String,
    /// What came of it.
    pub outcome: AuditOutcome,
}

/// A row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// From 1, dense.
    pub number: u64,
    /// What it says.
    pub note: AuditNote,
    /// BLAKE3 over the row and the hash of the one before.
    pub hash: [u8; HASH_BYTES],
}

/// A row's number and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditPlace {
    /// Number; 0 is before the first row.
    pub number: u64,
    /// Hash; zeros before the first row.
    pub hash: [u8; HASH_BYTES],
}

/// Where the audit log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditEnds {
    /// The last row that was dropped because it was old.
    pub begin: AuditPlace,
    /// The newest row.
    pub end: AuditPlace,
}

/// How much of the audit log is kept. Each new row drops at most 16 old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRetention {
    /// Rows at most.
    pub rows: u64,
    /// Older ones are dropped.
    pub since: UnixSeconds,
}

/// A change that is made once: what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyNote {
    /// Whose key.
    pub scope: String,
    /// The key.
    pub key: String,
    /// Of the request.
    pub digest: [u8; HASH_BYTES],
    /// What is answered, opaque to the store.
    pub answer: Vec<u8>,
    /// Older keys are forgotten, and so are those from later than now.
    pub since: UnixSeconds,
    /// Keys that are kept at most.
    pub most: u64,
}

/// What is written with a change, in its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeNote {
    /// Row of the audit log.
    pub row: AuditNote,
    /// The target ends with the number that the store gives what is made.
    pub is_numbered: bool,
    /// How much of the audit log is kept.
    pub keep: AuditRetention,
    /// Key of the change, if it has one.
    pub key: Option<KeyNote>,
}

/// What was answered under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Of the request.
    pub digest: [u8; HASH_BYTES],
    /// The number that the store gave what was made, or the version of what was changed; 0 for none.
    pub made: u64,
    /// What was answered.
    pub answer: Vec<u8>,
}

/// Which rows of the audit log are listed: each text as it is in the row; empty = all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Who.
    pub actor: String,
    /// Of what.
    pub target: String,
    /// What was asked for.
    pub action: String,
    /// Only rows before this number; `None` = from the newest.
    pub before: Option<u64>,
    /// Most rows.
    pub limit: u32,
    /// Most rows that are looked at.
    pub scan: u32,
}

/// Part of the audit log, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// What was found.
    pub rows: Vec<AuditRow>,
    /// Rows before this number were not looked at; `None` when there are none.
    pub next: Option<u64>,
}

/// Audit log and idempotency keys.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
    /// The same store, whose every change writes this note in its own transaction: a row for each, and the
    /// key once.
    ///
    /// A change fails with [`StoreError::Repeated`] when its key is known, and with [`StoreError::Full`]
    /// when too many are; nothing of it is stored then.
    fn noting(&self, note: ChangeNote) -> Arc<dyn Store>;

    /// Writes a row that belongs to no other change.
    ///
    /// # Errors
    /// As every call.
    async fn note(&self, note: &ChangeNote) -> Result<(), StoreError>;

    /// What was answered under a key that was kept from `since` to `now`.
    ///
    /// # Errors
    /// As every call.
    async fn kept_answer(
        &self,
        scope: &str,
        key: &str,
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Option<KeptAnswer>, StoreError>;

    /// Rows of the audit log, newest first.
    ///
    /// # Errors
    /// As every call.
    async fn list_audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError>;

    /// Rows behind a number in the order of writing, at most `limit`, and where the log begins and ends,
    /// as of the same moment.
    ///
    /// # Errors
    /// As every call.
    async fn read_audit(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, AuditEnds), StoreError>;
}
