//! Route links as the delivery task knows them: which of them form our ring, and the announcement of
//! all sessions when that changes.
//!
//! A route server belongs to our ring when the writer has a link to it (its batches say a ring other
//! than 0). While no route server has one, sessions stay announced where they are, so that a restart
//! of the writer makes nobody look offline.

use std::sync::Arc;
use std::time::Duration;

use im_proto_rpc::v1::route_call::Call;
use im_proto_rpc::v1::{RouteCall, RouteHello};
use tokio::time::Instant;
use tracing::info;

use super::Delivery;
use crate::connection::Conn;
use crate::env::Env;
use crate::gateway::routes::{RouteLink, RouteTable};
use crate::gateway::state::Gateway;
use crate::ids::LinkId;

/// Sessions announced before other tasks get a turn.
const SLICE: usize = 256;

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
    pub(super) async fn settle_ring(&mut self) {
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
        self.announce(&ring).await;
    }

    async fn announce(&mut self, ring: &[Arc<RouteLink>]) {
        let gateway = Arc::clone(&self.gateway);
        let table = Arc::new(RouteTable::new(ring, true));
        self.links.generation += 1;
        self.links.announced = table.links().iter().map(|link| link.id).collect();
        let tag = self.links.generation;
        // From here on changes go by the new table, behind the snapshot: whoever leaves meanwhile is
        // announced at most, and then taken back. No login is completed meanwhile; that is this task's work.
        for link in table.links() {
            link.outbox().begin_snapshot();
        }
        gateway.routes.set(Arc::clone(&table));
        let pending: Vec<_> = {
            let pending = gateway.sessions.pending();
            pending
                .values()
                .map(|login| Arc::clone(&login.conn))
                .collect()
        };
        let mut sessions = add(&gateway, &table, &pending, true).await;
        for slice in 0.. {
            let mut online = Vec::new();
            if !gateway
                .sessions
                .slice(slice, |conn| online.push(Arc::clone(conn)))
            {
                break;
            }
            sessions += add(&gateway, &table, &online, false).await;
        }
        for link in table.links() {
            link.outbox().end_snapshot(tag);
            link.wake();
        }
        // What other servers still know of us has moved.
        for known in self.links.known.iter().filter(|known| known.ring == 0) {
            let mut outbox = known.link.outbox();
            outbox.begin_snapshot();
            outbox.end_snapshot(0);
            drop(outbox);
            known.link.wake();
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

/// Adds sessions to the snapshots of their route servers; says how many.
async fn add(
    gateway: &Gateway,
    table: &RouteTable,
    conns: &[Arc<Conn>],
    are_pending: bool,
) -> usize {
    let mut added = 0;
    in_slices(conns, table.links(), |conn| {
        if let Some(session) = conn.session()
            && let Some(link) = table.owner(session.user)
        {
            session.set_owner(link.id);
            let tag = if are_pending { session.epoch } else { 0 };
            link.outbox().in_snapshot(gateway.session_up(conn, tag));
            added += 1;
        }
    })
    .await;
    added
}

/// Calls `add` for all, some at a time: what it gave to links leaves, and other tasks get their turn.
async fn in_slices<T>(all: &[T], links: &[Arc<RouteLink>], mut add: impl FnMut(&T)) {
    for slice in all.chunks(SLICE) {
        slice.iter().for_each(&mut add);
        for link in links {
            link.wake();
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use im_proto_rpc::v1::SessionUp;

    use super::*;

    #[tokio::test]
    async fn other_tasks_run_between_slices() {
        let link = Arc::new(RouteLink::new(LinkId(1), "r".to_owned()));
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        tokio::spawn({
            let (link, seen) = (Arc::clone(&link), Arc::clone(&seen));
            async move {
                loop {
                    seen.lock().unwrap().insert(link.waiting());
                    tokio::task::yield_now().await;
                }
            }
        });
        let sessions = vec![(); 2 * SLICE + 7];
        in_slices(&sessions, &[Arc::clone(&link)], |()| {
            link.outbox().in_snapshot(RouteCall {
                call: Some(Call::Up(SessionUp::default())),
            });
        })
        .await;
        assert_eq!(link.waiting(), sessions.len());
        let seen = seen.lock().unwrap();
        assert!(
            [SLICE, 2 * SLICE].iter().all(|n| seen.contains(n)),
            "{seen:?}"
        );
    }
}
