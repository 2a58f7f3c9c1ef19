//! Lets things happen at a bounded rate: what comes too early waits, nothing is lost.

use tokio::time::{Duration, Instant};

/// As many turns at once as fall into this time.
const BURST: Duration = Duration::from_secs(1);

/// Hands out turns.
pub(crate) struct Pace {
    /// Between two turns; `None` = no bound.
    interval: Option<Duration>,
    /// When the next turn is due; turns that nobody took gather up to the burst.
    next: Instant,
}

impl Pace {
    /// So many turns per second, and at once; 0 = no bound.
    pub(crate) fn new(rate: u32) -> Self {
        let now = Instant::now();
        Self {
            interval: (rate > 0).then(|| BURST / rate),
            next: now.checked_sub(BURST).unwrap_or(now),
        }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&mut self) {
        let Some(interval) = self.interval else {
            return;
        };
        let now = Instant::now();
        if let Some(earliest) = now.checked_sub(BURST) {
            self.next = self.next.max(earliest);
        }
        self.next += interval;
        if self.next > now {
            tokio::time::sleep_until(self.next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_beyond_the_burst_wait_for_the_rate() {
        let mut pace = Pace::new(100);
        let start = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        let burst = start.elapsed();
        for _ in 0..30 {
            pace.turn().await;
        }
        let all = start.elapsed();
        assert_eq!(burst, Duration::ZERO);
        // Timers go by whole milliseconds.
        let due = Duration::from_millis(300);
        assert!(
            all >= due && all < due + Duration::from_millis(10),
            "{all:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(0);
        let start = Instant::now();
        for _ in 0..100_000 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
