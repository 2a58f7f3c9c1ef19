//! A copy that goes out as a stream: made whole and checked before its first byte leaves, so that a slow
//! reader holds up nothing, and what it gets is one moment of the store.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use im_core::Chain;
use nix::sys::statvfs::statvfs;

use crate::data_dir::spool_of;

use super::{BackupError, check, copy, io_error, source_of};

/// Copies the store of a data directory, to be written out as a stream; a server may be using the
/// directory. The copy lies in the data directory, which is what a pod may write, until the value ends.
///
/// `keep_free` bytes of the file system stay free for the server: the copy is not begun where it would
/// leave less.
///
/// # Errors
///
/// There is no store, no room, or another process makes such a copy; the store cannot be read.
pub async fn spool(data_dir: &Path, keep_free: u64) -> Result<BackupCopy, BackupError> {
    let database = source_of(data_dir)?;
    let copy = BackupCopy::reserve(data_dir)?;
    room(data_dir, &database, keep_free)?;
    copy::copy(&database, &copy.path).await?;
    check(&copy.path, data_dir).await?;
    Ok(copy)
}

/// A copy of a store, whole and checked. It is locked while the value lives, and removed with it.
#[derive(Debug)]
pub struct BackupCopy {
    path: PathBuf,
    file: File,
}

impl BackupCopy {
    /// An empty file that this process alone uses.
    fn reserve(data_dir: &Path) -> Result<Self, BackupError> {
        let path = spool_of(data_dir);
        let busy = || BackupError::Busy(path.clone());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(source)) => return Err(io_error(&path)(source)),
        }
        // Whoever had it may have removed it between the opening and the lock.
        let held = file.metadata().map_err(io_error(&path))?;
        let named = fs::metadata(&path).map_err(|_| busy())?;
        if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
            return Err(busy());
        }
        // From here on the name is ours, and goes with the value.
        let copy = Self { path, file };
        copy.file.set_len(0).map_err(io_error(&copy.path))?;
        Ok(copy)
    }

    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// The file system does not say.
    pub fn bytes(&self) -> Result<u64, BackupError> {
        let found = self.file.metadata().map_err(io_error(&self.path))?;
        Ok(found.len())
    }

    /// Writes all of it, and blocks for as long as the reader takes. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// It cannot be read, or `out` takes no more.
    pub fn write_to(mut self, out: &mut impl Write) -> io::Result<u64> {
        let bytes = io::copy(&mut self.file, out)?;
        out.flush()?;
        if let Some(data_dir) = self.path.parent() {
            super::noted::note(data_dir);
        }
        Ok(bytes)
    }
}

impl Drop for BackupCopy {
    fn drop(&mut self) {
        let path = &self.path;
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), error = %Chain(&error), "partial backup left behind");
        }
    }
}

/// Refuses a copy after which the server would have too little room.
fn room(data_dir: &Path, database: &Path, keep_free: u64) -> Result<(), BackupError> {
    let mut needed = 0;
    for suffix in ["", "-wal"] {
        let mut name = database.as_os_str().to_os_string();
        name.push(suffix);
        match fs::metadata(&name) {
            Ok(found) => needed += found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(Path::new(&name))(error)),
        }
    }
    let found = statvfs(data_dir).map_err(|errno| io_error(data_dir)(errno.into()))?;
    let free = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    if free < needed.saturating_add(keep_free) {
        return Err(BackupError::NoRoom {
            dir: data_dir.to_path_buf(),
            free,
            needed,
            keep_free,
        });
    }
    Ok(())
}
