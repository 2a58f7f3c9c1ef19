//! A map whose entries expire and whose size is bounded.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Keeps at most `capacity` entries, each for at most `ttl`.
///
/// Two generations: entries are added to the young one; when that is half the capacity, the old one
/// is dropped and the young one takes its place. So an entry costs nothing to evict, and the most
/// recent half always stays.
#[derive(Debug)]
pub(crate) struct TtlMap<K, V> {
    young: HashMap<K, (V, Instant)>,
    old: HashMap<K, (V, Instant)>,
    half: usize,
    ttl: Duration,
}

impl<K: Eq + Hash, V: Clone> TtlMap<K, V> {
    /// A map that remembers nothing when `ttl` is zero.
    pub(crate) fn new(capacity: usize, ttl: Duration) -> Self {
        let half = capacity.div_ceil(2).max(1);
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half,
            ttl,
        }
    }

    /// The entry, unless it has expired.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (value, expires) = self.young.get(key).or_else(|| self.old.get(key))?;
        (Instant::now() < *expires).then(|| value.clone())
    }

    /// Adds or renews an entry.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.ttl.is_zero() {
            return;
        }
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, (value, Instant::now() + self.ttl));
    }

    /// Forgets an entry.
    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Forgets everything that does not pass.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.young.retain(|_, (value, _)| keep(value));
        self.old.retain(|_, (value, _)| keep(value));
    }

    /// Entries held, expired ones among them.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_entry_expires() {
        let mut map = TtlMap::new(4, Duration::from_secs(10));
        map.insert(1, 'a');
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(map.get(&1), Some('a'));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(map.get(&1), None);
    }

    #[tokio::test]
    async fn the_size_is_bounded_and_recent_entries_stay() {
        let mut map = TtlMap::new(10, Duration::from_secs(10));
        for key in 0..1_000 {
            map.insert(key, key);
            assert!(map.len() <= 10);
            assert_eq!(map.get(&(key - 4).max(0)), Some((key - 4).max(0)));
        }
        assert_eq!(map.get(&0), None);
    }

    #[tokio::test]
    async fn no_time_to_live_means_no_memory() {
        let mut map = TtlMap::new(10, Duration::ZERO);
        map.insert(1, 1);
        assert_eq!(map.get(&1), None);
        assert_eq!(map.len(), 0);
    }

    #[tokio::test]
    async fn removed_and_filtered_entries_are_gone_from_both_generations() {
        let mut map = TtlMap::new(4, Duration::from_secs(10));
        for key in 0..4 {
            map.insert(key, key);
        }
        map.remove(&0);
        map.remove(&3);
        assert_eq!((map.get(&0), map.get(&3)), (None, None));
        map.retain(|value| *value == 1);
        assert_eq!((map.get(&1), map.get(&2)), (Some(1), None));
    }
}
