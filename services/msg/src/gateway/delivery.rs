//! The task that delivers: what route servers and the log bring, to the sessions of this server.
//!
//! It alone moves cursors, adds sessions to the map, and decides between live messages and the log
//! ([`position`]). It never waits for a connection: frames are appended to the queues of all
//! connections that a batch touches, and then each of them is written once.

mod announce;
mod behind;
mod position;
mod presence;
mod push;

use std::sync::Arc;

use im_order::{CommitSeq, Span};
use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{LiveMessage, LogPage, RouteCalls, RouteItems, SessionReady};
use im_rpc::{Link, PeerEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use announce::Links;
use behind::Behind;
use position::{Mode, Position, Read, Verdict};
use presence::Presence;
use push::Touched;

use super::handle;
use super::inbox::{Input, Progress, Receiver};
use super::state::Gateway;
use crate::connection::Appended;
use crate::ids::LinkId;
use crate::metrics::Refusal;

/// Inputs worked on before the connections they touch are written.
const GATHER: usize = 64;

/// State of the task.
pub(crate) struct Delivery {
    gateway: Arc<Gateway>,
    position: Position<Vec<LiveMessage>>,
    gaps: u64,
    links: Links,
    /// When the page in flight was asked for.
    reading: Option<Instant>,
    last_read: Instant,
    touched: Touched,
    behind: Behind,
    presence: Presence,
}

/// Runs until the server stops.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    mut routes: mpsc::Receiver<PeerEvent<RouteCalls, RouteItems>>,
    receiver: Receiver,
) {
    let mut delivery = Delivery {
        position: Position::new(gateway.env.config.join_buffer.as_usize()),
        gaps: 0,
        links: Links::default(),
        reading: None,
        last_read: Instant::now(),
        touched: Touched::new(&gateway.env.config),
        behind: Behind::default(),
        presence: Presence::default(),
        gateway: Arc::clone(&gateway),
    };
    let Receiver {
        inputs: mut rx,
        mut stored,
    } = receiver;
    delivery.show_mode();
    loop {
        let wake = delivery.next_wake();
        let timer = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = gateway.env.stop.cancelled() => return,
            event = routes.recv() => match event {
                Some(PeerEvent::Up(link)) => delivery.route_up(link),
                // The end of its batches says so.
                Some(PeerEvent::Down { .. }) => {}
                None => return,
            },
            Some(input) = rx.recv() => {
                delivery.input(input).await;
                for _ in 1..GATHER {
                    let Ok(input) = rx.try_recv() else { break };
                    delivery.input(input).await;
                }
            }
            Ok(()) = stored.changed() => {
                delivery.position.stored(*stored.borrow_and_update());
            }
            () = timer => {}
        }
        delivery.settle_ring().await;
        delivery.read_on();
        delivery.catch_up();
        delivery.tell_presence().await;
        delivery.touched.flush(&gateway.output).await;
        delivery.show_mode();
    }
}

impl Delivery {
    async fn input(&mut self, input: Input) {
        match input {
            Input::Items(link, items) => self.items(link, items).await,
            Input::RouteDown(link) => self.route_down(link),
            Input::WriterLinked => {
                self.reading = None;
                self.behind.forget_page();
                self.presence.forget_question();
                self.position.distrust();
            }
            Input::Page(page) => self.page(&page),
            Input::PageFailed => self.reading = None,
            Input::CatchUp(page) => self.caught_up(page.as_ref()),
            Input::Related(related) => self.related(&related),
            Input::RelatedFailed => self.presence.forget_question(),
        }
    }

    /// Takes over a link to a route server.
    fn route_up(&mut self, link: Link<RouteCalls, RouteItems>) {
        let Link {
            tx,
            mut rx,
            peer,
            closed,
        } = link;
        if let Some(former) = self.links.id_of(&peer) {
            self.route_down(former);
        }
        let link = self.links.add(peer, &self.gateway.env);
        let id = link.id;
        self.gateway
            .env
            .tasks
            .spawn(link.run(tx, closed.clone(), self.gateway.env.stop.clone()));
        let (inbox, stop) = (self.gateway.inbox.clone(), self.gateway.env.stop.clone());
        self.gateway.env.tasks.spawn(async move {
            loop {
                let batch = tokio::select! {
                    biased;
                    // Dropped, not cut: what is queued still reaches the route server.
                    () = stop.cancelled() => return,
                    batch = rx.recv() => batch,
                };
                let Some(batch) = batch else { break };
                if !inbox.send(Input::Items(id, batch)).await {
                    break;
                }
            }
            closed.cancel();
            // The receiver may be gone as well at a stop.
            inbox.send(Input::RouteDown(id)).await;
        });
    }

    fn route_down(&mut self, link: LinkId) {
        if self.links.remove(link) {
            handle::presence::link_lost(&self.gateway, link);
            self.ring_changed();
        }
    }

    async fn items(&mut self, link: LinkId, batch: RouteItems) {
        let RouteItems {
            after,
            through,
            ring,
            items,
        } = batch;
        match self.links.set_ring(link, ring) {
            None => return,
            Some(true) => self.ring_changed(),
            Some(false) => {}
        }
        let span = Span::from_wire(after, through);
        let verdict = self.position.batch(link, span, ring);
        let mut held = Vec::new();
        let mut bytes = 0;
        for item in items.into_iter().filter_map(|item| item.item) {
            match item {
                Item::Message(message) => match verdict {
                    Verdict::Deliver => self.deliver(&message, Some(link)),
                    Verdict::Hold => {
                        bytes += message.data.len() + 4 * message.recipients.len() + 128;
                        held.push(message);
                    }
                    Verdict::Drop => {}
                },
                Item::Event(event) => self.event(link, &event).await,
                Item::Kick(kick) => self.kick(&kick),
                Item::Ready(ready) => self.ready(link, ready),
                Item::Snapshot(done) => {
                    if self.links.is_announced(link, done.tag) {
                        self.position
                            .snapshot_done(link, CommitSeq::from_wire(done.through));
                    }
                }
                Item::Status(status) => {
                    handle::presence::result(&self.gateway, link, status.tag, &status.online);
                }
                Item::PcStatus(status) => self.pc_status(status),
                Item::Presence(tick) => self.presence.gather(&tick, &self.gateway.env.config),
            }
        }
        if !held.is_empty() {
            self.position.hold(link, bytes, held);
        }
        let live = self.position.batch_done(link, span.through());
        self.replay(live);
    }

    /// A session is registered: answers the login, and pushes from here on.
    fn ready(&mut self, link: LinkId, ready: SessionReady) {
        let cursor = self
            .position
            .cursor(link, CommitSeq::from_wire(ready.through));
        let gateway = &self.gateway;
        let table = gateway.routes.table();
        let owner = |user| table.owner(user).map_or(link, |owner| owner.id);
        let Some(mut login) = gateway.sessions.complete(ready.tag, cursor, owner) else {
            return;
        };
        gateway.load_changed();
        login.line.done();
        if login.conn.answer(&gateway.output, login.answer) == Appended::First {
            self.touched.add(&login.conn);
        }
    }

    fn page(&mut self, page: &LogPage) {
        self.reading = None;
        self.gateway.env.metrics.pages.inc();
        for message in &page.messages {
            self.deliver(message, None);
        }
        let live = self
            .position
            .page(CommitSeq::from_wire(page.through), page.more);
        self.replay(live);
    }

    /// Delivers what was held while the log was read to its end.
    fn replay(&mut self, held: Option<Vec<(LinkId, Vec<LiveMessage>)>>) {
        for (link, messages) in held.into_iter().flatten() {
            for message in &messages {
                self.deliver(message, Some(link));
            }
        }
    }

    // ---- reading the log ----------------------------------------------------

    /// Asks for the next page when it is time.
    fn read_on(&mut self) {
        if self.position.mode() == Mode::Live {
            return;
        }
        if self.gateway.sessions.len() == 0 {
            self.position.nobody_here();
            return;
        }
        let now = Instant::now();
        let timeout = self.gateway.env.config.pull_timeout.duration();
        if self.reading.is_some_and(|since| now >= since + timeout) {
            self.reading = None;
        }
        if self.reading.is_some() || !self.gateway.db.is_up() {
            return;
        }
        if let Some((at, after)) = self.next_page()
            && now >= at
        {
            self.reading = Some(now);
            self.last_read = now;
            self.gateway
                .db
                .read_log(after, self.gateway.env.config.pull_page);
        }
    }

    /// When the next page is due, and after which position.
    fn next_page(&self) -> Option<(Instant, CommitSeq)> {
        let config = &self.gateway.env.config;
        match self.position.next_read() {
            Read::Nothing => None,
            Read::Now(after) => Some((self.last_read + config.pull_gap.duration(), after)),
            Read::Later(after) => Some((self.last_read + config.pull_interval.duration(), after)),
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let is_reading = self.position.mode() != Mode::Live
            && self.gateway.sessions.len() != 0
            && self.gateway.db.is_up();
        let page = match self.reading {
            _ if !is_reading => None,
            Some(since) => Some(since + self.gateway.env.config.pull_timeout.duration()),
            None => self.next_page().map(|(at, _)| at),
        };
        [
            page,
            self.links.settle_at(),
            self.touched.flush_at(),
            self.behind.due(),
            self.presence.due(Instant::now()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn show_mode(&mut self) {
        let live = self.position.mode() == Mode::Live;
        let reached = self.position.reached();
        let progress = Progress {
            is_live: live,
            reached,
        };
        if self.gateway.inbox.show(progress) {
            info!(live, position = reached.to_wire(), "delivery mode changed");
        }
        self.gateway.env.metrics.pull_mode.set(i64::from(!live));
        let gaps = self.position.gaps();
        self.gateway.env.metrics.gaps.inc_by(gaps - self.gaps);
        self.gaps = gaps;
    }

    fn refuse(&self, reason: Refusal) {
        self.gateway.env.metrics.refused(reason);
    }
}
