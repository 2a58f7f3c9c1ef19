//! Counts what each of many has done in the present hour.

use std::hash::Hash;
use std::time::Duration;

use im_core::Cache;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3_600);

/// Counts per key, for the keys that were counted lately.
#[derive(Debug)]
pub(crate) struct Hourly<K> {
    counts: Cache<K, (Instant, u32)>,
}

impl<K: Copy + Eq + Hash> Hourly<K> {
    /// Remembers about so many keys.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            counts: Cache::new(keys, 1),
        }
    }

    /// Whether fewer than `max` were counted in this key's hour.
    pub(crate) fn has_room(&mut self, key: &K, max: u32, now: Instant) -> bool {
        self.counts
            .get(key)
            .is_none_or(|(since, count)| now.duration_since(*since) >= HOUR || *count < max)
    }

    /// Counts one; an hour begins with the first.
    pub(crate) fn count(&mut self, key: K, now: Instant) {
        match self.counts.get(&key) {
            Some((since, count)) if now.duration_since(*since) < HOUR => {
                *count = count.saturating_add(1);
            }
            _ => self.counts.insert(key, (now, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_after_the_first_there_is_room_again() {
        let mut hourly = Hourly::new(10);
        let start = Instant::now();
        assert!(hourly.has_room(&1, 2, start));
        hourly.count(1, start);
        hourly.count(1, start + HOUR / 2);
        assert!(!hourly.has_room(&1, 2, start + HOUR / 2));
        assert!(hourly.has_room(&2, 2, start));
        assert!(hourly.has_room(&1, 2, start + HOUR));
        hourly.count(1, start + HOUR);
        assert!(hourly.has_room(&1, 2, start + HOUR));
    }
}
