//! Read positions: kept in memory, merged by maximum, flushed to the store at most a second late.
//!
//! *Invariants*: a position only grows; one that is noted is seen by [`Positions::pending`] until the
//! store has it; the memory for them is bounded. After a crash a position may be older than what its
//! user did: unread counts rise, nothing is lost.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_config::PositionsConfig;
use im_core::{Cache, Chain, Conversation, UserId};
use im_store::{ReadPosition, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::Metrics;

/// Positions of one transaction: short, so that messages do not wait for it.
const FLUSH_ROWS: usize = 512;

/// How long a failing store is tried again once the role stops.
const STOP_RETRY: Duration = Duration::from_secs(5);

/// Wait between attempts then.
const STOP_RETRY_WAIT: Duration = Duration::from_millis(100);

/// Handle of the read positions; cheap to clone.
#[derive(Clone)]
pub struct Positions(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    config: PositionsConfig,
    metrics: Metrics,
    inner: Mutex<Inner>,
    /// Asks for a flush before its time.
    hurry: Notify,
    /// Tells waiting readers that a flush has made room.
    room: Notify,
}

type Key = (UserId, Conversation);

struct Inner {
    pending: BTreeMap<Key, u32>,
    /// On their way to the store.
    flushing: BTreeMap<Key, u32>,
    /// What the store has, as far as remembered.
    stored: Cache<Key, u32>,
}

impl Inner {
    fn current(&mut self, key: &Key) -> Option<u32> {
        let waiting = self
            .pending
            .get(key)
            .copied()
            .max(self.flushing.get(key).copied());
        waiting.max(self.stored.get(key).copied())
    }

    fn raise(&mut self, key: Key, id: u32) {
        let pending = self.pending.entry(key).or_insert(id);
        *pending = id.max(*pending);
    }
}

impl Positions {
    pub(crate) fn new(store: Arc<dyn Store>, config: &PositionsConfig, metrics: Metrics) -> Self {
        let inner = Inner {
            pending: BTreeMap::new(),
            flushing: BTreeMap::new(),
            stored: Cache::new(config.cached, 1),
        };
        Self(Arc::new(Shared {
            store,
            config: config.clone(),
            metrics,
            inner: Mutex::new(inner),
            hurry: Notify::new(),
            room: Notify::new(),
        }))
    }

    /// Raises a read position. `true` when that changed it: the user had read less before. Waits
    /// while too many positions wait for the store.
    ///
    /// # Errors
    /// The store does not tell the position so far; nothing is changed.
    pub async fn note(
        &self,
        user: UserId,
        conversation: Conversation,
        id: u32,
    ) -> Result<bool, StoreError> {
        let key = (user, conversation);
        if id <= self.current(user, conversation).await? {
            return Ok(false);
        }
        loop {
            let room = self.0.room.notified();
            {
                let mut inner = self.lock();
                if inner.current(&key).is_some_and(|current| current >= id) {
                    return Ok(false);
                }
                let full = inner.pending.len() >= self.0.config.max_pending;
                if !full || inner.pending.contains_key(&key) {
                    inner.raise(key, id);
                    let half = inner.pending.len() >= self.0.config.max_pending.div_ceil(2);
                    drop(inner);
                    if half {
                        self.0.hurry.notify_one();
                    }
                    return Ok(true);
                }
            }
            self.0.hurry.notify_one();
            room.await;
        }
    }

    /// The read position of a user in a conversation.
    ///
    /// # Errors
    /// It is not in memory, and the store fails.
    pub async fn current(
        &self,
        user: UserId,
        conversation: Conversation,
    ) -> Result<u32, StoreError> {
        let key = (user, conversation);
        if let Some(current) = self.lock().current(&key) {
            return Ok(current);
        }
        let stored = self.0.store.read_position(user, conversation).await?;
        let mut inner = self.lock();
        if let Some(current) = inner.current(&key) {
            // Noted, or even flushed, meanwhile.
            return Ok(current.max(stored));
        }
        inner.stored.insert(key, stored);
        Ok(stored)
    }

    /// Positions of a user that are not in the store yet: they win over the stored ones.
    pub fn pending(&self, user: UserId) -> Vec<ReadPosition> {
        let inner = self.lock();
        let mut found: BTreeMap<Conversation, u32> = BTreeMap::new();
        for map in [&inner.flushing, &inner.pending] {
            let first = (user, Conversation::Pair(MIN_USER, MIN_USER));
            let own = map
                .range(first..)
                .take_while(|((reader, _), _)| *reader == user);
            for ((_, conversation), id) in own {
                let kept = found.entry(*conversation).or_default();
                *kept = (*id).max(*kept);
            }
        }
        let read = |(conversation, read_id)| ReadPosition {
            user,
            conversation,
            read_id,
        };
        found.into_iter().map(read).collect()
    }

    /// Own group messages that were committed: their senders have read up to them. Never waits;
    /// beyond twice the bound a position is left out, which can only raise an unread count.
    pub(crate) fn sent(&self, read: &[(UserId, Conversation, u32)]) {
        if read.is_empty() {
            return;
        }
        let mut inner = self.lock();
        let max = self.0.config.max_pending;
        for (user, conversation, id) in read {
            let key = (*user, *conversation);
            if inner.pending.len() < 2 * max || inner.pending.contains_key(&key) {
                inner.raise(key, *id);
            }
        }
        if inner.pending.len() >= max.div_ceil(2) {
            self.0.hurry.notify_one();
        }
    }

    /// Flushes until `stop`, and once more then.
    pub async fn run(&self, stop: CancellationToken) {
        let interval = self
            .0
            .config
            .flush_interval
            .duration()
            .max(Duration::from_millis(1));
        let mut failing = false;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(interval) => {}
                // A failing store is not asked more often than once per interval.
                () = self.0.hurry.notified(), if !failing => {}
            }
            match self.flush().await {
                Ok(()) if failing => {
                    failing = false;
                    info!("read positions are stored again");
                }
                Err(error) if !failing => {
                    failing = true;
                    warn!(error = %Chain(&error), "read positions wait for the store");
                }
                _ => {}
            }
        }
        let since = Instant::now();
        while let Err(error) = self.flush().await {
            if since.elapsed() >= STOP_RETRY {
                warn!(error = %Chain(&error), "read positions are not stored, unread counts rise");
                return;
            }
            tokio::time::sleep(STOP_RETRY_WAIT).await;
        }
    }

    /// Stores everything that is pending now.
    ///
    /// # Errors
    /// The store fails; what was not stored stays pending.
    pub async fn flush(&self) -> Result<(), StoreError> {
        // What is noted meanwhile is for the next time.
        let mut left = {
            let inner = self.lock();
            inner.pending.len() + inner.flushing.len()
        };
        while left > 0 {
            let rows = self.begin_flush();
            if rows.is_empty() {
                break;
            }
            left = left.saturating_sub(rows.len());
            let stored = self.0.store.store_read_positions(&rows).await;
            self.end_flush(stored.is_ok());
            stored?;
            self.0.metrics.positions_flushed();
        }
        Ok(())
    }

    fn begin_flush(&self) -> Vec<ReadPosition> {
        let mut inner = self.lock();
        // Only the task that flushes gets here, and ends each flush; what a cancelled one left
        // behind is taken up again.
        let left = mem::take(&mut inner.flushing);
        for (key, id) in left {
            inner.raise(key, id);
        }
        let Inner {
            pending, flushing, ..
        } = &mut *inner;
        while flushing.len() < FLUSH_ROWS
            && let Some((key, id)) = pending.pop_first()
        {
            flushing.insert(key, id);
        }
        let rows = flushing
            .iter()
            .map(|(&(user, conversation), &read_id)| ReadPosition {
                user,
                conversation,
                read_id,
            });
        rows.collect()
    }

    fn end_flush(&self, stored: bool) {
        let mut inner = self.lock();
        let flushed = mem::take(&mut inner.flushing);
        for (key, id) in flushed {
            if stored {
                inner.stored.insert(key, id);
            } else {
                inner.raise(key, id);
            }
        }
        self.0
            .metrics
            .positions(inner.pending.len(), inner.stored.len());
        drop(inner);
        self.0.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MIN_USER: UserId = match UserId::from_wire(1) {
    Some(user) => user,
    None => unreachable!(),
};

#[cfg(test)]
mod tests;
