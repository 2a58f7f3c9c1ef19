//! Connections that are to be cut at a time of the server's clock.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::clock::is_due;

struct PendingClose<T> {
    at: u32,
    conn: Weak<T>,
}

/// Connections whose grace runs. Added by whoever ends one, cut by the sweep.
pub(crate) struct PendingCloses<T>(Mutex<Vec<PendingClose<T>>>);

impl<T> PendingCloses<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Adds a connection that is to be cut at `at`, if it is still there then.
    pub(crate) fn add(&self, conn: Weak<T>, at: u32) {
        let mut closes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closes.push(PendingClose { at, conn });
    }

    /// Takes the connections whose time has come.
    pub(crate) fn due(&self, now: u32) -> Vec<Arc<T>> {
        let mut closes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if closes.is_empty() {
            return Vec::new();
        }
        let due = closes
            .extract_if(.., |close| is_due(now, close.at))
            .filter_map(|close| close.conn.upgrade())
            .collect();
        if closes.is_empty() {
            *closes = Vec::new();
        }
        due
    }
}
