//! Lets work of one kind of key pass one after the other.

use tokio::sync::{Mutex, MutexGuard};

/// More than what can be worked on at the same time, so that strangers hardly wait for one another.
const STRIPES: usize = 256;

/// A fixed set of locks; equal keys always have the same one.
pub(crate) struct StripedLocks {
    stripes: Box<[Mutex<()>]>,
    /// Stands in for a missing stripe; there is none.
    spare: Mutex<()>,
}

impl Default for StripedLocks {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            spare: Mutex::new(()),
        }
    }
}

impl StripedLocks {
    /// Waits for the turn of this key; it ends when the guard is dropped.
    pub(crate) async fn take(&self, key: u32) -> MutexGuard<'_, ()> {
        self.stripes
            .get(key as usize % STRIPES)
            .unwrap_or(&self.spare)
            .lock()
            .await
    }
}
