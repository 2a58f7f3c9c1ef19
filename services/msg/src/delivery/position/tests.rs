//! The rules one by one, and then a simulated system: a writer, route servers, links that lose and
//! break, rings that change, and sessions that must see every message once and in order.

use proptest::prelude::*;

use super::*;

const OWN: u64 = 7;

/// A machine that is live on links 1 and 2 at this position.
fn live_at(through: u64) -> Position<&'static str> {
    let mut position = Position::new(1_000);
    position.set_ring(OWN, &[1, 2]);
    position.cursor(1, through);
    for link in [1, 2] {
        position.batch(link, through, through, OWN);
        position.snapshot_done(link, through);
        position.batch_done(link, through);
    }
    assert_eq!(position.mode(), Mode::Live);
    position
}

#[test]
fn live_messages_are_delivered_while_batches_follow_each_other() {
    let mut position = live_at(10);
    assert_eq!(position.batch(1, 10, 12, OWN), Verdict::Deliver);
    assert_eq!(position.batch_done(1, 12), None);
    assert_eq!(position.batch(1, 12, 15, OWN), Verdict::Deliver);
    assert_eq!(position.next_read(), Read::Nothing);
}

#[test]
fn a_gap_makes_the_log_be_read_from_the_lowest_position() {
    let mut position = live_at(10);
    position.batch(1, 10, 20, OWN);
    position.batch_done(1, 20);
    assert_eq!(position.batch(2, 13, 20, OWN), Verdict::Drop);
    assert_eq!(position.batch_done(2, 20), None);
    assert_eq!(position.gaps(), 1);
    assert_eq!(position.next_read(), Read::Now(10));
    assert_eq!(position.page(20, false), Some(vec![]));
    assert_eq!(position.mode(), Mode::Live);
}

#[test]
fn a_gap_at_the_end_of_the_log_is_found_by_an_announcement() {
    let mut position = live_at(10);
    assert_eq!(position.batch(1, 11, 11, OWN), Verdict::Drop);
    position.batch_done(1, 11);
    assert_eq!(position.next_read(), Read::Now(10));
}

#[test]
fn another_ring_than_ours_means_the_log() {
    let mut position = live_at(10);
    assert_eq!(position.batch(1, 10, 11, OWN + 1), Verdict::Drop);
    position.batch_done(1, 11);
    assert_eq!(position.page(11, false), None);
    assert_eq!(position.mode(), Mode::Pull);
    assert_eq!(
        position.next_read(),
        Read::Later(11),
        "polled, since nothing new is known"
    );
    position.stored(12);
    assert_eq!(
        position.next_read(),
        Read::Now(11),
        "a message of this server is there"
    );
    position.page(12, false);
    position.batch(1, 11, 12, OWN);
    assert_eq!(position.batch_done(1, 12), Some(vec![]));
    assert_eq!(position.mode(), Mode::Live);
}

#[test]
fn nothing_is_live_before_every_link_has_confirmed_our_sessions() {
    let mut position: Position<()> = Position::new(1_000);
    position.cursor(1, 5);
    position.set_ring(OWN, &[1, 2]);
    position.batch(1, 5, 5, OWN);
    position.snapshot_done(1, 5);
    assert_eq!(position.batch_done(1, 5), None);
    assert_eq!(position.batch(2, 5, 9, OWN), Verdict::Drop);
    assert_eq!(position.batch_done(2, 9), None);
    position.batch(2, 9, 9, OWN);
    position.snapshot_done(2, 9);
    assert_eq!(
        position.batch_done(2, 9),
        None,
        "9 was announced and 5 is read"
    );
    assert_eq!(position.page(9, false), Some(vec![]));
}

#[test]
fn live_messages_are_held_while_the_end_of_the_log_is_read() {
    let mut position = live_at(10);
    position.batch(1, 11, 20, OWN);
    position.batch_done(1, 20);
    // The page was made before 20 was committed.
    assert_eq!(position.page(18, false), None);
    assert_eq!(position.mode(), Mode::Join);
    assert_eq!(position.batch(1, 20, 22, OWN), Verdict::Hold);
    position.hold(1, 10, "21 and 22");
    assert_eq!(position.batch_done(1, 22), None);
    assert_eq!(position.page(21, true), Some(vec![(1, "21 and 22")]));
    assert_eq!(position.mode(), Mode::Live);
    assert_eq!(position.batch(1, 22, 23, OWN), Verdict::Deliver);
}

#[test]
fn held_messages_beyond_the_bound_are_left_to_the_log() {
    let mut position = live_at(10);
    position.batch(1, 11, 20, OWN);
    position.batch_done(1, 20);
    position.page(18, false);
    assert_eq!(position.batch(1, 20, 22, OWN), Verdict::Hold);
    position.hold(1, 1_001, "too much");
    position.batch_done(1, 22);
    assert_eq!(position.mode(), Mode::Pull);
    assert_eq!(position.next_read(), Read::Now(18));
    assert_eq!(position.page(22, false), Some(vec![]));
}

#[test]
fn a_hole_among_held_messages_is_filled_by_the_log() {
    let mut position = live_at(10);
    position.batch(1, 11, 20, OWN);
    position.batch_done(1, 20);
    position.page(18, false);
    assert_eq!(position.batch(1, 25, 26, OWN), Verdict::Hold);
    position.hold(1, 1, "26");
    position.batch_done(1, 26);
    assert_eq!(position.page(22, false), None, "23 to 25 are nowhere yet");
    assert_eq!(position.page(25, false), Some(vec![(1, "26")]));
}

#[test]
fn a_session_starts_where_it_was_confirmed_or_where_the_log_was_read() {
    let mut live = live_at(10);
    assert_eq!(live.cursor(1, 12), 12);
    assert_eq!(
        live.cursor(1, 8),
        10,
        "what the log brought before the session is not live again"
    );
    let mut pull: Position<()> = Position::new(1_000);
    assert_eq!(pull.cursor(1, 5), 5);
    pull.page(9, false);
    assert_eq!(pull.cursor(1, 5), 9);
    assert_eq!(pull.cursor(1, 11), 11);
}

#[test]
fn without_sessions_the_position_follows_without_reading() {
    let mut position: Position<()> = Position::new(1_000);
    assert!(!position.nobody_here());
    assert_eq!(position.next_read(), Read::Nothing);
    position.set_ring(OWN, &[1]);
    position.batch(1, 900, 1_000, OWN);
    position.snapshot_done(1, 1_000);
    position.batch_done(1, 1_000);
    assert!(position.nobody_here());
    assert_eq!(position.mode(), Mode::Live);
    assert_eq!(position.reached(), 1_000);
}

// ---- simulation -------------------------------------------------------------

mod world {
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
                last_link: 0,
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
            self.last_link += 1;
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
}

#[derive(Clone, Debug)]
enum Move {
    Commit(Vec<u8>),
    Arrive(usize),
    Lose(usize),
    Merge(usize),
    Writer(usize, bool),
    Link(usize, bool),
    Settle,
    Positions,
    Login(u32),
    Read(u64),
    WriterRestarted,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 1..4).prop_map(Move::Commit),
        12 => (0..3usize).prop_map(Move::Arrive),
        1 => (0..3usize).prop_map(Move::Lose),
        2 => (0..3usize).prop_map(Move::Merge),
        1 => (0..3usize, prop::bool::weighted(0.7)).prop_map(|(n, up)| Move::Writer(n, up)),
        1 => (0..3usize, prop::bool::weighted(0.7)).prop_map(|(n, up)| Move::Link(n, up)),
        2 => Just(Move::Settle),
        1 => Just(Move::Positions),
        2 => (1..=world::USERS).prop_map(Move::Login),
        6 => (1..6u64).prop_map(Move::Read),
        1 => Just(Move::WriterRestarted),
    ];
    prop::collection::vec(one, 1..120)
}

fn play(moves: &[Move], max_held: usize) -> world::World {
    let mut world = world::World::new(max_held);
    for n in 0..2 {
        world.writer_link(n, true);
        world.msg_link(n, true);
    }
    for n in 0..2 {
        world.arrive(n);
    }
    world.settle();
    for step in moves {
        match step {
            Move::Commit(masks) => world.commit(masks),
            Move::Arrive(n) => drop(world.arrive(*n)),
            Move::Lose(n) => world.lose(*n),
            Move::Merge(n) => world.merge(*n),
            Move::Writer(n, up) => world.writer_link(*n, *up),
            Move::Link(n, up) => world.msg_link(*n, *up),
            Move::Settle => world.settle(),
            Move::Positions => world.announce_positions(),
            Move::Login(user) => world.login(*user),
            Move::Read(limit) => world.read(*limit),
            Move::WriterRestarted => world.writer_restarted(),
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn every_session_sees_every_message_after_its_cursor_once_and_in_order(
        moves in moves(),
        max_held in prop_oneof![Just(2usize), Just(1_000)],
    ) {
        let mut world = play(&moves, max_held);
        // Things calm down: live mode comes back by itself, and works.
        for n in 0..3 {
            world.writer_link(n, true);
            world.msg_link(n, true);
        }
        world.quiesce();
        prop_assert_eq!(world.mode(), Mode::Live);
        world.check();
        world.commit(&[0xff, 0x7f, 0x3f]);
        for n in 0..3 {
            while world.arrive(n) {}
        }
        prop_assert_eq!(world.mode(), Mode::Live);
        world.check();
    }

    #[test]
    fn without_any_route_server_the_log_alone_brings_everything(moves in moves()) {
        let mut world = play(&moves, 1_000);
        for n in 0..3 {
            world.msg_link(n, false);
        }
        world.commit(&[0xff, 0x7f]);
        world.quiesce();
        prop_assert_ne!(world.mode(), Mode::Live);
        world.check();
    }
}
