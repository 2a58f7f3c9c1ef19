//! Opening and closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr};
use tokio::sync::{Mutex, Notify};

use super::appender::Appender;
use super::changes::Changes;
use super::maintenance::{self, State};
use super::writer::Writer;
use super::{Durability, Inner, SqliteOptions, SqliteStore};
use crate::{DataDir, StoreError};

/// Size of a page of a new database. A commit writes every page that it touches as a whole, and a small
/// one touches one for its message, one of the index and one for the conversation: with pages of 1 KiB
/// that is half as much as with 4 KiB. A database that exists keeps the size that it has.
const PAGE_BYTES: u32 = 1024;
/// How long writes wait for readers to leave the log when it should start again.
const READER_PATIENCE: Duration = Duration::from_millis(50);
/// Page cache of the maintenance connection, KiB.
const MAINTENANCE_CACHE_KIB: u32 = 1024;

impl SqliteStore {
    /// Opens the database of a data directory, makes it when missing, and brings its schema up to
    /// date.
    ///
    /// # Errors
    /// The database cannot be opened, or is of a later version.
    pub async fn open(dir: DataDir, options: SqliteOptions) -> Result<Self, StoreError> {
        dir.make_database()
            .map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        let writing = write_options(&dir, &options);
        let mut connection = writing.connect().await?;
        migrator()
            .run(&mut connection)
            .await
            .map_err(|e| StoreError::Unavailable(Box::new(e)))?;
        let page: i64 = sqlx::query_scalar("PRAGMA page_size")
            .fetch_one(&mut connection)
            .await?;

        let reading = connect_options(&dir, &options, options.reader_cache_kib).read_only(true);
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .min_connections(0)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(reading);

        let store = Self {
            inner: Arc::new(Inner {
                maintenance_options: connect_options(&dir, &options, MAINTENANCE_CACHE_KIB)
                    .busy_timeout(READER_PATIENCE),
                appender: Appender::new(&dir, &options),
                dir,
                options,
                writer: Writer::new(writing, connection),
                changes: Changes::default(),
                readers,
                maintenance: Mutex::new(State::default()),
                frame_bytes: maintenance::frame_bytes(page),
                wal_used: AtomicU64::new(0),
                wal_held: AtomicBool::new(false),
                wal_grown: Notify::new(),
            }),
            note: None,
        };
        let left_over = store.wal_bytes();
        store.inner.wal_used.store(left_over, Ordering::Relaxed);
        Ok(store)
    }

    /// Free bytes of the file system, and all of them.
    pub(super) async fn look_at_free_space(&self) -> Option<(u64, u64)> {
        let path = self.inner.dir.database();
        let looked = tokio::task::spawn_blocking(move || nix::sys::statvfs::statvfs(&path)).await;
        let Ok(Ok(found)) = looked else {
            return None;
        };
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        Some((bytes(found.blocks_available()), bytes(found.blocks())))
    }

    /// A connection that reads everything, in an order that no index has: what is put in order is in a file.
    pub(super) fn reading_all(&self) -> SqliteConnectOptions {
        let Inner { dir, options, .. } = &*self.inner;
        connect_options(dir, options, options.reader_cache_kib)
            .pragma("temp_store", "FILE")
            .read_only(true)
    }

    /// Where it lives.
    pub fn data_dir(&self) -> &DataDir {
        &self.inner.dir
    }

    /// Closes all connections; the write-ahead log is merged into the database on the way. The store
    /// must not be used afterwards.
    ///
    /// # Errors
    /// The log could not be merged; it is when the store is opened again.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.readers.close().await;
        self.close_maintenance().await?;
        self.inner.appender.close().await;
        self.inner.writer.close().await
    }
}

/// How the database is written, which is made when missing.
pub(super) fn write_options(dir: &DataDir, options: &SqliteOptions) -> SqliteConnectOptions {
    connect_options(dir, options, options.reader_cache_kib)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        // A log that a long reader let grow is cut when it starts again.
        .pragma("journal_size_limit", options.log_file_bytes().to_string())
}

fn connect_options(dir: &DataDir, options: &SqliteOptions, cache_kib: u32) -> SqliteConnectOptions {
    let synchronous = match options.durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Normal => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(dir.database())
        .busy_timeout(options.busy_timeout)
        .synchronous(synchronous)
        .foreign_keys(false)
        // Multi-row updates keep a statement journal; on disk it would double what is written.
        .pragma("temp_store", "MEMORY")
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", format!("-{cache_kib}"))
        .disable_statement_logging()
}

/// Newest version of the schema.
pub(crate) fn schema_version() -> i64 {
    migrator()
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// The schema's history. An applied file is never edited.
pub(crate) fn migrator() -> Migrator {
    let migration = |version: i64, name: &'static str, text: &'static str| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            text.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(vec![
        migration(
            1,
            "initial",
            include_str!("../../migrations/0001_initial.sql"),
        ),
        migration(
            2,
            "logins",
            include_str!("../../migrations/0002_logins.sql"),
        ),
        migration(
            3,
            "stored",
            include_str!("../../migrations/0003_stored.sql"),
        ),
        migration(4, "gaps", include_str!("../../migrations/0004_gaps.sql")),
        migration(5, "part", include_str!("../../migrations/0005_part.sql")),
        migration(6, "api", include_str!("../../migrations/0006_api.sql")),
        migration(
            7,
            "followers",
            include_str!("../../migrations/0007_followers.sql"),
        ),
        migration(8, "hooks", include_str!("../../migrations/0008_hooks.sql")),
        migration(
            9,
            "announcements",
            include_str!("../../migrations/0009_announcements.sql"),
        ),
        migration(
            10,
            "incoming",
            include_str!("../../migrations/0010_incoming.sql"),
        ),
        migration(
            11,
            "changes",
            include_str!("../../migrations/0011_changes.sql"),
        ),
        migration(12, "ready", include_str!("../../migrations/0012_ready.sql")),
        migration(13, "bots", include_str!("../../migrations/0013_bots.sql")),
        migration(
            14,
            "bot_subscriptions",
            include_str!("../../migrations/0014_bot_subscriptions.sql"),
        ),
    ])
}
