//! Time that only goes forward.

use std::time::Duration;

/// When something started.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::disallowed_types,
    reason = "there is no runtime here whose clock could be stopped"
)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    /// Starts now.
    #[allow(clippy::disallowed_types, reason = "as above")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since then.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
