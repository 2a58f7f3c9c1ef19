//! The writer's task: gathers, commits, answers, publishes, and tries again.

use std::sync::Arc;
use std::time::Duration;

use im_config::{FilterConfig, WriterConfig};
use im_core::{Backoff, Cache, Chain, time::UnixSeconds};
use im_order::{CommitSeq, FenceLost, Tenure};
use im_proto_rpc::v1;
use im_store::{ConversationRow, Store, StoreError};
use im_trace::{Hop, Step, hop, note};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::commit::retry_window;
use super::handle::{WriterError, WriterHandle};
use super::job::{GroupJob, Job, SendBatch};
use super::pace::Pace;
use super::plan::{Decision, Memory, Plan};
use super::retries::{Kept, RetryWindow};
use super::screen::Screen;
use crate::filter::Filter;
use crate::members::MemberCache;
use crate::metrics::{Memories, Metrics};
use crate::positions::Positions;
use crate::publication::Outgoing;
use crate::publish::Publisher;
use crate::stored::StoredBytes;

/// Sends of one job at most: what callers cut their batches to.
pub const MAX_JOB_SENDS: usize = 512;

/// How long a store that fails is tried again once the role stops.
const STOP_RETRY: Duration = Duration::from_secs(5);

/// What the writer works with.
pub(crate) struct WriterParts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) publisher: Publisher,
    pub(crate) positions: Positions,
    pub(crate) stored: StoredBytes,
    pub(crate) member_cache: MemberCache,
    pub(crate) metrics: Metrics,
    pub(crate) config: WriterConfig,
    /// What judges messages before they are stored, and its bounds.
    pub(crate) filter: Option<(Arc<dyn Filter>, FilterConfig)>,
}

/// The state of the writer's task.
pub(crate) struct Writer {
    pub(super) store: Arc<dyn Store>,
    pub(super) publisher: Publisher,
    pub(super) member_cache: MemberCache,
    pub(super) config: WriterConfig,
    pub(super) memory: Memory,
    pub(super) positions: Positions,
    stored: StoredBytes,
    pub(super) metrics: Metrics,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Messages that wait.
    queue_fill: QueueFill,
    /// What waits for the filter; nothing where there is none.
    screen: Option<Screen>,
    /// Taken from the queue, but for later.
    carried: Option<Job>,
    pub(super) pace: Pace,
    /// `memory.end` and `memory.last_row` are those of the store.
    pub(super) end_known: bool,
    /// `memory.retries` has what is stored up to here.
    pub(super) keys_through: Option<CommitSeq>,
    /// Since when the log is ours; `NONE` before it was taken.
    pub(super) tenure: Tenure,
    trouble: Trouble,
    reachable: watch::Sender<bool>,
    stopping: Option<Instant>,
}

/// Reads how full the queue is, without keeping it open.
type QueueFill = Box<dyn Fn() -> usize + Send + Sync>;

/// A time in which the store fails: logged once at its begin, at the first loss, and at its end.
#[derive(Debug, Default)]
struct Trouble {
    since: Option<Instant>,
    given_up: usize,
}

impl Writer {
    /// The task's state, its handle, and whether the store is reachable.
    pub(crate) fn new(parts: WriterParts) -> (Self, WriterHandle, watch::Receiver<bool>) {
        let WriterParts {
            store,
            publisher,
            positions,
            stored,
            member_cache,
            metrics,
            config,
            filter,
        } = parts;
        let screen = filter.map(|(filter, config)| Screen::new(filter, &config, metrics.clone()));
        let (sender, jobs) = mpsc::unbounded_channel();
        let (handle, fill) =
            WriterHandle::new(sender, config.queue_messages, config.queue_size.as_u32());
        let (reachable, watch) = watch::channel(false);
        let in_a_row = 2 * (config.batch_messages + MAX_JOB_SENDS);
        let window = retry_window(&config);
        let memory = Memory {
            conversations: Cache::new(config.cached_conversations, in_a_row),
            groups: Cache::new(config.cached_groups, in_a_row),
            retries: RetryWindow::new(config.retry_keys as usize, window),
            users: Cache::new(config.cached_users, in_a_row),
            end: CommitSeq::START,
            last_row: ConversationRow(0),
            skipped: 0,
        };
        let pace = Pace::new(&config);
        let this = Self {
            store,
            publisher,
            member_cache,
            config,
            memory,
            positions,
            stored,
            metrics,
            jobs,
            queue_fill: Box::new(fill),
            screen,
            carried: None,
            pace,
            end_known: false,
            keys_through: None,
            tenure: Tenure::NONE,
            trouble: Trouble::default(),
            reachable,
            stopping: None,
        };
        (this, handle, watch)
    }

    /// Works until `stop`; then takes nothing new, finishes what is queued, and ends.
    ///
    /// # Errors
    /// The log has another owner: what is queued stays unanswered, whoever sent it asks that one.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), FenceLost> {
        let done = self.work(&stop).await;
        self.metrics.queue(0);
        if let Err(lost) = &done {
            error!(error = %lost, "the writer ends");
            self.reachable.send_replace(false);
        }
        done
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), FenceLost> {
        self.find_end(stop).await?;
        while let Some(job) = self.next(stop).await {
            match job {
                Job::Sends(batch) => {
                    self.pace().await;
                    let batches = self.gather(batch);
                    self.metrics.queue((self.queue_fill)());
                    if !batches.is_empty() {
                        self.store_all(batches, stop).await?;
                    }
                }
                Job::Group { job, reply, _room } => {
                    let result = self.change_group(*job).await;
                    let lost = match &result {
                        Err(WriterError::Store(StoreError::Fenced(lost))) => Some(*lost),
                        _ => None,
                    };
                    // The asker may have gone.
                    drop(reply.send(result));
                    if let Some(lost) = lost {
                        return Err(lost);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the log. A store that is not there yet is waited for.
    async fn find_end(&mut self, stop: &CancellationToken) -> Result<(), FenceLost> {
        let mut waits = self.waits();
        while !stop.is_cancelled() {
            match self.read_end().await {
                Ok(()) => {
                    self.recovered();
                    break;
                }
                Err(StoreError::Fenced(lost)) => return Err(lost),
                Err(error) => self.failed(&error),
            }
            stop.run_until_cancelled(tokio::time::sleep(waits.step()))
                .await;
        }
        Ok(())
    }

    async fn next(&mut self, stop: &CancellationToken) -> Option<Job> {
        if let Some(job) = self.carried.take() {
            return Some(job);
        }
        while self.stopping.is_none() {
            if let Some(batch) = self.released() {
                return Some(Job::Sends(batch));
            }
            let screen = &mut self.screen;
            let judged = async move {
                match screen {
                    Some(screen) => screen.judged().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.stopping = Some(Instant::now());
                    self.jobs.close();
                }
                () = judged => {}
                job = self.jobs.recv() => return job,
            }
        }
        // Whatever has been judged is stored; for verdicts that are out nobody waits any more.
        match self.released() {
            Some(batch) => Some(Job::Sends(batch)),
            None => self.jobs.recv().await,
        }
    }

    fn released(&mut self) -> Option<SendBatch> {
        self.screen.as_mut()?.released()
    }

    /// Waits until commits may start again: when they are busy, a pause lets the next one gather
    /// more and halves the cost of a message. Little traffic waits for nothing.
    async fn pace(&mut self) {
        if let Some(until) = self.pace.waits_until(Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// The batch and whatever sends are queued behind it, up to the bound or a group change, without those
    /// that wait for the filter.
    fn gather(&mut self, first: SendBatch) -> Vec<SendBatch> {
        let mut messages = first.sends.len();
        let mut batches = Vec::new();
        self.add(first, &mut batches);
        while messages < self.config.batch_messages {
            // What was judged goes before what has come since.
            let next = match self.released() {
                Some(batch) => Ok(Job::Sends(batch)),
                None => self.jobs.try_recv(),
            };
            match next {
                Ok(Job::Sends(batch)) => {
                    messages += batch.sends.len();
                    self.add(batch, &mut batches);
                }
                Ok(other) => {
                    self.carried = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        if let Some(screen) = &mut self.screen {
            screen.ask();
        }
        batches
    }

    fn add(&mut self, mut batch: SendBatch, batches: &mut Vec<SendBatch>) {
        if let Some(screen) = &mut self.screen {
            screen.take(&mut batch, &self.memory.retries);
            if batch.sends.is_empty() {
                return;
            }
        }
        batches.push(batch);
    }

    /// Stores batches in order, as often as it takes; those whose time is over are given up.
    async fn store_all(
        &mut self,
        mut batches: Vec<SendBatch>,
        stop: &CancellationToken,
    ) -> Result<(), FenceLost> {
        let mut waits = self.waits();
        loop {
            match self.attempt(&batches).await {
                Ok(plan) => {
                    self.recovered();
                    self.deliver(batches, plan);
                    return Ok(());
                }
                Err(StoreError::Fenced(lost)) => return Err(lost),
                Err(error) => self.failed(&error),
            }
            self.give_up_expired(&mut batches, stop);
            if batches.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(waits.step()).await;
        }
    }

    /// After the commit: the messages to the route servers and results to each link. What is woken last
    /// runs next on this thread, and that shall be the acknowledgement.
    fn deliver(&mut self, batches: Vec<SendBatch>, plan: Plan) {
        let Plan {
            append,
            decisions,
            outgoing,
            read,
        } = plan;
        if let Some(end) = append.messages.last().map(|message| message.seq) {
            self.positions.sent(&read);
            // Before anybody can send them on.
            for Outgoing { message, .. } in &outgoing {
                let hop = Hop {
                    position: message.seq,
                    ..Hop::of(Step::Committed)
                };
                note(message.trace, hop);
            }
            self.publisher.committed(outgoing, end);
        }
        let mut decisions = decisions.into_iter();
        let mut repeated = 0;
        let counting = self.stored.counting(UnixSeconds::now());
        for batch in batches {
            let mut results = Vec::with_capacity(batch.sends.len());
            for (send, decision) in batch.sends.iter().zip(decisions.by_ref()) {
                let mut done = done(decision);
                match decision {
                    Decision::Stored(kept) => {
                        hop!(
                            send.trace,
                            "commit",
                            seq = kept.seq.to_wire(),
                            msg_id = kept.msg_id.get()
                        );
                        done.wait_ms = counting.add(send.sender, send.body.len());
                    }
                    Decision::Repeated(_) => repeated += 1,
                    Decision::Refused(reason) => self.metrics.refused(reason),
                }
                results.push(result(send.tag, done));
            }
            batch.sink.push(results);
        }
        if repeated > 0 {
            self.metrics.repeated(repeated);
        }
        self.metrics.memories(Memories {
            conversations: self.memory.conversations.len(),
            groups: self.memory.groups.len(),
            users: self.memory.users.len(),
            retry_keys: self.memory.retries.len(),
        });
    }

    fn give_up_expired(&mut self, batches: &mut Vec<SendBatch>, stop: &CancellationToken) {
        if stop.is_cancelled() {
            self.stopping.get_or_insert_with(Instant::now);
        }
        let patience = self.config.store_retry.duration();
        let stopped = self
            .stopping
            .is_some_and(|since| since.elapsed() >= STOP_RETRY);
        let mut lost = 0;
        batches.retain(|batch| {
            let keep = !stopped && batch.arrived.elapsed() < patience;
            if !keep {
                lost += batch.sends.len();
                let failed = v1::SendDone {
                    outcome: v1::send_done::Outcome::Failed.into(),
                    ..Default::default()
                };
                batch
                    .sink
                    .push(batch.sends.iter().map(|s| result(s.tag, failed)).collect());
            }
            keep
        });
        if lost > 0 {
            self.metrics.failed(lost);
            if self.trouble.given_up == 0 {
                error!(
                    messages = lost,
                    "messages are given up without an acknowledgement"
                );
            }
            self.trouble.given_up += lost;
        }
    }

    async fn change_group(&mut self, job: GroupJob) -> Result<super::MembersChanged, WriterError> {
        if !self.end_known {
            let read = self.read_end().await;
            if let Err(error) = read {
                self.failed(&error);
                return Err(error.into());
            }
        }
        let now = UnixSeconds::now();
        let result = match job {
            GroupJob::Create(create) => self.create_group(create, now).await,
            GroupJob::Change(change) => self.change_members(change, now).await,
        };
        match &result {
            // Rules of the caller's, which the store keeps.
            Err(WriterError::Store(StoreError::Repeated | StoreError::Full { .. })) => {}
            Err(WriterError::Store(error)) => {
                self.end_known = false;
                self.failed(error);
            }
            Err(_) => {}
            Ok(_) => self.recovered(),
        }
        result
    }

    fn failed(&mut self, error: &StoreError) {
        self.metrics.store_error();
        self.reachable.send_replace(false);
        if self.trouble.since.is_none() {
            self.trouble.since = Some(Instant::now());
            warn!(error = %Chain(error), "the store fails, messages wait for it");
        }
    }

    fn recovered(&mut self) {
        if let Some(since) = self.trouble.since {
            info!(
                seconds = since.elapsed().as_secs(),
                given_up = self.trouble.given_up,
                "the store works again"
            );
            self.trouble = Trouble::default();
        }
        if !*self.reachable.borrow() {
            self.reachable.send_replace(true);
        }
    }

    /// Waits between attempts at a store that fails.
    fn waits(&self) -> Backoff {
        let (min, max) = (self.config.retry_min, self.config.retry_max);
        Backoff::new(min.duration().max(Duration::from_millis(1)), max.duration())
    }
}

fn done(decision: Decision) -> v1::SendDone {
    let (outcome, kept) = match decision {
        Decision::Stored(kept) => (v1::send_done::Outcome::Stored, Some(kept)),
        Decision::Repeated(kept) => (v1::send_done::Outcome::Repeated, Some(kept)),
        Decision::Refused(_) => (v1::send_done::Outcome::Refused, None),
    };
    let mut done = v1::SendDone {
        outcome: outcome.into(),
        ..Default::default()
    };
    if let Some(Kept { msg_id, time, seq }) = kept {
        done.msg_id = msg_id.get();
        done.time = time.get();
        done.seq = seq.to_wire();
    }
    done
}

pub(super) fn result(tag: u64, done: v1::SendDone) -> v1::DbResult {
    v1::DbResult {
        tag,
        result: Some(v1::db_result::Result::Send(done)),
    }
}
