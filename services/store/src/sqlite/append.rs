//! Storing a batch of messages: the hot path.

use super::SqliteStore;
use crate::{AppendBatch, Prepared, StoreError};

impl SqliteStore {
    pub(super) async fn append_batch(&self, batch: &AppendBatch) -> Result<(), StoreError> {
        if batch.messages.is_empty() && batch.new_conversations.is_empty() {
            return Ok(());
        }
        self.append_prepared(Prepared::of(batch)?).await
    }

    pub(super) async fn append_prepared(&self, prepared: Prepared) -> Result<(), StoreError> {
        let conversations = prepared.touched.len();
        self.check_wal_limit()?;
        let turn = self.inner.writer.lock_first().await;
        let bodies = prepared.batch.messages.iter().map(|m| m.body.len()).sum();
        let rows = prepared.batch.messages.len() + conversations;
        let stored = self.inner.appender.append(prepared, turn).await;
        if stored.is_ok() {
            self.note_growth(bodies, rows);
        }
        stored
    }
}
