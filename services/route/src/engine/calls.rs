//! What msg servers say.

use im_proto_rpc::v1::route_call::Call;
use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{
    Event, Kick, PcStatus, RouteCalls, RouteHello, SessionReady, SessionUp, SnapshotDone,
};
use im_rpc::batch;
use tracing::{info, warn};

use super::inputs::LinkId;
use super::outlet::{Bounds, Outlet};
use super::{Attachment, Engine};
use crate::directory::{Announced, Class, Except, ServerId, Up};
use crate::metrics::{LinkEnd, Refusal};

/// A login whose registration is confirmed when the writer has a link.
#[derive(Debug)]
pub(super) struct Waiting {
    server: ServerId,
    link: LinkId,
    tag: u64,
    user: u32,
    epoch: u64,
    class: Class,
}

impl Engine {
    pub(super) fn calls(&mut self, link: LinkId, calls: RouteCalls) {
        for call in calls.calls {
            // A call that this version does not know.
            let Some(call) = call.call else { continue };
            let Some(known) = self.links.get(&link) else {
                return;
            };
            match (&known.state, call) {
                (Attachment::Unnamed { .. }, Call::Hello(hello)) => self.hello(link, &hello),
                (&Attachment::Server(server), call) if !matches!(call, Call::Hello(_)) => {
                    self.call(server, link, call);
                }
                _ => {
                    self.refuse_link(link, Refusal::Hello);
                    return;
                }
            }
        }
    }

    fn call(&mut self, server: ServerId, link: LinkId, call: Call) {
        match call {
            Call::Hello(_) => {}
            Call::Up(up) => self.session_up(server, link, up),
            Call::Down(down) => {
                self.directory
                    .session_down(server, down.user, down.epoch, &mut self.notices);
            }
            Call::SnapshotBegin(_) => {
                self.directory.snapshot_begin(server);
                if let Some(Some(outlet)) = self.outlets.get_mut(server.index()) {
                    outlet.begin_announcing();
                }
            }
            Call::SnapshotEnd(end) => {
                self.directory
                    .snapshot_end(server, self.at.ring != 0, &mut self.notices);
                let through = self.at.seq;
                if let Some(Some(outlet)) = self.outlets.get_mut(server.index()) {
                    outlet.end_announcing(through);
                }
                self.push(
                    server,
                    Item::Snapshot(SnapshotDone {
                        tag: end.tag,
                        through: through.to_wire(),
                    }),
                );
            }
            Call::Signal(event) => self.event(event),
            Call::Kick(kick) => self.kick(kick),
            Call::Status(query) => self.status(server, link, query),
        }
        self.tell();
    }

    fn hello(&mut self, id: LinkId, hello: &RouteHello) {
        let attached = match hello.server.as_str() {
            "" => None,
            name => self
                .directory
                .attach(name, hello.instance, &mut self.notices),
        };
        let Some(server) = attached else {
            self.refuse_link(id, Refusal::Server);
            return;
        };
        // Its former link, if it still stands. The directory has just heard of the new one.
        let former = self.outlets.get_mut(server.index()).and_then(Option::take);
        if let Some(former) = former {
            self.links.remove(&former.link);
            self.metrics.end_link(LinkEnd::Replaced);
            former.close();
        }
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let state = std::mem::replace(&mut link.state, Attachment::Server(server));
        let Attachment::Unnamed { tx, closed } = state else {
            return;
        };
        info!(server = %hello.server, peer = %link.peer, "msg server attached");
        let bounds = Bounds {
            waiting_items: self.config.max_waiting_items,
            waiting_bytes: self.config.max_waiting.as_usize(),
            batch_bytes: batch::sending_bound(&self.config.link),
        };
        let outlet = Outlet::new(id, tx, closed, self.at.seq, bounds);
        if self.outlets.len() <= server.index() {
            self.outlets.resize_with(server.index() + 1, || None);
        }
        if let Some(place) = self.outlets.get_mut(server.index()) {
            *place = Some(outlet);
        }
        // It learns position and ring at once.
        self.dirty.push(server);
        self.tell();
    }

    fn refuse_link(&mut self, id: LinkId, why: Refusal) {
        self.metrics.refuse(why);
        let Some(link) = self.links.get(&id) else {
            return;
        };
        warn!(peer = %link.peer, reason = ?why, "refused a msg server");
        match &link.state {
            Attachment::Unnamed { closed, .. } => {
                closed.cancel();
                self.links.remove(&id);
            }
            &Attachment::Server(server) => self.detach(server, id, LinkEnd::Gone),
        }
    }

    fn session_up(&mut self, server: ServerId, link: LinkId, up: SessionUp) {
        let SessionUp { tag, session } = up;
        let Some(info) = session else { return };
        let (user, epoch, class) = (info.user, info.epoch, Class::of(info.client_type));
        let announced = if tag == 0 {
            Announced::Again
        } else {
            Announced::Login
        };
        let result = self
            .directory
            .session_up(server, info, announced, &mut self.notices);
        match result {
            Up::Refused => self.metrics.refuse(Refusal::Session),
            // Only what is announced again can be outdone.
            Up::Outdone => {}
            Up::Registered if tag == 0 => {}
            // The position stands still without a writer: what is committed meanwhile would come as
            // if it were new.
            Up::Registered if self.at.ring == 0 => {
                self.wait(Waiting {
                    server,
                    link,
                    tag,
                    user,
                    epoch,
                    class,
                });
            }
            Up::Registered => self.ready(server, tag),
        }
    }

    /// Confirms a registration. Goes before the notices that it caused.
    fn ready(&mut self, server: ServerId, tag: u64) {
        self.push(
            server,
            Item::Ready(SessionReady {
                tag,
                through: self.at.seq.to_wire(),
            }),
        );
    }

    fn wait(&mut self, waiting: Waiting) {
        if self.waiting.len() >= self.config.max_waiting_logins {
            let directory = &self.directory;
            self.waiting
                .retain(|login| directory.holds(login.user, login.epoch));
        }
        if self.waiting.len() >= self.config.max_waiting_logins {
            self.metrics.refuse(Refusal::WaitingLogin);
            return;
        }
        self.waiting.push(waiting);
    }

    /// The writer is there: confirms the registrations that still stand.
    pub(super) fn release_waiting(&mut self) {
        for login in std::mem::take(&mut self.waiting) {
            let outlet = self
                .outlets
                .get(login.server.index())
                .and_then(Option::as_ref);
            let same_link = outlet.is_some_and(|outlet| outlet.link == login.link);
            if !same_link || !self.directory.holds(login.user, login.epoch) {
                continue;
            }
            self.ready(login.server, login.tag);
            if login.class == Class::Mobile && self.directory.pc_online(login.user) {
                // The notice of its arrival came before it could be shown.
                let status = PcStatus {
                    user: login.user,
                    online: true,
                };
                self.push(login.server, Item::PcStatus(status));
            }
        }
    }

    pub(super) fn event(&mut self, mut event: Event) {
        self.metrics.events.inc();
        if event.broadcast {
            event.users = Vec::new();
            for server in self.each_attached() {
                self.push(server, Item::Event(event.clone()));
            }
            return;
        }
        let users = std::mem::take(&mut event.users);
        let except = match event.except {
            0 => Except::Nobody,
            epoch => Except::Epoch(epoch),
        };
        let audience = event.audience();
        self.spread(event, users, audience, except, |event, users| {
            Item::Event(Event { users, ..event })
        });
    }

    pub(super) fn kick(&mut self, kick: Kick) {
        for server in self.directory.kick_targets(&kick).into_iter().flatten() {
            self.metrics.kicks.inc();
            self.push(server, Item::Kick(kick));
        }
    }
}
