//! One link: a task that reads calls, and one that writes results.

use std::sync::Arc;
use std::time::Duration;

use im_proto_rpc::v1;
use im_rpc::Link;
use im_store::StoreError;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Shared;
use crate::results::Results;
use crate::support::{FairQueue, chain};
use crate::writer::{MAX_JOB_SENDS, SendBatch};

/// Wait before a log page that could not be read is tried again.
const READ_AGAIN: Duration = Duration::from_millis(200);

/// One link.
struct Served {
    shared: Arc<Shared>,
    results: Arc<Results>,
    /// Calls that may still be opened.
    room: Semaphore,
    /// Queries and log reads of this link in hand.
    queries: Semaphore,
    /// Queries in hand, and those that wait for an earlier one of their session.
    turns: FairQueue<u64, (u64, v1::Query)>,
    tasks: TaskTracker,
    /// Nobody wants results any more.
    ended: CancellationToken,
}

/// Serves a link until its peer is gone, or until `stop` and its last result.
pub(super) async fn serve(
    shared: Arc<Shared>,
    link: Link<v1::DbResults, v1::DbCalls>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let _held = shared.context.metrics.link();
    info!(peer = link.peer, "msg server is attached");
    let config = shared.config();
    let calls = config.calls_per_link.max(1);
    let served = Arc::new(Served {
        results: Arc::new(Results::default()),
        room: Semaphore::new(usize::try_from(calls).unwrap_or(usize::MAX)),
        queries: Semaphore::new(config.queries_per_link.max(1)),
        turns: FairQueue::default(),
        tasks: tasks.clone(),
        ended: CancellationToken::new(),
        shared,
    });
    let Link {
        tx,
        mut rx,
        peer,
        closed,
    } = link;
    tasks.spawn(Arc::clone(&served).write(tx, closed.clone()));
    let stopped = tokio::select! {
        () = closed.cancelled() => false,
        stopped = served.read(&mut rx, &stop) => stopped,
    };
    if stopped {
        // Everything that was taken is answered before the link ends; dropping `rx` would end it.
        tokio::select! {
            () = closed.cancelled() => {}
            () = served.ended.cancelled() => {}
            _ = served.room.acquire_many(calls) => {}
        }
    } else {
        closed.cancel();
    }
    served.ended.cancel();
    drop(rx);
    info!(peer, "msg server is detached");
}

impl Served {
    /// Reads calls until the peer is gone (`false`) or `stop` (`true`).
    async fn read(
        self: &Arc<Self>,
        calls: &mut mpsc::Receiver<v1::DbCalls>,
        stop: &CancellationToken,
    ) -> bool {
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => return true,
                batch = calls.recv() => batch,
            };
            let Some(batch) = batch else { return false };
            if !self.dispatch(batch.calls, stop).await {
                return true;
            }
        }
    }

    /// Hands calls on, as room permits. `false` when the role stops.
    async fn dispatch(self: &Arc<Self>, calls: Vec<v1::DbCall>, stop: &CancellationToken) -> bool {
        // In parts, so that a batch larger than all the room there is passes too.
        let most = self.shared.config().calls_per_link.max(1);
        let part = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(MAX_JOB_SENDS);
        let mut calls = calls.into_iter();
        while calls.len() > 0 {
            let count = calls.len().min(part);
            let room = self
                .room
                .acquire_many(u32::try_from(count).unwrap_or(u32::MAX));
            match stop.run_until_cancelled(room).await {
                // Given back when the results have been sent.
                Some(Ok(room)) => room.forget(),
                _ => return false,
            }
            self.dispatch_part(calls.by_ref().take(count)).await;
        }
        true
    }

    async fn dispatch_part(self: &Arc<Self>, calls: impl Iterator<Item = v1::DbCall>) {
        use v1::db_call::Call;
        let shared = &self.shared;
        let mut sends = Vec::new();
        let mut refused = Vec::new();
        for v1::DbCall { tag, call } in calls {
            match call {
                Some(Call::Send(send)) => match shared.rules.admit(tag, send) {
                    Ok(send) => sends.push(send),
                    Err(reason) => {
                        shared.context.metrics.refused(reason);
                        let done = v1::SendDone {
                            outcome: v1::send_done::Outcome::Refused.into(),
                            ..Default::default()
                        };
                        refused.push(v1::DbResult {
                            tag,
                            result: Some(v1::db_result::Result::Send(done)),
                        });
                    }
                },
                Some(Call::Query(query)) => {
                    if let Some((tag, query)) = self.turns.begin(query.origin, (tag, query)) {
                        self.tasks
                            .spawn(Arc::clone(self).answer_in_turn(tag, query));
                    }
                }
                Some(Call::Login(call)) => {
                    self.tasks.spawn(Arc::clone(self).log_in(tag, call));
                }
                Some(Call::ReadLog(call)) => {
                    self.tasks.spawn(Arc::clone(self).read_log(tag, call));
                }
                Some(Call::Related(call)) => {
                    self.tasks.spawn(Arc::clone(self).related(tag, call));
                }
                // A call of a later version: it gets an empty result.
                None => refused.push(v1::DbResult { tag, result: None }),
            }
        }
        self.results.push(refused);
        if !sends.is_empty() {
            let batch = SendBatch::new(sends, Arc::clone(&self.results));
            if shared.context.writer.send(batch).await.is_err() {
                // The writer has stopped, and this link has no use any more.
                self.ended.cancel();
            }
        }
    }

    /// Answers a query, and those of its session that came meanwhile.
    async fn answer_in_turn(self: Arc<Self>, tag: u64, query: v1::Query) {
        let mut turn = Some((tag, query));
        while let Some((tag, query)) = turn {
            let origin = query.origin;
            let answer = {
                let _query = self.shared.context.metrics.query();
                let Some(_permits) = self.query_permits().await else {
                    return;
                };
                self.shared.answers.answer(query).await
            };
            self.results
                .push_one(tag, v1::db_result::Result::Answer(answer));
            turn = self.turns.next(origin);
        }
    }

    async fn log_in(self: Arc<Self>, tag: u64, call: v1::LoginCall) {
        let login = async {
            let _permit = self.shared.login_room.acquire().await.ok()?;
            Some(self.shared.logins.login(call).await)
        };
        if let Some(Some(done)) = self.ended.run_until_cancelled(login).await {
            self.results
                .push_one(tag, v1::db_result::Result::Login(done));
        }
    }

    /// Reads the log; a store that fails is asked again, since an empty page would mean that there
    /// is nothing.
    async fn read_log(self: Arc<Self>, tag: u64, call: v1::ReadLog) {
        let page = self.persist(|| self.shared.read_log(call));
        if let Some(page) = page.await {
            self.results.push_one(tag, v1::db_result::Result::Log(page));
        }
    }

    async fn related(self: Arc<Self>, tag: u64, call: v1::Related) {
        let store = self.shared.context.store.as_ref();
        let read = self.persist(|| self.shared.related.of(store, &call.users));
        if let Some(done) = read.await {
            self.results
                .push_one(tag, v1::db_result::Result::Related(done));
        }
    }

    /// Reads until the store answers. `None` when the link has ended.
    async fn persist<T, F>(&self, mut read: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut failed = false;
        let attempts = async {
            loop {
                let _query = self.shared.context.metrics.query();
                let permits = self.query_permits().await?;
                match read().await {
                    Ok(value) => return Some(value),
                    Err(error) if failed => debug!(error = %chain(&error), "read failed again"),
                    Err(error) => {
                        failed = true;
                        warn!(error = %chain(&error), "read failed, it is tried again");
                    }
                }
                drop(permits);
                tokio::time::sleep(READ_AGAIN).await;
            }
        };
        self.ended.run_until_cancelled(attempts).await.flatten()
    }

    /// Leave to ask the store; `None` when the link has ended.
    async fn query_permits(
        &self,
    ) -> Option<(
        tokio::sync::SemaphorePermit<'_>,
        tokio::sync::SemaphorePermit<'_>,
    )> {
        let permits = async {
            // The link's own first, so that a link that waits holds nothing of the others'.
            let own = self.queries.acquire().await.ok()?;
            let all = self.shared.query_room.acquire().await.ok()?;
            Some((own, all))
        };
        self.ended.run_until_cancelled(permits).await.flatten()
    }

    /// Sends results until the link ends: what has gathered while the last batch was on its way goes
    /// together.
    async fn write(self: Arc<Self>, link: mpsc::Sender<v1::DbResults>, closed: CancellationToken) {
        let most = self.shared.config().batch_results.max(1);
        loop {
            let taken = self
                .ended
                .run_until_cancelled(self.results.take(most))
                .await;
            let results = taken.unwrap_or_default();
            if results.is_empty() {
                return;
            }
            let count = results.len();
            tokio::select! {
                () = closed.cancelled() => return,
                sent = link.send(v1::DbResults { results }) => if sent.is_err() {
                    closed.cancel();
                    return;
                },
            }
            self.room.add_permits(count);
        }
    }
}
