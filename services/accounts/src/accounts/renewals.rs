//! Writes verified logins to the store: gathered, away from the logins themselves. A hash with current
//! parameters goes with what is remembered: nobody waits for either, and what a crash takes is written
//! after a later login.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_core::time::UnixSeconds;
use im_core::{Chain, UserId};
use im_proto_rpc::v1::SessionInfo;
use im_runtime::Throttle;
use im_store::{Store, VerifiedLogin};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::memory::Memory;
use super::metrics::AccountMetrics;
use super::queue::Key;

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
    memory: Arc<Memory>,
    /// Logins that wait at most; further ones are remembered at a later login.
    capacity: usize,
    pending: Mutex<HashMap<UserId, Verified>>,
    wake: Notify,
    trouble: Throttle,
    metrics: AccountMetrics,
}

/// A login that waits to be written.
pub(super) struct Verified {
    pub(super) login: VerifiedLogin,
    /// What the memory knows the digest by once a new hash is stored.
    pub(super) proof: Option<Key>,
}

impl Renewals {
    pub(super) fn new(
        store: Arc<dyn Store>,
        memory: Arc<Memory>,
        capacity: usize,
        metrics: &AccountMetrics,
    ) -> Self {
        Self {
            store,
            memory,
            capacity,
            pending: Mutex::default(),
            wake: Notify::new(),
            trouble: Throttle::default(),
            metrics: metrics.clone(),
        }
    }

    /// Has a login written soon; never waits.
    pub(super) fn push(&self, verified: Verified) {
        let user = verified.login.user;
        let mut pending = self.lock();
        match pending.get(&user) {
            None if pending.len() >= self.capacity => {
                self.metrics.remembered_dropped(1);
                return;
            }
            // It brings a new hash; this one comes too late with the old one.
            Some(other) if other.login.new_hash.is_some() && verified.login.new_hash.is_none() => {
                return;
            }
            _ => {}
        }
        pending.insert(user, verified);
        drop(pending);
        self.wake.notify_one();
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
    pub(super) async fn follow_sessions<F>(&self, online: impl Fn() -> F, stop: &CancellationToken)
    where
        F: Future<Output = Option<Vec<SessionInfo>>>,
    {
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_AT_SESSIONS))
            .await
            .is_some()
        {
            let Some(sessions) = online().await else {
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
                    warn!(error = %Chain(&error), "remembered logins not renewed");
                }
                return;
            }
        }
    }

    /// Writes what waits.
    pub(super) async fn flush(&self) {
        loop {
            let (logins, proofs) = self.take();
            if logins.is_empty() {
                return;
            }
            match self.store.store_logins(&logins).await {
                Ok(stored) => {
                    self.metrics.remembered_stored(logins.len());
                    let stored = logins.iter().zip(proofs).zip(stored);
                    for ((login, proof), _) in stored.filter(|(_, stored)| *stored) {
                        self.learn(login, proof);
                    }
                }
                Err(error) => {
                    // They are asked for again at the next login.
                    self.metrics.remembered_dropped(logins.len());
                    if self.trouble.is_due() {
                        warn!(error = %Chain(&error), logins = logins.len(), "verified logins not stored");
                    }
                    return;
                }
            }
        }
    }

    /// A login is stored: with a new hash, the account is another than the memory knows.
    fn learn(&self, login: &VerifiedLogin, proof: Option<Key>) {
        if login.new_hash.is_some() {
            info!(user = %login.user, "password hash replaced by one with current parameters");
            self.memory.forget(login.user);
        }
        if let Some(proof) = proof {
            self.memory.verify_proof(proof);
        }
    }

    fn take(&self) -> (Vec<VerifiedLogin>, Vec<Option<Key>>) {
        let mut pending = self.lock();
        let users: Vec<UserId> = pending.keys().take(BATCH).copied().collect();
        users
            .iter()
            .filter_map(|user| pending.remove(user))
            .map(|verified| (verified.login, verified.proof))
            .unzip()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Verified>> {
        // Every change under the lock is complete in itself.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
