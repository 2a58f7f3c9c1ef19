//! What a listener does when a connection cannot be accepted.

use std::time::Duration;

/// First wait after a failed accept.
const SHORTEST: Duration = Duration::from_millis(5);

/// Longest wait: descriptors that became free are used soon.
const LONGEST: Duration = Duration::from_millis(500);

/// Time between two lines of log of one listener.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Waits that double, and a line of log now and then, while accepts fail in a row (mostly for want of
/// descriptors).
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptBackoff {
    failures: u32,
    logged: Option<Duration>,
}

impl AcceptBackoff {
    /// An accept failed, so long after the listener was opened. Tells how long to wait, and whether to
    /// log it.
    pub fn failed(&mut self, now: Duration) -> (Duration, bool) {
        let wait = SHORTEST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let due = self
            .logged
            .is_none_or(|at| now.saturating_sub(at) >= LOG_EVERY);
        if due {
            self.logged = Some(now);
        }
        (wait.min(LONGEST), due)
    }

    /// An accept succeeded. When the next line may be written stays as it was.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_logged_once_in_ten_seconds_even_with_successes_between() {
        let mut backoff = AcceptBackoff::default();
        let mut lines = 0;
        for tick in 0..300 {
            let (_, log) = backoff.failed(Duration::from_millis(tick * 100));
            lines += u32::from(log);
            if tick % 3 == 0 {
                backoff.succeeded();
            }
        }
        assert_eq!(lines, 3, "30 seconds");
    }

    #[test]
    fn waits_double_to_half_a_second_and_start_anew() {
        let (mut backoff, now) = (AcceptBackoff::default(), Duration::ZERO);
        let mut waits: Vec<_> = (0..9).map(|_| backoff.failed(now).0.as_millis()).collect();
        backoff.succeeded();
        waits.push(backoff.failed(now).0.as_millis());
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 500, 500, 5]);
    }
}
