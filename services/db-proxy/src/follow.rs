//! Links of followers of the log: who holds which name, pages of the log, positions, what is to be tried
//! again, and what push asks.
//!
//! *Invariants*: a name is held by one link at a time, the others wait for its end in the order in which they
//! came. Whatever a link stores is stored under the epoch that it was given, so that a holder who has not
//! noticed its end changes nothing. No message waits for a follower.

mod answer;
mod changes;
mod holders;
mod hooks;
mod link;
mod metrics;

use std::sync::Arc;

use im_config::FollowConfig;
use im_proto_rpc::v1;
use im_rpc::{Accept, Link};
use im_writer::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::comings::Comings;
use crate::log::LogReader;
use crate::test_push::TestNotices;
use holders::Holders;
pub(crate) use hooks::NAME as SUBSCRIPTIONS;
pub(crate) use metrics::FollowMetrics;

/// Takes over links of followers.
#[derive(Clone)]
pub(crate) struct Follow {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    /// Ends the links.
    stop: CancellationToken,
}

/// What all links share.
struct Shared {
    context: Context,
    log: LogReader,
    holders: Holders,
    tests: TestNotices,
    comings: Comings,
    metrics: FollowMetrics,
}

impl Shared {
    fn config(&self) -> &FollowConfig {
        &self.context.config.follow
    }
}

impl Follow {
    /// Links accepted by it have tasks in `tasks` and end after `stop`.
    pub(crate) fn new(
        context: Context,
        tests: TestNotices,
        comings: Comings,
        metrics: FollowMetrics,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared {
            log: LogReader::new(context.clone()),
            holders: Holders::new(context.config.follow.max_names),
            tests,
            comings,
            metrics,
            context,
        };
        Self {
            shared: Arc::new(shared),
            tasks,
            stop,
        }
    }

    /// Drops what subscriptions need no more, until `stop`.
    pub(crate) async fn trim(self, stop: CancellationToken) {
        self.shared.trim_changes(stop).await;
    }
}

impl Accept<v1::FollowItems, v1::FollowCalls> for Follow {
    fn accept(&self, link: Link<v1::FollowItems, v1::FollowCalls>) {
        let Some(held) = self.shared.metrics.link(self.shared.config().max_links) else {
            warn!(peer = link.peer, "refused a follower: too many links");
            link.closed.cancel();
            return;
        };
        if self.stop.is_cancelled() {
            link.closed.cancel();
            return;
        }
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        self.tasks.spawn(async move {
            link::serve(shared, link, stop).await;
            drop(held);
        });
    }
}

#[cfg(test)]
mod tests;
