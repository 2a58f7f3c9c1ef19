//! Free space of the store's file system: when little is left, large messages are refused, so that
//! small ones go on as long as possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use im_config::WriterConfig;
use im_store::Store;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::Metrics;

/// Whether space is low; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    is_low: Arc<AtomicBool>,
    large_body: usize,
}

impl Space {
    pub(crate) fn new(config: &WriterConfig) -> Self {
        Self {
            is_low: Arc::default(),
            large_body: config.large_body.as_usize(),
        }
    }

    /// Whether a body of so many bytes may be stored now.
    pub(crate) fn admits(&self, body: usize) -> bool {
        body <= self.large_body || !self.is_low.load(Ordering::Relaxed)
    }

    /// What was seen: free bytes and all of them.
    fn see(&self, free: u64, all: u64, floor: u64) {
        // On a small file system the floor would leave nothing.
        let floor = floor.min(all / 10);
        let is_low = free < floor;
        if self.is_low.swap(is_low, Ordering::Relaxed) != is_low {
            if is_low {
                warn!(
                    free,
                    floor, "little space is left, large messages are refused"
                );
            } else {
                info!(free, "there is space again");
            }
        }
    }

    /// Looks at the store's space until `stop`.
    pub(crate) async fn watch(
        self,
        store: Arc<dyn Store>,
        config: WriterConfig,
        metrics: Metrics,
        stop: CancellationToken,
    ) {
        let floor = config.free_space_floor.as_u64();
        loop {
            if let Ok(Some((free, all))) = store.free_space().await {
                metrics.free_space(free);
                self.see(free, all, floor);
            }
            let pause = tokio::time::sleep(config.free_space_interval.into());
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// As if so much were free of a large file system.
    #[cfg(test)]
    pub(crate) fn pretend(&self, free: u64, floor: u64) {
        self.see(free, u64::MAX, floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_are_refused_below_the_floor_only() {
        let config = WriterConfig::default();
        let space = Space::new(&config);
        let (small, large) = (4 << 10, (4 << 10) + 1);
        assert!(space.admits(large));
        space.see(99, 10_000, 100);
        assert!(!space.admits(large));
        assert!(space.admits(small));
        space.see(100, 10_000, 100);
        assert!(space.admits(large));
        space.see(60, 500, 100);
        assert!(space.admits(large), "a tenth of a small file system");
        space.see(49, 500, 100);
        assert!(!space.admits(large));
        space.see(0, 500, 0);
        assert!(space.admits(large), "switched off");
    }
}
