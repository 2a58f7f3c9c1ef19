//! What every part of a msg server may use: its configuration, its clock, its counters, its tasks.

use im_config::MsgConfig;
use im_runtime::Readiness;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::metrics::{MsgMetrics, Refusal};
use crate::requests::{Line, Refused};

/// Readiness condition: a link to db-proxy.
pub(crate) const DB_PROXY_LINK: &str = "msg_db_proxy_link";
/// Readiness condition: a route server that the writer reaches.
pub(crate) const ROUTE_LINK: &str = "msg_route_link";

/// The surroundings of one msg server. Nothing in here changes after the start.
pub(crate) struct Env {
    pub(crate) config: MsgConfig,
    /// Name of this server among all msg servers.
    pub(crate) name: String,
    /// Names this run of the server.
    pub(crate) instance: u64,
    pub(crate) clock: Clock,
    pub(crate) metrics: MsgMetrics,
    /// Which refused requests have a line in the log.
    refused: Refused,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: TaskTracker,
    /// The threads that read and write connections of clients.
    pub(crate) clients: Handle,
    /// Connections that go on at the same time when their turn is over: one fewer than these threads, if
    /// there are several, so that whatever else runs on them finds a free one.
    pub(crate) places: Semaphore,
    /// Ends everything, after the drain.
    pub(crate) stop: CancellationToken,
}

impl Env {
    pub(crate) fn new(
        config: MsgConfig,
        name: String,
        metrics: MsgMetrics,
        readiness: Readiness,
        clients: Handle,
    ) -> Self {
        Self {
            config,
            name,
            instance: crate::ids::random_id(),
            clock: Clock::new(),
            metrics,
            refused: Refused::default(),
            readiness,
            tasks: TaskTracker::new(),
            places: Semaphore::new(clients.metrics().num_workers().saturating_sub(1).max(1)),
            clients,
            stop: CancellationToken::new(),
        }
    }

    /// Counts a request that is refused, and says so in its line.
    pub(crate) fn refuse(&self, line: &mut Line, reason: Refusal) {
        self.metrics.refused(reason);
        line.refused(reason, &self.refused);
    }

    /// Starts a task for a connection on the threads of clients.
    pub(crate) fn spawn_client(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.clients);
    }

    /// Milliseconds of this server's clock, see [`Clock::now`].
    pub(crate) fn now(&self) -> u32 {
        self.clock.now()
    }
}
