//! The report streams of msg servers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_proto_rpc::v1::{LoadReport, LoadSeen};
use im_rpc::{Accept, Link};
use im_runtime::Readiness;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::table::{LoadTable, Reported, StreamId};

/// Condition of readiness: some msg server has offered itself since the start. It stays true when
/// all of them leave, since "nobody" is an answer that clients understand and a closed door is not.
pub(crate) const MSG_SERVER: &str = "login_msg_server";

/// Takes over report streams, from the port and from msg servers of the same process.
#[derive(Clone, Debug)]
pub struct Reports {
    table: Arc<Mutex<LoadTable>>,
    metrics: Metrics,
    readiness: Readiness,
    last_stream: Arc<AtomicU64>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Reports {
    pub(crate) fn new(
        table: Arc<Mutex<LoadTable>>,
        metrics: Metrics,
        readiness: Readiness,
        tasks: TaskTracker,
    ) -> Self {
        let (last_stream, stop) = (Arc::default(), CancellationToken::new());
        Self {
            table,
            metrics,
            readiness,
            last_stream,
            tasks,
            stop,
        }
    }

    /// Ends every stream when fired.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn table(&self) -> MutexGuard<'_, LoadTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, id: StreamId, link: Link<LoadSeen, LoadReport>) {
        let Link {
            tx,
            mut rx,
            peer,
            closed,
        } = link;
        let mut refused = false;
        loop {
            let report = tokio::select! {
                // What has arrived before the end counts.
                biased;
                report = rx.recv() => report,
                () = closed.cancelled() => None,
                () = self.stop.cancelled() => None,
            };
            let Some(report) = report else { break };
            let (server, number) = (report.server.clone(), report.report);
            let confirm = report.confirm;
            let (reported, accepting) = {
                let (now, mut table) = (Instant::now(), self.table());
                (table.report(id, report, now), table.any_accepting(now))
            };
            match reported {
                Reported::Kept => self.metrics.reports.inc(),
                Reported::Outdated => break,
                Reported::Invalid | Reported::TooMany => {
                    if !std::mem::replace(&mut refused, true) {
                        warn!(%peer, server, reason = ?reported, "refused a load report");
                    }
                    self.metrics.refused_reports.inc()
                }
            };
            if accepting {
                self.readiness.set(MSG_SERVER, true);
            }
            // The next report asks again.
            if confirm && tx.try_send(LoadSeen { report: number }).is_err() {
                debug!(%peer, "skipped the confirmation of a load report");
            }
        }
        info!(%peer, "a report stream ended");
        self.table().stream_ended(id, Instant::now());
    }
}

impl Accept<LoadSeen, LoadReport> for Reports {
    fn accept(&self, link: Link<LoadSeen, LoadReport>) {
        let id = StreamId(self.last_stream.fetch_add(1, Ordering::Relaxed) + 1);
        debug!(peer = %link.peer, "a report stream begins");
        let this = self.clone();
        self.tasks.spawn(async move { this.follow(id, link).await });
    }
}
