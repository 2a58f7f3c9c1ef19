//! Directory answers that were built, for all who ask for the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_core::time::UnixSeconds;

use super::frames::Part;

/// Different answers that are kept at most.
const MAX_KEPT: usize = 64;

/// What makes answers equal, but for the asker's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Changed after this stamp; `None` = everybody.
    pub(super) after: Option<UnixSeconds>,
    pub(super) one_frame: bool,
}

/// A built answer.
pub(super) struct Built {
    /// Its number among all that were begun.
    pub(super) begun: u64,
    /// Newest stamp of the directory when it was begun.
    pub(super) stamp: UnixSeconds,
    pub(super) parts: Arc<[Part]>,
}

/// Where an answer is built by one while the others wait.
pub(super) type Place = Arc<tokio::sync::Mutex<Option<Built>>>;

/// The answers that are kept, within a number of bytes.
pub(super) struct Shared {
    kept: Mutex<Vec<Kept>>,
    max_bytes: usize,
    begun: AtomicU64,
}

struct Kept {
    key: Key,
    place: Place,
    bytes: usize,
}

impl Shared {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            kept: Mutex::default(),
            max_bytes,
            begun: AtomicU64::new(0),
        }
    }

    /// How many were begun by now.
    pub(super) fn now(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Begins one.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The place of an answer, as the one used last.
    pub(super) fn place(&self, key: Key) -> Place {
        let mut kept = self.lock();
        let found = match kept.iter().position(|kept| kept.key == key) {
            Some(at) => kept.remove(at),
            None => Kept {
                key,
                place: Place::default(),
                bytes: 0,
            },
        };
        let place = Arc::clone(&found.place);
        kept.push(found);
        if kept.len() > MAX_KEPT {
            kept.remove(0);
        }
        place
    }

    /// An answer of so many bytes was built. What was not used for longest goes when there is too
    /// much; who waits at its place still gets it.
    pub(super) fn keep(&self, key: Key, bytes: usize) {
        let mut kept = self.lock();
        if let Some(found) = kept.iter_mut().find(|kept| kept.key == key) {
            found.bytes = bytes;
        }
        while kept.iter().map(|kept| kept.bytes).sum::<usize>() > self.max_bytes {
            kept.remove(0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(after: u32) -> Key {
        Key {
            after: Some(UnixSeconds::from_wire(after)),
            one_frame: true,
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_in_number() {
        let shared = Shared::new(100);
        let first = shared.place(key(1));
        shared.keep(key(1), 60);
        shared.place(key(2));
        assert!(Arc::ptr_eq(&first, &shared.place(key(1))));
        shared.place(key(2));
        shared.keep(key(2), 60);
        assert!(!Arc::ptr_eq(&first, &shared.place(key(1))), "too much");
        shared.keep(key(1), 101);
        assert_eq!(shared.lock().len(), 0, "longer than all that is kept");
        for after in 0..1_000 {
            shared.place(key(after));
        }
        assert_eq!(shared.lock().len(), MAX_KEPT);
    }
}
