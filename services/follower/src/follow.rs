//! Holds a name, reads the log, and has done what is to be done about it.

mod holder;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::Chain;
use im_order::CommitSeq;
use im_proto_rpc::v1::{FollowCalls, FollowItems, LiveMessage};
use im_rpc::{Link, PeerEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::calls::{Calls, Ended};
use crate::metrics::FollowerMetrics;
use holder::Holder;

/// Something to be done about messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Takes the place of an older job that has the same; at most 256 bytes.
    pub key: Bytes,
    /// Jobs of one lane never wait for those of another. Below [`Work::lanes`].
    pub lane: u32,
    /// In the words of whoever does it; at most 8 KiB.
    pub body: Bytes,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or never will be.
    Done,
    /// It is to be tried again after so long.
    Again(Duration),
}

/// What a follower does.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// What is to be done about messages, in log order.
    ///
    /// # Errors
    /// A call has no answer; the messages come again.
    async fn jobs(&self, calls: &Calls, messages: Vec<LiveMessage>) -> Result<Vec<Job>, Ended>;

    /// Tries a job, for the time of [`Limits::attempt`] at most; `tries` failed before.
    async fn attempt(&self, calls: &Calls, body: Bytes, tries: u32) -> Outcome;

    /// What it does beside following, for as long as it holds its name. It is dropped when that ends.
    async fn beside(&self, _calls: &Calls) {}

    /// How many lanes there are. The same in every version: what waits in another one is not tried.
    fn lanes(&self) -> u32;
}

/// Bounds of a follower.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How late the position may be.
    pub flush: Duration,
    /// Wait between reads while there is little to read, so that what comes gathers.
    pub gather: Duration,
    /// Longest body of a message that is of use, bytes; longer ones come without.
    pub body_bytes: u32,
    /// Jobs of one lane that are tried at the same time.
    pub lane: usize,
    /// How long jobs wait for a full lane, and messages with them, before they are put off.
    pub patience: Duration,
    /// Longest time of one attempt.
    pub attempt: Duration,
    /// Longest time between two attempts; what the store has for later was written under another clock.
    pub longest: Duration,
    /// Jobs to be tried again at which no more messages are read.
    pub retries: u64,
    /// Time for attempts to end at a stop.
    pub stop_grace: Duration,
}

/// A follower of the log.
pub struct Follower {
    name: &'static str,
    work: Arc<dyn Work>,
    limits: Limits,
    metrics: FollowerMetrics,
}

impl Follower {
    /// A follower with this name in db-proxy.
    pub fn new(
        name: &'static str,
        work: Arc<dyn Work>,
        limits: Limits,
        metrics: FollowerMetrics,
    ) -> Self {
        Self {
            name,
            work,
            limits,
            metrics,
        }
    }

    /// Follows over whatever link there is until `stop`; `linked` hears whether there is one.
    pub async fn run(
        self,
        mut peers: mpsc::Receiver<PeerEvent<FollowCalls, FollowItems>>,
        linked: impl Fn(bool) + Send + Sync,
        stop: CancellationToken,
    ) {
        while let Some(Some(event)) = stop.run_until_cancelled(peers.recv()).await {
            match event {
                PeerEvent::Up(link) => {
                    linked(true);
                    let ended = self.serve(link, &stop).await;
                    self.metrics.holds.set(0);
                    linked(false);
                    if let Err(error) = ended {
                        warn!(follower = self.name, error = %Chain(&error), "begins anew");
                    }
                }
                PeerEvent::Down { .. } => {}
            }
        }
    }

    /// Follows over one link, until it ends or `stop`.
    async fn serve(
        &self,
        link: Link<FollowCalls, FollowItems>,
        stop: &CancellationToken,
    ) -> Result<(), Ended> {
        let calls = Calls::over(link);
        let served = async {
            // Who only waits for the name has nothing to finish.
            let holding = calls.hold(self.name, self.limits.longest);
            let Some(held) = stop.run_until_cancelled(holding).await else {
                return Ok(());
            };
            let held = held?;
            let position = CommitSeq::from_wire(held.position);
            info!(follower = self.name, epoch = held.epoch, %position, "holds its name");
            self.metrics.holds.set(1);
            let mut holder = Holder::new(self, calls.clone(), position, held.retries);
            let beside = async {
                self.work.beside(&calls).await;
                std::future::pending().await
            };
            tokio::select! {
                ended = holder.run(stop) => ended,
                never = beside => never,
            }
        };
        let ended = tokio::select! {
            ended = served => ended,
            () = calls.ended() => Err(Ended::Gone),
        };
        calls.end();
        ended
    }
}

#[cfg(test)]
mod tests;
