//! The store of [`im_store`] on a server that speaks the protocol of MySQL: MariaDB from 10.6 on is tested, MySQL from 8.0 on
//! is written for.
//!
//! Every trait of [`Store`](im_store::Store) and the store's life are there, held against the same contract as the
//! embedded store. [`kind`] makes places of URLs. Backups are left to the database's own tools. The log has one partition, which
//! one process owns at a time: whoever opens the same database later takes it over, and the one before ends.
//!
//! *Invariants.* Every write is one transaction, at the isolation READ COMMITTED, and when a call returns `Ok` it is committed;
//! when it returns an error nothing of it took effect. Messages, groups and members change only under the fence of
//! [`im_order::Fence`], which is a condition inside their transaction. The order of what has a number (the stamps of the
//! directory, the log of changes, ids) is that of commits, since each counter is a row that stays locked up to the
//! commit. Nothing a client sent ever becomes part of SQL text, but as hexadecimal digits.

mod accounts;
mod administration;
mod announcements;
mod append;
mod audit;
mod bots;
mod change;
mod change_log;
mod connect;
mod contents;
mod devices;
mod directory;
mod discovery_items;
mod failures;
mod followers;
mod groups;
mod import;
mod incoming;
mod life;
mod messages;
mod meters;
mod open;
mod open_error;
mod options;
mod password;
mod place;
mod readers;
mod retention;
mod roster;
mod rows;
mod schema;
mod sessions;
mod subscriptions;
mod tenures;
mod tokens;
mod transfer;
mod upgrade;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_core::Cache;
use im_order::Tenure;
use im_store::ChangeNote;
use sqlx::mysql::{MySqlConnection, MySqlPool};
use tokio::time::Instant;

use password::Password;
use readers::Readers;

pub use connect::connect;
pub use open_error::MysqlOpenError;
pub use options::{MysqlOptions, TlsMode};
pub use place::{MysqlServer, kind};

/// A store in a database of its own. Clones share it.
#[derive(Clone)]
pub struct MysqlStore {
    inner: Arc<Inner>,
    /// What every change that is made through this value writes in its transaction.
    note: Option<Arc<ChangeNote>>,
}

struct Inner {
    options: MysqlOptions,
    /// What is said on a connection before it writes.
    session: String,
    readers: Readers,
    changers: MySqlPool,
    /// Followed while the store is open, if it comes from a file.
    password: Option<Password>,
    /// The connection that stores messages, one batch at a time, and when it did so last; opened when it is needed.
    appender: tokio::sync::Mutex<Option<(MySqlConnection, Instant)>>,
    /// Numbers of conversations by what the writer calls them.
    numbers: Mutex<Cache<i64, u64>>,
    changes: change::Changes,
    /// In whose name the log is taken, and its first tenure; nobody's for a store that is not shared.
    taker: Mutex<Option<(roster::Taker, Tenure)>>,
    /// Longest text of statements, bytes.
    max_text: usize,
}

impl Inner {
    fn taker(&self) -> MutexGuard<'_, Option<(roster::Taker, Tenure)>> {
        // Replaced as a whole.
        self.taker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
