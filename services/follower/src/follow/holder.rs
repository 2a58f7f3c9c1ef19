//! One time of holding the name: reads the log, begins jobs, and stores how far it has come.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use im_proto_rpc::v1::{FollowDue, FollowRead, LiveMessage, LogPage};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Follower, Job, Outcome};
use crate::calls::{Calls, Ended};
use crate::clock::Clock;
use crate::progress::{Attempt, Progress};

/// How long a read waits for a message before it is asked anew.
const READ_WAIT: Duration = Duration::from_secs(5);

/// Lines of one step: fewer than db-proxy takes.
const STEP_LINES: usize = 4_000;

/// Changes that wait for the next step before it comes early.
const MANY_CHANGES: usize = 2_000;

/// Recipients of messages that are looked at together, unless a single one has more.
const CHUNK: usize = 2_048;

/// Lines that are fetched at a time when they are due.
const DUE_ROWS: u32 = 256;

/// Messages that are looked at together, and where they end.
struct Chunk {
    messages: Vec<LiveMessage>,
    through: CommitSeq,
}

/// One time of holding the name.
pub(super) struct Holder<'a> {
    follower: &'a Follower,
    calls: Calls,
    progress: Progress,
    /// Lines in the store.
    retries: u64,
    attempts: JoinSet<(Attempt, Outcome)>,
    /// Attempts by lane.
    lanes: Vec<usize>,
    /// Jobs that wait for their lane, and since when.
    backlog: VecDeque<Job>,
    waiting_since: Instant,
    /// Where the log was looked at once nothing waits for a lane.
    reaching: Option<CommitSeq>,
    chunks: VecDeque<Chunk>,
    reading: Option<BoxFuture<'static, Result<LogPage, Ended>>>,
    read_at: Instant,
    flush_at: Instant,
    due_at: Instant,
    is_full: bool,
    clock: Clock,
}

impl<'a> Holder<'a> {
    pub(super) fn new(
        follower: &'a Follower,
        calls: Calls,
        position: CommitSeq,
        retries: u64,
    ) -> Self {
        let now = Instant::now();
        Self {
            lanes: vec![0; follower.work.lanes() as usize],
            follower,
            calls,
            progress: Progress::new(position, retries),
            retries,
            attempts: JoinSet::new(),
            backlog: VecDeque::new(),
            waiting_since: now,
            reaching: None,
            chunks: VecDeque::new(),
            reading: None,
            read_at: now,
            flush_at: now + follower.limits.flush,
            due_at: now,
            is_full: false,
            clock: Clock::start(),
        }
    }

    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let mut ticks = tokio::time::interval(self.follower.limits.flush / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            self.read_on();
            let may_read = self.may_read();
            tokio::select! {
                () = stop.cancelled() => break,
                page = reading(&mut self.reading), if self.reading.is_some() => {
                    self.reading = None;
                    self.take(page?);
                }
                Some(done) = self.attempts.join_next() => self.settle(done),
                _ = ticks.tick() => self.on_time().await?,
                () = tokio::time::sleep_until(self.read_at), if may_read => {}
            }
            while self.backlog.is_empty() && !stop.is_cancelled() {
                let Some(chunk) = self.chunks.pop_front() else {
                    break;
                };
                self.look_at(chunk, stop).await?;
            }
            if self.progress.changes() >= MANY_CHANGES {
                self.flush().await?;
            }
            self.show();
        }
        self.finish().await
    }

    /// What is under way gets a while to end; then the store learns of everything.
    async fn finish(&mut self) -> Result<(), Ended> {
        let until = Instant::now() + self.follower.limits.stop_grace;
        self.put_off_backlog();
        // A page that nobody has looked at comes again.
        self.reading = None;
        while let Ok(Some(done)) = tokio::time::timeout_at(until, self.attempts.join_next()).await {
            self.settle(done);
        }
        let flushed = tokio::time::timeout(self.follower.limits.stop_grace, self.flush());
        flushed.await.unwrap_or(Ok(()))
    }

    /// Whether messages may be read that were not asked for yet.
    fn may_read(&mut self) -> bool {
        // What runs has its line with the next step.
        let unwritten = self.progress.changes() as u64;
        let waiting = self.retries.saturating_add(unwritten);
        let is_full = waiting >= self.follower.limits.retries;
        if is_full && !self.is_full {
            self.follower.metrics.full.inc();
        }
        self.is_full = is_full;
        self.reading.is_none() && self.chunks.is_empty() && self.backlog.is_empty() && !is_full
    }

    fn read_on(&mut self) {
        if !self.may_read() || Instant::now() < self.read_at {
            return;
        }
        let read = FollowRead {
            after: self.progress.reached().to_wire(),
            rows: 0,
            bytes: 0,
            wait_ms: u32::try_from(READ_WAIT.as_millis()).unwrap_or(u32::MAX),
            body_bytes: self.follower.limits.body_bytes,
        };
        let calls = self.calls.clone();
        self.reading = Some(async move { calls.read(read).await }.boxed());
    }

    /// Cuts a page into chunks.
    fn take(&mut self, page: LogPage) {
        let LogPage {
            messages,
            through,
            more,
        } = page;
        let metrics = &self.follower.metrics;
        metrics.messages.inc_by(messages.len() as u64);
        let lag = messages.last().filter(|_| more).map_or(0, |newest| {
            UnixSeconds::now().seconds_since(UnixSeconds::from_wire(newest.time))
        });
        metrics.lag_seconds.set(lag.into());
        if !more {
            self.read_at = Instant::now() + self.follower.limits.gather;
        }
        let (mut gathered, mut recipients) = (Vec::new(), 0);
        for message in messages {
            recipients += message.recipients.len();
            let seq = CommitSeq::from_wire(message.seq);
            gathered.push(message);
            if recipients >= CHUNK {
                self.chunks.push_back(Chunk {
                    messages: std::mem::take(&mut gathered),
                    through: seq,
                });
                recipients = 0;
            }
        }
        self.chunks.push_back(Chunk {
            messages: gathered,
            through: CommitSeq::from_wire(through),
        });
    }

    /// Begins what is to be done about some messages.
    async fn look_at(&mut self, chunk: Chunk, stop: &CancellationToken) -> Result<(), Ended> {
        let Chunk { messages, through } = chunk;
        let work = Arc::clone(&self.follower.work);
        if !messages.is_empty() {
            let jobs = work.jobs(&self.calls, messages);
            let Some(jobs) = stop.run_until_cancelled(jobs).await else {
                return Ok(());
            };
            self.waiting_since = Instant::now();
            for job in jobs? {
                self.begin(job);
            }
        }
        self.reaching = Some(through);
        self.reach();
        Ok(())
    }

    /// The position passes messages when everything about them is under way or put off.
    fn reach(&mut self) {
        if self.backlog.is_empty()
            && let Some(through) = self.reaching.take()
        {
            self.progress.reach(through);
        }
    }

    fn begin(&mut self, job: Job) {
        if self.room_in(job.lane) == 0 {
            self.backlog.push_back(job);
            return;
        }
        let Job { key, lane, body } = job;
        let attempt = self.progress.begin(key, lane, body.clone());
        self.spawn(attempt, body, 0);
    }

    /// How many more may run in a lane.
    fn room_in(&self, lane: u32) -> usize {
        let running = self.lanes.get(lane as usize);
        let most = self.follower.limits.lane;
        running.map_or(0, |running| most.saturating_sub(*running))
    }

    fn spawn(&mut self, attempt: Attempt, body: Bytes, tries: u32) {
        if let Some(running) = self.lanes.get_mut(attempt.lane as usize) {
            *running += 1;
        }
        let (work, calls) = (Arc::clone(&self.follower.work), self.calls.clone());
        let limit = self.follower.limits.attempt;
        self.attempts.spawn(async move {
            let trying = AssertUnwindSafe(work.attempt(&calls, body, tries)).catch_unwind();
            let outcome = match tokio::time::timeout(limit, trying).await {
                Ok(Ok(outcome)) => outcome,
                // Too late, or a fault of ours.
                _ => Outcome::Again(limit),
            };
            (attempt, outcome)
        });
    }

    fn settle(&mut self, done: Result<(Attempt, Outcome), tokio::task::JoinError>) {
        // Only what is cut off with the holder has no outcome.
        let Ok((attempt, outcome)) = done else {
            return;
        };
        if let Some(running) = self.lanes.get_mut(attempt.lane as usize) {
            *running = running.saturating_sub(1);
        }
        match outcome {
            Outcome::Done => self.progress.done(&attempt),
            Outcome::Again(wait) => self.progress.again(&attempt, self.clock.after(wait)),
        }
        self.begin_waiting();
    }

    /// Begins what waits for a lane that has room now.
    fn begin_waiting(&mut self) {
        for job in std::mem::take(&mut self.backlog) {
            self.begin(job);
        }
        self.reach();
    }

    async fn on_time(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let limits = &self.follower.limits;
        if !self.backlog.is_empty() && now >= self.waiting_since + limits.patience {
            self.put_off_backlog();
        }
        if now >= self.due_at {
            self.due_at = now + limits.flush;
            self.try_again().await?;
        }
        if now >= self.flush_at {
            self.flush().await?;
        }
        Ok(())
    }

    fn put_off_backlog(&mut self) {
        let due = self.clock.after(self.follower.limits.patience);
        for Job { key, lane, body } in std::mem::take(&mut self.backlog) {
            self.follower.metrics.put_off.inc();
            self.progress.put_off(key, lane, body, due);
        }
        self.reach();
    }

    /// Tries what is due, as far as the lanes have room.
    async fn try_again(&mut self) -> Result<(), Ended> {
        if self.retries == 0 {
            return Ok(());
        }
        for lane in 0..self.follower.work.lanes() {
            let due = FollowDue {
                until: self.clock.after(Duration::ZERO),
                rows: u32::try_from(self.room_in(lane)).map_or(DUE_ROWS, |room| room.min(DUE_ROWS)),
                lane,
            };
            if due.rows == 0 {
                continue;
            }
            for retry in self.calls.due(due).await? {
                if let Some((attempt, body, tries)) = self.progress.resume(retry) {
                    self.spawn(attempt, body, tries);
                }
            }
        }
        Ok(())
    }

    /// Stores how far everything is.
    async fn flush(&mut self) -> Result<(), Ended> {
        self.flush_at = Instant::now() + self.follower.limits.flush;
        let lease = self.clock.after(self.follower.limits.attempt * 2);
        for step in self.progress.steps(lease, STEP_LINES) {
            self.retries = self.calls.step(step).await?;
            self.progress.has_lines(self.retries);
        }
        Ok(())
    }

    fn show(&self) {
        let metrics = &self.follower.metrics;
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        metrics
            .position
            .set(gauge(self.progress.reached().to_wire()));
        metrics.running.set(gauge(self.attempts.len() as u64));
        metrics.retries.set(gauge(self.retries));
    }
}

/// Waits for the page that is being read.
async fn reading(
    reading: &mut Option<BoxFuture<'static, Result<LogPage, Ended>>>,
) -> Result<LogPage, Ended> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
