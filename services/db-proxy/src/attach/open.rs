//! The calls of one link that have not been answered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A call that its caller may withdraw.
#[derive(Clone, Debug)]
pub(super) struct Withdrawable {
    pub(super) token: CancellationToken,
    /// Whose query it is; logins have no session yet.
    pub(super) session: Option<u64>,
}

/// Open calls.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Queries and logins, by tag.
    calls: Mutex<HashMap<u64, Withdrawable>>,
    /// All calls whose results have not left.
    count: AtomicUsize,
    /// Messages among them.
    sends: AtomicUsize,
    idle: Notify,
}

impl Open {
    pub(super) fn add(&self, calls: usize) {
        self.count.fetch_add(calls, Ordering::AcqRel);
    }

    pub(super) fn remove(&self, calls: usize) {
        if self.count.fetch_sub(calls, Ordering::AcqRel) == calls {
            self.idle.notify_waiters();
        }
    }

    /// Messages that are open.
    pub(super) fn sends(&self) -> usize {
        self.sends.load(Ordering::Acquire)
    }

    pub(super) fn add_sends(&self, sends: usize) {
        self.sends.fetch_add(sends, Ordering::AcqRel);
    }

    pub(super) fn remove_sends(&self, sends: usize) {
        self.sends.fetch_sub(sends, Ordering::AcqRel);
    }

    /// Waits until nothing is open.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Notes a call that may be withdrawn.
    pub(super) fn begin(&self, tag: u64, session: Option<u64>) -> CancellationToken {
        let token = CancellationToken::new();
        let call = Withdrawable {
            token: token.clone(),
            session,
        };
        self.lock().insert(tag, call);
        token
    }

    /// The call is over. `false` when it had been withdrawn.
    pub(super) fn end(&self, tag: u64) -> bool {
        self.lock().remove(&tag).is_some()
    }

    /// Takes a call that its caller withdraws.
    pub(super) fn withdraw(&self, tag: u64) -> Option<Withdrawable> {
        self.lock().remove(&tag)
    }

    /// Ends all calls.
    pub(super) fn withdraw_all(&self) {
        for (_, call) in self.lock().drain() {
            call.token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Withdrawable>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
