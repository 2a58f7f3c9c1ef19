//! How long to wait between attempts of what fails.

use std::time::Duration;

/// Waits that double up to a cap. Whoever must not come back in step with others takes a random part of
/// each.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    current: Duration,
}

impl Backoff {
    /// From `min` up to `max`, and never below `min`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            current: min,
        }
    }

    /// The next wait; the one after it is twice as long.
    pub fn step(&mut self) -> Duration {
        let step = self.current;
        self.current = step.saturating_mul(2).min(self.max).max(self.min);
        step
    }

    /// What was attempted has worked for so long and failed again. If that was longer than the longest
    /// wait the steps begin anew; what fails at once counts as a failed attempt.
    pub fn survived(&mut self, lasted: Duration) {
        if lasted >= self.max.max(self.min) {
            self.current = self.min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut backoff = Backoff::new(10 * MS, 50 * MS);
        for step in [10, 20, 40, 50, 50] {
            assert_eq!(backoff.step(), step * MS);
        }
        let mut turned_round = Backoff::new(10 * MS, 5 * MS);
        assert_eq!([turned_round.step(), turned_round.step()], [10 * MS; 2]);
    }

    #[test]
    fn only_what_lasted_starts_the_waits_anew() {
        let mut backoff = Backoff::new(10 * MS, 50 * MS);
        for _ in 0..5 {
            backoff.step();
        }
        backoff.survived(49 * MS);
        assert_eq!(backoff.step(), 50 * MS);
        backoff.survived(50 * MS);
        assert_eq!(backoff.step(), 10 * MS);
    }
}
