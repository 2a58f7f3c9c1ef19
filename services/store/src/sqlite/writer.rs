//! The connection that writes everything but messages, and the lock of all writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

use super::rows::unavailable;
use crate::StoreError;

/// Owns the connection and hands it to one call at a time. Messages come first: of everything else one
/// call at a time stands with them, so that their next commit waits for one of those at most.
pub(crate) struct Writer {
    options: SqliteConnectOptions,
    /// Held by whoever is not storing messages.
    others: Mutex<()>,
    /// Held by whoever writes.
    slot: Arc<Mutex<Option<SqliteConnection>>>,
    /// No transaction could be begun: the next call opens another connection.
    in_doubt: AtomicBool,
}

/// Exclusive use of the writing connection.
pub(crate) struct WriteGuard<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    in_doubt: &'a AtomicBool,
    _others: MutexGuard<'a, ()>,
}

/// Nobody else writes while it lives. It goes with a batch to the thread that stores it, since whoever
/// asked may be gone before that has begun.
pub(crate) struct Turn {
    _slot: OwnedMutexGuard<Option<SqliteConnection>>,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self {
            options,
            others: Mutex::new(()),
            slot: Arc::new(Mutex::new(Some(connection))),
            in_doubt: AtomicBool::new(false),
        }
    }

    /// Waits for the turn behind everybody; the connection has no open transaction.
    pub(crate) async fn lock(&self) -> Result<WriteGuard<'_>, StoreError> {
        let others = self.others.lock().await;
        let mut slot = self.slot.lock().await;
        if self.in_doubt.swap(false, Ordering::Relaxed) {
            tracing::warn!("writing connection replaced");
            *slot = None;
        }
        if slot.is_none() {
            *slot = Some(self.options.connect().await?);
        }
        Ok(WriteGuard {
            slot,
            in_doubt: &self.in_doubt,
            _others: others,
        })
    }

    /// For messages, which wait for nobody who has not begun, and have a connection of their own.
    pub(crate) async fn lock_first(&self) -> Turn {
        Turn {
            _slot: Arc::clone(&self.slot).lock_owned().await,
        }
    }

    /// Closes the connection; later calls open another.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.take() {
            connection.close().await?;
        }
        Ok(())
    }
}

impl WriteGuard<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.slot
            .as_mut()
            .ok_or_else(|| unavailable("the writing connection is closed"))
    }

    /// Begins a transaction that ends with its value unless committed.
    pub(super) async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        let in_doubt = self.in_doubt;
        let begun = self.connection()?.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| {
            in_doubt.store(true, Ordering::Relaxed);
            error.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sqlx::Executor as _;

    use crate::testing::TempStore;

    #[tokio::test]
    async fn a_connection_on_which_nothing_can_be_begun_is_replaced() {
        let temp = TempStore::open().await;
        let writer = &temp.store.inner.writer;
        let mut guard = writer.lock().await.unwrap();
        // As if the end of a transaction had been lost.
        let connection = guard.connection().unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        assert!(guard.begin().await.is_err());
        drop(guard);
        let mut guard = writer.lock().await.unwrap();
        guard.begin().await.unwrap().commit().await.unwrap();
    }

    #[tokio::test]
    async fn messages_wait_for_nobody_who_has_not_begun() {
        let temp = TempStore::open().await;
        let store = &temp.store;
        let order = Arc::new(Mutex::new(Vec::new()));
        let begun = store.inner.writer.lock().await.unwrap();
        let mut tasks = Vec::new();
        for is_message in [false, false, false, true] {
            let (store, order) = (store.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let writer = &store.inner.writer;
                if is_message {
                    let _guard = writer.lock_first().await;
                    order.lock().unwrap().push(is_message);
                } else {
                    let _guard = writer.lock().await.unwrap();
                    order.lock().unwrap().push(is_message);
                }
            }));
            tokio::task::yield_now().await;
        }
        drop(begun);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [true, false, false, false]);
    }
}
