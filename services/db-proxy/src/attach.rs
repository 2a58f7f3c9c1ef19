//! The links of msg servers: decodes calls, hands them on, gathers results.
//!
//! Sends go to the writer in stream order. Queries of one session run one after the other, everything
//! else at the same time, within bounds. What a link has not been answered yet is bounded: beyond it
//! the link is not read, and its msg server stops reading its clients.

mod link;
mod log;
mod related;
mod results;
mod sessions;

use std::sync::Arc;

use im_config::AttachConfig;
use im_proto_rpc::v1;
use im_rpc::{Accept, Link};
use im_store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::writer::{MemberCache, SendRules};
use crate::{AnswerQueries, CheckLogins, WriterHandle};

pub(crate) use results::Results;

/// What the links work with.
pub(crate) struct AttachParts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) writer: WriterHandle,
    pub(crate) publisher: Publisher,
    pub(crate) members: MemberCache,
    pub(crate) answers: Arc<dyn AnswerQueries>,
    pub(crate) logins: Arc<dyn CheckLogins>,
    pub(crate) rules: SendRules,
    pub(crate) config: AttachConfig,
    pub(crate) metrics: Metrics,
}

/// Takes over links of msg servers.
#[derive(Clone)]
pub(crate) struct Attach {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    /// Ends the links, after the last results.
    stop: CancellationToken,
}

/// What all links share.
struct Shared {
    parts: AttachParts,
    /// Queries and log reads in hand.
    queries: Semaphore,
    /// Logins in hand.
    logins: Semaphore,
    related: related::Relations,
}

impl Attach {
    /// Links accepted by it have tasks in `tasks` and end after `stop`.
    pub(crate) fn new(parts: AttachParts, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let shared = Shared {
            queries: Semaphore::new(parts.config.queries.max(1)),
            logins: Semaphore::new(parts.config.logins.max(1)),
            related: related::Relations::new(&parts.config),
            parts,
        };
        Self {
            shared: Arc::new(shared),
            tasks,
            stop,
        }
    }
}

impl Accept<v1::DbResults, v1::DbCalls> for Attach {
    fn accept(&self, link: Link<v1::DbResults, v1::DbCalls>) {
        if self.stop.is_cancelled() {
            link.closed.cancel();
            return;
        }
        let serve = link::serve(
            Arc::clone(&self.shared),
            link,
            self.tasks.clone(),
            self.stop.clone(),
        );
        self.tasks.spawn(serve);
    }
}

#[cfg(test)]
mod tests;
