//! A writer with its log, three route servers, and one msg server that owns a [`Position`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use im_core::UserId;
use im_rpc::Ring;

use super::super::*;

mod routes;
mod server;

const NAMES: [&str; 3] = ["a", "b", "c"];
pub(super) const USERS: u32 = 6;

#[derive(Clone, Debug)]
struct Message {
    seq: CommitSeq,
    users: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Item {
    Message(Message),
    Ready { session: usize, through: CommitSeq },
    Snapshot { tag: u64, through: CommitSeq },
}

#[derive(Debug)]
struct Batch {
    span: Span,
    ring: u64,
    items: Vec<Item>,
}

/// A route server's link to the msg server.
#[derive(Debug)]
struct Link {
    id: LinkId,
    queue: VecDeque<Batch>,
    sent: CommitSeq,
    known: BTreeSet<u32>,
    /// The ring as the msg server saw it last.
    seen_ring: u64,
}

#[derive(Debug, Default)]
struct RouteServer {
    has_writer: bool,
    at: CommitSeq,
    link: Option<Link>,
}

#[derive(Debug)]
struct Session {
    user: u32,
    owner: LinkId,
    /// Set when it is ready: its first cursor, and the end of the log then.
    start: Option<(CommitSeq, CommitSeq)>,
    cursor: CommitSeq,
    got: Vec<CommitSeq>,
}

#[derive(Debug)]
pub(super) struct World {
    log: Vec<Message>,
    routes: BTreeMap<&'static str, RouteServer>,
    position: Position<Vec<Message>>,
    sessions: Vec<Session>,
    announced: Vec<LinkId>,
    generation: u64,
    unsettled: bool,
    reading: Option<CommitSeq>,
    last_link: LinkId,
}

impl World {
    pub(super) fn new(max_held: usize) -> Self {
        Self {
            log: Vec::new(),
            routes: NAMES
                .iter()
                .map(|name| (*name, RouteServer::default()))
                .collect(),
            position: Position::new(max_held),
            sessions: Vec::new(),
            announced: Vec::new(),
            generation: 0,
            unsettled: false,
            reading: None,
            last_link: LinkId(0),
        }
    }

    fn end(&self) -> CommitSeq {
        CommitSeq::from_wire(self.log.len() as u64)
    }

    fn route(&mut self, n: usize) -> &mut RouteServer {
        self.routes.get_mut(NAMES[n % NAMES.len()]).unwrap()
    }

    fn writer_ring(&self) -> Ring {
        Ring::new(
            self.routes
                .iter()
                .filter(|(_, r)| r.has_writer)
                .map(|(name, _)| *name),
        )
    }

    fn ring_of(&self, name: &str) -> u64 {
        if self.routes[name].has_writer {
            self.writer_ring().digest()
        } else {
            0
        }
    }

    /// Everything that can happen by itself happens.
    pub(super) fn quiesce(&mut self) {
        for _ in 0..200 {
            self.settle();
            self.announce_positions();
            for n in 0..NAMES.len() {
                while self.arrive(n) {}
            }
            self.read(5);
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.position.mode()
    }

    pub(super) fn check(&self) {
        for session in &self.sessions {
            let Some((start, end)) = session.start else {
                continue;
            };
            assert!(
                start <= end,
                "starts at {start:?} when the log ends at {end:?}"
            );
            let expected: Vec<CommitSeq> = self
                .log
                .iter()
                .filter(|m| m.seq > start && m.users.contains(&session.user))
                .map(|m| m.seq)
                .collect();
            assert_eq!(
                session.got, expected,
                "session of {} from {start:?}",
                session.user
            );
        }
    }
}
