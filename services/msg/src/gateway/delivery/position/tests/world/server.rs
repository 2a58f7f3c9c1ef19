//! The msg server: it announces its sessions, works on batches, and reads the log.

use super::*;

impl World {
    pub(super) fn ring_changed(&mut self) {
        self.position.set_ring(0, &[]);
        self.unsettled = true;
    }

    /// As announce.rs does it.
    pub(in super::super) fn settle(&mut self) {
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
                span: Span::at(at),
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
            link.queue.push_back(Batch {
                span: Span::between(link.sent, at),
                ring: digest,
                items: vec![Item::Ready {
                    session: index,
                    through: at,
                }],
            });
            link.sent = at.max(link.sent);
        }
    }

    pub(in super::super) fn login(&mut self, user: u32) {
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
            cursor: CommitSeq::NEVER,
            got: Vec::new(),
        };
        self.sessions.push(session);
        self.ask_ready(self.sessions.len() - 1);
    }

    /// One batch of a link arrives.
    pub(in super::super) fn arrive(&mut self, n: usize) -> bool {
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
        let verdict = self.position.batch(id, batch.span, batch.ring);
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
        let live = self.position.batch_done(id, batch.span.through());
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
    pub(in super::super) fn read(&mut self, limit: u64) {
        if let Some(after) = self.reading.take() {
            let through = after.plus(limit).min(self.end()).max(after);
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

    pub(in super::super) fn writer_restarted(&mut self) {
        self.reading = None;
        self.position.distrust();
    }
}
