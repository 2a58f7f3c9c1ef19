//! How much a connection may ask for in a time.

use crate::env::Env;

/// A token bucket: `rate_limit` per second, `rate_burst` at most.
pub(super) struct Bucket {
    /// Thousandths of a message.
    tokens: u32,
    at: u32,
}

impl Bucket {
    pub(super) fn full(env: &Env) -> Self {
        Self {
            tokens: env.config.rate_burst.saturating_mul(1_000),
            at: env.now(),
        }
    }

    /// Takes one message; the time to wait when there is none, milliseconds.
    pub(super) fn take(&mut self, env: &Env) -> Option<u32> {
        let (rate, burst) = (env.config.rate_limit, env.config.rate_burst);
        if rate == 0 {
            return None;
        }
        self.take_at(env.now(), rate, burst)
    }

    fn take_at(&mut self, now: u32, rate: u32, burst: u32) -> Option<u32> {
        let earned = u64::from(now.wrapping_sub(self.at)) * u64::from(rate);
        let full = u64::from(burst) * 1_000;
        self.tokens =
            u32::try_from((u64::from(self.tokens) + earned).min(full)).unwrap_or(u32::MAX);
        self.at = now;
        if self.tokens >= 1_000 {
            self.tokens -= 1_000;
            return None;
        }
        Some((1_000 - self.tokens).div_ceil(rate).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_counts() {
        let mut bucket = Bucket {
            tokens: 64_000,
            at: 0,
        };
        for _ in 0..64 {
            assert_eq!(bucket.take_at(0, 20, 64), None);
        }
        assert_eq!(bucket.take_at(0, 20, 64), Some(50));
        assert_eq!(bucket.take_at(49, 20, 64), Some(1));
        assert_eq!(bucket.take_at(50, 20, 64), None);
        assert_eq!(bucket.take_at(50, 20, 64), Some(50));
    }

    #[test]
    fn a_long_silence_earns_no_more_than_a_burst() {
        let mut bucket = Bucket { tokens: 0, at: 5 };
        for _ in 0..3 {
            assert_eq!(bucket.take_at(4_000_000_000, 1_000_000, 3), None);
        }
        assert_eq!(bucket.take_at(4_000_000_000, 1_000_000, 3), Some(1));
    }
}
