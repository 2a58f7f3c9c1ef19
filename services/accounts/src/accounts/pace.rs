//! How fast places become free, and when to come back to them.

use std::time::Duration;

use tokio::time::Instant;

/// The new measurement counts for one part in so many.
const INERTIA: u32 = 8;
/// Nobody is told to come back sooner or later than this.
const SOONEST: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_secs(30);

/// Measures what is done at a few places at a time (hashes, lookups), and spreads over time those who are sent away.
#[derive(Debug)]
pub(super) struct Pace {
    parallel: u32,
    one: Duration,
    /// When the last one who was sent away will have been served.
    promised: Instant,
}

impl Pace {
    /// `one`: what one takes before any has been measured.
    pub(super) fn new(parallel: usize, one: Duration, now: Instant) -> Self {
        Self {
            parallel: u32::try_from(parallel).unwrap_or(u32::MAX).max(1),
            one,
            promised: now,
        }
    }

    pub(super) fn measured(&mut self, took: Duration) {
        self.one = (self.one * (INERTIA - 1) + took) / INERTIA;
    }

    /// What one takes.
    pub(super) fn one(&self) -> Duration {
        self.one
    }

    /// How long so many take.
    pub(super) fn time_of(&self, count: usize) -> Duration {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.one.saturating_mul(count) / self.parallel
    }

    /// How many this time suffices for.
    pub(super) fn count_in(&self, time: Duration) -> usize {
        let one = self.time_of(1).as_micros().max(1);
        usize::try_from(time.as_micros() / one).unwrap_or(usize::MAX)
    }

    /// When to come back: after those who wait, and after those who were told so before.
    pub(super) fn retry_after(&mut self, waiting: usize, now: Instant) -> Duration {
        let free = now + self.time_of(waiting);
        let place = self.promised.max(free) + self.time_of(1);
        self.promised = place.min(now + LATEST);
        (place - now).clamp(SOONEST, LATEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESS: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn those_who_are_sent_away_come_back_one_after_the_other() {
        let now = Instant::now();
        let mut pace = Pace::new(2, GUESS, now);
        for _ in 0..100 {
            pace.measured(Duration::from_millis(200));
        }
        assert!((195..=200).contains(&pace.one().as_millis()));
        let retry: Vec<_> = (0..3)
            .map(|_| pace.retry_after(20, now).as_millis())
            .collect();
        assert!(
            (2_050..=2_100).contains(&retry[0]),
            "after twenty at ten a second: {retry:?}"
        );
        assert!((95..=100).contains(&(retry[1] - retry[0])), "{retry:?}");
        assert!((95..=100).contains(&(retry[2] - retry[1])), "{retry:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded_both_ways() {
        let now = Instant::now();
        let mut pace = Pace::new(1, GUESS, now);
        assert_eq!(pace.retry_after(0, now), SOONEST);
        for _ in 0..10_000 {
            assert!(pace.retry_after(0, now) <= LATEST);
        }
        let later = now + LATEST;
        assert!(
            pace.retry_after(0, later) <= SOONEST,
            "nothing is owed for ever"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn hashes_are_counted_by_the_time_they_take() {
        let pace = Pace::new(2, GUESS, Instant::now());
        assert_eq!(pace.count_in(Duration::from_secs(10)), 400);
        assert_eq!(pace.time_of(400), Duration::from_secs(10));
    }
}
