//! What can be chosen about the embedded store.

use std::time::Duration;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk: the only choice for a store whose acknowledgements mean something.
    #[default]
    Full,
    /// When the operating system has it. Power loss loses acknowledged messages; it exists so that
    /// the power-loss test can show that it would notice.
    Normal,
}

/// Options of [`SqliteStore::open`](super::SqliteStore::open).
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Reading connections (each is a thread), opened on demand.
    pub readers: u32,
    /// When a commit counts as done.
    pub durability: Durability,
    /// How long a statement waits for a lock that a checkpoint or a backup holds.
    pub busy_timeout: Duration,
    /// How long a read waits for a free connection.
    pub acquire_timeout: Duration,
    /// Changes of accounts and settings in one transaction at most; messages wait for one such
    /// transaction at a time.
    pub gathered_changes: usize,
    /// Page cache of the connection that stores messages, KiB.
    pub writer_cache_kib: u32,
    /// Page cache of each reading connection and of the one that stores everything but messages, KiB.
    pub reader_cache_kib: u32,
    /// Write-ahead log in use from which a passive checkpoint runs beside the writer. When nothing is
    /// being written, 1 MiB is enough.
    pub checkpoint_bytes: u64,
    /// Write-ahead log in use from which writes wait for a full checkpoint, so that the log starts
    /// again at its beginning. The file is cut when it has become twice as long.
    pub restart_bytes: u64,
    /// Write-ahead log in use above which writes are refused as unavailable: only a reader that stays
    /// for minutes under load (such as a backup) gets it there.
    pub wal_limit_bytes: u64,
    /// Longest time between two looks at the write-ahead log.
    pub maintenance_interval: Duration,
}

impl SqliteOptions {
    /// Bytes to which the file of the write-ahead log is cut when it starts again.
    pub(crate) fn log_file_bytes(&self) -> i64 {
        i64::try_from(self.restart_bytes.saturating_mul(2)).unwrap_or(i64::MAX)
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            durability: Durability::Full,
            busy_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(3),
            gathered_changes: 64,
            writer_cache_kib: 16 * 1024,
            reader_cache_kib: 2 * 1024,
            // Each checkpoint writes every changed page once, so rarer ones write less: 64 MiB costs a
            // quarter less CPU per message than 16 MiB, and is read in 0.2 s after a crash.
            checkpoint_bytes: 64 << 20,
            restart_bytes: 64 << 20,
            wal_limit_bytes: 1 << 30,
            maintenance_interval: Duration::from_millis(250),
        }
    }
}
