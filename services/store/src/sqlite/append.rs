//! Storing a batch of messages: the hot path.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use im_core::Conversation;
use im_core::time::UnixSeconds;

use super::SqliteStore;
use crate::{AppendBatch, ConversationRow, MessageRow, StoreError};

/// A batch whose positions and ids follow each other.
pub(super) struct Prepared {
    pub(super) batch: AppendBatch,
    /// What happens to each conversation, in the order of their rows.
    pub(super) touched: Vec<(ConversationRow, Touched)>,
}

/// A conversation that the batch adds to.
pub(super) struct Touched {
    /// Newest id before the batch, or the last one of the gap behind it.
    pub(super) before: u32,
    /// Of its messages in the batch: when the first was stored, and where the newest stands.
    pub(super) first_time: UnixSeconds,
    pub(super) newest: usize,
}

impl SqliteStore {
    pub(super) async fn append_batch(&self, batch: &AppendBatch) -> Result<(), StoreError> {
        if batch.messages.is_empty() && batch.new_conversations.is_empty() {
            return Ok(());
        }
        let prepared = Prepared::of(batch)?;
        let conversations = prepared.touched.len();
        self.check_wal_limit()?;
        let first = self.inner.writer.lock_first().await;
        let stored = self.inner.appender.append(prepared).await;
        drop(first);
        if stored.is_ok() {
            self.note_growth(batch, conversations);
        }
        stored
    }
}

impl Prepared {
    fn of(batch: &AppendBatch) -> Result<Self, StoreError> {
        if batch
            .new_conversations
            .iter()
            .any(|new| matches!(new.conversation, Conversation::Group(_)))
        {
            return Err(StoreError::Corrupt(
                "a batch starts a group's conversation".into(),
            ));
        }
        Ok(Self {
            touched: touched(batch)?,
            batch: batch.clone(),
        })
    }

    /// What happens to a conversation; `None` when it has no message in the batch.
    pub(super) fn touched(&self, row: ConversationRow) -> Option<&Touched> {
        let at = self.touched.binary_search_by_key(&row, |(row, _)| *row);
        let (_, touched) = self.touched.get(at.ok()?)?;
        Some(touched)
    }

    /// A message of the batch.
    pub(super) fn message(&self, at: usize) -> Result<&MessageRow, StoreError> {
        let message = self.batch.messages.get(at);
        message.ok_or_else(|| StoreError::Corrupt(format!("batch has no message {at}")))
    }
}

/// What happens to each conversation, and whether positions and ids follow each other.
fn touched(batch: &AppendBatch) -> Result<Vec<(ConversationRow, Touched)>, StoreError> {
    let messages = &batch.messages;
    let mut touched: HashMap<ConversationRow, Touched> = HashMap::with_capacity(messages.len());
    let span = batch.fence.span;
    let mut end = span.after();
    for (at, message) in messages.iter().enumerate() {
        end = end.next();
        if message.seq != end {
            return Err(StoreError::Corrupt(format!(
                "batch skips log position {end}"
            )));
        }
        let before = message.msg_id.get() - 1;
        match touched.entry(message.row) {
            Entry::Vacant(entry) => {
                entry.insert(Touched {
                    before,
                    first_time: message.time,
                    newest: at,
                });
            }
            Entry::Occupied(mut entry) => {
                let newest = messages.get(entry.get().newest);
                if newest.is_none_or(|newest| newest.msg_id.get() != before) {
                    let id = message.msg_id.get();
                    return Err(StoreError::Corrupt(format!(
                        "batch skips an id before {id}"
                    )));
                }
                entry.get_mut().newest = at;
            }
        }
    }
    if end != span.through() {
        return Err(StoreError::Corrupt(format!(
            "batch of {span} ends at log position {end}"
        )));
    }
    let mut touched: Vec<_> = touched.into_iter().collect();
    touched.sort_unstable_by_key(|(row, _)| *row);
    Ok(touched)
}
