//! Publishing: what the writer committed, and pushes that are not kept, to the route servers.
//!
//! Each live link is a shard of the ring. All of them are filled under one lock, in log order, so
//! every shard sees its part of one sequence. Nothing is kept beyond a shard's bounded queue: a batch
//! says from where to where of the log it reaches, and whoever finds a gap reads the log.
//!
//! *Invariants*: publishing never waits; positions on a link only grow; a batch's `through` is never
//! beyond a message that was left out before it.

mod link;
mod lists;
mod origins;
mod queue;
mod shards;

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_config::PublishConfig;
use im_core::UserId;
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_rpc::PeerEvent;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bells::Bells;
use crate::metrics::Metrics;
use crate::publication::{Outgoing, Publication};
use shards::Shards;

pub use lists::ListError;

/// Handle of the publisher; cheap to clone.
#[derive(Clone)]
pub struct Publisher(Arc<Shared>);

struct Shared {
    shards: Mutex<Shards>,
    /// Position of the log that has been published; `None` until the log's end is known.
    position: watch::Sender<Option<CommitSeq>>,
    config: PublishConfig,
    /// Events that wait to be published, by whom and what they are about.
    gathered: Mutex<HashMap<(UserId, u32), v1::Event>>,
    metrics: Metrics,
    /// Sessions that sent the newest messages, for readers of the log.
    origins: Mutex<origins::Origins>,
    bells: Bells,
}

impl Publisher {
    pub(crate) fn new(config: &PublishConfig, metrics: Metrics) -> Self {
        let limits = queue::Limits {
            items: config.queue_items,
            bytes: config.queue_size.as_usize(),
            batch_bytes: config.batch_bytes.as_usize(),
        };
        Self(Arc::new(Shared {
            shards: Mutex::new(Shards::new(limits, metrics.clone())),
            gathered: Mutex::default(),
            metrics,
            position: watch::Sender::new(None),
            config: config.clone(),
            origins: Mutex::default(),
            bells: Bells::default(),
        }))
    }

    /// The log ends here now, and nothing has been published between the former position and this
    /// one: said at the start, and when messages turn out to be committed that were not published.
    pub(crate) fn restart_at(&self, end: CommitSeq) {
        let mut shards = self.lock();
        shards.restart_at(end);
        self.0.position.send_replace(Some(end));
        self.0.bells.ring_all();
    }

    /// Publishes committed messages; the log is complete up to `end` with them.
    pub(crate) fn committed(&self, messages: Vec<Outgoing>, end: CommitSeq) {
        self.origins().add(&messages);
        let mut shards = self.lock();
        // Whoever has no bell yet hangs one when the position is that of these messages.
        let ringing = self.0.bells.committed(&messages);
        for message in messages {
            shards.message(message);
        }
        shards.reach(end);
        self.0.position.send_replace(Some(end));
        drop(ringing);
    }

    /// Publishes what is not kept, after everything that has been published so far. Never waits; what
    /// a route server's full queue cannot take is lost for it.
    pub fn publish(&self, items: Vec<Publication>) {
        let mut shards = self.lock();
        for item in items {
            match item {
                Publication::Event(event) => shards.event(&event),
                Publication::Kick(kick) => shards.kick(kick),
            }
        }
        shards.wake();
    }

    /// Publishes an event about a person a little later, unless another one of its command about the
    /// same person replaces it by then.
    pub fn gather(&self, about: UserId, event: v1::Event) {
        let mut gathered = self.gathered();
        let is_first = gathered.is_empty();
        let command = event.command;
        if gathered.insert((about, command), event).is_some() {
            self.0.metrics.change_replaced();
        }
        let is_full = gathered.len() >= self.0.config.gathered;
        drop(gathered);
        if is_full {
            self.0.metrics.changes_told_early();
            self.publish_gathered();
        } else if is_first {
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(this.0.config.gather.into()).await;
                this.publish_gathered();
            });
        }
    }

    /// Publishes what was gathered.
    pub fn publish_gathered(&self) {
        let events = mem::take(&mut *self.gathered());
        if !events.is_empty() {
            self.publish(events.into_values().map(Publication::Event).collect());
        }
    }

    /// The sessions that sent these messages, as far as they are remembered; 0 otherwise.
    pub fn origins_of(&self, seqs: impl Iterator<Item = CommitSeq>) -> Vec<u64> {
        let origins = self.origins();
        seqs.map(|seq| origins.of(seq)).collect()
    }

    /// Names of the route servers that are reached, and how far each has confirmed.
    pub fn routes(&self) -> Vec<(String, CommitSeq)> {
        self.lock().confirmations()
    }

    /// Position of the log that has been published.
    pub fn position(&self) -> Option<CommitSeq> {
        *self.0.position.borrow()
    }

    /// Bells for messages of one account.
    pub fn bells(&self) -> &Bells {
        &self.0.bells
    }

    /// The same for those who wait for it to move.
    pub fn positions(&self) -> watch::Receiver<Option<CommitSeq>> {
        self.0.position.subscribe()
    }

    /// Sessions that are online, of one user or of all, as the route servers know them. Waits for
    /// `publish.list_timeout` at most.
    ///
    /// # Errors
    /// Too many lists are being gathered, no route server is linked, or one does not answer in time.
    pub async fn list_sessions(
        &self,
        user: Option<UserId>,
    ) -> Result<Vec<v1::SessionInfo>, ListError> {
        let (tag, reply) = self.lock().ask_sessions(user)?;
        let time = self.0.config.list_timeout.duration();
        match tokio::time::timeout(time, reply).await {
            Ok(answered) => answered.map_err(|_| ListError::Incomplete)?,
            Err(_) => {
                self.0.metrics.list_incomplete();
                self.lock().forget_list(tag);
                Err(ListError::Incomplete)
            }
        }
    }

    /// Takes over links to route servers until `stop`; each has a task of its own, which ends with
    /// its link.
    pub async fn follow(
        &self,
        mut peers: mpsc::Receiver<PeerEvent<v1::PublishBatch, v1::PublishReplies>>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) {
        while let Some(Some(event)) = stop.run_until_cancelled(peers.recv()).await {
            // A link that is down ends its own task.
            if let PeerEvent::Up(link) = event {
                let publisher = self.clone();
                let registered = self.lock().add(&link.peer);
                let stop = stop.clone();
                tasks.spawn(async move { publisher.run_link(link, registered, stop).await });
            }
        }
    }

    fn gathered(&self) -> MutexGuard<'_, HashMap<(UserId, u32), v1::Event>> {
        self.0
            .gathered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn origins(&self) -> MutexGuard<'_, origins::Origins> {
        self.0
            .origins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Shards> {
        self.0.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
