//! A file that is not whole yet.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use im_core::Chain;
use im_core::time::UnixSeconds;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::{BlobError, BlobInfo, BlobName, Put, record};

/// Content on its way, locked by its writer; deleted unless published.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    put: Put,
    hash: blake3::Hasher,
    written: u64,
}

impl Draft {
    /// An empty file for its owner only.
    pub(super) fn begin(folder: &Path, put: Put) -> Result<Self, BlobError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        loop {
            let path = folder.join(BlobName::random().to_string());
            let file = options.open(&path).map_err(unavailable)?;
            file.lock().map_err(BlobError::Unavailable)?;
            // A sweep may have found it before it was locked; then it is not there any more.
            if path.try_exists()? {
                return Ok(Self {
                    file,
                    path,
                    put,
                    hash: blake3::Hasher::new(),
                    written: 0,
                });
            }
        }
    }

    /// Adds bytes, if they stay inside the bound.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let bound = self.put.bound;
        let written = self.written.saturating_add(bytes.len() as u64);
        if written > bound {
            return Err(BlobError::TooLarge { bound });
        }
        self.file.write_all(bytes).map_err(unavailable)?;
        self.hash.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Writes the record behind the content, and tells how long both are.
    pub(super) fn seal(&mut self) -> Result<(BlobInfo, u64), BlobError> {
        let info = BlobInfo {
            name: self.put.name,
            size: self.written,
            blake3: *self.hash.finalize().as_bytes(),
            created: UnixSeconds::now(),
            meta: self.put.meta.clone(),
        };
        let tail = record::tail(&info)?;
        self.file.write_all(&tail).map_err(unavailable)?;
        let length = info.size.saturating_add(tail.len() as u64);
        Ok((info, length))
    }

    /// So many bytes of the file; fewer at its end.
    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Bytes, BlobError> {
        let mut bytes = vec![0; length];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(read as u64);
            match self.file.read_at(rest, at).map_err(unavailable)? {
                0 => break,
                count => read += count,
            }
        }
        bytes.truncate(read);
        Ok(bytes.into())
    }

    /// Makes the file durable and gives it its name, which must be free.
    pub(super) fn publish(mut self, target: &Path) -> Result<BlobInfo, BlobError> {
        let (info, _) = self.seal()?;
        self.file.sync_all().map_err(unavailable)?;
        give_name(&self.path, target)?;
        let folder = target.parent().unwrap_or_else(|| Path::new("."));
        sync_dir(folder).map_err(BlobError::Unavailable)?;
        Ok(info)
    }
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Gives a file its name and never replaces another.
fn give_name(from: &Path, to: &Path) -> Result<(), BlobError> {
    let named = match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Not every file system can do that; those that cannot have links.
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::ENOTSUP) => fs::hard_link(from, to),
        renamed => renamed.map_err(io::Error::from),
    };
    named.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BlobError::Taken,
        _ => unavailable(error),
    })
}

/// A folder that is missing is no blob that is missing.
fn unavailable(error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::NoRoom,
        _ => BlobError::Unavailable(error),
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After it has been published, its path is free.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(error = %Chain(&error), "unfinished blob left behind");
        }
    }
}

/// Removes drafts whose writers are no more, and tells how many there were.
pub(super) fn sweep(folder: &Path) -> Result<usize, BlobError> {
    let mut swept = 0;
    for entry in fs::read_dir(folder).map_err(BlobError::Unavailable)? {
        let path = entry.map_err(BlobError::Unavailable)?.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            // Published or given up meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BlobError::Unavailable(error)),
        };
        match file.try_lock() {
            Ok(()) => {
                // Published under its lock, it is here no more.
                match fs::remove_file(&path) {
                    Ok(()) => swept += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(BlobError::Unavailable(error)),
                }
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(BlobError::Unavailable(error)),
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlobMeta;

    #[test]
    fn a_sweep_removes_what_no_writer_has_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let put = Put {
            name: BlobName::random(),
            meta: BlobMeta::new("", "").unwrap(),
            bound: 10,
            expected: 10,
        };
        let mut living = Draft::begin(folder.path(), put).unwrap();
        living.write(b"half").unwrap();
        fs::write(folder.path().join("left"), "by a process that was killed").unwrap();
        assert_eq!(sweep(folder.path()).unwrap(), 1);
        assert_eq!(sweep(folder.path()).unwrap(), 0);
        let target = folder.path().join("whole");
        assert_eq!(living.publish(&target).unwrap().size, 4);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
