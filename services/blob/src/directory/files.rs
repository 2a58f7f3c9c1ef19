//! Files of a directory of blobs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::spool::sync_dir;
use crate::{BlobError, BlobInfo, BlobName, BlobPage, record};

/// Makes the folder of a blob, so that finishing it has no other name to make durable than its own.
pub(super) fn make_folder_of(path: &Path) -> Result<(), BlobError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => sync_dir(folder.parent().unwrap_or(folder)).map_err(BlobError::Unavailable),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(BlobError::Unavailable(error)),
    }
}

/// Opens a blob and reads its record. A link in its place is not followed.
pub(super) fn open(path: &Path, name: BlobName) -> Result<(File, BlobInfo), BlobError> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    let (length, tail) = tail_of(&file)?;
    let mut last = vec![0; tail.count];
    file.read_exact_at(&mut last, tail.offset)?;
    let info = record::read_tail(name, length, &last)?;
    Ok((file, info))
}

/// The same as far as the kernel has all of it in memory, so that nobody waits for a disk; nothing where it
/// has not, or where something is wrong with the blob.
pub(super) fn open_cached(path: &Path, name: BlobName) -> Option<(File, BlobInfo)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
    let file = File::from(opened.ok()?);
    let (length, tail) = tail_of(&file).ok()?;
    let last = read_cached(&file, tail.offset, tail.count)?;
    let info = record::read_tail(name, length, &last).ok()?;
    Some((file, info))
}

/// So many bytes of a file, if the kernel has all of them in memory (`RWF_NOWAIT`).
pub(super) fn read_cached(file: &File, offset: u64, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    let into = &mut [IoSliceMut::new(&mut bytes)];
    let read = preadv2(file, into, offset, ReadWriteFlags::NOWAIT).ok()?;
    (read == count).then_some(bytes)
}

/// Where the last bytes of a file are.
struct Tail {
    offset: u64,
    count: usize,
}

fn tail_of(file: &File) -> io::Result<(u64, Tail)> {
    let length = file.metadata()?.len();
    let count = length.min(record::TAIL_BYTES as u64);
    let tail = Tail {
        offset: length - count,
        count: usize::try_from(count).unwrap_or_default(),
    };
    Ok((length, tail))
}

/// Deletes a blob for good.
pub(super) fn remove(path: &Path) -> Result<bool, BlobError> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(BlobError::Unavailable(error)),
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    sync_dir(folder).map_err(BlobError::Unavailable)?;
    Ok(true)
}

/// A page of blobs, folder by folder: at most one folder's names are held at a time.
pub(super) fn list(
    root: &Path,
    after: Option<BlobName>,
    limit: usize,
) -> Result<BlobPage, BlobError> {
    let mut page = BlobPage::default();
    let start = after.map_or(0, |name| name.as_bytes().first().copied().unwrap_or(0));
    for first in start..=u8::MAX {
        let folder = root.join(format!("{first:02x}"));
        let names = names(&folder).map_err(BlobError::Unavailable)?;
        for name in names
            .into_iter()
            .filter(|name| after.is_none_or(|it| it < *name))
        {
            if page.blobs.len() == limit {
                page.next = page.blobs.last().map(|blob| blob.name);
                return Ok(page);
            }
            match open(&folder.join(name.to_string()), name) {
                Ok((_, info)) => page.blobs.push(info),
                // Deleted meanwhile.
                Err(BlobError::NotFound) => {}
                Err(BlobError::Corrupt(_)) => page.corrupt += 1,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(page)
}

/// Names of blobs in one folder, in order. What has another name is none of ours.
fn names(folder: &Path) -> io::Result<Vec<BlobName>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // No blob has needed it yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|text| text.parse::<BlobName>().ok()));
    }
    names.sort_unstable();
    Ok(names)
}
