//! The queue in front of the reconciler: which clusters need a look, and since when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{Stream, StreamExt, unfold};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cache::ClusterKey;
use crate::metrics::{Metrics, QUEUE_LABELS};

/// Where watches and timers say that a cluster needs a look. Clones share the queue.
///
/// A cluster waits in the queue once, however often it is named, so the queue is bounded by the
/// number of clusters.
#[derive(Clone, Debug)]
pub(crate) struct WorkQueue {
    waiting: Arc<Mutex<HashMap<ClusterKey, Instant>>>,
    sender: mpsc::UnboundedSender<ClusterKey>,
    metrics: Metrics,
}

impl WorkQueue {
    /// The queue, and what comes out of it.
    pub(crate) fn new(metrics: Metrics) -> (Self, impl Stream<Item = ClusterKey> + Send + 'static) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let work_queue = Self {
            waiting: Arc::default(),
            sender,
            metrics,
        };
        let stream = unfold(receiver, |mut receiver| async {
            let key = receiver.recv().await?;
            Some((key, receiver))
        });
        (work_queue, stream.boxed())
    }

    /// Says that a cluster needs a look.
    pub(crate) fn add(&self, cluster: ClusterKey) {
        self.metrics
            .queue_adds
            .get_or_create_owned(&QUEUE_LABELS)
            .inc();
        let mut waiting = self.waiting();
        if waiting.contains_key(&cluster) {
            return;
        }
        waiting.insert(cluster.clone(), Instant::now());
        self.depth(waiting.len());
        // The other end is gone only when the process stops.
        drop(self.sender.send(cluster));
    }

    /// Forgets which clusters wait, and says that these need a look: whoever took the others from
    /// the queue is gone.
    pub(crate) fn restart(&self, clusters: impl IntoIterator<Item = ClusterKey>) {
        self.waiting().clear();
        clusters.into_iter().for_each(|cluster| self.add(cluster));
    }

    /// Says that the look at a cluster begins: what comes from now on needs another one.
    pub(crate) fn begin(&self, cluster: &ClusterKey) {
        let mut waiting = self.waiting();
        let Some(since) = waiting.remove(cluster) else {
            return;
        };
        self.depth(waiting.len());
        self.metrics
            .queue_seconds
            .get_or_create_owned(&QUEUE_LABELS)
            .observe(since.elapsed().as_secs_f64());
    }

    fn depth(&self, depth: usize) {
        let depth = i64::try_from(depth).unwrap_or(i64::MAX);
        self.metrics
            .queue_depth
            .get_or_create_owned(&QUEUE_LABELS)
            .set(depth);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<ClusterKey, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_waits_once_until_its_look_begins() {
        let (work_queue, stream) = WorkQueue::new(Metrics::unregistered());
        let mut stream = std::pin::pin!(stream);
        let key = ClusterKey {
            namespace: "chat".to_owned(),
            name: "demo".to_owned(),
        };
        work_queue.add(key.clone());
        work_queue.add(key.clone());
        assert_eq!(stream.next().await, Some(key.clone()));
        work_queue.begin(&key);
        work_queue.add(key.clone());
        assert_eq!(stream.next().await, Some(key.clone()));
        // It was taken from the queue, and its look never began.
        work_queue.restart([key.clone()]);
        assert_eq!(stream.next().await, Some(key));
        drop(work_queue);
        assert_eq!(stream.next().await, None);
    }
}
