//! What happens outside of the msg server: commits, route servers, links that come, go and lose.

use super::*;

impl World {
    pub(in super::super) fn commit(&mut self, masks: &[u8]) {
        let before = self.log.len();
        for mask in masks {
            let users = (1..=USERS).filter(|user| mask >> user & 1 == 1).collect();
            self.log.push(Message {
                seq: self.end().next(),
                users,
            });
        }
        let ring = self.writer_ring();
        let new: Vec<Message> = self.log[before..].to_vec();
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
                span: Span::between(link.sent, end),
                ring: ring.digest(),
                items,
            });
            link.sent = end;
        }
    }

    /// The newest batch of a link loses its messages.
    pub(in super::super) fn lose(&mut self, n: usize) {
        if let Some(batch) = self
            .route(n)
            .link
            .as_mut()
            .and_then(|link| link.queue.back_mut())
        {
            batch.items.retain(|item| !matches!(item, Item::Message(_)));
            batch.span = Span::at(batch.span.through());
        }
    }

    /// The two newest batches of a link travel as one.
    pub(in super::super) fn merge(&mut self, n: usize) {
        let Some(link) = &mut self.route(n).link else {
            return;
        };
        let Some(last) = link.queue.pop_back() else {
            return;
        };
        match link.queue.back_mut() {
            Some(first) if first.ring == last.ring => {
                // A snapshot or a loss moves the beginning.
                let (mut after, behind) = (first.span.after(), last.span);
                if !behind.joins(first.span.through())
                    || last
                        .items
                        .iter()
                        .any(|item| matches!(item, Item::Snapshot { .. }))
                {
                    after = behind.after();
                }
                first.span = Span::between(after, behind.through());
                first.items.extend(last.items);
            }
            _ => link.queue.push_back(last),
        }
    }

    pub(in super::super) fn writer_link(&mut self, n: usize, up: bool) {
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

    pub(in super::super) fn announce_positions(&mut self) {
        for name in NAMES {
            let ring = self.ring_of(name);
            let route = self.routes.get_mut(name).unwrap();
            let at = route.at;
            if let Some(link) = &mut route.link {
                link.queue.push_back(Batch {
                    span: Span::between(link.sent, at),
                    ring,
                    items: Vec::new(),
                });
                link.sent = link.sent.max(at);
            }
        }
    }

    pub(in super::super) fn msg_link(&mut self, n: usize, up: bool) {
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
                span: Span::at(at),
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
}
