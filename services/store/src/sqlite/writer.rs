//! The one writing connection.

use im_core::Chain;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use super::append::{self, Texts};
use super::rows::unavailable;
use crate::StoreError;

/// Owns the connection and hands it to one call at a time. Messages come first: of everything else one
/// call at a time stands with them, so that their next commit waits for one of those at most.
pub(crate) struct Writer {
    options: SqliteConnectOptions,
    /// Held by whoever is not storing messages.
    others: Mutex<()>,
    slot: Mutex<Slot>,
}

struct Slot {
    /// `None` after an error that left the connection in doubt: the next call opens another.
    connection: Option<SqliteConnection>,
    /// A batch was begun and not seen to end: roll back before anything else.
    in_doubt: bool,
    texts: Texts,
}

/// Exclusive use of the writing connection.
pub(crate) struct WriteGuard<'a> {
    slot: MutexGuard<'a, Slot>,
    _others: Option<MutexGuard<'a, ()>>,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        let slot = Slot {
            connection: Some(connection),
            in_doubt: false,
            texts: Texts::default(),
        };
        Self {
            options,
            others: Mutex::new(()),
            slot: Mutex::new(slot),
        }
    }

    /// Waits for the turn behind everybody; the connection has no open transaction.
    pub(crate) async fn lock(&self) -> Result<WriteGuard<'_>, StoreError> {
        let others = self.others.lock().await;
        self.guard(Some(others)).await
    }

    /// The same for messages, which wait for nobody who has not begun.
    pub(crate) async fn lock_first(&self) -> Result<WriteGuard<'_>, StoreError> {
        self.guard(None).await
    }

    async fn guard<'a>(
        &'a self,
        others: Option<MutexGuard<'a, ()>>,
    ) -> Result<WriteGuard<'a>, StoreError> {
        let mut slot = self.slot.lock().await;
        if slot.in_doubt {
            roll_back(&mut slot).await;
        }
        if slot.connection.is_none() {
            let mut connection = self.options.connect().await?;
            append::prepare(&mut connection).await?;
            slot.connection = Some(connection);
        }
        Ok(WriteGuard {
            slot,
            _others: others,
        })
    }

    /// Closes the connection; later calls open another.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.connection.take() {
            connection.close().await?;
        }
        Ok(())
    }
}

impl WriteGuard<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.slot
            .connection
            .as_mut()
            .ok_or_else(|| unavailable("the writing connection is closed"))
    }

    /// Begins a transaction that ends with its value unless committed.
    pub(super) async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        Ok(self.connection()?.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Connection and statement texts for a batch that brings its own BEGIN and COMMIT. From here
    /// until [`Self::batch_done`] the connection is in doubt.
    pub(super) fn batch(&mut self) -> Result<(&mut SqliteConnection, &mut Texts), StoreError> {
        let slot = &mut *self.slot;
        slot.in_doubt = true;
        let connection = slot
            .connection
            .as_mut()
            .ok_or_else(|| unavailable("the writing connection is closed"))?;
        Ok((connection, &mut slot.texts))
    }

    /// The batch was committed.
    pub(super) fn batch_done(&mut self) {
        self.slot.in_doubt = false;
    }

    /// The batch failed: undo it now rather than at the next write.
    pub(super) async fn batch_failed(&mut self) {
        roll_back(&mut self.slot).await;
    }
}

/// Leaves the slot with a connection that has no transaction, or without one.
async fn roll_back(slot: &mut Slot) {
    slot.in_doubt = true;
    if let Some(connection) = slot.connection.as_mut() {
        // SQLite has often rolled back already and then objects; whether that is so shows when a
        // transaction can be begun and ended.
        drop(connection.execute("ROLLBACK").await);
        if let Err(error) = connection.execute("BEGIN; ROLLBACK").await {
            tracing::warn!(error = %Chain(&error), "writing connection replaced");
            slot.connection = None;
        }
    }
    slot.in_doubt = false;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use crate::testing::TempStore;

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
                let _guard = if is_message {
                    writer.lock_first().await.unwrap()
                } else {
                    writer.lock().await.unwrap()
                };
                order.lock().unwrap().push(is_message);
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
