//! What clients saw, in the order in which they saw it.
//!
//! Every message of a test carries unique content, its *mark*. The clients write down what they
//! send, get acknowledged, receive and read back; [`crate::checker`] gives the verdict.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

/// Unique content of one logical send.
pub type Mark = u64;

/// A conversation as the tests name it, the same for all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Talk {
    /// Two users, lower id first.
    Pair(u32, u32),
    /// A group.
    Group(u32),
}

impl Talk {
    /// The pair of two users in either order.
    pub fn pair(a: u32, b: u32) -> Self {
        Self::Pair(a.min(b), a.max(b))
    }
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A client handed a message to its connection. Order of one sender = order of these.
    Sent {
        /// Who sends.
        sender: u32,
        /// Where.
        talk: Talk,
        /// What.
        mark: Mark,
    },
    /// The sender got 0x0302.
    Acked {
        /// Which send.
        mark: Mark,
        /// Id it got.
        msg_id: u32,
    },
    /// A terminal came online; pushes after this belong to it.
    Online {
        /// Number of the terminal's session, unique in the test.
        session: u64,
        /// Whose.
        user: u32,
    },
    /// A terminal got a message pushed.
    Pushed {
        /// To which session.
        session: u64,
        /// Where.
        talk: Talk,
        /// Id.
        msg_id: u32,
        /// Author as told.
        sender: u32,
        /// What.
        mark: Mark,
    },
    /// A terminal's connection ended.
    Offline {
        /// Which session.
        session: u64,
    },
    /// A user moved his read position.
    Read {
        /// Who.
        user: u32,
        /// Where.
        talk: Talk,
        /// Up to which id.
        msg_id: u32,
    },
}

/// The whole history of one conversation, read after the dust has settled, ascending by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// (id, author, mark).
    pub messages: Vec<(u32, u32, Mark)>,
    /// Ids that restores have skipped: ranges that follow each other, none of them at the end.
    pub gaps: Vec<RangeInclusive<u32>>,
}

impl Stored {
    /// The first id after `id` that a message may have.
    pub fn next_id(&self, id: u32) -> u32 {
        let next = id + 1;
        let gap = self.gaps.iter().find(|gap| gap.contains(&next));
        gap.map_or(next, |gap| gap.end() + 1)
    }
}

/// Recorder that clients share.
#[derive(Clone, Debug, Default)]
pub struct History {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl History {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes down one observation.
    pub fn note(&self, seen: Seen) {
        self.seen.lock().expect("no panic while locked").push(seen);
    }

    /// Everything so far.
    pub fn snapshot(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic while locked").clone()
    }

    /// How many sends have been acknowledged.
    pub fn acked(&self) -> usize {
        let seen = self.seen.lock().expect("no panic while locked");
        seen.iter()
            .filter(|entry| matches!(entry, Seen::Acked { .. }))
            .count()
    }
}
