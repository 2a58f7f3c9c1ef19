//! Writes verified logins to the store: gathered, away from the logins themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_core::UserId;
use im_store::{Remember, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::metrics::AccountMetrics;
use crate::answers::throttle::Throttle;

/// How long logins gather before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Logins of one transaction, so that messages do not wait for many.
const BATCH: usize = 256;

/// See the module.
pub(super) struct Renewals {
    store: Arc<dyn Store>,
    /// Logins that wait at most; further ones are remembered at a later login.
    capacity: usize,
    pending: Mutex<HashMap<UserId, Remember>>,
    wake: Notify,
    trouble: Throttle,
    metrics: AccountMetrics,
}

impl Renewals {
    pub(super) fn new(store: Arc<dyn Store>, capacity: usize, metrics: &AccountMetrics) -> Self {
        Self {
            store,
            capacity,
            pending: Mutex::default(),
            wake: Notify::new(),
            trouble: Throttle::default(),
            metrics: metrics.clone(),
        }
    }

    /// Has a login written soon; never waits.
    pub(super) fn push(&self, login: Remember) {
        let mut pending = self.lock();
        if pending.len() < self.capacity || pending.contains_key(&login.user) {
            pending.insert(login.user, login);
            drop(pending);
            self.wake.notify_one();
        } else {
            self.metrics.remembered_dropped(1);
        }
    }

    /// Writes until `stop`, and then what is left.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        while stop
            .run_until_cancelled(self.wake.notified())
            .await
            .is_some()
        {
            stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
            self.flush().await;
        }
        self.flush().await;
    }

    /// Writes what waits.
    pub(super) async fn flush(&self) {
        loop {
            let batch = self.take();
            if batch.is_empty() {
                return;
            }
            match self.store.remember(&batch).await {
                Ok(()) => self.metrics.remembered_stored(batch.len()),
                Err(error) => {
                    // They are asked for again at the next login.
                    self.metrics.remembered_dropped(batch.len());
                    if self.trouble.is_due() {
                        warn!(%error, logins = batch.len(), "verified logins not stored");
                    }
                    return;
                }
            }
        }
    }

    fn take(&self) -> Vec<Remember> {
        let mut pending = self.lock();
        let users: Vec<UserId> = pending.keys().take(BATCH).copied().collect();
        users
            .iter()
            .filter_map(|user| pending.remove(user))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Remember>> {
        // Every change under the lock is complete in itself.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
