//! Test notices: administrators ask for them, whoever holds the name of push makes them.
//!
//! *Invariants*: so many are under way at the same time and no more; each has an end, with a verdict or without.
//! Whoever asked and does not wait any more leaves nothing behind.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_config::FollowConfig;
use im_proto_rpc::v1::{PushTarget, PushTest, PushVerdict};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore, oneshot};

/// Counters of test notices; cheap to clone. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestMetrics {
    open: Gauge,
    refused: Counter,
    unanswered: Counter,
}

impl TestMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let it = registry.sub_registry_with_prefix("im_db_proxy_test_notices");
        it.register(
            "open",
            "Test notices that wait for push or are with it",
            this.open.clone(),
        );
        it.register(
            "refused",
            "Test notices refused because as many were under way as may",
            this.refused.clone(),
        );
        it.register(
            "unanswered",
            "Test notices of which no push server has said in time what became of them",
            this.unanswered.clone(),
        );
        this
    }
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoVerdict {
    #[error("too many test notices are under way")]
    TooMany,
    #[error(
        "no push server has taken the test notice and said in time what became of it: none runs, or no \
         provider is configured"
    )]
    Silence,
}

/// The test notices that are under way; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct TestNotices(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Semaphore,
    /// Time for a verdict.
    limit: Duration,
    open: Mutex<Open>,
    asked: Notify,
    metrics: TestMetrics,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    /// Those that push has not taken yet.
    waiting: VecDeque<PushTest>,
    askers: HashMap<u64, oneshot::Sender<PushVerdict>>,
}

impl TestNotices {
    pub(crate) fn new(config: &FollowConfig, metrics: TestMetrics) -> Self {
        Self(Arc::new(Shared {
            places: Semaphore::new(config.max_tests),
            limit: config.test_timeout.duration(),
            open: Mutex::default(),
            asked: Notify::new(),
            metrics,
        }))
    }

    /// Has a test notice made.
    ///
    /// # Errors
    /// As many are under way as may, or nobody has said in time what became of it.
    pub(crate) async fn ask(&self, target: PushTarget) -> Result<PushVerdict, NoVerdict> {
        let shared = &*self.0;
        let Ok(_place) = shared.places.try_acquire() else {
            shared.metrics.refused.inc();
            return Err(NoVerdict::TooMany);
        };
        let (asker, verdict) = oneshot::channel();
        let id = {
            let mut open = shared.open();
            open.last += 1;
            let id = open.last;
            let target = Some(target);
            open.waiting.push_back(PushTest { id, target });
            open.askers.insert(id, asker);
            id
        };
        let _forget = Forget { shared, id };
        shared.metrics.open.inc();
        shared.asked.notify_one();
        let verdict = tokio::time::timeout(shared.limit, verdict).await;
        verdict.ok().and_then(Result::ok).ok_or_else(|| {
            shared.metrics.unanswered.inc();
            NoVerdict::Silence
        })
    }

    /// Waits so long until one is asked for, and leaves it there.
    pub(crate) async fn asked(&self, wait: Duration) {
        let shared = &*self.0;
        let waiting = async {
            while shared.open().waiting.is_empty() {
                shared.asked.notified().await;
            }
        };
        // In vain or not: whoever waits looks what there is.
        drop(tokio::time::timeout(wait, waiting).await);
    }

    /// Takes the one that was asked for first.
    pub(crate) fn take(&self) -> Option<PushTest> {
        self.0.open().waiting.pop_front()
    }

    /// Tells whoever asked for it what became of it.
    pub(crate) fn tell(&self, id: u64, verdict: PushVerdict) {
        if let Some(asker) = self.0.open().askers.remove(&id) {
            // Who has gone meanwhile does not need it.
            drop(asker.send(verdict));
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.askers.remove(&self.id);
        open.waiting.retain(|test| test.id != self.id);
        drop(open);
        self.shared.metrics.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use im_config::units::Span;

    use super::*;

    fn notices(max_tests: usize) -> TestNotices {
        let config = FollowConfig {
            max_tests,
            test_timeout: Span::seconds(2),
            ..FollowConfig::default()
        };
        TestNotices::new(&config, TestMetrics::default())
    }

    fn target(user: u32) -> PushTarget {
        PushTarget {
            user,
            ..PushTarget::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_is_told_what_became_of_their_own() {
        let notices = notices(8);
        let ask = |user| {
            let notices = notices.clone();
            tokio::spawn(async move { notices.ask(target(user)).await })
        };
        let (one, two) = (ask(1), ask(2));
        let mut taken = Vec::new();
        while taken.len() < 2 {
            notices.asked(Duration::from_secs(1)).await;
            taken.extend(notices.take());
        }
        for test in taken.into_iter().rev() {
            let status = test.target.unwrap().user;
            let verdict = PushVerdict {
                status,
                ..PushVerdict::default()
            };
            notices.tell(test.id, verdict);
        }
        assert_eq!(one.await.unwrap().unwrap().status, 1);
        assert_eq!(two.await.unwrap().unwrap().status, 2);
        assert_eq!(notices.0.metrics.open.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_makes_ends_in_time_and_is_made_by_nobody_afterwards() {
        let notices = notices(1);
        let begin = tokio::time::Instant::now();
        let mut first = std::pin::pin!(notices.ask(target(1)));
        assert!(first.as_mut().now_or_never().is_none());
        let second = notices.ask(target(2)).await;
        assert_eq!(second, Err(NoVerdict::TooMany), "the bound");
        assert_eq!(first.await, Err(NoVerdict::Silence));
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
        assert_eq!(notices.take(), None);
        let metrics = &notices.0.metrics;
        let counted = (metrics.refused.get(), metrics.unanswered.get());
        assert_eq!((counted, metrics.open.get()), ((1, 1), 0));
        // Its place is free, and a verdict that comes late meets nobody.
        let mut third = std::pin::pin!(notices.ask(target(3)));
        assert!(third.as_mut().now_or_never().is_none());
        notices.tell(1, PushVerdict::default());
        assert_eq!(notices.take().unwrap().target.unwrap().user, 3);
    }

    #[tokio::test]
    async fn whoever_does_not_wait_any_more_leaves_nothing_behind() {
        let notices = notices(1);
        assert!(notices.ask(target(1)).now_or_never().is_none());
        assert_eq!(notices.take(), None);
        let open = notices.0.open();
        assert!(open.askers.is_empty() && open.waiting.is_empty());
        drop(open);
        assert_eq!(notices.0.metrics.open.get(), 0);
        assert_eq!(notices.0.places.available_permits(), 1);
    }
}
