//! Keeping the write-ahead log short without holding up the writer.
//!
//! A passive checkpoint copies what it can beside the writer, but the log starts again at its
//! beginning only when a checkpoint has caught up with it completely, which never happens under
//! constant load. So, above [`SqliteOptions::restart_bytes`](super::SqliteOptions), writes wait while
//! a second checkpoint copies the little that came during the first. The file keeps its size: writing
//! over it costs far less to make durable than growing it.
//!
//! A reader that stays keeps the log from starting again. Above
//! [`SqliteOptions::wal_limit_bytes`](super::SqliteOptions) appends are refused until it has gone.

use std::sync::atomic::Ordering;

use im_core::Chain;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection as _, Row};
use tokio_util::sync::CancellationToken;

use super::SqliteStore;
use super::rows::unavailable;
use crate::StoreError;

/// What maintenance keeps between rounds.
#[derive(Default)]
pub(super) struct State {
    /// The connection that checkpoints, opened when first needed.
    connection: Option<SqliteConnection>,
    /// A reader kept the log from starting again: do not hold up writes for another try before the
    /// log has grown to this.
    retry_at: u64,
    /// Bytes of the log in use at the last look: the same number twice means that it is quiet.
    used: u64,
    /// It was said that a reader holds the log.
    warned: bool,
}

/// The write-ahead log at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogUse {
    /// Bytes in use, as last looked up and estimated since.
    pub bytes: u64,
    /// Bytes above which nothing is stored.
    pub limit: u64,
    /// Whether a reader keeps it from starting again, and it is beyond half of the limit.
    pub held: bool,
}

/// What [`SqliteStore::maintain`] found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Bytes of the write-ahead log in use before.
    pub used_before: u64,
    /// Bytes that are not yet in the database file afterwards.
    pub pending: u64,
    /// Whether the log will start again at its beginning.
    pub restarted: bool,
}

/// Bytes of the log and those already copied into the database.
#[derive(Clone, Copy)]
struct Extent {
    log: u64,
    copied: u64,
}

/// A frame of the log is a page and this.
const FRAME_HEADER_BYTES: u64 = 24;
/// Bytes of log that a stored message or conversation adds, apart from bodies: its share of
/// rewritten pages. A rough guess that a look at the log soon replaces.
const ROW_BYTES: u64 = 1024;

/// What is copied when nothing else is going on, so that a restart finds little to read.
const QUIET_BYTES: u64 = 1 << 20;
/// Passive checkpoints before writes have to wait for the rest.
const MORE_PASSES: u32 = 3;
/// A rest of this size is copied in a few milliseconds.
const SHORT_WAIT_BYTES: u64 = 2 << 20;

const LOOK: &str = "PRAGMA wal_checkpoint(NOOP)";
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const RESTART: &str = "PRAGMA wal_checkpoint(RESTART)";

/// Bytes that a page of this size takes in the log.
pub(super) fn frame_bytes(page: i64) -> u64 {
    u64::try_from(page).unwrap_or_default() + FRAME_HEADER_BYTES
}

impl SqliteStore {
    /// Size of the write-ahead log's file; 0 when there is none.
    pub fn wal_bytes(&self) -> u64 {
        let mut path = self.inner.dir.database().into_os_string();
        path.push("-wal");
        std::fs::metadata(path).map_or(0, |file| file.len())
    }

    /// Maintains the store until told to stop. Errors are logged and the next round tries again.
    pub async fn run_maintenance(&self, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let wait = async {
                tokio::select! {
                    () = self.inner.wal_grown.notified() => {}
                    () = tokio::time::sleep(self.inner.options.maintenance_interval) => {}
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
            match self.maintain().await {
                Ok(_) => failing = false,
                Err(error) if failing => {
                    tracing::debug!(error = %Chain(&error), "maintenance failed again");
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "maintenance failed");
                    failing = true;
                }
            }
        }
    }

    /// One round: checkpoints if the write-ahead log has grown enough.
    ///
    /// # Errors
    /// The database does not answer; the next round tries again.
    pub async fn maintain(&self) -> Result<Maintenance, StoreError> {
        let options = &self.inner.options;
        let mut state = self.inner.maintenance.lock().await;
        let before = self.checkpoint(&mut state, LOOK).await?;
        let used = before.log;
        let mut done = Maintenance {
            used_before: used,
            pending: before.pending(),
            restarted: false,
        };
        if done.pending == 0 {
            // The next write starts the log again by itself.
            state.retry_at = 0;
            self.inner.wal_used.store(0, Ordering::Relaxed);
            self.watch_reader(&mut state, 0);
            return Ok(done);
        }
        let quiet = used == std::mem::replace(&mut state.used, used);
        if done.pending >= options.checkpoint_bytes
            || used >= options.restart_bytes
            || (quiet && done.pending >= QUIET_BYTES)
        {
            done.pending = self.checkpoint(&mut state, PASSIVE).await?.pending();
        }
        if used >= options.restart_bytes.max(state.retry_at) {
            // What came during one pass is less to copy in the next, so that writes wait for little.
            for _ in 0..MORE_PASSES {
                if done.pending <= SHORT_WAIT_BYTES {
                    break;
                }
                done.pending = self.checkpoint(&mut state, PASSIVE).await?.pending();
            }
            let writer = self.inner.writer.lock().await?;
            let last = self.checkpoint(&mut state, RESTART).await;
            drop(writer);
            done.pending = last?.pending();
            done.restarted = done.pending == 0;
            state.retry_at = if done.restarted {
                0
            } else {
                used + options.checkpoint_bytes
            };
        }
        let used = if done.pending == 0 { 0 } else { used };
        self.inner.wal_used.store(used, Ordering::Relaxed);
        self.watch_reader(&mut state, used);
        Ok(done)
    }

    /// How far the write-ahead log has grown.
    pub fn log_use(&self) -> LogUse {
        LogUse {
            bytes: self.inner.wal_used.load(Ordering::Relaxed),
            limit: self.inner.options.wal_limit_bytes,
            held: self.inner.wal_held.load(Ordering::Relaxed),
        }
    }

    /// Says once that a reader holds the log beyond half of its limit.
    fn watch_reader(&self, state: &mut State, used: u64) {
        let limit = self.inner.options.wal_limit_bytes;
        let held = used > limit / 2;
        self.inner.wal_held.store(held, Ordering::Relaxed);
        if held && !state.warned {
            tracing::warn!(
                used,
                limit,
                "a reader keeps the write-ahead log from starting again: at its limit nothing is stored"
            );
        }
        state.warned = held;
    }

    /// Refuses writes while the log is above its limit.
    pub(super) fn check_wal_limit(&self) -> Result<(), StoreError> {
        if self.inner.wal_used.load(Ordering::Relaxed) <= self.inner.options.wal_limit_bytes {
            return Ok(());
        }
        self.inner.wal_grown.notify_one();
        Err(unavailable("the write-ahead log is above its limit"))
    }

    /// Adds to the estimate and wakes the maintenance task when it matters.
    pub(super) fn note_growth(&self, bodies: usize, rows: usize) {
        let grown = u64::try_from(bodies).unwrap_or(u64::MAX)
            + ROW_BYTES * u64::try_from(rows).unwrap_or(u64::MAX)
            + self.inner.frame_bytes;
        let before = self.inner.wal_used.fetch_add(grown, Ordering::Relaxed);
        let step = self.inner.options.checkpoint_bytes.max(1);
        if before / step != (before + grown) / step {
            self.inner.wal_grown.notify_one();
        }
    }

    pub(super) async fn close_maintenance(&self) -> Result<(), StoreError> {
        if let Some(connection) = self.inner.maintenance.lock().await.connection.take() {
            connection.close().await?;
        }
        Ok(())
    }

    async fn checkpoint(
        &self,
        state: &mut State,
        statement: &'static str,
    ) -> Result<Extent, StoreError> {
        let mut connection = match state.connection.take() {
            Some(connection) => connection,
            None => self.inner.maintenance_options.connect().await?,
        };
        let row = sqlx::query(statement).fetch_one(&mut connection).await?;
        // A connection that failed is not put back.
        state.connection = Some(connection);
        // -1 when there is no log yet.
        let bytes = |at| -> Result<u64, StoreError> {
            let frames = u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or(0);
            Ok(frames * self.inner.frame_bytes)
        };
        Ok(Extent {
            log: bytes(1)?,
            copied: bytes(2)?,
        })
    }
}

impl Extent {
    fn pending(self) -> u64 {
        self.log.saturating_sub(self.copied)
    }
}
