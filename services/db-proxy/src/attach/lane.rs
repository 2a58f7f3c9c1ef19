//! Messages of one link on their way to the writer: at once while its queue has room, and otherwise
//! one batch after the other, so that other calls are read meanwhile.

use std::collections::VecDeque;
use std::pin::Pin;

use im_writer::{SendBatch, WriterError, WriterHandle};

/// Hands one batch over.
type Feeding = Pin<Box<dyn Future<Output = Result<(), WriterError>> + Send>>;

/// Batches that wait for room in the writer's queue, in order.
pub(super) struct Lane {
    writer: WriterHandle,
    waiting: VecDeque<SendBatch>,
    /// Bytes of `waiting`.
    bytes: usize,
    max_bytes: usize,
    feeding: Option<Feeding>,
}

impl Lane {
    pub(super) fn new(writer: WriterHandle, max_bytes: usize) -> Self {
        Self {
            writer,
            waiting: VecDeque::new(),
            bytes: 0,
            max_bytes,
            feeding: None,
        }
    }

    /// Takes a batch; gives it back when too many bytes wait.
    pub(super) fn push(&mut self, batch: SendBatch) -> Result<(), SendBatch> {
        let batch = if self.is_empty() {
            match self.writer.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(batch) => batch,
            }
        } else {
            batch
        };
        let bytes = batch.bytes();
        if self.bytes.saturating_add(bytes) > self.max_bytes {
            return Err(batch);
        }
        self.bytes += bytes;
        self.waiting.push_back(batch);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.feeding.is_none()
    }

    /// Waits until one more batch is handed over. Loses nothing when it is dropped.
    pub(super) async fn feed(&mut self) -> Result<(), WriterError> {
        let feeding = match &mut self.feeding {
            Some(feeding) => feeding,
            None => {
                let Some(batch) = self.waiting.pop_front() else {
                    return Ok(());
                };
                self.bytes = self.bytes.saturating_sub(batch.bytes());
                let writer = self.writer.clone();
                self.feeding
                    .insert(Box::pin(async move { writer.send(batch).await }))
            }
        };
        let fed = feeding.await;
        self.feeding = None;
        fed
    }
}
