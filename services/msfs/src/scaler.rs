//! Scaling pictures off the threads of connections: few at a time, each one once, and stored for the next
//! that asks.
//!
//! A picture that many ask for is one job, for which all of them wait. A job goes on when those who wait for
//! it have gone: its result is kept. Jobs that wait are bounded in all and by the address that asked first,
//! so that whoever asks for much waits for itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use im_blob::{BlobError, BlobMeta, BlobName, BlobReader, BlobStore, Put, READ_MAX};
use im_core::{Cache, Chain, Network};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::{Metrics, Scaled};
use crate::name::{Ending, variant};
use crate::picture::Kind;
use crate::scale::{Bounds, ScaleError, scale};

/// Pictures remembered as ones that cannot be scaled.
const REMEMBERED: usize = 4_096;

/// What is written into the record of a scaled picture before the ending of the whole one.
const TAG: &str = "scaled";

/// What became of a job.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The scaled picture.
    Made(Bytes),
    /// This picture cannot be scaled.
    Unscalable,
    /// The store does not answer.
    Failed,
}

/// Too much is waiting to be scaled, in all or of this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// What bounds the work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) picture: Bounds,
    /// Jobs at work at the same time.
    pub(crate) workers: usize,
    /// Jobs in all, those at work included.
    pub(crate) jobs: usize,
    /// Jobs of one address.
    pub(crate) jobs_per_address: usize,
}

/// Scales pictures of a store. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Scaler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn BlobStore>,
    limits: Limits,
    workers: Semaphore,
    jobs: Mutex<Jobs>,
    metrics: Metrics,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Jobs {
    open: HashMap<BlobName, watch::Receiver<Option<Outcome>>>,
    by_network: HashMap<Network, usize>,
    /// Scaled pictures that cannot be made.
    unscalable: Cache<BlobName, ()>,
}

/// A picture that is to be scaled.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) original: BlobName,
    pub(crate) ending: Ending,
    pub(crate) side: u32,
}

impl Wanted {
    /// Where the scaled picture is stored.
    pub(crate) fn name(&self) -> BlobName {
        variant(self.original, self.side)
    }

    /// What the record of the scaled picture says: whose it is, so that nobody has it under another name.
    pub(crate) fn tag(&self) -> Bytes {
        Bytes::from(format!("{TAG}{}", self.ending.as_str()))
    }
}

/// A job, counted until it ends.
struct Job {
    inner: Arc<Inner>,
    name: BlobName,
    network: Network,
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut jobs = self.inner.lock();
        jobs.open.remove(&self.name);
        if let Some(count) = jobs.by_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                jobs.by_network.remove(&self.network);
            }
        }
        self.inner.metrics.scaling(jobs.open.len());
    }
}

impl Scaler {
    pub(crate) fn new(
        store: Arc<dyn BlobStore>,
        limits: Limits,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            limits,
            workers: Semaphore::new(limits.workers),
            jobs: Mutex::new(Jobs {
                open: HashMap::new(),
                by_network: HashMap::new(),
                unscalable: Cache::new(REMEMBERED, 1),
            }),
            metrics,
            tasks,
        }))
    }

    /// Jobs that wait or are at work.
    pub(crate) fn jobs(&self) -> usize {
        self.0.lock().open.len()
    }

    /// Makes a scaled picture, or waits for whoever makes it already, on behalf of a client there.
    pub(crate) async fn scaled(&self, wanted: Wanted, from: IpAddr) -> Result<Outcome, Busy> {
        let mut outcome = {
            let mut jobs = self.0.lock();
            let name = wanted.name();
            if jobs.unscalable.touch(&name) {
                return Ok(Outcome::Unscalable);
            }
            match jobs.open.get(&name) {
                Some(open) => open.clone(),
                None => self.begin(&mut jobs, wanted, Network::host(from))?,
            }
        };
        let made = outcome.wait_for(Option::is_some).await;
        let made = made.ok().and_then(|made| made.clone());
        Ok(made.unwrap_or(Outcome::Failed))
    }

    fn begin(
        &self,
        jobs: &mut Jobs,
        wanted: Wanted,
        network: Network,
    ) -> Result<watch::Receiver<Option<Outcome>>, Busy> {
        let limits = &self.0.limits;
        let of_network = jobs.by_network.get(&network).copied().unwrap_or(0);
        if jobs.open.len() >= limits.jobs || of_network >= limits.jobs_per_address {
            self.0.metrics.scaled(Scaled::Busy);
            return Err(Busy);
        }
        let (tell, outcome) = watch::channel(None);
        let name = wanted.name();
        jobs.open.insert(name, outcome.clone());
        jobs.by_network.insert(network, of_network + 1);
        self.0.metrics.scaling(jobs.open.len());
        let inner = Arc::clone(&self.0);
        let job = Job {
            inner: Arc::clone(&inner),
            name,
            network,
        };
        self.0.tasks.spawn(async move {
            let outcome = inner.work(&wanted).await;
            inner.metrics.scaled(match outcome {
                Outcome::Made(_) => Scaled::Made,
                Outcome::Unscalable => Scaled::Unscalable,
                Outcome::Failed => Scaled::Failed,
            });
            if matches!(outcome, Outcome::Unscalable) {
                inner.lock().unscalable.insert(name, ());
            }
            // Whoever asks from here on finds it in the store.
            drop(job);
            tell.send_replace(Some(outcome));
        });
        Ok(outcome)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, wanted: &Wanted) -> Outcome {
        // Not closed before the scaler is gone.
        let Ok(_turn) = self.workers.acquire().await else {
            return Outcome::Failed;
        };
        // Somebody may have made it between the client's look and this job.
        if let Ok(made) = self.read(wanted.name()).await {
            return Outcome::Made(made);
        }
        let bytes = match self.read(wanted.original).await {
            Ok(bytes) => bytes,
            Err(error) => {
                warn!(error = %Chain(&error), "read a picture to scale it failed");
                return Outcome::Failed;
            }
        };
        let (side, bounds) = (wanted.side, self.limits.picture);
        let timer = self.metrics.scale_timer();
        let scaled = tokio::task::spawn_blocking(move || scale(&bytes, side, &bounds)).await;
        timer.stop();
        let made = match scaled {
            Ok(Ok(made)) => Bytes::from(made),
            Ok(Err(error)) => {
                debug!(error = %Chain(&error), "a picture cannot be scaled");
                if let ScaleError::TooLarge = error {
                    self.metrics.too_large();
                }
                return Outcome::Unscalable;
            }
            Err(error) => {
                warn!(error = %Chain(&error), "scale a picture failed");
                return Outcome::Unscalable;
            }
        };
        if let Err(error) = self.write(wanted, made.clone()).await {
            // It is made anew for whoever asks next.
            warn!(error = %Chain(&error), "store a scaled picture failed");
        }
        Outcome::Made(made)
    }

    async fn read(&self, name: BlobName) -> Result<Bytes, BlobError> {
        let reader = self.store.open(name).await?;
        read_all(reader.as_ref()).await
    }

    async fn write(&self, wanted: &Wanted, bytes: Bytes) -> Result<(), BlobError> {
        let meta = BlobMeta::new(Kind::Jpeg.media_type(), wanted.tag());
        let size = bytes.len() as u64;
        let put = Put {
            name: wanted.name(),
            meta: meta.map_err(|_| BlobError::Corrupt("record"))?,
            bound: size,
            expected: size,
        };
        let stored = async {
            let mut writer = self.store.begin(put).await?;
            writer.write(bytes).await?;
            writer.finish().await
        };
        match stored.await {
            // Another server of the same store was faster.
            Ok(_) | Err(BlobError::Taken) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// All bytes of a blob, which uploads bound.
async fn read_all(reader: &dyn BlobReader) -> Result<Bytes, BlobError> {
    let size = reader.info().size;
    let mut bytes = BytesMut::with_capacity(usize::try_from(size).unwrap_or(usize::MAX));
    while (bytes.len() as u64) < size {
        let part = reader.read(bytes.len() as u64, READ_MAX).await?;
        if part.is_empty() {
            return Err(BlobError::Corrupt("shorter than it was"));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests;
