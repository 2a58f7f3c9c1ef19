//! Content on its way: a file each in one folder, within the room that its file system has.
//!
//! A draft is written under a lock of its writer. Whatever is in the folder without a lock has no writer
//! any more. File work is done off the threads of the runtime, so many at a time as
//! [`DirectoryOptions::workers`] says.

mod draft;
mod room;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::statvfs::statvfs;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::draft::Draft;
pub(crate) use self::draft::sync_dir;
use self::room::{Promised, Promises};
use crate::{BlobError, BlobInfo, Put, Room};

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

/// A folder of drafts. Cheap to clone. Several processes may share it.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    folder: Arc<Path>,
    options: DirectoryOptions,
    promises: Promises,
    workers: Arc<Semaphore>,
}

impl Spool {
    /// Opens a folder of drafts, and makes it for its owner only if need be.
    pub(crate) async fn open(
        folder: PathBuf,
        options: DirectoryOptions,
    ) -> Result<Self, BlobError> {
        let spool = Self {
            folder: folder.into(),
            options,
            promises: Promises::default(),
            workers: Arc::new(Semaphore::new(options.workers.max(1))),
        };
        let folder = Arc::clone(&spool.folder);
        let made = spool.run(move || {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(&folder).map_err(BlobError::Unavailable)
        });
        made.await?;
        Ok(spool)
    }

    /// Does file work off the runtime's threads. A call that is cancelled has its work done to the end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let permit = Arc::clone(&self.workers).acquire_owned().await;
        let permit = permit.map_err(|_| stopping())?;
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        task.await.map_err(|_| stopping())?
    }

    /// Begins a draft, if there is room for it and `check` agrees.
    pub(crate) async fn begin(
        &self,
        put: Put,
        check: impl FnOnce(&Put) -> Result<(), BlobError> + Send + 'static,
    ) -> Result<SpoolWriter, BlobError> {
        let spool = self.clone();
        let begun = self.run(move || {
            check(&put)?;
            let room = spool.room_now()?;
            let floor = spool.options.free_space_floor.min(room.all / 10);
            let expected = put.expected.min(put.bound);
            let promised = spool.promises.add(expected, room, floor)?;
            Ok((Draft::begin(&spool.folder, put)?, promised))
        });
        let (draft, promised) = begun.await?;
        Ok(SpoolWriter {
            spool: self.clone(),
            draft: Some(draft),
            promised,
            written: 0,
        })
    }

    /// Removes drafts whose writers are no more, and tells how many there were.
    pub(crate) async fn sweep(&self) -> Result<usize, BlobError> {
        let folder = Arc::clone(&self.folder);
        self.run(move || draft::sweep(&folder)).await
    }

    /// Room of the file system.
    pub(crate) async fn room(&self) -> Result<Room, BlobError> {
        let spool = self.clone();
        self.run(move || spool.room_now()).await
    }

    /// For whoever is not the administrator of the file system.
    fn room_now(&self) -> Result<Room, BlobError> {
        let stat = statvfs(&*self.folder).map_err(|errno| BlobError::Unavailable(errno.into()))?;
        let unit = stat.fragment_size();
        Ok(Room {
            free: stat.blocks_available().saturating_mul(unit),
            all: stat.blocks().saturating_mul(unit),
        })
    }
}

fn stopping() -> BlobError {
    BlobError::Unavailable(io::Error::other("the program stops"))
}

/// A draft that is being written; its file goes with it.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    spool: Spool,
    /// Taken while a call is on its way, and for good by one that failed or was cancelled.
    draft: Option<Draft>,
    promised: Promised,
    written: u64,
}

impl SpoolWriter {
    /// As [`BlobWriter::write`](crate::BlobWriter::write).
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let count = bytes.len() as u64;
        self.with(move |draft| draft.write(&bytes)).await?;
        self.written += count;
        self.promised.keep(count);
        Ok(())
    }

    /// Bytes that were added.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes the record behind the content, and tells how long both are. Nothing can be added after it.
    pub(crate) async fn seal(&mut self) -> Result<(BlobInfo, u64), BlobError> {
        self.with(Draft::seal).await
    }

    /// So many bytes of what was written; fewer at the end.
    pub(crate) async fn read(&mut self, offset: u64, length: usize) -> Result<Bytes, BlobError> {
        self.with(move |draft| draft.read(offset, length)).await
    }

    /// Gives the draft a name among the blobs of a directory, durably.
    pub(crate) async fn publish(mut self, target: PathBuf) -> Result<BlobInfo, BlobError> {
        let draft = self.draft.take().ok_or_else(broken)?;
        self.spool.run(move || draft.publish(&target)).await
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Draft) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let mut draft = self.draft.take().ok_or_else(broken)?;
        let done = self.spool.run(move || {
            let done = work(&mut draft)?;
            Ok((draft, done))
        });
        let (draft, done) = done.await?;
        self.draft = Some(draft);
        Ok(done)
    }
}

impl Drop for SpoolWriter {
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
