//! How many requests are worked on at the same time, in all and for each caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places of requests. A key has an entry while it has a request: there are no more than places.
#[derive(Debug)]
pub(crate) struct Slots<K> {
    total: usize,
    each: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    total: usize,
    by_key: HashMap<K, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// The caller has its part.
    Caller,
    /// All are taken.
    Total,
}

/// A place, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot<K: Copy + Eq + Hash> {
    slots: Arc<Slots<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Slots<K> {
    /// So many in all, a quarter of them, and one at least, for one key.
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Self::with(total, (total / 4).max(1))
    }

    /// So many in all, and so many for one key.
    pub(crate) fn with(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            each,
            taken: Mutex::new(Taken {
                total: 0,
                by_key: HashMap::new(),
            }),
        })
    }

    /// A place for a request of this key.
    pub(crate) fn take(self: &Arc<Self>, key: K) -> Result<Slot<K>, NoSlot> {
        let mut taken = self.lock();
        if taken.by_key.get(&key).is_some_and(|of| *of >= self.each) {
            return Err(NoSlot::Caller);
        }
        if taken.total >= self.total {
            return Err(NoSlot::Total);
        }
        taken.total += 1;
        *taken.by_key.entry(key).or_default() += 1;
        drop(taken);
        Ok(Slot {
            slots: Arc::clone(self),
            key,
        })
    }

    /// Places that are taken.
    pub(crate) fn in_use(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.total = taken.total.saturating_sub(1);
        if let Some(of) = taken.by_key.get_mut(&self.key) {
            *of = of.saturating_sub(1);
            if *of == 0 {
                taken.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_its_part_and_all_together_no_more_than_there_are() {
        let slots = Slots::new(8);
        let mut held = Vec::new();
        for key in 0..4 {
            held.push(slots.take(key).unwrap());
            held.push(slots.take(key).unwrap());
            assert_eq!(slots.take(key).unwrap_err(), NoSlot::Caller);
        }
        assert_eq!(slots.take(9).unwrap_err(), NoSlot::Total);
        assert_eq!(slots.in_use(), 8);
        held.pop();
        assert!(slots.take(9).is_ok());
        held.clear();
        assert_eq!(slots.in_use(), 0);
        assert!(slots.lock().by_key.is_empty(), "nothing is kept of them");
    }

    #[test]
    fn the_smallest_number_still_lets_one_request_through() {
        let slots = Slots::new(1);
        let one = slots.take(1);
        assert!(one.is_ok() && slots.take(2).is_err());
    }
}
