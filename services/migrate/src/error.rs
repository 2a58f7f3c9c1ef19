//! What ends an import.

use std::path::PathBuf;

use im_store::StoreError;
use im_store_mysql::MysqlOpenError;

/// Why data was not moved, or not all of it. What was written stays, and the next import goes on behind it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database of the original is not reached.
    #[error("open the database of the original")]
    Open(#[source] Box<MysqlOpenError>),
    /// It has no such tables.
    #[error("read a TeamTalk database: it has no table {0}")]
    NoTable(String),
    /// A statement fails.
    #[error("read {table} of the original")]
    Read {
        /// Which table.
        table: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A row cannot be read.
    #[error("read row {row} of {table}: {why}")]
    Row {
        /// Which table.
        table: String,
        /// Its key.
        row: u64,
        /// What is wrong.
        why: String,
    },
    /// The store does not take it.
    #[error("write into the store")]
    Store(#[from] StoreError),
    /// A server uses the store.
    #[error("have the store alone: {0} uses it, end its imd first")]
    Busy(String),
    /// The log has messages that this import has not written.
    #[error(
        "go on where the last import ended: the store has {found} messages and the import knows of {known}; it was used since, take a new store"
    )]
    Used {
        /// Messages in the log.
        found: u64,
        /// Of which the import has written so many.
        known: u64,
    },
    /// It has accounts that no import has written.
    #[error("write into a new store: this one has accounts already")]
    NotNew,
    /// A name or row belongs to somebody else.
    #[error("write {0}: a name or place of theirs is that of another in the store")]
    Taken(String),
    /// How far the last import was cannot be read.
    #[error("read how far the last import was: {0}")]
    State(String),
    /// The stream is no archive of a store, or not one that can be used.
    #[error("read an archive of a store: {0}")]
    Archive(String),
    /// It cannot be written.
    #[error("write the archive")]
    WriteArchive(#[source] std::io::Error),
    /// It cannot be read.
    #[error("read the archive")]
    ReadArchive(#[source] std::io::Error),
    /// What was to send or take rows has ended; why, it says itself.
    #[error("go on without the other end")]
    LeftAlone,
    /// A file cannot be read.
    #[error("read {file}")]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of the keys of Redis makes no sense.
    #[error("read line {line} of {file}: {why}")]
    Line {
        /// Which file.
        file: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Somebody has the log now.
    #[error("keep the log meanwhile: another process has taken it")]
    Lost,
}
