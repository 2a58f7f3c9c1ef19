//! Open loop: messages are due at fixed times, whether or not earlier ones were answered.
//!
//! tokio's timers are too coarse for that (1 ms), so a thread of its own sleeps until the next
//! message is due and wakes the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Least time between two wake-ups; messages due in between are sent together, late by this at
/// most.
const GRAIN: Duration = Duration::from_micros(500);

/// A schedule of equally spaced messages.
#[derive(Debug)]
pub(crate) struct Pacer {
    start: Instant,
    interval: Duration,
    next: u64,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    wake: Notify,
    stop: AtomicBool,
}

impl Pacer {
    /// So many messages per second from now on.
    pub(crate) fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let shared = Arc::new(Shared::default());
        let start = Instant::now();
        let waker = Arc::clone(&shared);
        std::thread::spawn(move || tick(&waker, start, interval.max(GRAIN)));
        Self {
            start,
            interval,
            next: 0,
            shared,
        }
    }

    /// Waits until at least one message is due, and gives the intended times of all that are.
    pub(crate) async fn due(&mut self) -> impl Iterator<Item = Instant> + use<> {
        let (start, interval) = (self.start, self.interval);
        loop {
            let elapsed = start.elapsed();
            let through =
                u64::try_from(elapsed.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX);
            if through >= self.next {
                let from = std::mem::replace(&mut self.next, through + 1);
                return (from..=through).map(move |n| start + at(interval, n));
            }
            self.shared.wake.notified().await;
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn at(interval: Duration, n: u64) -> Duration {
    let nanos = interval.as_nanos().saturating_mul(u128::from(n));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Wakes the load at each multiple of the interval.
fn tick(shared: &Shared, start: Instant, interval: Duration) {
    let mut n = 1;
    while !shared.stop.load(Ordering::Relaxed) {
        let due = start + at(interval, n);
        let now = Instant::now();
        if due > now {
            #[allow(
                clippy::disallowed_methods,
                reason = "a thread of its own, finer than the runtime's timers"
            )]
            std::thread::sleep(due - now);
        }
        shared.wake.notify_one();
        let passed = start.elapsed().as_nanos() / interval.as_nanos().max(1);
        n = u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_schedule_is_kept_and_no_message_is_left_out() {
        let mut pacer = Pacer::new(10_000);
        let mut times = Vec::new();
        while times.len() < 500 {
            times.extend(pacer.due().await);
        }
        assert_eq!(times[0], pacer.start);
        for pair in times.windows(2) {
            assert_eq!(pair[1] - pair[0], Duration::from_micros(100));
        }
        assert!(pacer.start.elapsed() >= Duration::from_millis(49));
    }
}
