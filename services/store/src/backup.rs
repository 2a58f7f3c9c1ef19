//! Copies of a store: made while a server runs, checked, and put back.
//!
//! A backup is one database file without a write-ahead log, the store at one moment. A server that goes
//! on writing meanwhile is not held up (`copy`). The file appears under its name only when it is complete, checked and on disk;
//! as a stream (`spool`) it is the same bytes, and its head says how many there are.

mod copy;
mod head;
pub(crate) mod noted;
mod skip;
mod spool;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use im_core::MsgId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::io::AsyncWriteExt as _;

use crate::data_dir::database_of;
use crate::private_file::Draft;
use crate::{DataDir, DataDirError, sqlite};

pub use spool::{BackupCopy, spool};

/// How long the snapshot waits for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const SCHEMA_VERSION: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";

/// Why a backup or a restore failed. Nothing is left behind under the wanted name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Backups never overwrite.
    #[error("write to {}: it exists", .0.display())]
    Exists(PathBuf),
    /// Another process makes a copy of this directory for a stream.
    #[error("write to {}: another backup of this directory is under way", .0.display())]
    Busy(PathBuf),
    /// A copy would fill the file system of the store.
    #[error(
        "copy the store within {}: {free} bytes are free, {needed} are needed, and {keep_free} must \
         stay free", .dir.display()
    )]
    NoRoom {
        /// The data directory.
        dir: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that the store has now.
        needed: u64,
        /// Bytes that are to be left.
        keep_free: u64,
    },
    /// The end is missing.
    #[error(
        "read {}: it ends after {found} of {expected} bytes, so it was cut off: make another backup, \
         or copy it again", .path.display()
    )]
    CutOff {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// What its head says.
        expected: u64,
    },
    /// Only an empty directory is restored into.
    #[error("restore into {}: it is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// There is no store.
    #[error("there is no store in {}", .0.display())]
    NotAStore(PathBuf),
    /// A file is none that a backup wrote.
    #[error("{} is no backup of a store", .0.display())]
    NoBackup(PathBuf),
    /// A later release wrote it.
    #[error(
        "read {}: its schema has version {found}, this release knows up to {known}", .path.display()
    )]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is understood.
        known: i64,
    },
    /// The database contradicts itself.
    #[error("{} is no whole backup of a store: {report}", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// First complaint.
        report: String,
    },
    /// The ids to skip would lead to those that clients use for messages of their own.
    #[error(
        "skip {skip} ids: {conversation} has used or skipped {newest}, and ids end below {}; \
         skip fewer, or none",
        MsgId::CLIENTS_OWN
    )]
    NoIdsLeft {
        /// Whose ids.
        conversation: String,
        /// Its newest id, skipped ones included.
        newest: i64,
        /// How many were to be skipped.
        skip: u32,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DataDirError),
    /// A file could not be read or written.
    #[error("use {}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Copying what changes took so long that the server's log would have grown too much.
    #[error(
        "copy accounts, groups and positions within {:?}",
        copy::SNAPSHOT_LIMIT
    )]
    TooSlow,
    /// The store is on a server, which has tools of its own.
    #[error("back up and restore a store that is on a server {tools}")]
    OnServer {
        /// Which.
        tools: &'static str,
    },
    /// The database could not be read or copied.
    #[error("copy the database")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// Copies the store of a data directory into a new file; a server may be using the directory.
///
/// # Errors
/// There is no store, the file is there already or cannot be written, or what was copied is not whole.
pub async fn backup(data_dir: &Path, to: &Path) -> Result<(), BackupError> {
    let database = source_of(data_dir)?;
    if to.try_exists().map_err(io_error(to))? {
        return Err(BackupError::Exists(to.to_path_buf()));
    }
    // The copy holds password hashes; SQLite accepts an empty file as its target.
    let draft = Draft::beside(to).map_err(io_error(to))?;
    copy::copy(&database, draft.path()).await?;
    check(draft.path(), to).await?;
    publish(draft, to)?;
    noted::note(data_dir);
    Ok(())
}

/// The database of a directory that has a store which this release can read.
fn source_of(data_dir: &Path) -> Result<PathBuf, BackupError> {
    DataDir::check_layout(data_dir)?;
    let database = database_of(data_dir);
    if !database.try_exists().map_err(io_error(&database))? {
        return Err(BackupError::NotAStore(data_dir.to_path_buf()));
    }
    Ok(database)
}

/// Ids that a restore skips in each conversation unless told otherwise.
pub const SKIPPED_IDS: u32 = 100_000;

/// Puts a backup into an empty or missing directory, which no process may be using. Every conversation
/// goes on `skip_ids` above its newest id, since clients may hold messages that the backup does not know;
/// with 0 it goes on where the backup ended.
///
/// # Errors
///
/// As [`restore_stream`], and when there is no such file.
pub async fn restore(from: &Path, data_dir: &Path, skip_ids: u32) -> Result<(), BackupError> {
    if !from.try_exists().map_err(io_error(from))? {
        return Err(BackupError::NoBackup(from.to_path_buf()));
    }
    let source = File::open(from).map_err(io_error(from))?;
    restore_stream(source, from, data_dir, skip_ids).await
}

/// Puts a backup that arrives as a stream into an empty or missing directory, which no process may be
/// using; `name` is what errors call the stream, and `skip_ids` as in [`restore`]. The folder `lost+found`
/// of a new file system counts as nothing.
///
/// # Errors
///
/// The directory is used or not empty; the backup is cut off, damaged, too new or no backup. Nothing of
/// it is in the directory then.
pub async fn restore_stream(
    source: File,
    name: &Path,
    data_dir: &Path,
    skip_ids: u32,
) -> Result<(), BackupError> {
    let dir = DataDir::lock(data_dir)?;
    if !dir.is_empty().map_err(io_error(dir.path()))? {
        return Err(BackupError::NotEmpty(dir.path().to_path_buf()));
    }
    let database = dir.database();
    let draft = Draft::beside(&database).map_err(io_error(&database))?;
    // Bytes only: who may read the backup is no matter of the store.
    let mut target = tokio::fs::OpenOptions::new()
        .write(true)
        .open(draft.path())
        .await
        .map_err(io_error(draft.path()))?;
    tokio::io::copy(&mut tokio::fs::File::from_std(source), &mut target)
        .await
        .map_err(io_error(name))?;
    target.flush().await.map_err(io_error(draft.path()))?;
    is_whole(draft.path(), name)?;
    // What is checked is what will be used, not what it was copied from.
    check(draft.path(), name).await?;
    if skip_ids > 0 {
        skip::skip(draft.path(), skip_ids).await?;
    }
    publish(draft, &database)?;
    Ok(dir.write_version()?)
}

/// Refuses a database that is shorter than its own head says.
fn is_whole(copy: &Path, name: &Path) -> Result<(), BackupError> {
    let mut head = Vec::with_capacity(head::BYTES);
    let limit = u64::try_from(head::BYTES).unwrap_or(u64::MAX);
    let file = File::open(copy).map_err(io_error(copy))?;
    let found = file.metadata().map_err(io_error(copy))?.len();
    file.take(limit)
        .read_to_end(&mut head)
        .map_err(io_error(copy))?;
    match head::database_bytes(&head) {
        Some(expected) if found < expected => Err(BackupError::CutOff {
            path: name.to_path_buf(),
            found,
            expected,
        }),
        // Whatever else it is, the check of the database says.
        _ => Ok(()),
    }
}

/// Whether a file is a whole store of a version that this release knows; `named` is what errors call it.
async fn check(path: &Path, named: &Path) -> Result<(), BackupError> {
    let damaged = |report: String| BackupError::Damaged {
        path: named.to_path_buf(),
        report,
    };
    let mut copy = open(path)
        .await
        .map_err(|error| damaged(error.to_string()))?;
    let row = sqlx::query("PRAGMA integrity_check(1)")
        .fetch_one(&mut copy)
        .await
        .map_err(|error| damaged(error.to_string()))?;
    let report: String = row.try_get(0)?;
    if report != "ok" {
        return Err(damaged(report));
    }
    let found = sqlx::query(SCHEMA_VERSION)
        .fetch_one(&mut copy)
        .await
        .and_then(|row| row.try_get::<Option<i64>, _>(0))
        .ok()
        .flatten()
        .ok_or_else(|| BackupError::NoBackup(named.to_path_buf()))?;
    copy.close().await?;
    let known = sqlite::schema_version();
    if found > known {
        return Err(BackupError::TooNew {
            path: named.to_path_buf(),
            found,
            known,
        });
    }
    Ok(())
}

async fn open(database: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
        .connect()
        .await
}

/// Gives a copy its name, which must be free.
fn publish(draft: Draft, to: &Path) -> Result<(), BackupError> {
    draft.publish(to).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_path_buf()),
        _ => io_error(to)(error),
    })
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_path_buf();
    |source| BackupError::Io { path, source }
}
