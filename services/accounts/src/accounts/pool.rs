//! Computes hashes on blocking threads, one for each permit of the admission.

use tokio::time::Instant;

use super::admission::{Admission, Permit};
use super::hash::{HashPolicy, StoredHash, Verdict, make};
use super::metrics::AccountMetrics;

/// Why a hash was not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The computation failed or the process is stopping.
    #[error("compute a hash")]
    Failed,
}

/// Computes hashes.
#[derive(Clone)]
pub struct HashPool {
    policy: HashPolicy,
    admission: Admission,
    parallel: usize,
    metrics: AccountMetrics,
}

impl HashPool {
    /// At most `parallel` at a time, as the admission bounds them.
    pub(super) fn new(
        policy: HashPolicy,
        parallel: usize,
        admission: Admission,
        metrics: &AccountMetrics,
    ) -> Self {
        Self {
            policy,
            admission,
            parallel: parallel.max(1),
            metrics: metrics.clone(),
        }
    }

    /// Parameters of hashes.
    pub fn policy(&self) -> &HashPolicy {
        &self.policy
    }

    /// How many hashes are computed at the same time.
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// Checks a digest; without a stored hash it takes the same time and is wrong. Gives the permit
    /// back, so that the login can end before the next one of its kind begins.
    pub(super) async fn verify(
        &self,
        permit: Permit,
        stored: Option<StoredHash>,
        digest: String,
    ) -> Result<(Verdict, Permit), HashError> {
        let policy = self.policy;
        self.compute(permit, move |permit| {
            let begun = Instant::now();
            let verdict = if let Some(stored) = stored {
                stored.verify(&digest, &policy)
            } else {
                let spent = make(&digest, &policy);
                drop(std::hint::black_box(spent));
                Verdict::Wrong
            };
            permit.computed(begun.elapsed(), verdict == Verdict::Wrong);
            verdict
        })
        .await
    }

    /// Hashes a digest for an administrator, who bounds how many hashes they ask for.
    ///
    /// # Errors
    /// The computation fails, or the process is stopping.
    pub async fn make(&self, digest: String) -> Result<String, HashError> {
        let policy = self.policy;
        let permit = self.admission.job().await.ok_or(HashError::Failed)?;
        let made = self.compute(permit, move |_| make(&digest, &policy));
        let (hash, _permit) = made.await?;
        hash.map_err(|_| HashError::Failed)
    }

    /// Hashes a digest anew unless it fits the stored hash, which then may stay (`None`); for an
    /// administrator too.
    ///
    /// # Errors
    /// The computation fails, or the process is stopping.
    pub async fn remake(
        &self,
        stored: Option<String>,
        digest: String,
    ) -> Result<Option<String>, HashError> {
        let policy = self.policy;
        let permit = self.admission.job().await.ok_or(HashError::Failed)?;
        let made = self.compute(permit, move |_| {
            let stored = stored.and_then(|stored| StoredHash::parse(&stored, &policy).ok());
            match stored.map(|stored| stored.verify(&digest, &policy)) {
                Some(Verdict::Right) => Ok(None),
                Some(Verdict::RightOutdated(hash)) => Ok(Some(hash)),
                Some(Verdict::Wrong) | None => make(&digest, &policy).map(Some),
            }
        });
        let (hash, _permit) = made.await?;
        hash.map_err(|_| HashError::Failed)
    }

    async fn compute<T: Send + 'static>(
        &self,
        mut permit: Permit,
        work: impl FnOnce(&mut Permit) -> T + Send + 'static,
    ) -> Result<(T, Permit), HashError> {
        self.metrics.hashed();
        // The permit goes along: a caller that gives up does not make room before memory is free.
        tokio::task::spawn_blocking(move || {
            let result = work(&mut permit);
            (result, permit)
        })
        .await
        .map_err(|_| HashError::Failed)
    }
}
