//! The way to one msg server: what gathers for it, and what happens when its link is full.
//!
//! *Invariants*
//! - A batch `after..through` holds every message of the log in that range for this msg server. After
//!   a loss `after` jumps, so the msg server knows.
//! - Results, kicks and presence are never lost: they wait, in order, until their bound closes the
//!   link. Messages and events are lost when the link is full.
//! - A batch has at most so many bytes: what has gathered beyond goes in several, and the position moves
//!   with the last one.

use im_order::{CommitSeq, Span};
use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{RouteItem, RouteItems};
use im_rpc::batch;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use super::inputs::LinkId;

/// Where the log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Everything up to here has been handed on.
    pub(super) seq: CommitSeq,
    /// The writer's ring; 0 without a writer.
    pub(super) ring: u64,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// There was nothing to say.
    Idle,
    /// A batch is in the link's queue.
    Sent,
    /// The link is full: this many messages and events are lost, the rest waits.
    Full {
        /// Messages and events that are lost.
        lost: usize,
        /// Whether the rest begins to wait now, so that someone must call when there is room.
        call: bool,
    },
    /// The link is gone, or more waits than may.
    Over(Ended),
}

/// Why an outlet is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The link is gone.
    Gone,
    /// More waits than may.
    Overfull,
}

/// Bounds of an outlet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What may wait for room, in items; a presence tick counts each of its users.
    pub(super) waiting_items: usize,
    /// The same in bytes.
    pub(super) waiting_bytes: usize,
    /// Bytes of a batch.
    pub(super) batch_bytes: usize,
}

/// Bytes of an item, at least what it is encoded to.
#[inline]
fn weigh(item: &RouteItem) -> usize {
    /// Numbers, tags and lengths of any kind of item.
    const HEAD: usize = 96;
    /// The longest encoding of a user id.
    const ID: usize = 5;
    HEAD + match &item.item {
        Some(Item::Message(message)) => message.data.len() + ID * message.recipients.len(),
        Some(Item::Event(event)) => event.body.len() + ID * event.users.len(),
        Some(Item::Status(status)) => ID * status.online.len(),
        Some(Item::Presence(tick)) => ID * (tick.online.len() + tick.offline.len()),
        Some(Item::Kick(_) | Item::Ready(_) | Item::Snapshot(_) | Item::PcStatus(_)) | None => 0,
    }
}

#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) link: LinkId,
    pub(super) tx: mpsc::Sender<RouteItems>,
    closed: CancellationToken,
    /// What has gathered since the last flush.
    items: Vec<RouteItem>,
    bytes: usize,
    /// What waits for room, in order.
    waiting: Vec<RouteItem>,
    waiting_weight: usize,
    waiting_bytes: usize,
    calling: bool,
    bounds: Bounds,
    /// From here on nothing was lost.
    complete_after: CommitSeq,
    /// Whether every session of the server is known: not while it announces them.
    announced: bool,
    /// Ring of the last batch sent.
    ring: Option<u64>,
}

impl Outlet {
    /// An outlet whose log begins at `seq`.
    pub(super) fn new(
        link: LinkId,
        tx: mpsc::Sender<RouteItems>,
        closed: CancellationToken,
        seq: CommitSeq,
        bounds: Bounds,
    ) -> Self {
        Self {
            link,
            tx,
            closed,
            items: Vec::new(),
            bytes: 0,
            waiting: Vec::new(),
            waiting_weight: 0,
            waiting_bytes: 0,
            calling: false,
            bounds,
            complete_after: seq,
            announced: true,
            ring: None,
        }
    }

    /// Bytes that have gathered.
    pub(super) const fn gathered_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn waiting_items(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn queued_batches(&self) -> usize {
        self.tx.max_capacity() - self.tx.capacity()
    }

    /// Lets an item gather. Returns whether it is the first since the last flush.
    #[inline]
    pub(super) fn push(&mut self, item: Item) -> bool {
        let item = RouteItem { item: Some(item) };
        self.bytes += weigh(&item);
        self.items.push(item);
        self.items.len() == 1
    }

    /// The log up to here did not pass through: what lies before is missing at the msg server.
    pub(super) fn skip_to(&mut self, seq: CommitSeq) {
        self.complete_after = self.complete_after.max(seq);
    }

    /// The log went back to here: an older copy of the store was put in place.
    pub(super) fn go_back_to(&mut self, seq: CommitSeq) {
        self.complete_after = self.complete_after.min(seq);
    }

    /// The server begins to announce its sessions: until it has, messages for them pass by.
    pub(super) fn begin_announcing(&mut self) {
        self.announced = false;
    }

    /// Every session is known: from here on the log is complete.
    pub(super) fn end_announcing(&mut self, seq: CommitSeq) {
        self.announced = true;
        self.complete_after = seq;
    }

    /// Sends what has gathered; the bare position when the ring is news or when `announce` says so.
    pub(super) fn flush(&mut self, at: Position, announce: bool) -> Flush {
        if self.calling {
            return self.set_aside(at);
        }
        if self.items.is_empty() && self.ring == Some(at.ring) && !announce {
            return Flush::Idle;
        }
        let mut parts = self.parts().into_iter();
        while let Some(items) = parts.next() {
            let is_last = parts.len() == 0;
            match self.tx.try_send(self.batch(at, items, is_last)) {
                Ok(()) => {}
                Err(TrySendError::Full(batch)) => {
                    self.items = batch.items;
                    self.items.extend(parts.flatten());
                    return self.set_aside(at);
                }
                Err(TrySendError::Closed(_)) => return Flush::Over(Ended::Gone),
            }
        }
        self.sent(at);
        Flush::Sent
    }

    /// What has gathered, in the batches in which it goes; one at least.
    fn parts(&mut self) -> Vec<Vec<RouteItem>> {
        let items = std::mem::take(&mut self.items);
        if self.bytes <= self.bounds.batch_bytes {
            return vec![items];
        }
        batch::cut(items, self.bounds.batch_bytes, weigh)
    }

    /// There is room again for one batch: what waits goes first.
    pub(super) fn room(
        &mut self,
        permit: Option<mpsc::OwnedPermit<RouteItems>>,
        at: Position,
    ) -> Flush {
        self.calling = false;
        let Some(permit) = permit else {
            return Flush::Over(Ended::Gone);
        };
        let mut items = std::mem::take(&mut self.waiting);
        items.append(&mut self.items);
        self.items = items;
        self.bytes += std::mem::take(&mut self.waiting_bytes);
        self.waiting_weight = 0;
        let mut parts = self.parts().into_iter();
        let first = parts.next().unwrap_or_default();
        let is_last = parts.len() == 0;
        permit.send(self.batch(at, first, is_last));
        if is_last {
            self.sent(at);
            return Flush::Sent;
        }
        self.items = parts.flatten().collect();
        self.bytes = self.items.iter().map(weigh).sum();
        self.flush(at, true)
    }

    /// Cuts the link.
    pub(super) fn close(self) {
        self.closed.cancel();
    }

    fn batch(&self, at: Position, items: Vec<RouteItem>, is_last: bool) -> RouteItems {
        let after = if self.announced {
            self.complete_after
        } else {
            at.seq
        };
        let span = Span::between(after, at.seq).of_part(is_last);
        RouteItems {
            after: span.after().to_wire(),
            through: span.through().to_wire(),
            ring: at.ring,
            items,
        }
    }

    fn sent(&mut self, at: Position) {
        self.complete_after = at.seq;
        self.ring = Some(at.ring);
        self.bytes = 0;
    }

    /// The link is full: drops what the log or nobody brings again, keeps the rest.
    fn set_aside(&mut self, at: Position) -> Flush {
        let mut lost = 0;
        self.bytes = 0;
        for item in self.items.drain(..) {
            let bytes = weigh(&item);
            match &item.item {
                Some(Item::Message(_)) => {
                    self.complete_after = at.seq;
                    lost += 1;
                }
                Some(Item::Event(_)) | None => lost += 1,
                Some(Item::Presence(tick)) => {
                    self.waiting_weight += tick.online.len() + tick.offline.len();
                    self.waiting_bytes += bytes;
                    self.waiting.push(item);
                }
                Some(
                    Item::Kick(_)
                    | Item::Ready(_)
                    | Item::Snapshot(_)
                    | Item::Status(_)
                    | Item::PcStatus(_),
                ) => {
                    self.waiting_weight += 1;
                    self.waiting_bytes += bytes;
                    self.waiting.push(item);
                }
            }
        }
        if self.waiting_weight > self.bounds.waiting_items
            || self.waiting_bytes > self.bounds.waiting_bytes
        {
            return Flush::Over(Ended::Overfull);
        }
        let call = !self.waiting.is_empty() && !self.calling;
        self.calling |= call;
        Flush::Full { lost, call }
    }
}
