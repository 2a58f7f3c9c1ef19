//! Hand-outs of one msg server that have not been seen as sessions yet.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Steps into which the lifetime of a hand-out is divided: as many counters are kept at most.
const STEPS: u32 = 32;

/// Pending hand-outs, counted by the step of time in which they were made.
#[derive(Debug)]
pub(super) struct Pending {
    lifetime: Duration,
    total: u32,
    /// Start of a step and hand-outs made in it, oldest first.
    steps: VecDeque<(Instant, u32)>,
}

impl Pending {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            total: 0,
            steps: VecDeque::new(),
        }
    }

    pub(super) const fn count(&self) -> u32 {
        self.total
    }

    pub(super) fn add(&mut self, now: Instant) {
        if self.lifetime.is_zero() {
            return;
        }
        self.total = self.total.saturating_add(1);
        match self.steps.back_mut() {
            Some((start, count)) if now < *start + self.lifetime / STEPS => *count += 1,
            _ => self.steps.push_back((now, 1)),
        }
    }

    /// So many of them have logged in: the oldest ones.
    pub(super) fn seen(&mut self, mut arrived: u32) {
        self.total = self.total.saturating_sub(arrived);
        while arrived > 0
            && let Some((_, count)) = self.steps.front_mut()
        {
            let taken = arrived.min(*count);
            *count -= taken;
            arrived -= taken;
            if *count == 0 {
                self.steps.pop_front();
            }
        }
    }

    /// Those made too long ago will not come.
    pub(super) fn forget_before(&mut self, now: Instant) {
        while let Some(&(start, count)) = self.steps.front()
            && now.saturating_duration_since(start) >= self.lifetime
        {
            self.total = self.total.saturating_sub(count);
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_outs_are_seen_or_forgotten() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pending = Pending::new(Duration::from_secs(30));
        for ms in 0..1_000 {
            pending.add(at(ms * 20));
        }
        assert_eq!(pending.count(), 1_000);
        assert!(
            pending.steps.len() <= STEPS as usize + 1,
            "{}",
            pending.steps.len()
        );
        pending.seen(10);
        assert_eq!(pending.count(), 990);
        pending.forget_before(at(29_999));
        assert_eq!(pending.count(), 990);
        pending.forget_before(at(49_999));
        assert_eq!(pending.count(), 0);
        pending.seen(5);
        assert_eq!(pending.count(), 0);
    }

    #[test]
    fn each_is_forgotten_with_the_others_of_its_step() {
        let lifetime = Duration::from_secs(32);
        let start = Instant::now();
        let mut pending = Pending::new(lifetime);
        for ms in [0, 999, 1_000, 31_999] {
            pending.add(start + Duration::from_millis(ms));
        }
        pending.forget_before(start + lifetime);
        assert_eq!(pending.count(), 2);
        pending.forget_before(start + lifetime + Duration::from_secs(1));
        assert_eq!(pending.count(), 1);
    }

    #[test]
    fn what_was_seen_is_not_forgotten_once_more() {
        let lifetime = Duration::from_secs(32);
        for seen in [1, 2] {
            let start = Instant::now();
            let mut pending = Pending::new(lifetime);
            pending.add(start);
            pending.add(start);
            pending.seen(seen);
            pending.add(start + lifetime / 2);
            pending.forget_before(start + lifetime);
            assert_eq!(pending.count(), 1, "{seen}");
        }
    }

    #[test]
    fn without_a_lifetime_nothing_is_pending() {
        let mut pending = Pending::new(Duration::ZERO);
        pending.add(Instant::now());
        assert_eq!(pending.count(), 0);
    }
}
