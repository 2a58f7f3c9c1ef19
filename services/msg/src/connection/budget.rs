//! Bytes that wait for clients to read, of all connections together.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;

/// Counts the bytes that wait in all queues, against one bound.
pub(crate) struct OutputBudget {
    queued: AtomicU64,
    most: u64,
    shown: Gauge,
}

impl OutputBudget {
    /// A budget of `most` bytes, shown in a gauge.
    pub(crate) fn new(most: u64, shown: Gauge) -> Self {
        Self {
            queued: AtomicU64::new(0),
            most,
            shown,
        }
    }

    /// Notes how much of one connection waits now; `counted` is what was noted before.
    pub(crate) fn recount(&self, counted: &mut usize, now: usize) {
        if *counted == now {
            return;
        }
        let (before, after) = (*counted as u64, now as u64);
        *counted = now;
        if after > before {
            self.queued.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.queued.fetch_sub(before - after, Ordering::Relaxed);
        }
        let queued = self.queued.load(Ordering::Relaxed);
        self.shown.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }

    /// Whether all connections together are beyond the bound.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > self.most
    }
}
