//! Leaves a server alone that does not answer.
//!
//! Pure: time is given.

use std::time::Duration;

use tokio::time::Instant;

/// Whether a server is asked: always, until it has failed so many times in a row; then one request after a
/// pause tells whether it is back.
#[derive(Debug)]
pub struct Gate {
    most: u32,
    pause: Duration,
    failed: u32,
    /// Shut until then; whoever comes first afterwards shuts it again and goes through.
    until: Option<Instant>,
}

impl Gate {
    /// Shuts after so many failures in a row, for so long at a time.
    pub const fn new(most: u32, pause: Duration) -> Self {
        Self {
            most,
            pause,
            failed: 0,
            until: None,
        }
    }

    /// Whether a request may go now.
    ///
    /// # Errors
    /// It may not; how long it waits at least.
    pub fn enter(&mut self, now: Instant) -> Result<(), Duration> {
        match self.until {
            None => Ok(()),
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                self.until = Some(now + self.pause);
                Ok(())
            }
        }
    }

    /// The server has answered, whatever it said.
    pub const fn answered(&mut self) {
        self.failed = 0;
        self.until = None;
    }

    /// It has not, or wants to be left alone. Returns whether the gate shuts with this.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failed = self.failed.saturating_add(1);
        if self.failed < self.most {
            return false;
        }
        let was_open = self.until.is_none();
        self.until = Some(now + self.pause);
        was_open
    }

    /// Whether the server is left alone.
    pub const fn is_shut(&self) -> bool {
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_in_a_row_is_left_alone_and_then_tried_once() {
        let pause = Duration::from_secs(5);
        let mut gate = Gate::new(3, pause);
        let start = Instant::now();
        assert_eq!(gate.enter(start), Ok(()));
        assert!(!gate.failed(start) && !gate.failed(start));
        gate.answered();
        assert!(!gate.failed(start) && !gate.failed(start));
        assert_eq!(gate.enter(start), Ok(()));
        assert!(gate.failed(start), "the third in a row");
        assert!(!gate.failed(start), "it is shut already");
        let later = start + Duration::from_secs(1);
        assert_eq!(gate.enter(later), Err(Duration::from_secs(4)));
        let after = start + pause;
        assert_eq!(gate.enter(after), Ok(()), "one goes through");
        assert_eq!(gate.enter(after), Err(pause), "and one only");
        gate.answered();
        assert!(!gate.is_shut());
        assert_eq!(gate.enter(after), Ok(()));
    }
}
