//! Route servers as everybody but the delivery task sees them: who holds a user, and an outbox each.
//!
//! An outbox is drained by one task per link into batches. Announcements of sessions are never
//! dropped while the link lives; when it is gone its outbox takes nothing, since the next link
//! starts with a snapshot of all sessions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use im_core::UserId;
use im_proto_rpc::v1::{RouteCall, RouteCalls, route_call::Call};
use im_rpc::Ring;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::ids::LinkId;

/// Calls of one batch. A call is about 100 bytes, so a batch stays far below the bound of a link.
const MAX_BATCH: usize = 2_000;

/// What waits for one route server.
#[derive(Default)]
pub(crate) struct Outbox {
    calls: Vec<RouteCall>,
    /// Of them, those that may be dropped.
    ephemeral: usize,
    closed: bool,
}

impl Outbox {
    /// Adds a call that must arrive as long as the link lives.
    pub(crate) fn push(&mut self, call: RouteCall) {
        if !self.closed {
            self.calls.push(call);
        }
    }
}

/// One incarnation of a link to a route server.
pub(crate) struct RouteLink {
    pub(crate) id: LinkId,
    pub(crate) name: String,
    outbox: Mutex<Outbox>,
    wake: Notify,
}

impl RouteLink {
    pub(crate) fn new(id: LinkId, name: String) -> Self {
        Self {
            id,
            name,
            outbox: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Locks the outbox; call [`Self::wake`] after adding.
    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the sending task look again.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Sends a call that must arrive as long as the link lives.
    pub(crate) fn call(&self, call: RouteCall) {
        self.outbox().push(call);
        self.wake();
    }

    /// Sends a call that may be dropped; false when it was.
    pub(crate) fn offer(&self, call: Call, bound: u32) -> bool {
        {
            let mut outbox = self.outbox();
            if outbox.closed || outbox.ephemeral >= bound as usize {
                return false;
            }
            outbox.ephemeral += 1;
            outbox.calls.push(RouteCall { call: Some(call) });
        }
        self.wake();
        true
    }

    /// The link is gone: nothing is taken any more.
    pub(crate) fn close(&self) {
        let mut outbox = self.outbox();
        *outbox = Outbox {
            closed: true,
            ..Outbox::default()
        };
        self.wake.notify_one();
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox().calls.len()
    }

    /// Sends what gathers until the link ends.
    pub(crate) async fn run(
        self: Arc<Self>,
        tx: mpsc::Sender<RouteCalls>,
        closed: CancellationToken,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
            }
            // Others that are ready now add theirs to the same batch.
            tokio::task::yield_now().await;
            loop {
                let Ok(permit) = tx.reserve().await else {
                    return;
                };
                let calls = {
                    let mut outbox = self.outbox();
                    if outbox.closed {
                        return;
                    }
                    if outbox.calls.len() <= MAX_BATCH {
                        outbox.ephemeral = 0;
                        std::mem::take(&mut outbox.calls)
                    } else {
                        let rest = outbox.calls.split_off(MAX_BATCH);
                        std::mem::replace(&mut outbox.calls, rest)
                    }
                };
                if calls.is_empty() {
                    break;
                }
                permit.send(RouteCalls { calls });
            }
        }
    }
}

/// The table of route servers that is in use now.
#[derive(Default)]
pub(crate) struct Routes(RwLock<Arc<RouteTable>>);

impl Routes {
    pub(crate) fn table(&self) -> Arc<RouteTable> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, table: Arc<RouteTable>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = table;
    }
}

/// The route servers to which sessions are announced.
#[derive(Default)]
pub(crate) struct RouteTable {
    ring: Ring,
    /// In the order of the ring's names.
    links: Vec<Arc<RouteLink>>,
    /// Whether the writer reaches them: logins need that.
    usable: bool,
}

impl RouteTable {
    /// A table of these links.
    pub(crate) fn new(links: &[Arc<RouteLink>], usable: bool) -> Self {
        let ring = Ring::new(links.iter().map(|link| link.name.as_str()));
        let by_name = |name: &String| links.iter().find(|link| link.name == *name).cloned();
        let links = ring.names().iter().filter_map(by_name).collect();
        Self {
            ring,
            links,
            usable,
        }
    }

    /// The same servers, with another word on whether the writer reaches them.
    pub(crate) fn with_usable(&self, usable: bool) -> Self {
        Self {
            ring: self.ring.clone(),
            links: self.links.clone(),
            usable,
        }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn links(&self) -> &[Arc<RouteLink>] {
        &self.links
    }

    /// Whether logins can be registered.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable && !self.links.is_empty()
    }

    /// The link to the server that holds this user.
    pub(crate) fn owner(&self, user: UserId) -> Option<&Arc<RouteLink>> {
        self.links.get(self.ring.index_of(user)?)
    }
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::{Event, SessionDown};

    use super::*;

    fn down(user: u32) -> RouteCall {
        RouteCall {
            call: Some(Call::Down(SessionDown { user, epoch: 1 })),
        }
    }

    #[tokio::test]
    async fn calls_leave_in_order_and_in_bounded_batches() {
        let link = Arc::new(RouteLink::new(LinkId(1), "r".to_owned()));
        let (tx, mut rx) = mpsc::channel(64);
        let closed = CancellationToken::new();
        for user in 1..=4_500 {
            link.call(down(user));
        }
        let task =
            tokio::spawn(Arc::clone(&link).run(tx, closed.clone(), CancellationToken::new()));
        let mut users = Vec::new();
        while users.len() < 4_500 {
            let batch = rx.recv().await.unwrap();
            assert!(batch.calls.len() <= MAX_BATCH);
            users.extend(batch.calls.into_iter().map(|call| match call.call {
                Some(Call::Down(down)) => down.user,
                other => panic!("{other:?}"),
            }));
        }
        assert!(users.iter().copied().eq(1..=4_500));
        closed.cancel();
        task.await.unwrap();
    }

    #[test]
    fn only_what_may_be_dropped_is_bounded() {
        let link = RouteLink::new(LinkId(1), "r".to_owned());
        assert!(link.offer(Call::Signal(Event::default()), 2));
        assert!(link.offer(Call::Signal(Event::default()), 2));
        assert!(!link.offer(Call::Signal(Event::default()), 2));
        link.call(down(1));
        assert_eq!(link.waiting(), 3);
        link.close();
        link.call(down(1));
        assert_eq!(link.waiting(), 0);
    }

    #[test]
    fn a_table_finds_the_link_that_the_ring_names() {
        let links =
            ["b", "a", "c"].map(|name| Arc::new(RouteLink::new(LinkId(0), name.to_owned())));
        let table = RouteTable::new(&links, true);
        for user in (1..100).filter_map(UserId::from_wire) {
            assert_eq!(
                table.owner(user).map(|link| link.name.as_str()),
                table.ring().shard_of(user)
            );
        }
        assert!(!RouteTable::default().is_usable());
    }
}
