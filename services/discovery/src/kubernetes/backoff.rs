//! Waits between attempts to reach the API server: they double up to a cap, each with jitter, so
//! that the servers of a large cluster do not come back to it in step.

use std::time::Duration;

use rand::Rng;

const MIN: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(8);

pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(MIN)
    }
}

impl Backoff {
    /// The next wait: between half of the present step and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let step = self.0;
        self.0 = (step * 2).min(MAX);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_with_jitter_below() {
        let mut backoff = Backoff::default();
        for millis in [500, 1_000, 2_000, 4_000, 8_000, 8_000] {
            let (wait, step) = (backoff.next(), Duration::from_millis(millis));
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
        }
    }
}
