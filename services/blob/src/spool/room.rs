//! What writers may still write, so that many that begin at once do not all count on the same room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{BlobError, Room};

/// The sum over all writers of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    bytes: Arc<AtomicU64>,
}

/// What one writer may still write; given back when it is gone.
#[derive(Debug)]
pub(super) struct Promised {
    promises: Promises,
    left: u64,
}

impl Promises {
    /// Promises so many bytes, if they leave the floor free beside what others were promised.
    pub(super) fn add(&self, bytes: u64, room: Room, floor: u64) -> Result<Promised, BlobError> {
        let usable = room.free.saturating_sub(floor);
        let added = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |promised| {
                promised.checked_add(bytes).filter(|sum| *sum <= usable)
            });
        added.map_err(|_| BlobError::NoRoom)?;
        Ok(Promised {
            promises: self.clone(),
            left: bytes,
        })
    }
}

impl Promised {
    /// So many bytes were written: the file system counts them now.
    pub(super) fn keep(&mut self, bytes: u64) {
        let kept = bytes.min(self.left);
        self.left -= kept;
        self.promises.bytes.fetch_sub(kept, Ordering::AcqRel);
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        self.keep(self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_do_not_count_on_the_same_room() {
        let promises = Promises::default();
        let room = Room {
            free: 100,
            all: 1000,
        };
        let mut first = promises.add(60, room, 20).unwrap();
        assert!(matches!(promises.add(21, room, 20), Err(BlobError::NoRoom)));
        let second = promises.add(20, room, 20).unwrap();
        drop(second);
        let written = Room { free: 60, ..room };
        first.keep(40);
        assert!(promises.add(21, written, 20).is_err());
        drop(promises.add(20, written, 20).unwrap());
        drop(first);
        assert_eq!(promises.bytes.load(Ordering::Acquire), 0);
    }
}
