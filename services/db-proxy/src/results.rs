//! Results of one link on their way back.

use std::sync::{Mutex, PoisonError};

use im_proto_rpc::v1;
use tokio::sync::Notify;

/// Gathers the results of one link, in the order in which they are pushed. Its size is bounded by the
/// calls that the link may have open.
#[derive(Debug, Default)]
pub(crate) struct Results {
    waiting: Mutex<Vec<v1::DbResult>>,
    ready: Notify,
}

impl Results {
    /// Adds results; never waits.
    pub(crate) fn push(&self, results: Vec<v1::DbResult>) {
        if results.is_empty() {
            return;
        }
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_empty() {
                *waiting = results;
            } else {
                waiting.extend(results);
            }
        }
        self.ready.notify_one();
    }

    /// Adds one result.
    pub(crate) fn push_one(&self, tag: u64, result: v1::db_result::Result) {
        self.push(vec![v1::DbResult {
            tag,
            result: Some(result),
        }]);
    }

    /// Waits for results and takes at most `max` of them.
    pub(crate) async fn take(&self, max: usize) -> Vec<v1::DbResult> {
        loop {
            let ready = self.ready.notified();
            let taken = self.take_now(max);
            if !taken.is_empty() {
                return taken;
            }
            ready.await;
        }
    }

    /// What is there, at most `max`.
    pub(crate) fn take_now(&self, max: usize) -> Vec<v1::DbResult> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() <= max {
            return std::mem::take(&mut *waiting);
        }
        let rest = waiting.split_off(max);
        std::mem::replace(&mut *waiting, rest)
    }
}
