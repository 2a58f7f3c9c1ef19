//! The embedded store: one SQLite database, a connection that stores messages, one that writes
//! everything else, a pool of reading ones.
//!
//! *Invariants.* Only these two change the database, behind one lock, so commits have one order. Every write is one transaction with `synchronous=FULL`: when a call
//! returns `Ok` its effect is on disk, when it returns an error nothing of it took effect. A call
//! that is dropped half-way is rolled back before the next write, or stored whole. Nothing a client sent
//! ever becomes part of SQL text.
//!
//! *Memory.* SQLite fills page caches only as pages are touched. The bound is `writer_cache_kib` +
//! (`readers` + 1) × `reader_cache_kib` + 1 MiB for maintenance: 16 + 5 × 2 + 1 = 27 MiB by default, of
//! which an idle store that has just started uses well under 1 MiB. Reading connections, and the one that
//! stores messages, are opened when they are first needed.

mod accounts;
mod administration;
mod announcements;
mod append;
mod appender;
mod audit;
mod bots;
mod change_log;
mod changes;
mod contents;
mod devices;
mod directory;
mod discovery_items;
mod failures;
mod followers;
mod groups;
mod import;
mod incoming;
mod maintenance;
mod messages;
mod meters;
mod open;
mod options;
mod place;
mod retention;
mod rows;
mod sessions;
mod subscriptions;
mod tenures;
mod tokens;
mod transfer;
mod upgrade;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::sync::{Mutex, Notify};

use crate::{ChangeNote, DataDir};

pub use changes::ChangeCounts;
pub use maintenance::{LogUse, Maintenance};
pub(crate) use open::{migrator, schema_version};
pub use options::{Durability, SqliteOptions};
pub(crate) use place::SqlitePlace;
pub(crate) use rows::conversation;

/// A store in a data directory. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) inner: Arc<Inner>,
    /// What every change that is made through this value writes in its transaction.
    note: Option<Arc<ChangeNote>>,
}

pub(crate) struct Inner {
    /// Holds the directory's lock as long as the store lives.
    dir: DataDir,
    options: SqliteOptions,
    pub(crate) writer: writer::Writer,
    pub(crate) appender: appender::Appender,
    changes: changes::Changes,
    readers: SqlitePool,
    maintenance: Mutex<maintenance::State>,
    maintenance_options: SqliteConnectOptions,
    /// What a page takes in the write-ahead log, bytes.
    frame_bytes: u64,
    /// Bytes of the write-ahead log that were in use when they were last looked up, plus an estimate
    /// of what was appended since.
    wal_used: AtomicU64,
    /// A reader keeps the log from starting again, beyond half of its limit.
    wal_held: AtomicBool,
    /// Wakes the maintenance task when the log has grown.
    wal_grown: Notify,
}
