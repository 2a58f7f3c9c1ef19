//! One commit, and what is true of the store afterwards.

use im_config::WriterConfig;
use im_core::{Chain, time::UnixSeconds};
use im_order::{CommitSeq, Ownership, Partition, Tenure};
use im_store::{ReadLimit, StoreError};
use tokio::time::Instant;
use tracing::{info, warn};

use super::job::{Incoming, SendBatch};
use super::load::load;
use super::plan::Plan;
use super::task::Writer;

impl Writer {
    /// One attempt to store a batch of batches whole.
    pub(super) async fn attempt(&mut self, batches: &[SendBatch]) -> Result<Plan, StoreError> {
        if !self.end_known {
            self.read_end().await?;
        }
        let now = UnixSeconds::now();
        load(&mut self.memory, self.store.as_ref(), sends(batches)).await?;
        let owned = self.owned();
        let count = batches.iter().map(|batch| batch.sends.len()).sum();
        let mut plan = self.memory.plan(sends(batches), count, now);
        if plan.append.messages.is_empty() {
            return Ok(plan);
        }
        plan.append.fence = owned.adding(self.memory.end);
        let started = Instant::now();
        self.pace.starts(started, plan.append.messages.len());
        match self.store.append(&plan.append).await {
            Ok(()) => {
                self.keys_through = Some(self.memory.end);
                self.metrics
                    .committed(plan.append.messages.len(), started.elapsed().as_secs_f64());
                Ok(plan)
            }
            Err(error) => {
                self.memory.forget(sends(batches), &plan);
                self.end_known = false;
                match error {
                    StoreError::Fenced(_) => return Err(error),
                    // What is remembered is wrong, wherever.
                    StoreError::Outdated => self.memory.clear(),
                    _ => {}
                }
                // The store says that nothing took effect; believe the log rather than the answer.
                if self.read_end().await.is_ok() && self.landed(owned.end, &plan).await {
                    warn!(error = %Chain(&error), "a commit that was reported as failed is stored");
                    return Ok(plan);
                }
                Err(error)
            }
        }
    }

    /// Whether the log holds the plan's messages although their commit failed.
    async fn landed(&mut self, before: CommitSeq, plan: &Plan) -> bool {
        let Some(first) = plan.append.messages.first() else {
            return false;
        };
        if self.memory.end < before.plus(plan.append.messages.len() as u64) {
            return false;
        }
        let read = self
            .store
            .read_log(before, ReadLimit::rows(1))
            .await
            .unwrap_or_default();
        read.first().is_some_and(|entry| {
            let found = &entry.message;
            found.seq == first.seq
                && found.msg_id == first.msg_id
                && found.sender == first.sender
                && found.time == first.time
                && found.body == first.body
        })
    }

    /// Takes the log at the first call, and sees that it is still ours at later ones. Reads where it ends:
    /// what lies beyond the published position was not published by this process.
    pub(super) async fn read_end(&mut self) -> Result<(), StoreError> {
        if self.tenure == Tenure::NONE {
            self.tenure = self.store.take(Partition::ONLY).await?.tenure;
            info!(tenure = self.tenure.to_wire(), "took the log");
        } else {
            let found = self.store.ownership(Partition::ONLY).await?;
            if let Some(lost) = self.owned().standing().lost_to(found) {
                return Err(lost.into());
            }
        }
        let (end, row) = self.store.log_end().await?;
        self.memory.end = end;
        self.memory.last_row = row;
        self.memory.skipped = self.store.skipped_ids().await?;
        if self.keys_through != Some(end) {
            self.read_keys().await?;
            self.recover_positions().await?;
            self.keys_through = Some(end);
        }
        self.end_known = true;
        if self.publisher.position() != Some(end) {
            self.publisher.restart_at(end);
        }
        Ok(())
    }

    /// The log as this writer believes to have it.
    pub(super) fn owned(&self) -> Ownership {
        Ownership {
            partition: Partition::ONLY,
            tenure: self.tenure,
            end: self.memory.end,
        }
    }

    /// Reads what repetitions are recognised by of messages that others have stored: another process,
    /// or a commit that was reported as failed.
    async fn read_keys(&mut self) -> Result<(), StoreError> {
        let now = UnixSeconds::now();
        let since = now.saturating_sub(retry_window(&self.config));
        let started = Instant::now();
        let keys = self
            .store
            .recent_keys(since, self.config.retry_keys)
            .await?;
        self.memory.retries.load(&keys, now);
        info!(
            keys = keys.len(),
            milliseconds = started.elapsed().as_millis(),
            "read the retry keys of recent messages"
        );
        Ok(())
    }

    /// Own group messages move their senders' read positions, which are flushed later than the
    /// messages are stored: those that a crash took, and those of a commit that was reported as
    /// failed, follow from the messages.
    async fn recover_positions(&mut self) -> Result<(), StoreError> {
        let own = self
            .store
            .recent_group_senders(retry_window(&self.config), self.config.retry_keys)
            .await?;
        let read: Vec<_> = own
            .into_iter()
            .map(|own| (own.user, own.conversation, own.read_id))
            .collect();
        self.positions.sent(&read);
        Ok(())
    }
}

/// How long a repetition can be recognised, seconds.
pub(super) fn retry_window(config: &WriterConfig) -> u32 {
    let longest = config.client_id_window.max(config.frame_window);
    longest.as_seconds_u32()
}

fn sends(batches: &[SendBatch]) -> impl Iterator<Item = &Incoming> {
    batches.iter().flat_map(|batch| &batch.sends)
}
