//! The newest hops of a process, in bounded memory. Pure.

use std::collections::VecDeque;

use crate::armed::trace_of;
use crate::path::{Hop, Step};

/// Hops, oldest first. A full ring forgets the oldest.
#[derive(Debug)]
pub(crate) struct Ring {
    most: usize,
    hops: VecDeque<Hop>,
}

/// Which hops are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Of this trace.
    pub trace: u32,
    /// Of these steps.
    pub steps: &'a [Step],
    /// Of messages with greater ids.
    pub after: u64,
    /// Of so many messages at most.
    pub messages: usize,
    /// So many at most; of a message that has more, the first.
    pub hops: usize,
}

/// Hops of some messages, those of one message together, in the order in which they were noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// By message.
    pub hops: Vec<Hop>,
    /// There are some of messages with greater ids.
    pub more: bool,
}

impl Ring {
    /// Takes no memory before the first hop.
    pub(crate) const fn new(bytes: usize) -> Self {
        Self {
            most: bytes / size_of::<Hop>(),
            hops: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, hop: Hop) {
        if self.most == 0 {
            return;
        }
        if self.hops.capacity() < self.most {
            self.hops.reserve_exact(self.most - self.hops.len());
        }
        if self.hops.len() >= self.most {
            self.hops.pop_front();
        }
        self.hops.push_back(hop);
    }

    /// Those of a trace and its steps behind a message, in the order in which they were noted.
    pub(crate) fn select(&self, wanted: &Wanted<'_>) -> Vec<Hop> {
        let is_wanted = |hop: &&Hop| {
            trace_of(hop.message) == Some(wanted.trace)
                && hop.message > wanted.after
                && wanted.steps.contains(&hop.step)
        };
        self.hops.iter().filter(is_wanted).copied().collect()
    }
}

/// Cuts what was selected to a page.
pub(crate) fn page(mut hops: Vec<Hop>, wanted: &Wanted<'_>) -> Page {
    // Stable: those of one message stay in their order.
    hops.sort_by_key(|hop| hop.message);
    let mut end = 0;
    for of_one in hops
        .chunk_by(|a, b| a.message == b.message)
        .take(wanted.messages)
    {
        if end > 0 && end + of_one.len() > wanted.hops {
            break;
        }
        end += of_one.len();
    }
    let more = end < hops.len();
    hops.truncate(end.min(wanted.hops));
    Page { hops, more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armed::MARK;

    /// Bits of ids below the trace.
    const BELOW: u32 = 40;

    fn message(trace: u64, number: u64) -> u64 {
        MARK | trace << BELOW | number
    }

    fn hop(message: u64, step: Step) -> Hop {
        Hop {
            message,
            ..Hop::of(step)
        }
    }

    const ALL: Wanted<'_> = Wanted {
        trace: 1,
        steps: &[Step::Received, Step::Written],
        after: 0,
        messages: 100,
        hops: 100,
    };

    #[test]
    fn a_full_ring_forgets_the_oldest_and_takes_the_bytes_it_may() {
        let size = size_of::<Hop>();
        assert_eq!(size, 48, "10,922 in 512 KiB");
        let mut ring = Ring::new(10 * size + size - 1);
        assert_eq!(ring.hops.capacity(), 0, "nothing before it is used");
        for number in 0..1_000 {
            ring.push(hop(message(1, number), Step::Received));
            assert!(ring.hops.len() <= 10);
            assert_eq!(ring.hops.capacity(), 10);
        }
        let numbers: Vec<_> = ring.hops.iter().map(|hop| hop.message & 0xffff).collect();
        assert_eq!(numbers, (990..1_000).collect::<Vec<_>>());
        let mut none = Ring::new(size - 1);
        none.push(hop(message(1, 1), Step::Received));
        assert_eq!(none.hops.capacity(), 0);
    }

    #[test]
    fn a_page_has_whole_messages_of_its_trace_and_tells_whether_some_follow() {
        let mut ring = Ring::new(1 << 20);
        for number in [3, 1, 2] {
            ring.push(hop(message(1, number), Step::Received));
            ring.push(hop(message(2, number), Step::Received));
            ring.push(hop(message(1, number), Step::Routed));
        }
        for number in [1, 3] {
            ring.push(hop(message(1, number), Step::Written));
        }
        // Followed for another reason.
        ring.push(hop(7, Step::Received));
        let told = |wanted: Wanted<'_>| {
            let page = page(ring.select(&wanted), &wanted);
            let hops = page.hops.iter();
            let hops: Vec<_> = hops.map(|hop| (hop.message & 0xff, hop.step)).collect();
            (hops, page.more)
        };
        let (received, written) = (Step::Received, Step::Written);
        let all = vec![
            (1, received),
            (1, written),
            (2, received),
            (3, received),
            (3, written),
        ];
        assert_eq!(told(ALL), (all.clone(), false));
        let first = Wanted { messages: 2, ..ALL };
        assert_eq!(told(first), (all[..3].to_vec(), true));
        let rest = Wanted {
            after: message(1, 2),
            ..ALL
        };
        assert_eq!(told(rest), (all[3..].to_vec(), false));
        // What has no room in whole comes with the next page.
        let narrow = Wanted { hops: 4, ..ALL };
        assert_eq!(told(narrow), (all[..3].to_vec(), true));
        let one = Wanted { hops: 1, ..ALL };
        assert_eq!(told(one), (all[..1].to_vec(), true));
    }
}
