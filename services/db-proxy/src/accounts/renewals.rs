//! Writes verified logins to the store: gathered, away from the logins themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_core::UserId;
use im_core::time::UnixSeconds;
use im_store::{Remember, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::metrics::AccountMetrics;
use crate::publish::Publisher;
use crate::support::Throttle;

/// How long logins gather before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Logins of one transaction, so that messages do not wait for many.
const BATCH: usize = 256;

/// How often sessions that are online are looked at.
const LOOK_AT_SESSIONS: Duration = Duration::from_hours(6);
/// What is remembered of them is written again when it was written so long ago, seconds.
pub(super) const RENEW_AFTER: u32 = 24 * 3_600;

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

    /// Keeps fresh what is remembered of people who are online, until `stop`: a session may live for
    /// longer than its login is remembered.
    pub(super) async fn follow_sessions(&self, publisher: &Publisher, stop: &CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_AT_SESSIONS))
            .await
            .is_some()
        {
            let Ok(sessions) = publisher.list_sessions(None).await else {
                continue;
            };
            let mut users: Vec<UserId> = sessions
                .iter()
                .filter_map(|session| UserId::from_wire(session.user))
                .collect();
            users.sort_unstable();
            users.dedup();
            self.renew(&users, UnixSeconds::now()).await;
        }
    }

    /// Writes a new time where a day has passed.
    pub(super) async fn renew(&self, users: &[UserId], now: UnixSeconds) {
        let before = now.saturating_sub(RENEW_AFTER);
        for users in users.chunks(BATCH) {
            if let Err(error) = self.store.renew_remembered(users, now, before).await {
                if self.trouble.is_due() {
                    warn!(%error, "remembered logins not renewed");
                }
                return;
            }
        }
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
