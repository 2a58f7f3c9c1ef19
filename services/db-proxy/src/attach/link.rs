//! One link: a task that reads calls, and one that writes results.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use im_config::AttachConfig;
use im_core::Chain;
use im_core::shares::Shares;
use im_proto_rpc::v1;
use im_rpc::Link;
use im_store::StoreError;
use im_writer::{MAX_JOB_SENDS, RejectReason, SendBatch, SendSink as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Shared;
use super::lane::Lane;
use super::open::Open;
use super::queries::QueryCall;
use super::sessions::Sessions;
use crate::metrics::Class;
use crate::results::{Hold, Limits, Results, Taken};

/// Wait before a log page that could not be read is tried again.
const READ_AGAIN: Duration = Duration::from_millis(200);

/// One link.
pub(super) struct Served {
    pub(super) shared: Arc<Shared>,
    pub(super) results: Arc<Results>,
    pub(super) slots: Slots,
    pub(super) open: Open,
    pub(super) sessions: Sessions<QueryCall>,
    pub(super) tasks: TaskTracker,
    /// Nobody wants results any more.
    pub(super) ended: CancellationToken,
}

/// What one link may still have.
pub(super) struct Slots {
    /// Queries open.
    pub(super) queries: Arc<Semaphore>,
    /// Bytes of their requests.
    pub(super) query_bytes: Arc<Semaphore>,
    /// Queries running.
    pub(super) running: Semaphore,
    /// Bytes of answers under way.
    pub(super) answer_bytes: Arc<Semaphore>,
    /// Logins in hand.
    pub(super) logins: Shares<CancellationToken>,
    /// Log pages and relations being read.
    reads: Arc<Semaphore>,
}

impl Slots {
    fn new(config: &AttachConfig) -> Self {
        let semaphore = |places: usize| Arc::new(Semaphore::new(places));
        Self {
            queries: semaphore(config.open_queries_per_link),
            query_bytes: semaphore(config.query_bytes_per_link.as_usize()),
            running: Semaphore::new(config.queries_per_link),
            answer_bytes: semaphore(config.answer_bytes_per_link.as_usize()),
            logins: Shares::new(config.logins_per_link),
            reads: semaphore(config.reads_per_link),
        }
    }
}

/// Serves a link until its peer is gone, or until `stop` and its last result.
pub(super) async fn serve(
    shared: Arc<Shared>,
    link: Link<v1::DbResults, v1::DbCalls>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let _held = shared.metrics.link();
    info!(peer = link.peer, "msg server is attached");
    let config = shared.config();
    let served = Arc::new(Served {
        results: Arc::new(Results::default()),
        slots: Slots::new(config),
        open: Open::default(),
        sessions: Sessions::new(config.answer_bytes_per_session.as_usize()),
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
    tasks.spawn(Arc::clone(&served).say_what_is_wanted());
    // When the writer has ended, its answers are not waited for: whoever sent that asks another one.
    let writer = served.shared.context.writer.clone();
    let stopped = tokio::select! {
        () = closed.cancelled() => false,
        stopped = served.read(&mut rx, &stop) => stopped,
        () = writer.ended() => true,
    };
    if stopped {
        // Everything that was taken is answered before the link ends; dropping `rx` would end it.
        tokio::select! {
            () = closed.cancelled() => {}
            () = served.ended.cancelled() => {}
            () = served.open.idle() => {}
            () = writer.ended() => {}
        }
    } else {
        closed.cancel();
    }
    served.ended.cancel();
    served.open.withdraw_all();
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
        let config = self.shared.config();
        let writer = self.shared.context.writer.clone();
        let mut lane = Lane::new(writer, config.send_bytes_per_link.as_usize());
        loop {
            let fed = tokio::select! {
                () = stop.cancelled() => break,
                batch = calls.recv() => match batch {
                    Some(batch) => {
                        self.dispatch(batch.calls, &mut lane);
                        Ok(())
                    }
                    None => return false,
                },
                fed = lane.feed(), if !lane.is_empty() => fed,
            };
            if fed.is_err() {
                break;
            }
        }
        while !lane.is_empty() {
            if lane.feed().await.is_err() {
                // The writer has stopped, and this link has no use any more.
                self.ended.cancel();
            }
        }
        true
    }

    /// Hands calls on; never waits.
    fn dispatch(self: &Arc<Self>, calls: Vec<v1::DbCall>, lane: &mut Lane) {
        use v1::db_call::Call;
        let mut sends = Vec::new();
        for v1::DbCall { tag, call } in calls {
            match call {
                Some(Call::Cancel(cancel)) => {
                    self.withdraw(cancel.tag);
                    continue;
                }
                Some(Call::Taken(taken)) => {
                    self.results.taken(taken.bytes);
                    continue;
                }
                _ => {}
            }
            self.open.add(1);
            match call {
                Some(Call::Send(send)) => sends.push((tag, send)),
                Some(Call::Query(query)) => self.begin_query(tag, query),
                Some(Call::Login(call)) => self.begin_login(tag, call),
                Some(Call::ReadLog(call)) => {
                    self.tasks.spawn(Arc::clone(self).read_log(tag, call));
                }
                Some(Call::Related(call)) => {
                    self.tasks.spawn(Arc::clone(self).related(tag, call));
                }
                Some(Call::FileKept(kept)) => {
                    self.tasks.spawn(Arc::clone(self).note_file(tag, kept));
                }
                Some(Call::Sessions(told)) => {
                    let comings = &self.shared.comings;
                    comings.add(told.events, told.left_out);
                    self.push_light(tag, v1::db_result::Result::Noted(v1::Noted {}));
                }
                // A call of a later version: it gets an empty result.
                Some(Call::Cancel(_) | Call::Taken(_)) | None => {
                    self.results.push(vec![v1::DbResult { tag, result: None }]);
                }
            }
        }
        if !sends.is_empty() {
            self.dispatch_sends(sends, lane);
        }
    }

    fn dispatch_sends(&self, sends: Vec<(u64, v1::Send)>, lane: &mut Lane) {
        use v1::send_done::Outcome;
        let shared = &self.shared;
        let most = usize::try_from(shared.config().calls_per_link).unwrap_or(usize::MAX);
        let room = most.saturating_sub(self.open.sends());
        self.open.add_sends(sends.len());
        let (mut answered, mut admitted) = (Vec::new(), Vec::new());
        let mut lost = 0;
        for (n, (tag, send)) in sends.into_iter().enumerate() {
            if n >= room {
                lost += 1;
                answered.push(send_result(tag, Outcome::Failed));
                continue;
            }
            let has_space = shared.context.space.admits(send.data.len());
            let checked = if has_space {
                shared.rules.admit(tag, send)
            } else {
                Err(RejectReason::LowSpace)
            };
            match checked {
                Ok(send) => admitted.push(send),
                Err(reason) => {
                    shared.context.metrics.refused(reason);
                    answered.push(send_result(tag, Outcome::Refused));
                }
            }
        }
        while !admitted.is_empty() {
            let rest = admitted.split_off(admitted.len().min(MAX_JOB_SENDS));
            let part = std::mem::replace(&mut admitted, rest);
            let batch = SendBatch::new(part, Arc::clone(&self.results));
            if let Err(batch) = lane.push(batch) {
                lost += batch.sends.len();
                let sends = batch.sends.iter();
                answered.extend(sends.map(|send| send_result(send.tag, Outcome::Failed)));
            }
        }
        if lost > 0 {
            shared.metrics.turned_away_many(Class::Send, lost);
            shared.context.metrics.failed(lost);
        }
        self.results.push(answered);
    }

    /// A result of a few bytes that holds nothing.
    pub(super) fn push_light(&self, tag: u64, result: v1::db_result::Result) {
        self.results.push(vec![v1::DbResult {
            tag,
            result: Some(result),
        }]);
    }

    /// Reads the log; a store that fails is asked again, since an empty page would mean that there
    /// is nothing.
    async fn read_log(self: Arc<Self>, tag: u64, call: v1::ReadLog) {
        let page = self.persist(|| self.shared.read_log(call)).await;
        self.push_read(tag, page, v1::db_result::Result::Log);
    }

    async fn related(self: Arc<Self>, tag: u64, call: v1::Related) {
        let store = self.shared.context.store.as_ref();
        let read = self.persist(|| self.shared.related.of(store, &call.users));
        let done = read.await;
        self.push_read(tag, done, v1::db_result::Result::Related);
    }

    fn push_read<T>(
        &self,
        tag: u64,
        read: Option<(T, Vec<OwnedSemaphorePermit>)>,
        result: impl FnOnce(T) -> v1::db_result::Result,
    ) {
        if let Some((read, permits)) = read {
            let result = v1::DbResult {
                tag,
                result: Some(result(read)),
            };
            let hold = Hold {
                permits,
                ..Hold::default()
            };
            self.results.push_held(result, hold);
        }
    }

    /// Reads until the store answers. `None` when the link has ended. The permits bound how many
    /// pages are under way, and go with the result.
    async fn persist<T, F>(
        &self,
        mut read: impl FnMut() -> F,
    ) -> Option<(T, Vec<OwnedSemaphorePermit>)>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut failed = false;
        let attempts = async {
            // The link's own first, so that a link that waits holds nothing of the others'.
            let own = Arc::clone(&self.slots.reads).acquire_owned().await.ok()?;
            loop {
                let all = Arc::clone(&self.shared.read_room);
                let all = all.acquire_owned().await.ok()?;
                let _query = self.shared.metrics.query();
                match read().await {
                    Ok(value) => return Some((value, vec![own, all])),
                    Err(error) if failed => debug!(error = %Chain(&error), "read failed again"),
                    Err(error) => {
                        failed = true;
                        warn!(error = %Chain(&error), "read failed, it is tried again");
                    }
                }
                drop(all);
                tokio::time::sleep(READ_AGAIN).await;
            }
        };
        self.ended.run_until_cancelled(attempts).await.flatten()
    }

    /// Sends results until the link ends: what has gathered while the last batch was on its way goes
    /// together. What results hold is given back when their batch has left the link's queue.
    async fn write(self: Arc<Self>, link: mpsc::Sender<v1::DbResults>, closed: CancellationToken) {
        let config = self.shared.config();
        let limits = Limits {
            results: config.batch_results,
            bytes: config.batch_bytes.as_usize(),
            part: config.answer_part_bytes.as_usize(),
            untaken: config.untaken_answer_bytes.as_usize(),
        };
        let mut under_way: VecDeque<Vec<Hold>> = VecDeque::new();
        loop {
            let queued = link.max_capacity() - link.capacity();
            while under_way.len() > queued {
                self.give_back(under_way.pop_front());
            }
            let holding = under_way.iter().any(|holds| !holds.is_empty());
            let taken = tokio::select! {
                () = self.ended.cancelled() => self.results.take_now(&limits),
                taken = self.results.take(&limits) => taken,
                // As many places as there are: the queue is empty.
                empty = link.reserve_many(link.max_capacity()), if holding => {
                    if empty.is_err() {
                        closed.cancel();
                        return;
                    }
                    drop(empty);
                    continue;
                }
            };
            let Taken {
                results,
                ended,
                holds,
            } = taken;
            if results.is_empty() {
                return;
            }
            let sends = results
                .iter()
                .filter(|result| matches!(result.result, Some(v1::db_result::Result::Send(_))))
                .count();
            tokio::select! {
                () = closed.cancelled() => return,
                sent = link.send(v1::DbResults { results }) => if sent.is_err() {
                    closed.cancel();
                    return;
                },
            }
            under_way.push_back(holds);
            self.open.remove_sends(sends);
            self.open.remove(ended);
        }
    }

    /// Answers have left.
    pub(super) fn give_back(self: &Arc<Self>, holds: Option<Vec<Hold>>) {
        let holds = holds.unwrap_or_default();
        let any = !holds.is_empty();
        for Hold {
            permits,
            shares,
            session,
        } in holds
        {
            drop((permits, shares));
            if let Some((session, bytes)) = session
                && let Some(next) = self.sessions.left(session, bytes)
            {
                self.run_queries(next);
            }
        }
        if any {
            self.shared.show_answer_bytes();
        }
    }
}

fn send_result(tag: u64, outcome: v1::send_done::Outcome) -> v1::DbResult {
    let done = v1::SendDone {
        outcome: outcome.into(),
        ..Default::default()
    };
    v1::DbResult {
        tag,
        result: Some(v1::db_result::Result::Send(done)),
    }
}
