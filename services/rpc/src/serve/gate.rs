//! Whether a port takes connections at all.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether a port takes connections. Closing it cuts those that the port has, and those that come
/// meanwhile are ended at once, so that callers look elsewhere.
///
/// Links inside one process do not pass it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Default for Gate {
    /// Open.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }
}

impl Gate {
    /// Lets callers in, or not; whether that is a change.
    pub fn set(&self, is_open: bool) -> bool {
        self.0
            .send_if_modified(|before| std::mem::replace(before, is_open) != is_open)
    }

    /// Whether callers are let in.
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Hears of changes from now on.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}
