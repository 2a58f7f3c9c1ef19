//! A writer with its log, three route servers, and one msg server that owns a [`Position`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use im_core::UserId;
use im_rpc::Ring;

use super::super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];
pub(super) const USERS: u32 = 6;

#[derive(Clone, Debug)]
struct Message {
    seq: u64,
    users: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Item {
    Message(Message),
    Ready { session: usize, through: u64 },
    Snapshot { tag: u64, through: u64 },
}

#[derive(Debug)]
struct Batch {
    after: u64,
    through: u64,
    ring: u64,
    items: Vec<Item>,
}

/// A route server's link to the msg server.
#[derive(Debug)]
struct Link {
    id: LinkId,
    queue: VecDeque<Batch>,
    sent: u64,
    known: BTreeSet<u32>,
    /// The ring as the msg server saw it last.
    seen_ring: u64,
}

#[derive(Debug, Default)]
struct RouteServer {
    has_writer: bool,
    at: u64,
    link: Option<Link>,
}

#[derive(Debug)]
struct Session {
    user: u32,
    owner: LinkId,
    /// Set when it is ready: its first cursor, and the end of the log then.
    start: Option<(u64, u64)>,
    cursor: u64,
    got: Vec<u64>,
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
    reading: Option<u64>,
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

    fn end(&self) -> u64 {
        self.log.len() as u64
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

    // ---- the world's moves --------------------------------------------

    pub(super) fn commit(&mut self, masks: &[u8]) {
        let before = self.end();
        for mask in masks {
            let users = (1..=USERS).filter(|user| mask >> user & 1 == 1).collect();
            self.log.push(Message {
                seq: self.end() + 1,
                users,
            });
        }
        let ring = self.writer_ring();
        let new: Vec<Message> = self.log[usize::try_from(before).unwrap()..].to_vec();
        let end = self.end();
        for (name, route) in &mut self.routes {
            if !route.has_writer {
                continue;
            }
            route.at = end;
            let Some(link) = &mut route.link else {
                continue;
            };
            let mut items = Vec::new();
            for message in &new {
                let mut users = message.users.clone();
                users.retain(|user| {
                    link.known.contains(user)
                        && ring.shard_of(UserId::from_wire(*user).unwrap()) == Some(name)
                });
                if !users.is_empty() {
                    items.push(Item::Message(Message {
                        seq: message.seq,
                        users,
                    }));
                }
            }
            link.queue.push_back(Batch {
                after: link.sent,
                through: end,
                ring: ring.digest(),
                items,
            });
            link.sent = end;
        }
    }

    /// The newest batch of a link loses its messages.
    pub(super) fn lose(&mut self, n: usize) {
        if let Some(batch) = self
            .route(n)
            .link
            .as_mut()
            .and_then(|link| link.queue.back_mut())
        {
            batch.items.retain(|item| !matches!(item, Item::Message(_)));
            batch.after = batch.through;
        }
    }

    /// The two newest batches of a link travel as one.
    pub(super) fn merge(&mut self, n: usize) {
        let Some(link) = &mut self.route(n).link else {
            return;
        };
        let Some(last) = link.queue.pop_back() else {
            return;
        };
        match link.queue.back_mut() {
            Some(first) if first.ring == last.ring => {
                // A snapshot or a loss moves the beginning.
                if last.after > first.through
                    || last
                        .items
                        .iter()
                        .any(|item| matches!(item, Item::Snapshot { .. }))
                {
                    first.after = last.after;
                }
                first.through = last.through;
                first.items.extend(last.items);
            }
            _ => link.queue.push_back(last),
        }
    }

    pub(super) fn writer_link(&mut self, n: usize, up: bool) {
        let end = self.end();
        let route = self.route(n);
        if route.has_writer == up {
            return;
        }
        route.has_writer = up;
        if up {
            // What was committed meanwhile did not pass through here.
            route.at = end;
            if let Some(link) = &mut route.link {
                link.sent = link.sent.max(end);
            }
        }
        self.announce_positions();
    }

    pub(super) fn announce_positions(&mut self) {
        for name in NAMES {
            let ring = self.ring_of(name);
            let route = self.routes.get_mut(name).unwrap();
            let at = route.at;
            if let Some(link) = &mut route.link {
                link.queue.push_back(Batch {
                    after: link.sent,
                    through: at.max(link.sent),
                    ring,
                    items: Vec::new(),
                });
                link.sent = link.sent.max(at);
            }
        }
    }

    pub(super) fn msg_link(&mut self, n: usize, up: bool) {
        let name = NAMES[n % NAMES.len()];
        let ring = self.ring_of(name);
        self.last_link = self.last_link.next();
        let id = self.last_link;
        let route = self.route(n);
        if route.link.is_some() == up {
            return;
        }
        if up {
            let at = route.at;
            let first = Batch {
                after: at,
                through: at,
                ring,
                items: Vec::new(),
            };
            route.link = Some(Link {
                id,
                queue: VecDeque::from([first]),
                sent: at,
                known: BTreeSet::new(),
                seen_ring: 0,
            });
        } else {
            let was_ours = route.link.take().is_some_and(|link| link.seen_ring != 0);
            if was_ours {
                self.ring_changed();
            }
        }
    }

    // ---- the msg server -----------------------------------------------

    fn ring_changed(&mut self) {
        self.position.set_ring(0, &[]);
        self.unsettled = true;
    }

    /// As announce.rs does it.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        let names: Vec<&'static str> = self
            .routes
            .iter()
            .filter(|(_, r)| r.link.as_ref().is_some_and(|link| link.seen_ring != 0))
            .map(|(name, _)| *name)
            .collect();
        self.announced.clear();
        if names.is_empty() {
            return;
        }
        let ring = Ring::new(names.iter().copied());
        self.generation += 1;
        for (name, route) in &mut self.routes {
            let Some(link) = &mut route.link else {
                continue;
            };
            link.known.clear();
            if !names.contains(name) {
                continue;
            }
            self.announced.push(link.id);
            for session in &mut self.sessions {
                if ring.shard_of(UserId::from_wire(session.user).unwrap()) == Some(name) {
                    session.owner = link.id;
                    link.known.insert(session.user);
                }
            }
        }
        for name in names {
            let digest = self.ring_of(name);
            let route = self.routes.get_mut(name).unwrap();
            let at = route.at;
            let link = route.link.as_mut().unwrap();
            link.queue.push_back(Batch {
                after: at,
                through: at,
                ring: digest,
                items: vec![Item::Snapshot {
                    tag: self.generation,
                    through: at,
                }],
            });
            link.sent = at;
        }
        // Those that were waiting are asked for again.
        let waiting: Vec<usize> = (0..self.sessions.len())
            .filter(|index| self.sessions[*index].start.is_none())
            .collect();
        self.position.set_ring(ring.digest(), &self.announced);
        for index in waiting {
            self.ask_ready(index);
        }
    }

    fn ask_ready(&mut self, index: usize) {
        let (user, owner) = (self.sessions[index].user, self.sessions[index].owner);
        for name in NAMES {
            let digest = self.ring_of(name);
            let route = self.routes.get_mut(name).unwrap();
            let at = route.at;
            let Some(link) = route.link.as_mut().filter(|link| link.id == owner) else {
                continue;
            };
            // Route confirms when the writer is there; here the login is lost otherwise and
            // asked for again by the next announcement.
            if digest == 0 {
                continue;
            }
            link.known.insert(user);
            let after = link.sent;
            link.queue.push_back(Batch {
                after,
                through: at.max(after),
                ring: digest,
                items: vec![Item::Ready {
                    session: index,
                    through: at,
                }],
            });
            link.sent = at.max(after);
        }
    }

    pub(super) fn login(&mut self, user: u32) {
        let names: Vec<&str> = self
            .routes
            .iter()
            .filter(|(_, r)| {
                r.link
                    .as_ref()
                    .is_some_and(|link| self.announced.contains(&link.id))
            })
            .map(|(name, _)| *name)
            .collect();
        let ring = Ring::new(names);
        let Some(name) = ring.shard_of(UserId::from_wire(user).unwrap()) else {
            return;
        };
        let owner = self.routes[name].link.as_ref().unwrap().id;
        let session = Session {
            user,
            owner,
            start: None,
            cursor: u64::MAX,
            got: Vec::new(),
        };
        self.sessions.push(session);
        self.ask_ready(self.sessions.len() - 1);
    }

    /// One batch of a link arrives.
    pub(super) fn arrive(&mut self, n: usize) -> bool {
        let Some(link) = &mut self.route(n).link else {
            return false;
        };
        let Some(batch) = link.queue.pop_front() else {
            return false;
        };
        let id = link.id;
        let before = std::mem::replace(&mut link.seen_ring, batch.ring);
        if (before == 0) != (batch.ring == 0) {
            self.ring_changed();
        }
        let verdict = self
            .position
            .batch(id, batch.after, batch.through, batch.ring);
        let mut held = Vec::new();
        for item in batch.items {
            match item {
                Item::Message(message) => match verdict {
                    Verdict::Deliver => self.deliver(&message, Some(id)),
                    Verdict::Hold => held.push(message),
                    Verdict::Drop => {}
                },
                Item::Ready { session, through } => {
                    let end = self.end();
                    let session = &mut self.sessions[session];
                    if session.start.is_none() {
                        let cursor = self.position.cursor(id, through);
                        session.start = Some((cursor, end));
                        session.cursor = cursor;
                    }
                }
                Item::Snapshot { tag, through } => {
                    if tag == self.generation {
                        self.position.snapshot_done(id, through);
                    }
                }
            }
        }
        if !held.is_empty() {
            self.position.hold(id, held.len(), held);
        }
        let live = self.position.batch_done(id, batch.through);
        self.replay(live);
        true
    }

    fn replay(&mut self, held: Option<Vec<(LinkId, Vec<Message>)>>) {
        for (link, messages) in held.into_iter().flatten() {
            for message in messages {
                self.deliver(&message, Some(link));
            }
        }
    }

    fn deliver(&mut self, message: &Message, link: Option<LinkId>) {
        for session in &mut self.sessions {
            if message.users.contains(&session.user)
                && link.is_none_or(|link| session.owner == link)
                && message.seq > session.cursor
            {
                session.cursor = message.seq;
                session.got.push(message.seq);
            }
        }
    }

    /// Asks for a page, or gets the one that was asked for.
    pub(super) fn read(&mut self, limit: u64) {
        if let Some(after) = self.reading.take() {
            let through = (after + limit).min(self.end()).max(after);
            let page: Vec<Message> = self
                .log
                .iter()
                .filter(|m| m.seq > after && m.seq <= through)
                .cloned()
                .collect();
            for message in &page {
                self.deliver(message, None);
            }
            let live = self.position.page(through, through < self.end());
            self.replay(live);
            return;
        }
        if self.sessions.iter().all(|session| session.start.is_none()) {
            self.position.nobody_here();
            return;
        }
        if let Read::Now(after) | Read::Later(after) = self.position.next_read() {
            self.reading = Some(after);
        }
    }

    pub(super) fn writer_restarted(&mut self) {
        self.reading = None;
        self.position.distrust();
    }

    // ---- the end ------------------------------------------------------

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
            assert!(start <= end, "starts at {start} when the log ends at {end}");
            let expected: Vec<u64> = self
                .log
                .iter()
                .filter(|m| m.seq > start && m.users.contains(&session.user))
                .map(|m| m.seq)
                .collect();
            assert_eq!(
                session.got, expected,
                "session of {} from {start}",
                session.user
            );
        }
    }
}
