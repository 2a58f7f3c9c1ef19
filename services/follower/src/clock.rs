//! The time by which a holder of a name puts off and tries again.

use std::time::Duration;

use im_core::time::unix_millis;
use tokio::time::Instant;

/// Unix milliseconds that go on evenly from where the system's clock stood: whoever puts that clock back or ahead
/// meanwhile makes nobody wait, and nothing come early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begun: Instant,
    at: u64,
}

impl Clock {
    /// Begins where the system's clock stands now.
    pub(crate) fn start() -> Self {
        Self::at(unix_millis())
    }

    /// Begins at this time.
    pub(crate) fn at(at: u64) -> Self {
        let begun = Instant::now();
        Self { begun, at }
    }

    /// The time in so long.
    pub(crate) fn after(&self, wait: Duration) -> u64 {
        let since = self.begun.elapsed().saturating_add(wait);
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.at.saturating_add(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_by_what_has_passed_and_not_by_the_clock_of_the_system() {
        let clock = Clock::at(5_000);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.after(Duration::ZERO), 8_000);
        assert_eq!(clock.after(Duration::from_secs(2)), 10_000);
        let late = Clock::at(u64::MAX - 1);
        assert_eq!(late.after(Duration::from_secs(9)), u64::MAX);
        let now = Clock::start().after(Duration::ZERO);
        assert!(now.abs_diff(unix_millis()) < 60_000);
    }
}
