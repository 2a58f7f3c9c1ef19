//! What repetitions of messages are recognised by.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use im_core::time::UnixSeconds;
use im_core::{MsgId, RetryKey};
use im_order::CommitSeq;
use im_store::RecentKey;

/// Where a recognised message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) msg_id: MsgId,
    pub(super) time: UnixSeconds,
    pub(super) seq: CommitSeq,
}

/// Retry keys of the newest messages of all conversations, bounded by count and age.
///
/// One window for all conversations serves a busy group as well as a quiet pair: what matters is how
/// many messages were stored since, not how many of them in one conversation.
#[derive(Debug)]
pub(super) struct RetryWindow {
    keys: HashMap<RetryKey, Kept>,
    order: VecDeque<(RetryKey, CommitSeq)>,
    max: usize,
    max_age: u32,
}

impl RetryWindow {
    pub(super) fn new(max: usize, max_age_seconds: u32) -> Self {
        Self {
            keys: HashMap::new(),
            order: VecDeque::new(),
            max: max.max(1),
            max_age: max_age_seconds,
        }
    }

    /// The message stored under `key` within the last `window` seconds.
    pub(super) fn find(&self, key: &RetryKey, window: u32, now: UnixSeconds) -> Option<Kept> {
        self.keys
            .get(key)
            .copied()
            .filter(|kept| now.seconds_since(kept.time) <= window)
    }

    /// Remembers a message; a later one under the same key replaces it.
    pub(super) fn insert(&mut self, key: RetryKey, kept: Kept, now: UnixSeconds) {
        match self.keys.entry(key) {
            Entry::Occupied(mut entry) => {
                if entry.get().seq >= kept.seq {
                    return;
                }
                entry.insert(kept);
            }
            Entry::Vacant(entry) => {
                entry.insert(kept);
            }
        }
        self.order.push_back((key, kept.seq));
        self.trim(now);
    }

    /// Remembers what a conversation's rows hold.
    pub(super) fn load(&mut self, recent: &[RecentKey], now: UnixSeconds) {
        for RecentKey {
            key,
            msg_id,
            seq,
            time,
        } in recent
        {
            self.insert(
                *key,
                Kept {
                    msg_id: *msg_id,
                    time: *time,
                    seq: *seq,
                },
                now,
            );
        }
    }

    /// Forgets a message that was not committed after all.
    pub(super) fn remove(&mut self, key: &RetryKey) {
        // Its place in the order stays and finds nothing, or an entry with another position.
        self.keys.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn trim(&mut self, now: UnixSeconds) {
        while let Some((key, seq)) = self.order.front() {
            match self.keys.get(key).filter(|kept| kept.seq == *seq) {
                Some(kept)
                    if self.order.len() <= self.max
                        && now.seconds_since(kept.time) <= self.max_age =>
                {
                    break;
                }
                Some(_) => {
                    self.keys.remove(key);
                }
                None => {}
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> RetryKey {
        RetryKey([n; 16])
    }

    fn at(seconds: u32) -> UnixSeconds {
        UnixSeconds::from_wire(seconds)
    }

    fn kept(id: u32, time: u32) -> Kept {
        Kept {
            msg_id: MsgId::from_wire(id).unwrap(),
            time: at(time),
            seq: CommitSeq::from_wire(u64::from(id)),
        }
    }

    #[test]
    fn a_key_is_recognised_inside_its_window_only() {
        let mut window = RetryWindow::new(10, 600);
        window.insert(key(1), kept(1, 1_000), at(1_000));
        assert_eq!(window.find(&key(1), 30, at(1_030)), Some(kept(1, 1_000)));
        assert_eq!(window.find(&key(1), 30, at(1_031)), None);
        assert_eq!(window.find(&key(1), 600, at(1_600)), Some(kept(1, 1_000)));
        assert_eq!(window.find(&key(2), 600, at(1_000)), None);
        assert_eq!(
            window.find(&key(1), 30, at(900)),
            Some(kept(1, 1_000)),
            "the clock went back"
        );
    }

    #[test]
    fn keys_end_by_count_and_by_age_and_a_newer_message_replaces_an_older_one() {
        let mut window = RetryWindow::new(3, 600);
        for n in 1..=5 {
            window.insert(key(n), kept(u32::from(n), 1_000), at(1_000));
        }
        assert_eq!(window.len(), 3);
        assert_eq!(window.find(&key(2), 600, at(1_000)), None);
        window.insert(key(5), kept(6, 1_100), at(1_100));
        assert_eq!(window.find(&key(5), 600, at(1_100)), Some(kept(6, 1_100)));
        window.insert(key(5), kept(5, 1_000), at(1_100));
        assert_eq!(
            window.find(&key(5), 600, at(1_100)),
            Some(kept(6, 1_100)),
            "loaded again later"
        );
        window.insert(key(9), kept(9, 1_690), at(1_690));
        assert_eq!(window.len(), 2, "those of 1000 are too old");
        window.remove(&key(5));
        for n in 10..20 {
            window.insert(key(n), kept(u32::from(n), 1_690), at(1_690));
        }
        assert_eq!(window.len(), 3);
    }

    #[test]
    fn a_key_ends_when_it_is_older_than_the_window_and_not_before() {
        let mut window = RetryWindow::new(10, 600);
        window.insert(key(1), kept(1, 1_000), at(1_000));
        window.insert(key(2), kept(2, 1_600), at(1_600));
        assert_eq!(window.len(), 2, "as old as may be");
        window.insert(key(3), kept(3, 1_601), at(1_601));
        assert_eq!(window.len(), 2);
        assert_eq!(window.find(&key(1), 1_000, at(1_601)), None);
    }

    #[test]
    fn a_key_that_was_removed_is_not_recognised() {
        let mut window = RetryWindow::new(10, 600);
        window.insert(key(1), kept(1, 1_000), at(1_000));
        window.remove(&key(1));
        assert_eq!(window.find(&key(1), 600, at(1_000)), None);
    }

    #[test]
    fn rows_that_are_loaded_are_recognised_and_cost_one_place_however_often_they_are_loaded() {
        let mut window = RetryWindow::new(3, 600);
        let row = RecentKey {
            key: key(1),
            msg_id: MsgId::from_wire(1).unwrap(),
            seq: CommitSeq::from_wire(1),
            time: at(1_000),
        };
        for _ in 0..5 {
            window.load(&[row], at(1_000));
        }
        assert_eq!(window.find(&key(1), 600, at(1_000)), Some(kept(1, 1_000)));
        for n in 2..=3 {
            window.insert(key(n), kept(u32::from(n), 1_000), at(1_000));
        }
        assert_eq!(window.len(), 3, "there is room for all three");
    }
}
