//! One task that owns the directory and every link.
//!
//! It takes whatever input is there, lets it gather per msg server, and sends each of them one batch.
//! Nothing here waits for a peer: a full link is the business of its [`Outlet`].

mod asks;
mod calls;
mod inputs;
mod outlet;
mod publish;
mod questions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{BoxStream, FuturesUnordered, SelectAll, StreamExt};
use im_config::RouteConfig;
use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{
    Kick, PcStatus, PresenceAnswers, PresenceAsks, PublishBatch, PublishReplies, RouteCalls,
    RouteItems,
};
use im_rpc::Link;
use im_runtime::Readiness;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::directory::{Directory, Fanout, Limits, Notice, NoticeKind, ServerId};
use crate::dump::{RouteDump, ServerDump};
use crate::metrics::{LinkEnd, Metrics, Refusal, gauge};
use asks::Asker;
use calls::Waiting;
use inputs::{Input, Inputs, LinkId};
use outlet::{Ended, Flush, Outlet, Position};
use publish::Writer;
use questions::Questions;

/// Condition of readiness: the writer has a link and has said where its log stands.
pub(crate) const WRITER_LINK: &str = "route_writer_link";

/// Inputs handled before what has gathered is sent: enough to gather under load, few enough that the
/// first one does not wait.
const INPUTS_PER_WAKE: usize = 32;

/// How long a presence tick waits for the end of questions that are being answered.
const TICK_PATIENCE: Duration = Duration::from_secs(1);

/// A link that a peer has just opened.
#[derive(Debug)]
pub(crate) enum NewLink {
    Msg(Link<RouteItems, RouteCalls>),
    Writer(Link<PublishReplies, PublishBatch>),
    Asker(Link<PresenceAnswers, PresenceAsks>),
}

/// Room on a full link, or the end of that link.
type Room = (ServerId, LinkId, Option<mpsc::OwnedPermit<RouteItems>>);

/// A link of a msg server.
#[derive(Debug)]
struct MsgLink {
    peer: String,
    state: Attachment,
}

#[derive(Debug)]
enum Attachment {
    /// It has not said who it is.
    Unnamed {
        tx: mpsc::Sender<RouteItems>,
        closed: CancellationToken,
    },
    /// Its outlet is that of this server.
    Server(ServerId),
}

/// The engine.
pub(crate) struct Engine {
    config: RouteConfig,
    metrics: Metrics,
    readiness: Readiness,
    dump: Arc<Mutex<RouteDump>>,

    directory: Directory,
    fanout: Fanout,
    notices: Vec<Notice>,

    links: HashMap<LinkId, MsgLink>,
    askers: HashMap<LinkId, Asker>,
    last_link: u64,
    /// By [`ServerId`]; `None` while the server has no link.
    outlets: Vec<Option<Outlet>>,
    /// Outlets with something to send.
    dirty: Vec<ServerId>,
    /// Everybody must learn of the ring.
    flush_all: bool,
    waiting: Vec<Waiting>,
    questions: Questions,

    writer: Option<Writer>,
    at: Position,

    announce_at: Instant,
    presence_at: Option<Instant>,

    new_links: mpsc::Receiver<NewLink>,
    inputs: SelectAll<BoxStream<'static, Input>>,
    room: FuturesUnordered<BoxFuture<'static, Room>>,
}

impl Engine {
    pub(crate) fn new(
        config: RouteConfig,
        metrics: Metrics,
        readiness: Readiness,
        dump: Arc<Mutex<RouteDump>>,
        new_links: mpsc::Receiver<NewLink>,
    ) -> Self {
        let limits = Limits {
            max_sessions: config.max_sessions,
            max_servers: config.max_servers,
            lost_server_grace: config.lost_server_grace.duration(),
        };
        Self {
            config,
            metrics,
            readiness,
            dump,
            directory: Directory::new(limits),
            fanout: Fanout::default(),
            notices: Vec::new(),
            links: HashMap::new(),
            askers: HashMap::new(),
            last_link: 0,
            outlets: Vec::new(),
            dirty: Vec::new(),
            flush_all: false,
            waiting: Vec::new(),
            questions: Questions::default(),
            writer: None,
            at: Position::default(),
            announce_at: Instant::now(),
            presence_at: None,
            new_links,
            inputs: SelectAll::new(),
            room: FuturesUnordered::new(),
        }
    }

    /// Works until `stop` fires; every link ends with it.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(deadline) => {}
                Some(link) = self.new_links.recv() => self.open(link),
                Some((server, link, permit)) = self.room.next(), if !self.room.is_empty() => {
                    self.make_room(server, link, permit);
                }
                Some(input) = self.inputs.next(),
                    if !self.inputs.is_empty() && self.questions.has_room() => self.gather(input),
                () = yield_now(), if !self.questions.is_empty() => {}
            }
            self.answer_slice();
            self.on_time();
            self.flush();
        }
        info!(
            sessions = self.directory.session_count(),
            "route engine stops"
        );
        self.readiness.set(WRITER_LINK, false);
    }

    /// Handles an input and what is ready behind it, until enough has gathered.
    fn gather(&mut self, first: Input) {
        self.handle(first);
        for _ in 1..INPUTS_PER_WAKE {
            let enough = self
                .dirty
                .iter()
                .filter_map(|server| self.outlets.get(server.index()));
            let limit = self.config.gather_size.as_usize();
            if enough
                .flatten()
                .any(|outlet| outlet.gathered_bytes() >= limit)
                || !self.questions.has_room()
            {
                return;
            }
            match self.inputs.next().now_or_never() {
                Some(Some(input)) => self.handle(input),
                Some(None) | None => return,
            }
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Calls(link, calls) => self.calls(link, calls),
            Input::Publish(link, batch) => self.publish(link, batch),
            Input::Asks(link, asks) => self.asks(link, asks),
            Input::Gone(link) => self.gone(link),
        }
    }

    fn open(&mut self, link: NewLink) {
        self.last_link += 1;
        let id = LinkId(self.last_link);
        match link {
            NewLink::Msg(link) => {
                if self.links.len() >= self.config.max_servers.saturating_mul(2) {
                    warn!(peer = %link.peer, "refused a link of a msg server: too many");
                    self.metrics.refuse(Refusal::Link);
                    return;
                }
                let Link {
                    tx,
                    rx,
                    peer,
                    closed,
                } = link;
                self.inputs
                    .push(Inputs::new(id, rx, closed.clone(), Input::Calls).boxed());
                let state = Attachment::Unnamed { tx, closed };
                self.links.insert(id, MsgLink { peer, state });
            }
            NewLink::Writer(link) => self.open_writer(id, link),
            NewLink::Asker(link) => self.open_asker(id, link),
        }
    }

    /// No more inputs come over this link.
    fn gone(&mut self, id: LinkId) {
        self.end_asker(id);
        if self.writer.as_ref().is_some_and(|writer| writer.link == id) {
            self.writer_gone();
        }
        match self.links.get(&id).map(|link| &link.state) {
            Some(&Attachment::Server(server)) => self.detach(server, id, LinkEnd::Gone),
            Some(Attachment::Unnamed { .. }) => {
                self.links.remove(&id);
            }
            None => {}
        }
    }

    /// Ends the link of a msg server; its users stay for the grace.
    fn detach(&mut self, server: ServerId, link: LinkId, why: LinkEnd) {
        let Some(place) = self.outlets.get_mut(server.index()) else {
            return;
        };
        if place.as_ref().is_none_or(|outlet| outlet.link != link) {
            return;
        }
        if let Some(outlet) = place.take() {
            outlet.close();
            self.metrics.end_link(why);
        }
        let peer = self.links.remove(&link).map(|link| link.peer);
        self.directory.lose(server, Instant::now());
        match why {
            LinkEnd::Overfull => warn!(?peer, "closed the link of a msg server: too slow"),
            LinkEnd::Gone | LinkEnd::Replaced => info!(?peer, "lost the link of a msg server"),
        }
    }

    /// Lets an item gather for a msg server; nothing happens while it has no link.
    #[inline]
    fn push(&mut self, server: ServerId, item: Item) {
        if let Some(Some(outlet)) = self.outlets.get_mut(server.index())
            && outlet.push(item)
        {
            self.dirty.push(server);
        }
    }

    /// Passes on what the directory has to say.
    fn tell(&mut self) {
        let mut notices = std::mem::take(&mut self.notices);
        for Notice { server, user, kind } in notices.drain(..) {
            let item = match kind {
                NoticeKind::Kick { epoch, reason } => {
                    self.metrics.duplicate_logins.inc();
                    Item::Kick(Kick {
                        user,
                        epoch,
                        reason,
                        ..Kick::default()
                    })
                }
                NoticeKind::PcStatus { online } => Item::PcStatus(PcStatus { user, online }),
            };
            self.push(server, item);
        }
        self.notices = notices;
    }

    fn each_attached(&self) -> Vec<ServerId> {
        let attached = |(server, _): (ServerId, _)| {
            self.outlets
                .get(server.index())
                .is_some_and(Option::is_some)
                .then_some(server)
        };
        self.directory.servers().filter_map(attached).collect()
    }

    fn next_deadline(&self) -> Instant {
        let mut deadline = self.announce_at;
        for other in [self.presence_at, self.directory.next_expiry()]
            .into_iter()
            .flatten()
        {
            deadline = deadline.min(other);
        }
        deadline
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.directory.next_expiry().is_some_and(|at| at <= now) {
            let expired = self.directory.expire(now, &mut self.notices);
            self.metrics.expired_servers.inc_by(expired as u64);
            info!(
                servers = expired,
                "lost msg servers did not come back, their users are offline"
            );
            self.tell();
        }
        if self.presence_at.is_none() && self.directory.has_changes() {
            self.presence_at = Some(now + self.config.presence_tick.duration());
        }
        // What was answered of a question and its end are to be of one time, if that comes soon.
        let wait = if self.questions.is_empty() {
            Duration::ZERO
        } else {
            TICK_PATIENCE
        };
        if self.presence_at.is_some_and(|at| at + wait <= now) {
            self.presence_at = None;
            self.tick();
        }
        if self.announce_at <= now {
            self.announce(now);
        }
    }

    /// Tells everybody which PCs came and went.
    fn tick(&mut self) {
        let Some(tick) = self.directory.take_tick() else {
            return;
        };
        self.metrics
            .presence_changes
            .inc_by((tick.online.len() + tick.offline.len()) as u64);
        for server in self.each_attached() {
            self.push(server, Item::Presence(tick.clone()));
        }
    }

    /// Tells everybody the position, and shows the state to operators.
    fn announce(&mut self, now: Instant) {
        let period = self.config.announce_interval.duration();
        self.announce_at = now + period;
        for server in self.each_attached() {
            self.flush_one(server, true);
        }
        self.metrics.users.set(gauge(self.directory.user_count()));
        self.metrics.set_sessions(self.directory.class_counts());
        self.metrics
            .position
            .set(i64::try_from(self.at.seq.to_wire()).unwrap_or(i64::MAX));
        self.metrics.waiting_logins.set(gauge(self.waiting.len()));
        let lost = self
            .directory
            .servers()
            .filter(|(_, server)| server.lost_until.is_some());
        let lost = lost.count();
        self.metrics
            .set_servers(self.directory.servers().count() - lost, lost);
        let dump = self.describe();
        *self.dump.lock().unwrap_or_else(PoisonError::into_inner) = dump;
    }

    fn describe(&self) -> RouteDump {
        let [pc_sessions, mobile_sessions] = self.directory.class_counts();
        let servers = self.directory.servers().map(|(id, server)| {
            let outlet = self.outlets.get(id.index()).and_then(Option::as_ref);
            let [pc_sessions, mobile_sessions] = server.sessions;
            ServerDump {
                name: server.name.clone(),
                instance: server.instance,
                attached: outlet.is_some(),
                in_step: server.in_step,
                pc_sessions,
                mobile_sessions,
                queued_batches: outlet.map_or(0, Outlet::queued_batches),
                waiting_items: outlet.map_or(0, Outlet::waiting_items),
            }
        });
        RouteDump {
            writer: self.writer.as_ref().map(|writer| writer.peer.clone()),
            position: self.at.seq.to_wire(),
            ring: self.at.ring,
            users: self.directory.user_count(),
            pc_sessions,
            mobile_sessions,
            waiting_logins: self.waiting.len(),
            servers: servers.collect(),
        }
    }

    /// Sends what has gathered.
    fn flush(&mut self) {
        if std::mem::take(&mut self.flush_all) {
            self.dirty.clear();
            for server in self.each_attached() {
                self.flush_one(server, false);
            }
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for server in dirty.drain(..) {
            self.flush_one(server, false);
        }
        self.dirty = dirty;
        if let Some(writer) = &mut self.writer {
            writer.reply();
        }
    }

    fn flush_one(&mut self, server: ServerId, announce: bool) {
        let Some(Some(outlet)) = self.outlets.get_mut(server.index()) else {
            return;
        };
        let flush = outlet.flush(self.at, announce);
        self.flushed(server, flush);
    }

    fn flushed(&mut self, server: ServerId, flush: Flush) {
        let Some(Some(outlet)) = self.outlets.get(server.index()) else {
            return;
        };
        let link = outlet.link;
        match flush {
            Flush::Idle | Flush::Sent => {}
            Flush::Full { lost, call } => {
                self.metrics.lost_items.inc_by(lost as u64);
                if call {
                    let tx = outlet.tx.clone();
                    let room = async move { (server, link, tx.reserve_owned().await.ok()) };
                    self.room.push(room.boxed());
                }
            }
            Flush::Over(ended) => {
                let why = match ended {
                    Ended::Gone => LinkEnd::Gone,
                    Ended::Overfull => LinkEnd::Overfull,
                };
                self.detach(server, link, why);
            }
        }
    }

    fn make_room(
        &mut self,
        server: ServerId,
        link: LinkId,
        permit: Option<mpsc::OwnedPermit<RouteItems>>,
    ) {
        let Some(Some(outlet)) = self.outlets.get_mut(server.index()) else {
            return;
        };
        if outlet.link == link {
            let flush = outlet.room(permit, self.at);
            self.flushed(server, flush);
        }
    }
}

#[cfg(test)]
mod tests;
