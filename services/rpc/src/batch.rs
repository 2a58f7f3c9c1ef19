//! What batches weigh, and cutting them so that a link can carry them.
//!
//! A link refuses a batch above its configured maximum, and refusing one ends the link for everybody.
//! So nobody makes one: senders gather by [`weight`] up to [`sending_bound`], the same over the network
//! and inside one process, and what still is too large is cut at the link ([`Batch::parts`]).

use im_config::LinkConfig;
use im_order::Span;
use im_proto_rpc::v1::{
    DbCalls, DbResults, FileCalls, FileItems, FollowCalls, FollowItems, LoadReport, LoadSeen,
    MonitorAsks, MonitorCalls, PresenceAnswers, PresenceAsks, PublishBatch, PublishReplies,
    RouteCalls, RouteItems,
};
use prost::Message;

/// Bytes that an item takes in its batch: what it is encoded to, with its tag and its length.
pub fn weight(item: &impl Message) -> usize {
    let length = item.encoded_len();
    // Fields of batches have numbers below 16: a tag of one byte.
    1 + prost::length_delimiter_len(length) + length
}

/// Bytes at which a sender ends a batch and begins the next. Half of what the peer accepts, so that one
/// that was gathered by estimates, or with a large last item, is accepted as well.
pub fn sending_bound(config: &LinkConfig) -> usize {
    config.max_batch.as_usize() / 2
}

/// Cuts items into groups of at most `bound` bytes each, in order. An item above that is a group of its
/// own.
pub fn cut<T>(items: Vec<T>, bound: usize, weigh: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut groups = Vec::with_capacity(1);
    let (mut group, mut bytes) = (Vec::new(), 0_usize);
    for item in items {
        let weight = weigh(&item);
        if !group.is_empty() && bytes.saturating_add(weight) > bound {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes = bytes.saturating_add(weight);
        group.push(item);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

/// Takes items from the front of what waits, as many as fit in one batch of `count` items and `bound`
/// bytes; at least one, if there is one.
pub fn take_front<T>(
    waiting: &mut std::collections::VecDeque<T>,
    count: usize,
    bound: usize,
    weigh: impl Fn(&T) -> usize,
) -> Vec<T> {
    let mut bytes = 0_usize;
    let fitting = waiting.iter().take(count).take_while(|item| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(weigh(item));
        first || bytes <= bound
    });
    let fitting = fitting.count();
    waiting.drain(..fitting).collect()
}

/// A message of a link.
pub trait Batch: Message + Sized {
    /// The same in parts of at most `limit` encoded bytes where it can be cut at all. Only for a batch
    /// that is larger. The receiver of all parts knows what the receiver of the whole would.
    fn parts(self, limit: usize) -> Vec<Self> {
        let _ = limit;
        vec![self]
    }
}

/// Room for the fields of a batch beside its items.
const HEAD: usize = 64;

/// A batch that is nothing but its items.
macro_rules! list {
    ($batch:ident, $field:ident) => {
        impl Batch for $batch {
            fn parts(self, limit: usize) -> Vec<Self> {
                cut(self.$field, limit.saturating_sub(HEAD), weight)
                    .into_iter()
                    .map(|$field| Self { $field })
                    .collect()
            }
        }
    };
}

list!(DbCalls, calls);
list!(DbResults, results);
list!(RouteCalls, calls);
list!(FileCalls, calls);
list!(FileItems, items);
list!(FollowCalls, calls);
list!(FollowItems, items);
list!(PresenceAsks, asks);
list!(PresenceAnswers, answers);
list!(MonitorCalls, calls);
list!(MonitorAsks, asks);

impl Batch for RouteItems {
    /// The position moves with the last part: until it is there, not everything up to it has come.
    fn parts(self, limit: usize) -> Vec<Self> {
        let Self {
            after,
            through,
            ring,
            items,
        } = self;
        let groups = cut(items, limit.saturating_sub(HEAD), weight);
        let last = groups.len().saturating_sub(1);
        let whole = Span::from_wire(after, through);
        let part = |(index, items)| {
            let span = whole.of_part(index == last);
            Self {
                after: span.after().to_wire(),
                through: span.through().to_wire(),
                ring,
                items,
            }
        };
        groups.into_iter().enumerate().map(part).collect()
    }
}

impl Batch for PublishReplies {
    fn parts(self, limit: usize) -> Vec<Self> {
        let Self { confirmed, lists } = self;
        cut(lists, limit.saturating_sub(HEAD), weight)
            .into_iter()
            .map(|lists| Self { confirmed, lists })
            .collect()
    }
}

/// One unit of the log, which its queue bounds below what a link carries.
impl Batch for PublishBatch {}
impl Batch for LoadReport {}
impl Batch for LoadSeen {}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::route_item::Item;
    use im_proto_rpc::v1::{Event, RouteItem, db_result};
    use proptest::prelude::*;

    use super::*;

    fn item(size: usize) -> RouteItem {
        let event = Event {
            body: vec![7; size].into(),
            ..Event::default()
        };
        RouteItem {
            item: Some(Item::Event(event)),
        }
    }

    proptest! {
        #[test]
        fn parts_hold_everything_in_order_within_the_limit(
            sizes in prop::collection::vec(0..900_usize, 1..40),
            limit in 1_100..4_000_usize,
        ) {
            let items: Vec<_> = sizes.iter().copied().map(item).collect();
            let whole = RouteItems { after: 5, through: 9, ring: 7, items: items.clone() };
            prop_assert!(whole.encoded_len() <= HEAD + items.iter().map(weight).sum::<usize>());
            let parts = whole.parts(limit);
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(part.encoded_len() <= limit);
                let through = if index + 1 == parts.len() { 9 } else { 5 };
                prop_assert_eq!((part.after, part.through, part.ring), (5, through, 7));
            }
            let again: Vec<_> = parts.into_iter().flat_map(|part| part.items).collect();
            prop_assert_eq!(again, items);
        }

        #[test]
        fn the_front_is_taken_up_to_either_bound(
            weights in prop::collection::vec(1..100_usize, 0..40),
            count in 1..20_usize,
            bound in 1..400_usize,
        ) {
            let mut waiting: std::collections::VecDeque<_> = weights.iter().copied().collect();
            let mut taken = Vec::new();
            while !waiting.is_empty() {
                let batch = take_front(&mut waiting, count, bound, |weight| *weight);
                prop_assert!(!batch.is_empty() && batch.len() <= count);
                prop_assert!(batch.len() == 1 || batch.iter().sum::<usize>() <= bound);
                taken.extend(batch);
            }
            prop_assert_eq!(taken, weights);
        }
    }

    #[test]
    fn an_item_weighs_what_it_adds_to_its_batch() {
        for size in [0, 100, 127, 128, 20_000, 3_000_000] {
            let result = im_proto_rpc::v1::DbResult {
                tag: 7,
                result: Some(db_result::Result::Answer(im_proto_rpc::v1::Answer {
                    body: vec![1; size].into(),
                    ..im_proto_rpc::v1::Answer::default()
                })),
            };
            let weight = weight(&result);
            let results = vec![result];
            assert_eq!(DbResults { results }.encoded_len(), weight);
        }
    }
}
