//! What a store of blobs can do.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::time::UnixSeconds;

use crate::{BlobError, BlobMeta, BlobName};

/// The most that one [`BlobReader::read`] gives, in bytes.
pub const READ_MAX: usize = 1 << 20;

/// The most blobs that one page of [`BlobStore::list`] has.
pub const LIST_MAX: usize = 1000;

/// A blob as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub name: BlobName,
    /// Bytes of the content.
    pub size: u64,
    /// BLAKE3 of the content.
    pub blake3: [u8; 32],
    /// When it was finished, by the clock of the store's user.
    pub created: UnixSeconds,
    /// What its owner said about it.
    pub meta: BlobMeta,
}

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Put {
    /// Its name; it must be free.
    pub name: BlobName,
    /// What its owner says about it.
    pub meta: BlobMeta,
    /// The most bytes that may come.
    pub bound: u64,
    /// How many bytes room is looked for before the first; `bound` unless more is known.
    pub expected: u64,
}

/// Room of a store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What is free for this user.
    pub free: u64,
    /// What there is at all.
    pub all: u64,
}

/// A page of a list, in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobPage {
    /// At most as many as were asked for.
    pub blobs: Vec<BlobInfo>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<BlobName>,
    /// Objects that were left out since they cannot be made sense of.
    pub corrupt: usize,
}

/// A store of blobs. Every call may be cancelled; nothing half-done is ever shown.
#[async_trait]
pub trait BlobStore: Debug + Send + Sync + 'static {
    /// Begins to write a blob.
    ///
    /// # Errors
    /// [`BlobError::Taken`] where the name is in use, [`BlobError::NoRoom`] where the expected bytes would
    /// leave less free than the store keeps, beside what other writers still expect;
    /// [`BlobError::Unavailable`].
    async fn begin(&self, put: Put) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// What is known of a blob.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Corrupt`], [`BlobError::Unavailable`].
    async fn head(&self, name: BlobName) -> Result<BlobInfo, BlobError>;

    /// Opens a blob to read parts of it.
    ///
    /// # Errors
    /// As [`BlobStore::head`].
    async fn open(&self, name: BlobName) -> Result<Box<dyn BlobReader>, BlobError>;

    /// Deletes a blob and tells whether there was one. Whoever has it open may read on.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn delete(&self, name: BlobName) -> Result<bool, BlobError>;

    /// Blobs behind `after` in the order of their names, at most `limit` and [`LIST_MAX`].
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn list(&self, after: Option<BlobName>, limit: usize) -> Result<BlobPage, BlobError>;

    /// Removes what writers have left that are no more, and tells how much that was. What living writers
    /// of any process have begun stays.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn sweep(&self) -> Result<usize, BlobError>;

    /// How much room there is; `None` for a store without an end.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    async fn room(&self) -> Result<Option<Room>, BlobError>;
}

/// A blob that is being written. Dropped, it leaves nothing.
#[async_trait]
pub trait BlobWriter: Debug + Send {
    /// Adds bytes. After an error, or when the call was cancelled, the blob cannot be finished any more.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] beyond the bound, [`BlobError::NoRoom`] on a full disk,
    /// [`BlobError::Unavailable`].
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError>;

    /// Bytes that were added.
    fn written(&self) -> u64;

    /// Makes the blob durable, then shows it under its name.
    ///
    /// # Errors
    /// [`BlobError::Taken`] where somebody else has used the name meanwhile, [`BlobError::NoRoom`],
    /// [`BlobError::Unavailable`], also after an earlier error of [`BlobWriter::write`].
    async fn finish(self: Box<Self>) -> Result<BlobInfo, BlobError>;
}

/// A blob that is open for reading.
#[async_trait]
pub trait BlobReader: Debug + Send + Sync {
    /// What is known of it.
    fn info(&self) -> &BlobInfo;

    /// At most `length` bytes from `offset` on: fewer at the end, none where the offset is the size.
    ///
    /// # Errors
    /// [`BlobError::OutOfRange`] where the offset lies behind the size or `length` is above [`READ_MAX`];
    /// [`BlobError::Unavailable`]; [`BlobError::Corrupt`] where the content is shorter than it was.
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, BlobError>;
}

/// Deletes all blobs that were finished before this time and that `is_meant` names, and tells how many.
///
/// # Errors
/// As [`BlobStore::list`] and [`BlobStore::delete`]; what was deleted until then stays so.
pub async fn expire(
    store: &dyn BlobStore,
    before: UnixSeconds,
    is_meant: impl Fn(&BlobInfo) -> bool + Send + Sync,
) -> Result<usize, BlobError> {
    let mut after = None;
    let mut deleted = 0;
    loop {
        let page = store.list(after, LIST_MAX).await?;
        for blob in &page.blobs {
            if blob.created < before && is_meant(blob) && store.delete(blob.name).await? {
                deleted += 1;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(deleted);
        }
    }
}

/// How many bytes of this blob such a read gives.
pub(crate) fn readable(info: &BlobInfo, offset: u64, length: usize) -> Result<usize, BlobError> {
    let left = info.size.checked_sub(offset);
    let left = left
        .filter(|_| length <= READ_MAX)
        .ok_or(BlobError::OutOfRange)?;
    Ok(usize::try_from(left).unwrap_or(usize::MAX).min(length))
}
