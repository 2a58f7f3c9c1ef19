//! Bounds hashing: so many computations at a time, so many logins that wait for one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::hash::{HashPolicy, StoredHash, Verdict, make};
use super::metrics::AccountMetrics;

/// Why a hash was not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// The computation failed or the process is stopping.
    #[error("compute a hash")]
    Failed,
}

/// Computes hashes on blocking threads.
#[derive(Clone)]
pub(crate) struct HashPool {
    policy: HashPolicy,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    parallel: usize,
    metrics: AccountMetrics,
}

impl HashPool {
    pub(super) fn new(
        policy: HashPolicy,
        parallel: usize,
        waiting: usize,
        metrics: &AccountMetrics,
    ) -> Self {
        let parallel = parallel.max(1);
        Self {
            policy,
            running: Arc::new(Semaphore::new(parallel)),
            waiting: Arc::new(Semaphore::new(waiting.saturating_add(parallel))),
            parallel,
            metrics: metrics.clone(),
        }
    }

    /// Parameters of hashes.
    pub(crate) fn policy(&self) -> &HashPolicy {
        &self.policy
    }

    /// How many hashes are computed at the same time.
    pub(crate) fn parallel(&self) -> usize {
        self.parallel
    }

    /// A place among those who wait for a hash, or for their turn to; `None` when all are taken.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    /// Checks a digest, for a caller who holds a place; without a stored hash it takes the same time
    /// and is wrong.
    pub(super) async fn verify(
        &self,
        stored: Option<StoredHash>,
        digest: String,
    ) -> Result<Verdict, HashError> {
        let policy = self.policy;
        self.compute(move || {
            if let Some(stored) = stored {
                return stored.verify(&digest, &policy);
            }
            let spent = make(&digest, &policy);
            drop(std::hint::black_box(spent));
            Verdict::Wrong
        })
        .await
    }

    /// Hashes a digest. Not counted among the waiting: the caller bounds how many he asks for.
    pub(crate) async fn make(&self, digest: String) -> Result<String, HashError> {
        let policy = self.policy;
        self.compute(move || make(&digest, &policy))
            .await?
            .map_err(|_| HashError::Failed)
    }

    /// Hashes a digest anew unless it fits the stored hash, which then may stay (`None`). Not counted
    /// among the waiting either.
    pub(crate) async fn remake(
        &self,
        stored: Option<String>,
        digest: String,
    ) -> Result<Option<String>, HashError> {
        let policy = self.policy;
        self.compute(move || {
            let stored = stored.and_then(|stored| StoredHash::parse(&stored, &policy).ok());
            match stored.map(|stored| stored.verify(&digest, &policy)) {
                Some(Verdict::Right) => Ok(None),
                Some(Verdict::RightOutdated(hash)) => Ok(Some(hash)),
                Some(Verdict::Wrong) | None => make(&digest, &policy).map(Some),
            }
        })
        .await?
        .map_err(|_| HashError::Failed)
    }

    /// Takes the place of one computation.
    #[cfg(test)]
    pub(super) async fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.running)
            .acquire_owned()
            .await
            .expect("never closed")
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| HashError::Failed)?;
        self.metrics.hashed();
        // The permit goes along: a caller that gives up does not make room before memory is free.
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(|_| HashError::Failed)
    }
}
