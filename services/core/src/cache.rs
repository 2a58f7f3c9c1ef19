//! A bounded memory of what was used lately.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// A map of at most `2 * generation` entries that keeps what was used lately: entries that were not
/// used during a whole generation are dropped. Constant cost, no per-entry links.
#[derive(Debug)]
pub struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation: usize,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// A cache of about `entries`, but such that `at_least` entries used in a row are all there.
    pub fn new(entries: usize, at_least: usize) -> Self {
        let generation = (entries / 2).max(at_least).max(1);
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation,
        }
    }

    /// Looks up and marks as used.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    /// Whether it is there; marks it as used.
    pub fn touch(&mut self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Whether it is there; not a use.
    pub fn contains(&self, key: &K) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    /// Remembers a value, in place of the one that this key had; what was used longest ago may go.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Forgets one key.
    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Entries that are there.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_what_is_used_and_stays_bounded() {
        let mut cache = Cache::new(8, 1);
        cache.insert(0, "kept");
        for key in 1..100 {
            cache.insert(key, "other");
            assert!(cache.get(&0).is_some(), "used in every round");
            assert!(cache.len() <= 9, "{}", cache.len());
        }
        assert!(!cache.contains(&1));
        cache.remove(&0);
        assert!(cache.get(&0).is_none());
    }

    #[test]
    fn as_many_entries_as_a_batch_has_are_never_evicted_within_it() {
        let mut cache = Cache::new(4, 64);
        for round in 0..10_u32 {
            for key in 0..64 {
                cache.insert(round * 64 + key, ());
            }
            assert!((0..64).all(|key| cache.contains(&(round * 64 + key))));
        }
    }
}
