//! The links of msg servers: decodes calls, hands them on, gathers results.
//!
//! Sends go to the writer in stream order. Queries of one session run one after the other, everything
//! else at the same time. Messages, queries, logins and reads of the log are classes with bounds of
//! their own: what exceeds one is turned away at once, and never keeps another from being read. Of logins
//! that is the newest one of the network that has most.
//! Answers are weighed in bytes from before they are read from the store until they have left.
//!
//! *Invariants*: a call that its caller withdraws, or whose link ends, gives everything back, and is
//! not begun any more; a change that was begun is finished. No batch of results is larger than its
//! bound, single results apart.

mod lane;
mod link;
mod open;
mod queries;
mod related;
mod sessions;
mod told;

use std::sync::Arc;

use im_config::AttachConfig;
use im_core::shares::Shares;
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_rpc::{Accept, Link};
use im_store::StoreError;
use im_writer::{Context, SendRules};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calls::{AnswerQueries, CheckLogins};
use crate::comings::Comings;
use crate::log::{LogReader, PageLimit};
use crate::metrics::AttachMetrics;

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
    metrics: AttachMetrics,
    rules: SendRules,
    /// Queries that may still run.
    query_room: Semaphore,
    /// Log pages and relations that may still be read.
    read_room: Arc<Semaphore>,
    /// Logins that may still be taken in hand.
    login_room: Shares<CancellationToken>,
    /// Bytes of answers that may still be under way.
    answer_bytes: Arc<Semaphore>,
    /// Bytes of long answers that may still be under way.
    large_answer_bytes: Arc<Semaphore>,
    related: related::Relations,
    log: LogReader,
    comings: Comings,
}

impl Shared {
    fn config(&self) -> &AttachConfig {
        &self.context.config.attach
    }

    async fn read_log(&self, call: v1::ReadLog) -> Result<v1::LogPage, StoreError> {
        let config = self.config();
        let most = PageLimit {
            rows: match call.limit {
                0 => config.log_page,
                asked => asked.min(config.log_page),
            },
            bytes: config.log_page_bytes.as_usize(),
        };
        self.log.page(CommitSeq::from_wire(call.after), most).await
    }

    /// Shows how many bytes of answers are under way.
    fn show_answer_bytes(&self) {
        let config = self.config();
        let all = config.answer_bytes.as_usize() + config.large_answer_bytes.as_usize();
        let free =
            self.answer_bytes.available_permits() + self.large_answer_bytes.available_permits();
        let used = all.saturating_sub(free);
        self.metrics.answer_bytes(used);
    }
}

impl Attach {
    /// Links accepted by it have tasks in `tasks` and end after `stop`.
    pub(crate) fn new(
        context: Context,
        comings: Comings,
        answers: Arc<dyn AnswerQueries>,
        logins: Arc<dyn CheckLogins>,
        metrics: AttachMetrics,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let config = &context.config.attach;
        let semaphore = |places: usize| Arc::new(Semaphore::new(places));
        let shared = Shared {
            query_room: Semaphore::new(config.queries),
            read_room: semaphore(config.reads),
            login_room: Shares::new(config.logins),
            answer_bytes: semaphore(config.answer_bytes.as_usize()),
            large_answer_bytes: semaphore(config.large_answer_bytes.as_usize()),
            related: related::Relations::new(config, metrics.clone()),
            log: LogReader::new(context.clone()),
            rules: SendRules::from(&context.config.writer),
            comings,
            answers,
            logins,
            metrics,
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
