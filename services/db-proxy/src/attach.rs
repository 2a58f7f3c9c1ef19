//! The links of msg servers: decodes calls, hands them on, gathers results.
//!
//! Sends go to the writer in stream order. Queries of one session run one after the other, everything
//! else at the same time, within bounds. What a link has not been answered yet is bounded: beyond it
//! the link is not read, and its msg server stops reading its clients.

mod link;
mod log;
mod related;

use std::sync::Arc;

use im_config::AttachConfig;
use im_proto_rpc::v1;
use im_rpc::{Accept, Link};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assembly::Context;
use crate::calls::{AnswerQueries, CheckLogins};
use crate::writer::SendRules;

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
    context: Context,
    answers: Arc<dyn AnswerQueries>,
    logins: Arc<dyn CheckLogins>,
    rules: SendRules,
    /// Queries and log reads that may still be taken in hand.
    query_room: Semaphore,
    /// Logins that may still be taken in hand.
    login_room: Semaphore,
    related: related::Relations,
}

impl Shared {
    fn config(&self) -> &AttachConfig {
        &self.context.config.attach
    }
}

impl Attach {
    /// Links accepted by it have tasks in `tasks` and end after `stop`.
    pub(crate) fn new(
        context: Context,
        answers: Arc<dyn AnswerQueries>,
        logins: Arc<dyn CheckLogins>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let config = &context.config.attach;
        let shared = Shared {
            query_room: Semaphore::new(config.queries.max(1)),
            login_room: Semaphore::new(config.logins.max(1)),
            related: related::Relations::new(config),
            rules: SendRules::from(&context.config.writer),
            answers,
            logins,
            context,
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
