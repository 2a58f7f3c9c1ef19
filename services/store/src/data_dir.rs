//! The data directory of an embedded store: who may use it, and which layout it has.
//!
//! `lock` is locked exclusively as long as a process uses the directory and holds that process's id;
//! `version` holds the layout's number; `im.db` is the database; `backup.partial` is a copy of it while
//! a backup leaves as a stream. The directory is made with mode 0700, and in one that existed every file
//! has mode 0600: it holds password hashes and messages.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Layout that this program reads and writes.
const VERSION: u32 = 1;

const LOCK_FILE: &str = "lock";
const VERSION_FILE: &str = "version";
const DATABASE_FILE: &str = "im.db";
const SPOOL_FILE: &str = "backup.partial";

/// Files of a store; SQLite gives those beside the database its permissions.
const OPEN_FILES: [&str; 5] = [
    LOCK_FILE,
    VERSION_FILE,
    DATABASE_FILE,
    "im.db-wal",
    "im.db-shm",
];

/// Folder for what a check of the file system finds; a new one may have it, and only root looks inside.
const LOST_AND_FOUND: &str = "lost+found";

/// Mode of files that only their owner reads.
const PRIVATE: u32 = 0o600;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process uses it.
    #[error("another process{} holds {}", pid_text(*.pid), .dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process, if it has left its id.
        pid: Option<u32>,
    },
    /// A later release wrote it.
    #[error(
        "{} has layout version {found}, this release knows up to {VERSION}: use the release that \
         wrote it, or a later one", .dir.display()
    )]
    TooNew {
        /// The directory.
        dir: PathBuf,
        /// What its version file says.
        found: u32,
    },
    /// The version file holds no number.
    #[error("read a number from {}", .file.display())]
    BadVersion {
        /// The version file.
        file: PathBuf,
    },
    /// Others may put files into it.
    #[error(
        "{} may be written by others than its owner (mode {mode:03o}): chmod go-w it, or take another \
         directory", .dir.display()
    )]
    Writable {
        /// The directory.
        dir: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is something else.
    #[error("{} is no folder: name another one for the data", .path.display())]
    NoFolder {
        /// What was named.
        path: PathBuf,
    },
    /// A file could not be read, written or locked.
    #[error("use {}", .path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// A locked data directory. Clones share the lock; it ends with the last one.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: Arc<Path>,
    _lock: Arc<File>,
}

impl DataDir {
    /// Opens a directory, makes it when missing, and locks it.
    ///
    /// Blocks on the file system for a moment: meant for the start of a process.
    ///
    /// # Errors
    /// It cannot be made or locked, another process has it, or what is in it is no data of this version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        let dir = Self::lock(path.as_ref())?;
        clear_spool(dir.path())?;
        if !Self::check_layout(dir.path())? {
            dir.write_version()?;
        }
        Ok(dir)
    }

    /// Makes a directory when it is missing, for its owner only and durably.
    ///
    /// # Errors
    /// Something else has its name, or it cannot be made.
    pub fn make(path: &Path) -> Result<(), DataDirError> {
        let found = fs::metadata(path);
        if found.is_ok_and(|found| !found.is_dir()) {
            return Err(DataDirError::NoFolder {
                path: path.to_path_buf(),
            });
        }
        make_durably(path).map_err(|source| DataDirError::Io {
            path: path.to_path_buf(),
            source,
        })
    }

    /// Refuses a directory in which others than its owner may put files: they could put theirs in place
    /// of ours. One that is missing is fine.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Writable`], and [`DataDirError::Io`] when its mode cannot be read.
    pub fn refuse_writable_by_others(path: &Path) -> Result<(), DataDirError> {
        let mode = match fs::metadata(path) {
            Ok(found) => found.permissions().mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(DataDirError::Io {
                    path: path.to_path_buf(),
                    source,
                });
            }
        };
        if mode & 0o022 != 0 {
            return Err(DataDirError::Writable {
                dir: path.to_path_buf(),
                mode,
            });
        }
        Ok(())
    }

    /// Takes the right to read from files that an earlier release left open to others.
    fn close_to_others(dir: &Path) -> Result<(), DataDirError> {
        for name in OPEN_FILES {
            let path = dir.join(name);
            match fs::set_permissions(&path, fs::Permissions::from_mode(PRIVATE)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(DataDirError::Io { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes an empty database file when there is none, before SQLite makes one for everybody. SQLite
    /// gives the files beside it the same mode.
    pub(crate) fn make_database(&self) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE)
            .open(self.database())?;
        Ok(())
    }

    /// Whether a directory has a version file; an error when this release cannot use the layout.
    pub(crate) fn check_layout(dir: &Path) -> Result<bool, DataDirError> {
        let file = dir.join(VERSION_FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(DataDirError::Io { path: file, source }),
        };
        match text.trim().parse() {
            Ok(found) if found > VERSION => Err(DataDirError::TooNew {
                dir: dir.to_path_buf(),
                found,
            }),
            Ok(1..) => Ok(true),
            Ok(0) | Err(_) => Err(DataDirError::BadVersion { file }),
        }
    }

    /// Makes the directory when missing and locks it, whatever it holds.
    pub(crate) fn lock(path: &Path) -> Result<Self, DataDirError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            |source| DataDirError::Io { path, source }
        };
        Self::make(path)?;
        let path = path.canonicalize().map_err(io(path))?;
        Self::close_to_others(&path)?;
        let lock_file = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE)
            .open(&lock_file)
            .map_err(io(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = lock
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(DataDirError::Held { dir: path, pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(DataDirError::Io {
                    path: lock_file,
                    source,
                });
            }
        }
        // Only for the message above, so a full disk is no reason to refuse.
        drop(write_pid(&mut lock));
        Ok(Self {
            path: path.into(),
            _lock: Arc::new(lock),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        database_of(&self.path)
    }

    /// Whether there is nothing in it but the lock and what a new file system has.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_new = name == LOST_AND_FOUND && entry.file_type()?.is_dir();
            if name != LOCK_FILE && !is_new {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the version file durably.
    pub(crate) fn write_version(&self) -> Result<(), DataDirError> {
        let file = self.path.join(VERSION_FILE);
        let write = || {
            let mut out = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(PRIVATE)
                .open(&file)?;
            writeln!(out, "{VERSION}")?;
            out.sync_all()?;
            sync_dir(&self.path)
        };
        write().map_err(|source| DataDirError::Io {
            path: file.clone(),
            source,
        })
    }
}

/// Makes a directory and those above it that are missing, each with its name on disk.
fn make_durably(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        if dir.try_exists()? {
            break;
        }
        missing.push(dir);
    }
    while let Some(dir) = missing.pop() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let parent = dir.parent().filter(|it| !it.as_os_str().is_empty());
        sync_dir(parent.unwrap_or_else(|| Path::new(".")))?;
    }
    // Says what is wrong with a path that is no directory.
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The database file of a directory that this process need not hold.
pub(crate) fn database_of(dir: &Path) -> PathBuf {
    dir.join(DATABASE_FILE)
}

/// The copy that a backup makes in a directory before it is written out as a stream.
pub(crate) fn spool_of(dir: &Path) -> PathBuf {
    dir.join(SPOOL_FILE)
}

/// Removes the copy that a killed backup has left; one that is under way holds its lock.
fn clear_spool(dir: &Path) -> Result<(), DataDirError> {
    let path = spool_of(dir);
    let clear = || match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) => match file.try_lock() {
            Ok(()) => fs::remove_file(&path),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error),
        },
    };
    clear().map_err(|source| DataDirError::Io {
        path: path.clone(),
        source,
    })
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn makes_the_directory_for_its_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let dir = DataDir::open(&path).unwrap();
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_to_string(path.join("version")).unwrap(), "1\n");
    }

    #[test]
    fn files_are_for_their_owner_only_also_in_a_directory_that_existed() {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // As an earlier release has left it.
        fs::write(temp.path().join("im.db"), "").unwrap();
        fs::set_permissions(temp.path().join("im.db"), fs::Permissions::from_mode(0o644)).unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        dir.make_database().unwrap();
        for name in ["lock", "version", "im.db"] {
            let mode = fs::metadata(temp.path().join(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused_with_its_mode() {
        let temp = tempfile::tempdir().unwrap();
        let with_mode = |mode| {
            fs::set_permissions(temp.path(), fs::Permissions::from_mode(mode)).unwrap();
            DataDir::refuse_writable_by_others(temp.path()).map_err(|error| error.to_string())
        };
        for mode in [0o700, 0o755, 0o750] {
            assert_eq!(with_mode(mode), Ok(()));
        }
        for mode in [0o777, 0o775, 0o702] {
            let error = with_mode(mode).unwrap_err();
            assert!(error.contains(&format!("mode {mode:03o}")), "{error}");
        }
        DataDir::refuse_writable_by_others(&temp.path().join("missing")).unwrap();
    }

    #[test]
    fn a_second_opener_is_told_who_holds_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        let first = DataDir::open(temp.path()).unwrap();
        let clone = first.clone();
        drop(first);
        let error = DataDir::open(temp.path()).unwrap_err().to_string();
        let wanted = format!("another process (pid {}) holds ", std::process::id());
        assert!(error.starts_with(&wanted), "{error}");
        assert!(
            error.ends_with(temp.path().file_name().unwrap().to_str().unwrap()),
            "{error}"
        );
        drop(clone);
        DataDir::open(temp.path()).unwrap();
    }

    #[test]
    fn refuses_the_layout_of_a_later_release() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("version"), "2\n").unwrap();
        let error = DataDir::open(temp.path()).unwrap_err().to_string();
        assert!(
            error.contains("layout version 2, this release knows up to 1"),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(temp.path().join("version")).unwrap(),
            "2\n"
        );
    }

    #[test]
    fn refuses_a_version_file_without_a_version() {
        let temp = tempfile::tempdir().unwrap();
        for text in ["", "0", "-1", "one"] {
            fs::write(temp.path().join("version"), text).unwrap();
            let error = DataDir::open(temp.path()).unwrap_err();
            assert!(
                matches!(error, DataDirError::BadVersion { .. }),
                "{text}: {error}"
            );
        }
    }
}
