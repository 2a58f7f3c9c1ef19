//! When the next commit may start: at once while there is little to do, a while after the one before
//! when that lets a commit take more messages.

use std::time::Duration;

use im_config::WriterConfig;
use tokio::time::Instant;

/// Messages are counted over so many gaps, so that neither one slow commit nor a short burst looks like
/// traffic that lasts.
const MEMORY: u32 = 25;

/// How many messages come, and when the last commit started.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    /// Messages in a gap from which on it is kept.
    from: f64,
    /// Messages of the last `MEMORY` gaps; older ones fade.
    recent: f64,
    last: Option<Instant>,
}

impl Pace {
    pub(super) fn new(config: &WriterConfig) -> Self {
        Self {
            gap: config.commit_gap.duration(),
            from: f64::from(config.commit_gap_from_messages),
            recent: 0.0,
            last: None,
        }
    }

    /// A commit of so many messages starts.
    pub(super) fn starts(&mut self, now: Instant, messages: usize) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        // They came one by one since the last one started, and have faded as long.
        let faded = match self.ages(now) {
            Some(ages) if ages > 0.0 => (1.0 - (-ages).exp()) / ages,
            _ => 1.0,
        };
        self.recent = self.recent_at(now) + f64::from(messages) * faded;
        self.last = Some(now);
    }

    /// Until when the next commit waits; `None` when it may start at once.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        let next = self.last? + self.gap;
        let in_a_gap = self.recent_at(now) / f64::from(MEMORY);
        (now < next && in_a_gap >= self.from).then_some(next)
    }

    fn recent_at(&self, now: Instant) -> f64 {
        self.ages(now)
            .map_or(0.0, |ages| self.recent * (-ages).exp())
    }

    /// How long ago the last commit started, in times of `MEMORY` gaps; `None` without either.
    fn ages(&self, now: Instant) -> Option<f64> {
        let memory = (self.gap * MEMORY).as_secs_f64();
        let age = now.duration_since(self.last?).as_secs_f64();
        (memory > 0.0).then(|| age / memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an open loop sees: messages come evenly, and a commit takes all that wait.
    struct Loop {
        pace: Pace,
        now: Instant,
        begin: Instant,
        every: Duration,
        taken: u32,
    }

    impl Loop {
        fn new(per_second: u32) -> Self {
            let now = Instant::now();
            Self {
                pace: Pace::new(&WriterConfig::default()),
                now,
                begin: now,
                every: Duration::from_secs(1) / per_second,
                taken: 0,
            }
        }

        /// One commit that takes so long; whether it waited for the gap.
        fn commit(&mut self, takes: Duration) -> bool {
            let until = self.pace.waits_until(self.now);
            self.now = until.unwrap_or(self.now);
            // Without a message there is nothing to commit.
            self.now = self.now.max(self.begin + (self.taken + 1) * self.every);
            let passed = (self.now - self.begin).as_nanos() / self.every.as_nanos();
            let arrived = u32::try_from(passed).unwrap();
            self.pace.starts(self.now, (arrived - self.taken) as usize);
            self.taken = arrived;
            self.now += takes;
            until.is_some()
        }
    }

    const SHORT: Duration = Duration::from_micros(500);

    #[test]
    fn little_traffic_waits_for_nothing_also_after_a_slow_disk() {
        let mut little = Loop::new(1_800);
        for n in 0..5_000 {
            // Slow ones gather what comes meanwhile, hundreds of messages.
            let takes = match n % 100 {
                49 => SHORT * 10,
                99 => SHORT * 600,
                _ => SHORT,
            };
            assert!(!little.commit(takes), "commit {n}");
        }
    }

    #[test]
    fn much_traffic_gathers_for_as_long_as_it_lasts() {
        let mut much = Loop::new(5_000);
        let waited = (0..1_000).filter(|_| much.commit(SHORT)).count();
        assert!(waited > 900, "{waited} of 1000 waited");
        // Half a second later the next one is the only one.
        much.now += Duration::from_millis(500);
        assert_eq!(much.pace.waits_until(much.now), None);
        much.pace.starts(much.now, 1);
        assert_eq!(much.pace.waits_until(much.now), None);
    }

    #[test]
    fn no_gap_never_waits() {
        let config = WriterConfig {
            commit_gap: im_config::units::Span::ZERO,
            ..WriterConfig::default()
        };
        let mut pace = Pace::new(&config);
        let now = Instant::now();
        pace.starts(now, 10_000);
        assert_eq!(pace.waits_until(now), None);
    }
}
