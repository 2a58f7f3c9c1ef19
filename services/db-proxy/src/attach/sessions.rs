//! One query of a session at a time, in the order in which they came.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use im_proto_rpc::v1;

/// Queries of a link that wait for an earlier one of their session. Bounded by the calls that the
/// link may have open.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// A session with a query in hand has an entry.
    waiting: Mutex<HashMap<u64, VecDeque<(u64, v1::Query)>>>,
}

impl Turns {
    /// Takes a query in: gives it back when it is its turn at once.
    pub(super) fn begin(&self, tag: u64, query: v1::Query) -> Option<(u64, v1::Query)> {
        match self.lock().entry(query.origin) {
            Entry::Vacant(entry) => {
                entry.insert(VecDeque::new());
                Some((tag, query))
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().push_back((tag, query));
                None
            }
        }
    }

    /// A query of this session is answered: the next one.
    pub(super) fn next(&self, origin: u64) -> Option<(u64, v1::Query)> {
        let mut waiting = self.lock();
        let next = waiting.get_mut(&origin).and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(&origin);
        }
        next
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, VecDeque<(u64, v1::Query)>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(origin: u64) -> v1::Query {
        v1::Query {
            origin,
            ..Default::default()
        }
    }

    #[test]
    fn queries_of_one_session_take_turns_and_others_do_not_wait() {
        let turns = Turns::default();
        assert!(turns.begin(1, query(7)).is_some());
        assert!(turns.begin(2, query(7)).is_none());
        assert!(turns.begin(3, query(7)).is_none());
        assert!(turns.begin(4, query(8)).is_some());
        assert_eq!(turns.next(7).map(|(tag, _)| tag), Some(2));
        assert_eq!(turns.next(7).map(|(tag, _)| tag), Some(3));
        assert_eq!(turns.next(7), None);
        assert!(
            turns.begin(5, query(7)).is_some(),
            "nothing of the session is left behind"
        );
    }
}
