//! Keeps what happens to everybody, or as often as somebody likes, from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line pass per second; the metrics count the rest.
#[derive(Debug, Default)]
pub struct Throttle {
    last: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Whether a line may be logged now.
    pub fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_passes_per_second() {
        let throttle = Throttle::default();
        assert_eq!([(); 3].map(|()| throttle.is_due()), [true, false, false]);
        tokio::time::advance(INTERVAL).await;
        assert!(throttle.is_due());
    }
}
