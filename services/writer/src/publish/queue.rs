//! What waits for one route server, and the positions that it is told.

use std::collections::VecDeque;
use std::mem;

use im_order::{CommitSeq, Span};
use im_proto_rpc::v1;

/// Bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) items: usize,
    pub(super) bytes: usize,
    /// Bytes of one batch; a single item may be larger.
    pub(super) batch_bytes: usize,
}

/// Items of one shard in log order. Messages beyond the bounds are left out, and the positions say
/// so; other items have half as much room again, so that an overload of messages does not lose them.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    /// Up to here the peer has been told of everything.
    after: CommitSeq,
    items: Vec<v1::PublishItem>,
    bytes: usize,
    /// Position of the last message in the queue, or `after`.
    last: CommitSeq,
    /// Full batches of the present ring, before `items`.
    full: VecDeque<(v1::PublishBatch, usize)>,
    /// Items and bytes of `full` and `sealed`.
    sealed_items: usize,
    sealed_bytes: usize,
    /// Position before the first message that was left out.
    complete_to: Option<CommitSeq>,
    /// The peer is to be told of the position even without items.
    announce: bool,
    /// Batches of an earlier ring.
    sealed: VecDeque<(v1::PublishBatch, usize)>,
}

impl Queue {
    /// A queue of a new link, whose first batch states where the log is.
    pub(super) fn new(limits: Limits, position: CommitSeq) -> Self {
        Self {
            limits,
            after: position,
            items: Vec::new(),
            bytes: 0,
            last: position,
            full: VecDeque::new(),
            sealed_items: 0,
            sealed_bytes: 0,
            complete_to: None,
            announce: true,
            sealed: VecDeque::new(),
        }
    }

    /// Adds a message, or leaves it out.
    pub(super) fn message(&mut self, message: v1::LiveMessage) -> bool {
        if self.complete_to.is_some() {
            return false;
        }
        let seq = CommitSeq::from_wire(message.seq);
        let size = weight(message.data.len(), message.recipients.len());
        if !self.has_room(size, self.limits) {
            self.complete_to = Some(seq.previous());
            return false;
        }
        self.push(v1::publish_item::Item::Message(message), size);
        self.last = seq;
        true
    }

    /// Adds something else than a message.
    pub(super) fn other(&mut self, item: v1::publish_item::Item) -> bool {
        let size = match &item {
            v1::publish_item::Item::Event(event) => weight(event.body.len(), event.users.len()),
            _ => weight(0, 0),
        };
        let Limits { items, bytes, .. } = self.limits;
        let wider = Limits {
            items: items + items / 2,
            bytes: bytes + bytes / 2,
            ..self.limits
        };
        if !self.has_room(size, wider) {
            return false;
        }
        self.push(item, size);
        true
    }

    /// The log goes on at `position` without what lies between.
    pub(super) fn skip_from(&mut self, complete_to: CommitSeq) {
        self.complete_to.get_or_insert(complete_to);
    }

    /// The peer is to hear of the position soon.
    pub(super) fn announce(&mut self) {
        self.announce = true;
    }

    /// Ends the present batch, because those after it belong to another ring.
    pub(super) fn seal(&mut self, position: CommitSeq, ring: u64) {
        while let Some((mut batch, bytes)) = self.full.pop_front() {
            batch.ring = ring;
            self.sealed.push_back((batch, bytes));
        }
        if !self.items.is_empty() {
            let (batch, bytes) = self.close(position, ring);
            self.sealed_items += batch.items.len();
            self.sealed_bytes += bytes;
            self.sealed.push_back((batch, bytes));
        }
        self.announce = true;
    }

    pub(super) fn has_work(&self) -> bool {
        let batches = !self.full.is_empty() || !self.sealed.is_empty();
        self.announce || !self.items.is_empty() || batches
    }

    /// The next batch.
    pub(super) fn take(&mut self, position: CommitSeq, ring: u64) -> Option<v1::PublishBatch> {
        let sealed = self.sealed.pop_front().or_else(|| {
            let (mut batch, bytes) = self.full.pop_front()?;
            batch.ring = ring;
            Some((batch, bytes))
        });
        if let Some((batch, bytes)) = sealed {
            self.sealed_items -= batch.items.len();
            self.sealed_bytes -= bytes;
            return Some(batch);
        }
        self.has_work().then(|| self.close(position, ring).0)
    }

    fn close(&mut self, position: CommitSeq, ring: u64) -> (v1::PublishBatch, usize) {
        let span = Span::between(self.after, self.complete_to.unwrap_or(position));
        let batch = batch(span, ring, mem::take(&mut self.items));
        // After a gap the next batch starts beyond it, and comes at once: the peer must learn of it.
        self.announce = self.complete_to.take().is_some();
        self.after = position;
        (batch, mem::take(&mut self.bytes))
    }

    /// Ends the present batch because it is full; it reaches to its last message.
    fn split(&mut self) {
        let span = Span::between(self.after, self.last);
        // The ring is known when it is taken.
        let batch = batch(span, 0, mem::take(&mut self.items));
        self.after = span.through();
        let bytes = mem::take(&mut self.bytes);
        self.sealed_items += batch.items.len();
        self.sealed_bytes += bytes;
        self.full.push_back((batch, bytes));
    }

    fn has_room(&self, size: usize, limits: Limits) -> bool {
        self.items.len() + self.sealed_items < limits.items
            && self.bytes + self.sealed_bytes + size <= limits.bytes
    }

    fn push(&mut self, item: v1::publish_item::Item, size: usize) {
        if self.bytes + size > self.limits.batch_bytes && !self.items.is_empty() {
            self.split();
        }
        self.bytes += size;
        self.items.push(v1::PublishItem { item: Some(item) });
    }
}

fn batch(span: Span, ring: u64, items: Vec<v1::PublishItem>) -> v1::PublishBatch {
    v1::PublishBatch {
        after: span.after().to_wire(),
        through: span.through().to_wire(),
        ring,
        items,
    }
}

/// Bytes that an item takes, never less than it has on the link.
fn weight(body: usize, users: usize) -> usize {
    96 + body + 5 * users
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const WIDE: Limits = Limits {
        items: 100,
        bytes: 1 << 20,
        batch_bytes: 1 << 20,
    };

    fn message(seq: u64) -> v1::LiveMessage {
        v1::LiveMessage {
            seq,
            data: Bytes::from_static(b"x"),
            ..Default::default()
        }
    }

    fn shape(batch: Option<v1::PublishBatch>) -> Option<(u64, u64, usize)> {
        batch.map(|batch| (batch.after, batch.through, batch.items.len()))
    }

    #[test]
    fn the_first_batch_states_where_the_log_is_and_later_ones_join_without_a_gap() {
        let mut queue = Queue::new(WIDE, CommitSeq::from_wire(7));
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(7), 1)),
            Some((7, 7, 0))
        );
        assert_eq!(shape(queue.take(CommitSeq::from_wire(7), 1)), None);
        queue.message(message(8));
        queue.message(message(10));
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(12), 1)),
            Some((7, 12, 2))
        );
        queue.announce();
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(15), 1)),
            Some((12, 15, 0))
        );
    }

    #[test]
    fn messages_beyond_the_bound_are_left_out_and_the_positions_tell() {
        let mut queue = Queue::new(Limits { items: 2, ..WIDE }, CommitSeq::START);
        assert!(queue.message(message(1)));
        assert!(queue.message(message(3)));
        assert!(!queue.message(message(5)));
        assert!(!queue.message(message(6)));
        assert!(
            queue.other(v1::publish_item::Item::Kick(v1::Kick::default())),
            "it has more room"
        );
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(9), 1)),
            Some((0, 4, 3))
        );
        assert!(queue.has_work(), "the gap is told at once");
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(9), 1)),
            Some((9, 9, 0))
        );
        assert!(queue.message(message(10)));
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(10), 1)),
            Some((9, 10, 1))
        );
    }

    #[test]
    fn bytes_are_bounded_as_well_as_items() {
        let mut queue = Queue::new(Limits { bytes: 200, ..WIDE }, CommitSeq::START);
        assert!(queue.message(message(1)));
        let large = v1::LiveMessage {
            data: Bytes::from(vec![0; 200]),
            ..message(2)
        };
        assert!(!queue.message(large));
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(2), 1)),
            Some((0, 1, 1))
        );
    }

    #[test]
    fn a_batch_keeps_to_its_bytes_and_the_next_one_joins_it() {
        let limits = Limits {
            batch_bytes: 250,
            ..WIDE
        };
        let mut queue = Queue::new(limits, CommitSeq::START);
        queue.take(CommitSeq::START, 1);
        for seq in [1, 2, 5, 7] {
            assert!(queue.message(message(seq)));
        }
        assert!(queue.other(v1::publish_item::Item::Kick(v1::Kick::default())));
        let large = v1::LiveMessage {
            data: Bytes::from(vec![0; 1_000]),
            ..message(9)
        };
        assert!(queue.message(large));
        let first = queue.take(CommitSeq::from_wire(10), 1).unwrap();
        assert_eq!(shape(Some(first.clone())), Some((0, 2, 2)));
        assert_eq!(first.ring, 1);
        queue.seal(CommitSeq::from_wire(10), 1);
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(11), 2)),
            Some((2, 7, 2))
        );
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(11), 2)),
            Some((7, 7, 1))
        );
        let last = queue.take(CommitSeq::from_wire(11), 2).unwrap();
        assert_eq!((last.ring, last.after, last.through), (1, 7, 10));
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(11), 2)),
            Some((10, 11, 0))
        );
        assert!(!queue.has_work());
    }

    #[test]
    fn items_of_an_earlier_ring_keep_its_digest() {
        let mut queue = Queue::new(WIDE, CommitSeq::START);
        queue.message(message(1));
        queue.seal(CommitSeq::from_wire(1), 5);
        queue.message(message(2));
        let first = queue.take(CommitSeq::from_wire(2), 6).unwrap();
        assert_eq!((first.ring, first.through, first.items.len()), (5, 1, 1));
        let second = queue.take(CommitSeq::from_wire(2), 6).unwrap();
        assert_eq!((second.ring, second.after, second.through), (6, 1, 2));
        queue.seal(CommitSeq::from_wire(2), 6);
        let third = queue.take(CommitSeq::from_wire(2), 7).unwrap();
        assert_eq!(
            (third.ring, third.items.len()),
            (7, 0),
            "a new ring is announced at once"
        );
        assert!(!queue.has_work());
    }

    #[test]
    fn a_skipped_part_of_the_log_is_a_gap() {
        let mut queue = Queue::new(WIDE, CommitSeq::from_wire(3));
        queue.take(CommitSeq::from_wire(3), 1);
        queue.skip_from(CommitSeq::from_wire(3));
        queue.announce();
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(9), 1)),
            Some((3, 3, 0))
        );
        assert_eq!(
            shape(queue.take(CommitSeq::from_wire(9), 1)),
            Some((9, 9, 0))
        );
    }
}
