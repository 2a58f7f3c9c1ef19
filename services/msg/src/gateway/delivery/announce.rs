//! Route links as the delivery task knows them: which of them form our ring, and the announcement of
//! all sessions when that changes.
//!
//! A route server belongs to our ring when the writer has a link to it (its batches say a ring other
//! than 0). While no route server has one, sessions stay announced where they are, so that a restart
//! of the writer makes nobody look offline.

use std::sync::Arc;
use std::time::Duration;

use im_proto_rpc::v1::route_call::Call;
use im_proto_rpc::v1::{RouteCall, RouteHello, SnapshotBegin, SnapshotEnd};
use tokio::time::Instant;
use tracing::info;

use super::Delivery;
use crate::env::Env;
use crate::gateway::routes::{RouteLink, RouteTable};
use crate::ids::LinkId;

struct Known {
    link: Arc<RouteLink>,
    /// The writer's ring as this server last said.
    ring: u64,
}

/// All route links that are up.
#[derive(Default)]
pub(super) struct Links {
    known: Vec<Known>,
    last_id: LinkId,
    /// Counts the announcements; a confirmation of an older one means nothing.
    generation: u64,
    /// Those to which all sessions are announced as their ring.
    announced: Vec<LinkId>,
    settle_at: Option<Instant>,
}

impl Links {
    /// Adds a link and says who we are.
    pub(super) fn add(&mut self, name: String, env: &Env) -> Arc<RouteLink> {
        self.last_id = self.last_id.next();
        let link = Arc::new(RouteLink::new(self.last_id, name));
        let hello = RouteHello {
            server: env.name.clone(),
            instance: env.instance,
        };
        link.call(RouteCall {
            call: Some(Call::Hello(hello)),
        });
        self.known.push(Known {
            link: Arc::clone(&link),
            ring: 0,
        });
        link
    }

    /// Forgets a link; false when it is forgotten already.
    pub(super) fn remove(&mut self, id: LinkId) -> bool {
        let Some(index) = self.known.iter().position(|known| known.link.id == id) else {
            return false;
        };
        self.known.swap_remove(index).link.close();
        true
    }

    pub(super) fn id_of(&self, name: &str) -> Option<LinkId> {
        self.known
            .iter()
            .find(|known| known.link.name == name)
            .map(|known| known.link.id)
    }

    /// Notes the writer's ring on a link. `None` when the link is gone; true when its server came
    /// into or left our ring.
    pub(super) fn set_ring(&mut self, id: LinkId, ring: u64) -> Option<bool> {
        let known = self.known.iter_mut().find(|known| known.link.id == id)?;
        let before = std::mem::replace(&mut known.ring, ring);
        Some((before == 0) != (ring == 0))
    }

    /// Whether this confirms the present announcement.
    pub(super) fn is_announced(&self, id: LinkId, tag: u64) -> bool {
        tag == self.generation && self.announced.contains(&id)
    }

    pub(super) fn settle_at(&self) -> Option<Instant> {
        self.settle_at
    }

    /// The links that form our ring.
    fn ring(&self) -> Vec<Arc<RouteLink>> {
        let linked = self.known.iter().filter(|known| known.ring != 0);
        linked.map(|known| Arc::clone(&known.link)).collect()
    }
}

impl Delivery {
    /// The set of route servers that the writer reaches has changed: live messages are not trusted
    /// until all sessions are announced anew, which waits until the set stands still.
    pub(super) fn ring_changed(&mut self) {
        self.position.set_ring(0, &[]);
        let is_first = self.links.announced.is_empty() || self.gateway.sessions.len() == 0;
        let wait = if is_first {
            Duration::ZERO
        } else {
            self.gateway.env.config.ring_settle.duration()
        };
        self.links.settle_at = Some(Instant::now() + wait);
        let usable = !self.links.ring().is_empty();
        let table = self.gateway.routes.table();
        if !usable && table.is_usable() {
            self.gateway.routes.set(Arc::new(table.with_usable(false)));
            self.gateway
                .env
                .readiness
                .dependency(crate::env::ROUTE_LINK, false);
            self.gateway.load_changed();
        }
    }

    /// Announces all sessions when the ring has stood still.
    pub(super) fn settle_ring(&mut self) {
        if self.links.settle_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.links.settle_at = None;
        let ring = self.links.ring();
        if ring.is_empty() {
            self.links.announced.clear();
            self.refuse_pending();
            return;
        }
        self.announce(&ring);
    }

    fn announce(&mut self, ring: &[Arc<RouteLink>]) {
        let gateway = Arc::clone(&self.gateway);
        let table = Arc::new(RouteTable::new(ring, true));
        self.links.generation += 1;
        self.links.announced = table.links().iter().map(|link| link.id).collect();
        let tag = self.links.generation;
        // From here on changes go by the new table, behind the snapshot: its outboxes are locked
        // until the snapshot is in them.
        let mut outboxes: Vec<_> = table.links().iter().map(|link| link.outbox()).collect();
        gateway.routes.set(Arc::clone(&table));
        for outbox in &mut outboxes {
            outbox.push(RouteCall {
                call: Some(Call::SnapshotBegin(SnapshotBegin {})),
            });
        }
        let mut sessions = 0;
        let mut up = |conn: &Arc<crate::connection::Conn>, is_pending: bool| {
            let Some(session) = conn.session() else {
                return;
            };
            let Some(index) = table.ring().index_of(session.user) else {
                return;
            };
            if let (Some(outbox), Some(link)) = (outboxes.get_mut(index), table.links().get(index))
            {
                session.set_owner(link.id);
                let tag = if is_pending { session.epoch } else { 0 };
                outbox.push(gateway.session_up(conn, tag));
                sessions += 1;
            }
        };
        for login in gateway.sessions.pending().values() {
            up(&login.conn, true);
        }
        gateway.sessions.all(|conn| up(conn, false));
        for outbox in &mut outboxes {
            outbox.push(RouteCall {
                call: Some(Call::SnapshotEnd(SnapshotEnd { tag })),
            });
        }
        drop(outboxes);
        for link in table.links() {
            link.wake();
        }
        // What other servers still know of us has moved.
        for known in self.links.known.iter().filter(|known| known.ring == 0) {
            known.link.call(RouteCall {
                call: Some(Call::SnapshotBegin(SnapshotBegin {})),
            });
            known.link.call(RouteCall {
                call: Some(Call::SnapshotEnd(SnapshotEnd { tag: 0 })),
            });
        }
        self.position
            .set_ring(table.ring().digest(), &self.links.announced);
        gateway.env.metrics.ring_changes.inc();
        gateway
            .env
            .readiness
            .dependency(crate::env::ROUTE_LINK, true);
        gateway.load_changed();
        info!(
            servers = table.links().len(),
            sessions, "announced all sessions"
        );
    }
}
