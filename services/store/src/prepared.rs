//! A batch of messages that is about to be stored, looked at once for every store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use im_core::time::UnixSeconds;
use im_core::{Conversation, MsgId, UserId};

use crate::{
    AppendBatch, ConversationRow, MessageRow, StoreError, TransferState, TransferredMessages,
};

/// A batch whose positions and ids follow each other.
pub struct Prepared {
    /// As the writer made it.
    pub batch: AppendBatch,
    /// With messages that are taken over: who has read them.
    pub read: Vec<(ConversationRow, [UserId; 2], MsgId)>,
    /// With messages that are taken over: how far that is.
    pub states: Vec<TransferState>,
    /// What happens to each conversation, in the order of their rows.
    pub touched: Vec<(ConversationRow, Touched)>,
}

/// A conversation that the batch adds to.
pub struct Touched {
    /// Newest id before the batch, or the last one of the gap behind it.
    pub before: u32,
    /// When the first of its messages in the batch was stored.
    pub first_time: UnixSeconds,
    /// Where the newest of them stands in the batch.
    pub newest: usize,
}

impl Prepared {
    /// Looks at a batch.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it skips something, or starts a group.
    pub fn of(batch: &AppendBatch) -> Result<Self, StoreError> {
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
            read: Vec::new(),
            states: Vec::new(),
        })
    }

    /// Looks at messages that are taken over.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_transfer(messages: &TransferredMessages) -> Result<Self, StoreError> {
        Ok(Self {
            read: messages.read.clone(),
            states: messages.states.clone(),
            ..Self::of(&messages.batch)?
        })
    }

    /// What happens to a conversation; `None` when it has no message in the batch.
    pub fn touched(&self, row: ConversationRow) -> Option<&Touched> {
        let at = self.touched.binary_search_by_key(&row, |(row, _)| *row);
        let (_, touched) = self.touched.get(at.ok()?)?;
        Some(touched)
    }

    /// A message of the batch.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when there is none at this place.
    pub fn message(&self, at: usize) -> Result<&MessageRow, StoreError> {
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
