//! A directory of blobs: one file each, below a folder of the first two digits of its name.
//!
//! A file is written in the folder `draft` under a lock of its writer, made durable, and then given its
//! name, which never replaces another. Whatever is in `draft` without a lock has no writer any more. File
//! work is done off the threads of the runtime, so many at a time as [`DirectoryOptions::workers`] says.

mod draft;
mod files;
mod room;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::draft::Draft;
use self::room::{Promised, Promises};
use crate::{
    BlobError, BlobInfo, BlobName, BlobPage, BlobReader, BlobStore, BlobWriter, LIST_MAX, Put,
    READ_MAX, Room,
};

/// How a directory is used.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DirectoryOptions {
    /// Bytes that stay free on the file system, but at most a tenth of it; 0 for none.
    pub free_space_floor: u64,
    /// File operations at a time, at least 1.
    pub workers: usize,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            free_space_floor: 256 << 20,
            workers: 8,
        }
    }
}

impl DirectoryOptions {
    /// With so many bytes left free.
    #[must_use]
    pub const fn free_space_floor(mut self, bytes: u64) -> Self {
        self.free_space_floor = bytes;
        self
    }

    /// With so many file operations at a time.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }
}

/// Blobs in a directory. Cheap to clone. Several processes may share a directory.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    options: DirectoryOptions,
    promises: Promises,
    workers: Arc<Semaphore>,
}

impl DirectoryStore {
    /// Opens a directory, makes it for its owner only if need be, and removes what writers have left that
    /// are no more.
    ///
    /// # Errors
    /// The directory cannot be made, or is not writable.
    pub async fn open(root: &Path, options: DirectoryOptions) -> Result<Self, BlobError> {
        let store = Self {
            inner: Arc::new(Inner {
                root: root.to_owned(),
                options,
                promises: Promises::default(),
                workers: Arc::new(Semaphore::new(options.workers.max(1))),
            }),
        };
        store.inner.run(make_folders).await?;
        store.sweep().await?;
        Ok(store)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }
}

impl Inner {
    /// Does file work off the runtime's threads. A call that is cancelled has its work done to the end.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let gone = || BlobError::Unavailable(io::Error::other("the program stops"));
        let permit = Arc::clone(&self.workers).acquire_owned().await;
        let permit = permit.map_err(|_| gone())?;
        let inner = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&inner);
            drop(permit);
            done
        });
        task.await.map_err(|_| gone())?
    }

    fn drafts(&self) -> PathBuf {
        self.root.join("draft")
    }

    /// Where a blob is. A name is hexadecimal, so it leads nowhere else.
    fn path(&self, name: BlobName) -> PathBuf {
        let text = name.to_string();
        let (folder, _) = text.split_at(2);
        self.root.join(folder).join(text)
    }
}

/// The directory and the folder of drafts.
fn make_folders(inner: &Inner) -> Result<(), BlobError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(inner.drafts())
        .map_err(BlobError::Unavailable)?;
    files::sync_dir(&inner.root).map_err(BlobError::Unavailable)?;
    if let Some(parent) = inner.root.parent().filter(|it| !it.as_os_str().is_empty()) {
        files::sync_dir(parent).map_err(BlobError::Unavailable)?;
    }
    Ok(())
}

#[async_trait]
impl BlobStore for DirectoryStore {
    async fn begin(&self, put: Put) -> Result<Box<dyn BlobWriter>, BlobError> {
        let draft = self.inner.run(move |inner| {
            let path = inner.path(put.name);
            if path.try_exists()? {
                return Err(BlobError::Taken);
            }
            files::make_folder_of(&path)?;
            let room = files::room(&inner.root)?;
            let floor = inner.options.free_space_floor.min(room.all / 10);
            let promised = inner
                .promises
                .add(put.expected.min(put.bound), room, floor)?;
            Ok((Draft::begin(&inner.drafts(), put)?, promised))
        });
        let (draft, promised) = draft.await?;
        Ok(Box::new(DirectoryWriter {
            store: self.clone(),
            draft: Some(draft),
            promised,
            written: 0,
        }))
    }

    async fn head(&self, name: BlobName) -> Result<BlobInfo, BlobError> {
        let info = self.inner.run(move |inner| {
            let (_, info) = files::open(&inner.path(name), name)?;
            Ok(info)
        });
        info.await
    }

    async fn open(&self, name: BlobName) -> Result<Box<dyn BlobReader>, BlobError> {
        let opened = self
            .inner
            .run(move |inner| files::open(&inner.path(name), name));
        let (file, info) = opened.await?;
        Ok(Box::new(DirectoryReader {
            store: self.clone(),
            file: Arc::new(file),
            info,
        }))
    }

    async fn delete(&self, name: BlobName) -> Result<bool, BlobError> {
        let deleted = self
            .inner
            .run(move |inner| files::remove(&inner.path(name)));
        deleted.await
    }

    async fn list(&self, after: Option<BlobName>, limit: usize) -> Result<BlobPage, BlobError> {
        let limit = limit.clamp(1, LIST_MAX);
        let page = self
            .inner
            .run(move |inner| files::list(&inner.root, after, limit));
        page.await
    }

    async fn sweep(&self) -> Result<usize, BlobError> {
        self.inner.run(|inner| draft::sweep(&inner.drafts())).await
    }

    async fn room(&self) -> Result<Option<Room>, BlobError> {
        let room = self.inner.run(|inner| files::room(&inner.root));
        Ok(Some(room.await?))
    }
}

/// A file that is being written.
#[derive(Debug)]
struct DirectoryWriter {
    store: DirectoryStore,
    /// Taken while a write is on its way, and for good by one that failed or was cancelled.
    draft: Option<Draft>,
    promised: Promised,
    written: u64,
}

#[async_trait]
impl BlobWriter for DirectoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let mut draft = self.draft.take().ok_or_else(broken)?;
        let count = bytes.len() as u64;
        let draft = self.store.inner.run(move |_| {
            draft.write(&bytes)?;
            Ok(draft)
        });
        self.draft = Some(draft.await?);
        self.written += count;
        self.promised.keep(count);
        Ok(())
    }

    fn written(&self) -> u64 {
        self.written
    }

    async fn finish(mut self: Box<Self>) -> Result<BlobInfo, BlobError> {
        let draft = self.draft.take().ok_or_else(broken)?;
        let info = self.store.inner.run(move |inner| {
            let path = inner.path(draft.name());
            draft.publish(&path)
        });
        info.await
    }
}

impl Drop for DirectoryWriter {
    fn drop(&mut self) {
        // To delete a large file takes a while.
        if let (Some(draft), Ok(runtime)) = (self.draft.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(draft));
        }
    }
}

fn broken() -> BlobError {
    BlobError::Unavailable(io::Error::other("an earlier write of this blob failed"))
}

/// A file that is open.
#[derive(Debug)]
struct DirectoryReader {
    store: DirectoryStore,
    file: Arc<File>,
    info: BlobInfo,
}

#[async_trait]
impl BlobReader for DirectoryReader {
    fn info(&self) -> &BlobInfo {
        &self.info
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, BlobError> {
        let left = self.info.size.checked_sub(offset);
        let left = left
            .filter(|_| length <= READ_MAX)
            .ok_or(BlobError::OutOfRange)?;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        let file = Arc::clone(&self.file);
        let bytes = self.store.inner.run(move |_| {
            let mut bytes = vec![0; length];
            let read = file.read_exact_at(&mut bytes, offset);
            read.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => BlobError::Corrupt("shorter than it was"),
                _ => BlobError::Unavailable(error),
            })?;
            Ok(Bytes::from(bytes))
        });
        bytes.await
    }
}
