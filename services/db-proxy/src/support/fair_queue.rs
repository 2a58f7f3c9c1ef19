//! One piece of work per key at a time, in the order in which they came.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Work that waits for an earlier piece of the same key. Its owner bounds how much that is.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    /// A key with work in hand has an entry.
    waiting: Mutex<HashMap<K, VecDeque<T>>>,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
        }
    }
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    /// Takes work in: gives it back when it is its turn at once.
    pub(crate) fn begin(&self, key: K, work: T) -> Option<T> {
        match self.lock().entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(VecDeque::new());
                Some(work)
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().push_back(work);
                None
            }
        }
    }

    /// A piece of this key's work is done: the next one.
    pub(crate) fn next(&self, key: K) -> Option<T> {
        let mut waiting = self.lock();
        let next = waiting.get_mut(&key).and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(&key);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, VecDeque<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_one_key_takes_turns_and_others_do_not_wait() {
        let queue = FairQueue::default();
        assert!(queue.begin(7, 'a').is_some());
        assert!(queue.begin(7, 'b').is_none());
        assert!(queue.begin(7, 'c').is_none());
        assert!(queue.begin(8, 'd').is_some());
        assert_eq!(queue.next(7), Some('b'));
        assert_eq!(queue.next(7), Some('c'));
        assert_eq!(queue.next(7), None);
        assert!(
            queue.begin(7, 'e').is_some(),
            "nothing of the key is left behind"
        );
    }
}
