//! Waits that double up to a cap, each with jitter.

use std::time::Duration;

use rand::Rng;

pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    current: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max: max.max(min),
            current: min,
        }
    }

    /// The next wait: between half of the present step and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let step = self.current;
        self.current = (step * 2).min(self.max);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// A link that lasted longer than the longest wait starts the steps anew; one that ends at once
    /// counts as a failed attempt.
    pub(super) fn survived(&mut self, lasted: Duration) {
        if lasted >= self.max {
            self.current = self.min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_cap_with_jitter_below() {
        let mut backoff = Backoff::new(10 * MS, 50 * MS);
        for step in [10, 20, 40, 50, 50] {
            let wait = backoff.next();
            assert!(
                wait >= step * MS / 2 && wait <= step * MS,
                "{wait:?} of {step} ms"
            );
        }
    }

    #[test]
    fn only_a_link_that_lasted_starts_the_waits_anew() {
        let mut backoff = Backoff::new(10 * MS, 50 * MS);
        for _ in 0..5 {
            backoff.next();
        }
        backoff.survived(49 * MS);
        assert!(backoff.next() >= 25 * MS);
        backoff.survived(50 * MS);
        assert!(backoff.next() <= 10 * MS);
    }
}
