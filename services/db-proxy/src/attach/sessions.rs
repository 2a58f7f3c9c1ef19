//! One query of a session at a time, in the order in which they came, and none while too many bytes
//! of the session's answers have not left.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Queries of a link's sessions. `T` is a query with what it holds; the link bounds how many there
/// are.
#[derive(Debug)]
pub(super) struct Sessions<T> {
    /// Sessions with a query, or with bytes that have not left.
    sessions: Mutex<HashMap<u64, Session<T>>>,
    /// Bytes of answers with which a session's next query waits.
    bytes: usize,
}

#[derive(Debug)]
struct Session<T> {
    /// A query is in hand.
    busy: bool,
    /// Bytes of answers that have not left.
    held: usize,
    /// By tag.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Sessions<T> {
    /// No session yet; each may have about so many bytes of answers under way.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            sessions: Mutex::default(),
            bytes,
        }
    }

    /// Takes a query in: gives it back when it is its turn at once.
    pub(super) fn begin(&self, session: u64, tag: u64, query: T) -> Option<T> {
        let mut sessions = self.lock();
        let entry = sessions.entry(session).or_insert_with(|| Session {
            busy: false,
            held: 0,
            waiting: VecDeque::new(),
        });
        if entry.busy || entry.held >= self.bytes {
            entry.waiting.push_back((tag, query));
            return None;
        }
        entry.busy = true;
        Some(query)
    }

    /// The query in hand has an answer of so many bytes, which is about to leave.
    pub(super) fn hold(&self, session: u64, bytes: usize) {
        if let Some(entry) = self.lock().get_mut(&session) {
            entry.held = entry.held.saturating_add(bytes);
        }
    }

    /// The query in hand is done: the next one.
    pub(super) fn done(&self, session: u64) -> Option<T> {
        self.change(session, |entry| entry.busy = false)
    }

    /// An answer has left: the next query, if it waited for that.
    pub(super) fn left(&self, session: u64, bytes: usize) -> Option<T> {
        self.change(session, |entry| {
            entry.held = entry.held.saturating_sub(bytes);
        })
    }

    /// Takes a query out that waits.
    pub(super) fn withdraw(&self, session: u64, tag: u64) -> Option<T> {
        let mut sessions = self.lock();
        let waiting = &mut sessions.get_mut(&session)?.waiting;
        let place = waiting.iter().position(|(waiting, _)| *waiting == tag)?;
        waiting.remove(place).map(|(_, query)| query)
    }

    fn change(&self, session: u64, change: impl FnOnce(&mut Session<T>)) -> Option<T> {
        let mut sessions = self.lock();
        let entry = sessions.get_mut(&session)?;
        change(entry);
        if entry.busy || entry.held >= self.bytes {
            return None;
        }
        let next = entry.waiting.pop_front();
        entry.busy = next.is_some();
        if next.is_none() && entry.held == 0 {
            sessions.remove(&session);
        }
        next.map(|(_, query)| query)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Session<T>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_one_session_take_turns_and_others_do_not_wait() {
        let sessions = Sessions::new(100);
        assert_eq!(sessions.begin(7, 1, 'a'), Some('a'));
        assert_eq!(sessions.begin(7, 2, 'b'), None);
        assert_eq!(sessions.begin(7, 3, 'c'), None);
        assert_eq!(sessions.begin(8, 4, 'd'), Some('d'));
        assert_eq!(sessions.withdraw(7, 2), Some('b'));
        assert_eq!(sessions.withdraw(7, 2), None);
        assert_eq!(sessions.done(7), Some('c'));
        assert_eq!(sessions.done(7), None);
        assert_eq!(sessions.done(8), None);
        assert!(sessions.lock().is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_session_whose_answers_do_not_leave_waits_with_its_next_query() {
        let sessions = Sessions::new(100);
        assert_eq!(sessions.begin(7, 1, 'a'), Some('a'));
        sessions.hold(7, 99);
        assert_eq!(sessions.done(7), None);
        assert_eq!(sessions.begin(7, 2, 'b'), Some('b'));
        assert_eq!(sessions.begin(7, 3, 'c'), None);
        sessions.hold(7, 50);
        assert_eq!(sessions.done(7), None, "149 bytes have not left");
        assert_eq!(sessions.begin(7, 4, 'd'), None);
        assert_eq!(sessions.left(7, 99), Some('c'));
        assert_eq!(sessions.left(7, 50), None, "one is in hand");
        sessions.hold(7, 10);
        assert_eq!(sessions.done(7), Some('d'));
        assert_eq!(sessions.done(7), None);
        assert_eq!(sessions.left(7, 10), None);
        assert!(sessions.lock().is_empty());
    }
}
