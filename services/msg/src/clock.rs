//! The clock of this server: milliseconds in 32 bits, so that connections can keep times cheaply.

use tokio::time::Instant;

/// Counts milliseconds since the start.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Milliseconds since the start. Wraps after 49 days: compare by difference only.
    #[allow(clippy::cast_possible_truncation, reason = "wraps on purpose")]
    pub(crate) fn now(&self) -> u32 {
        self.start.elapsed().as_millis() as u32
    }

    /// Microseconds since the start. Wraps after 71 minutes: for short times only.
    #[allow(clippy::cast_possible_truncation, reason = "wraps on purpose")]
    pub(crate) fn micros(&self) -> u32 {
        self.start.elapsed().as_micros() as u32
    }
}

/// Whether `at` has passed.
pub(crate) fn is_due(now: u32, at: u32) -> bool {
    now.wrapping_sub(at) < u32::MAX / 2
}
