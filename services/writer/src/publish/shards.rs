//! The live links as shards of the ring, and the split of what is published over them.

use std::sync::Arc;

use im_core::UserId;
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_proto_rpc::v1::publish_item::Item;
use im_rpc::Ring;
use tokio::sync::Notify;

use super::lists::{LinkId, ListError, ListReply, Lists};
use super::queue::{Limits, Queue};
use crate::metrics::Metrics;
use crate::publication::{Outgoing, Recipients};

/// A link that was taken up.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) id: LinkId,
    /// Rings when the queue may have work.
    pub(super) wake: Arc<Notify>,
}

pub(super) struct Shards {
    limits: Limits,
    metrics: Metrics,
    ring: Ring,
    /// In the order of `ring.names()`.
    shards: Vec<Shard>,
    /// Position of the log; `None` before its end is known.
    position: Option<CommitSeq>,
    lists: Lists,
    last_id: LinkId,
}

struct Shard {
    id: LinkId,
    name: String,
    queue: Queue,
    confirmed: CommitSeq,
    wake: Arc<Notify>,
    /// Something was added since it was woken.
    stirred: bool,
}

impl Shards {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self {
            limits,
            metrics,
            ring: Ring::default(),
            shards: Vec::new(),
            position: None,
            lists: Lists::default(),
            last_id: LinkId(0),
        }
    }

    /// Names of the live links, and how far each has confirmed.
    pub(super) fn confirmations(&self) -> Vec<(String, CommitSeq)> {
        let each = self.shards.iter();
        each.map(|shard| (shard.name.clone(), shard.confirmed))
            .collect()
    }

    /// Takes up a link; one of the same peer that is still there is replaced.
    pub(super) fn add(&mut self, name: &str) -> Registered {
        self.last_id.0 += 1;
        let (id, wake) = (self.last_id, Arc::new(Notify::new()));
        let position = self.position.unwrap_or_default();
        let replaced = self
            .shards
            .iter()
            .find(|shard| shard.name == name)
            .map(|shard| shard.id);
        if let Some(replaced) = replaced {
            self.drop_shard(replaced);
        }
        let shard = Shard {
            id,
            name: name.to_owned(),
            queue: Queue::new(self.limits, position),
            confirmed: position,
            wake: Arc::clone(&wake),
            stirred: true,
        };
        self.seal();
        self.shards.push(shard);
        self.rebuild();
        Registered { id, wake }
    }

    /// Forgets a link.
    pub(super) fn remove(&mut self, id: LinkId) {
        if self.shards.iter().any(|shard| shard.id == id) {
            self.seal();
            self.drop_shard(id);
            self.rebuild();
        }
    }

    fn drop_shard(&mut self, id: LinkId) {
        self.shards.retain(|shard| shard.id != id);
        self.lists.gone(id);
    }

    fn seal(&mut self) {
        let (position, ring) = (self.position.unwrap_or_default(), self.ring.digest());
        for shard in &mut self.shards {
            shard.queue.seal(position, ring);
            shard.stirred = true;
        }
    }

    fn rebuild(&mut self) {
        self.shards.sort_by(|a, b| a.name.cmp(&b.name));
        self.ring = Ring::new(self.shards.iter().map(|shard| shard.name.as_str()));
        self.metrics.publish_links(self.shards.len());
        self.wake();
    }

    /// The log's end is known (again), and what lies before it was not published.
    pub(super) fn restart_at(&mut self, end: CommitSeq) {
        match self.position {
            // A link that waited for the start says "after `end`", which is its first word.
            None => {
                for shard in &mut self.shards {
                    shard.queue = Queue::new(self.limits, end);
                    shard.confirmed = end;
                    shard.stirred = true;
                }
            }
            Some(position) if position < end => {
                for shard in &mut self.shards {
                    shard.queue.skip_from(position);
                    shard.queue.announce();
                    shard.stirred = true;
                }
            }
            Some(_) => {}
        }
        self.position = Some(self.position.unwrap_or(end).max(end));
        self.wake();
    }

    pub(super) fn message(&mut self, outgoing: Outgoing) {
        let Outgoing {
            mut message,
            recipients,
        } = outgoing;
        match recipients {
            Recipients::Pair(from, to) => {
                let (a, b) = (self.ring.index_of(from), self.ring.index_of(to));
                if a == b {
                    message.recipients = vec![from.get(), to.get()];
                } else {
                    let copy = v1::LiveMessage {
                        recipients: vec![from.get()],
                        ..message.clone()
                    };
                    self.message_to(a, copy);
                    message.recipients = vec![to.get()];
                }
                self.message_to(b, message);
            }
            Recipients::Group(members) => {
                let Self {
                    ring,
                    shards,
                    metrics,
                    ..
                } = self;
                members.for_shards(ring, |index, recipients| {
                    let copy = v1::LiveMessage {
                        recipients,
                        ..message.clone()
                    };
                    add_message(shards.get_mut(index), copy, metrics);
                });
            }
        }
    }

    fn message_to(&mut self, index: Option<usize>, message: v1::LiveMessage) {
        if let Some(index) = index {
            add_message(self.shards.get_mut(index), message, &self.metrics);
        }
    }

    /// The log is complete up to here.
    pub(super) fn reach(&mut self, end: CommitSeq) {
        self.position = Some(end);
        self.wake();
    }

    pub(super) fn event(&mut self, event: &v1::Event) {
        if event.broadcast {
            for shard in &mut self.shards {
                shard.other(Item::Event(event.clone()));
            }
            return;
        }
        let mut split = vec![Vec::new(); self.shards.len()];
        for user in &event.users {
            let index = UserId::from_wire(*user).and_then(|user| self.ring.index_of(user));
            if let Some(users) = index.and_then(|index| split.get_mut(index)) {
                users.push(*user);
            }
        }
        for (shard, users) in self.shards.iter_mut().zip(split) {
            if !users.is_empty() {
                shard.other(Item::Event(v1::Event {
                    users,
                    ..event.clone()
                }));
            }
        }
    }

    pub(super) fn kick(&mut self, kick: v1::Kick) {
        let index = UserId::from_wire(kick.user).and_then(|user| self.ring.index_of(user));
        if let Some(shard) = index.and_then(|index| self.shards.get_mut(index)) {
            shard.other(Item::Kick(kick));
        }
    }

    pub(super) fn ask_sessions(
        &mut self,
        user: Option<UserId>,
    ) -> Result<(u64, ListReply), ListError> {
        if self.position.is_none() {
            return Err(ListError::NoRoute);
        }
        let only = user.and_then(|user| self.ring.index_of(user));
        let asked = |index: usize| user.is_none() || only == Some(index);
        let shards = self
            .shards
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| asked(*index));
        let mut shards: Vec<&mut Shard> = shards.map(|(_, shard)| shard).collect();
        let (tag, reply) = self
            .lists
            .open(shards.iter().map(|shard| shard.id).collect())?;
        let question = v1::ListSessions {
            tag,
            user: user.map_or(0, UserId::get),
        };
        for shard in &mut shards {
            shard.other(Item::ListSessions(question));
        }
        self.wake();
        Ok((tag, reply))
    }

    pub(super) fn forget_list(&mut self, tag: u64) {
        self.lists.forget(tag);
    }

    pub(super) fn session_list(&mut self, id: LinkId, list: v1::SessionList) {
        self.lists.answered(id, list.tag, list.sessions);
    }

    pub(super) fn confirmed(&mut self, id: LinkId, position: CommitSeq) {
        if let Some(shard) = self.shard(id) {
            shard.confirmed = shard.confirmed.max(position);
        }
        let slowest = self.shards.iter().map(|shard| shard.confirmed).min();
        if let (Some(slowest), Some(position)) = (slowest, self.position) {
            self.metrics.publish_lag(position.messages_since(slowest));
        }
    }

    /// The peer of this link is to hear of the position.
    pub(super) fn announce(&mut self, id: LinkId) {
        if let Some(shard) = self.shard(id) {
            shard.queue.announce();
        }
    }

    /// Whether a batch can be taken for this link.
    pub(super) fn has_work(&self, id: LinkId) -> bool {
        self.position.is_some()
            && self
                .shards
                .iter()
                .any(|shard| shard.id == id && shard.queue.has_work())
    }

    /// The next batch of this link.
    pub(super) fn take(&mut self, id: LinkId) -> Option<v1::PublishBatch> {
        let (position, ring) = (self.position?, self.ring.digest());
        self.shard(id)?.queue.take(position, ring)
    }

    /// Wakes the links that something was added for.
    pub(super) fn wake(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| shard.stirred) {
            shard.stirred = false;
            shard.wake.notify_one();
        }
    }

    fn shard(&mut self, id: LinkId) -> Option<&mut Shard> {
        self.shards.iter_mut().find(|shard| shard.id == id)
    }
}

impl Shard {
    fn other(&mut self, item: Item) {
        self.stirred = true;
        self.queue.other(item);
    }
}

fn add_message(shard: Option<&mut Shard>, message: v1::LiveMessage, metrics: &Metrics) {
    if let Some(shard) = shard {
        shard.stirred = true;
        if !shard.queue.message(message) {
            metrics.publish_dropped();
        }
    }
}
