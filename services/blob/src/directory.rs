//! A directory of blobs: one file each, below a folder of the first two digits of its name.
//!
//! A file is written in the folder `draft`, made durable, and then given its name, which never replaces
//! another.

mod files;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::place::DRAFTS;
use crate::spool::{self, Spool, SpoolWriter};
use crate::store::readable;
use crate::{
    BlobError, BlobInfo, BlobName, BlobPage, BlobReader, BlobStore, BlobWriter, DirectoryOptions,
    LIST_MAX, Put, Room,
};

/// Blobs in a directory. Cheap to clone. Several processes may share a directory.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: Arc<Path>,
    spool: Spool,
}

impl DirectoryStore {
    /// Opens a directory, makes it for its owner only if need be, and removes what writers have left that
    /// are no more.
    ///
    /// # Errors
    /// The directory cannot be made, or is not writable.
    pub async fn open(root: &Path, options: DirectoryOptions) -> Result<Self, BlobError> {
        let store = Self {
            root: root.into(),
            spool: Spool::open(root.join(DRAFTS), options).await?,
        };
        store.run(sync_folders).await?;
        store.sweep().await?;
        Ok(store)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let root = Arc::clone(&self.root);
        self.spool.run(move || work(&root)).await
    }
}

/// Where a blob is. A name is hexadecimal, so it leads nowhere else.
fn path_of(root: &Path, name: BlobName) -> PathBuf {
    let text = name.to_string();
    let (folder, _) = text.split_at(2);
    root.join(folder).join(text)
}

/// The folder of drafts and the directory stay where they were made.
fn sync_folders(root: &Path) -> Result<(), BlobError> {
    spool::sync_dir(root).map_err(BlobError::Unavailable)?;
    if let Some(parent) = root.parent().filter(|it| !it.as_os_str().is_empty()) {
        spool::sync_dir(parent).map_err(BlobError::Unavailable)?;
    }
    Ok(())
}

#[async_trait]
impl BlobStore for DirectoryStore {
    async fn begin(&self, put: Put) -> Result<Box<dyn BlobWriter>, BlobError> {
        let target = path_of(&self.root, put.name);
        let path = target.clone();
        let draft = self.spool.begin(put, move |_| {
            if path.try_exists()? {
                return Err(BlobError::Taken);
            }
            files::make_folder_of(&path)
        });
        Ok(Box::new(DirectoryWriter {
            draft: draft.await?,
            target,
        }))
    }

    async fn head(&self, name: BlobName) -> Result<BlobInfo, BlobError> {
        let info = self.run(move |root| {
            let (_, info) = files::open(&path_of(root, name), name)?;
            Ok(info)
        });
        info.await
    }

    async fn open(&self, name: BlobName) -> Result<Box<dyn BlobReader>, BlobError> {
        // What is in memory costs less than the way to another thread and back.
        let (file, info) = match files::open_cached(&path_of(&self.root, name), name) {
            Some(opened) => opened,
            None => {
                let opened = self.run(move |root| files::open(&path_of(root, name), name));
                opened.await?
            }
        };
        Ok(Box::new(DirectoryReader {
            spool: self.spool.clone(),
            file: Arc::new(file),
            info,
        }))
    }

    async fn delete(&self, name: BlobName) -> Result<bool, BlobError> {
        let deleted = self.run(move |root| files::remove(&path_of(root, name)));
        deleted.await
    }

    async fn list(&self, after: Option<BlobName>, limit: usize) -> Result<BlobPage, BlobError> {
        let limit = limit.clamp(1, LIST_MAX);
        let page = self.run(move |root| files::list(root, after, limit));
        page.await
    }

    async fn sweep(&self) -> Result<usize, BlobError> {
        self.spool.sweep().await
    }

    async fn room(&self) -> Result<Option<Room>, BlobError> {
        Ok(Some(self.spool.room().await?))
    }
}

/// A file that is being written.
#[derive(Debug)]
struct DirectoryWriter {
    draft: SpoolWriter,
    target: PathBuf,
}

#[async_trait]
impl BlobWriter for DirectoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.draft.write(bytes).await
    }

    fn written(&self) -> u64 {
        self.draft.written()
    }

    async fn finish(self: Box<Self>) -> Result<BlobInfo, BlobError> {
        let Self { draft, target } = *self;
        draft.publish(target).await
    }
}

/// A file that is open.
#[derive(Debug)]
struct DirectoryReader {
    spool: Spool,
    file: Arc<File>,
    info: BlobInfo,
}

#[async_trait]
impl BlobReader for DirectoryReader {
    fn info(&self) -> &BlobInfo {
        &self.info
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, BlobError> {
        let length = readable(&self.info, offset, length)?;
        if let Some(bytes) = files::read_cached(&self.file, offset, length) {
            return Ok(Bytes::from(bytes));
        }
        let file = Arc::clone(&self.file);
        let bytes = self.spool.run(move || {
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
