//! Route servers as everybody but the delivery task sees them: who holds a user, and an outbox each.
//!
//! An outbox is drained by one task per link into batches. Announcements of sessions are never
//! dropped while the link lives; when it is gone its outbox takes nothing, since the next link
//! starts with a snapshot of all sessions. A snapshot is added in slices; what comes meanwhile follows
//! behind it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use im_config::MsgConfig;
use im_core::UserId;
use im_proto_rpc::v1::{Kick, RouteCall, RouteCalls, SnapshotBegin, SnapshotEnd, route_call::Call};
use im_rpc::Ring;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::ids::LinkId;

/// Calls of one batch.
const MAX_BATCH: usize = 2_000;

/// Bytes of one batch (one call always fits): far below the bound of a link.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// What a call costs beside its bytes, bytes.
const CALL: usize = 64;

struct Waiting {
    call: RouteCall,
    bytes: usize,
    /// It may be dropped, and counts against the bound of those.
    ephemeral: bool,
}

/// What waits for one route server.
#[derive(Default)]
pub(crate) struct Outbox {
    calls: VecDeque<Waiting>,
    /// While a snapshot is being added: what follows it.
    behind: Option<VecDeque<Waiting>>,
    /// Of them, those that may be dropped, and their bytes.
    ephemeral: usize,
    ephemeral_bytes: usize,
    /// Users whose PC is about to be kicked.
    kicked: HashSet<u32>,
    closed: bool,
}

impl Outbox {
    /// Adds a call that must arrive as long as the link lives: announcements of sessions only, which
    /// logins bound.
    pub(crate) fn push(&mut self, call: RouteCall) {
        self.add(call, false);
    }

    fn add(&mut self, call: RouteCall, ephemeral: bool) {
        if self.closed {
            return;
        }
        let bytes = call.encoded_len() + CALL;
        let queue = self.behind.as_mut().unwrap_or(&mut self.calls);
        queue.push_back(Waiting {
            call,
            bytes,
            ephemeral,
        });
    }

    /// From here on only [`Self::in_snapshot`] adds to what is sent; everything else follows at
    /// [`Self::end_snapshot`].
    pub(crate) fn begin_snapshot(&mut self) {
        self.push(RouteCall {
            call: Some(Call::SnapshotBegin(SnapshotBegin {})),
        });
        self.behind.get_or_insert_default();
    }

    /// Adds the announcement of a session to the snapshot.
    pub(crate) fn in_snapshot(&mut self, up: RouteCall) {
        let behind = self.behind.take();
        self.push(up);
        self.behind = behind;
    }

    /// The snapshot is complete; its confirmation will name `tag`.
    pub(crate) fn end_snapshot(&mut self, tag: u64) {
        let behind = self.behind.take();
        self.push(RouteCall {
            call: Some(Call::SnapshotEnd(SnapshotEnd { tag })),
        });
        self.calls.extend(behind.unwrap_or_default());
    }

    /// Adds a call that may be dropped; false when it was.
    fn offer(&mut self, call: Call, bound: RouteBound) -> bool {
        let call = RouteCall { call: Some(call) };
        let bytes = call.encoded_len() + CALL;
        let is_full = self.ephemeral >= bound.calls || self.ephemeral_bytes + bytes > bound.bytes;
        if self.closed || is_full {
            return false;
        }
        self.ephemeral += 1;
        self.ephemeral_bytes += bytes;
        self.add(call, true);
        true
    }

    /// The calls of the next batch.
    fn take(&mut self) -> Vec<RouteCall> {
        let mut calls = Vec::with_capacity(self.calls.len().min(MAX_BATCH));
        let mut bytes = 0;
        while let Some(next) = self.calls.front() {
            bytes += next.bytes;
            if calls.len() >= MAX_BATCH || (bytes > MAX_BATCH_BYTES && !calls.is_empty()) {
                break;
            }
            let Some(next) = self.calls.pop_front() else {
                break;
            };
            if next.ephemeral {
                self.ephemeral -= 1;
                self.ephemeral_bytes -= next.bytes;
            }
            if let Some(Call::Kick(kick)) = &next.call.call {
                self.kicked.remove(&kick.user);
            }
            calls.push(next.call);
        }
        if self.calls.is_empty() {
            // A storm must not hold its memory for ever.
            self.calls = VecDeque::new();
        }
        calls
    }
}

/// Bound of what may be dropped in one outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteBound {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
}

impl RouteBound {
    pub(crate) fn of(config: &MsgConfig) -> Self {
        Self {
            calls: config.route_queue as usize,
            bytes: config.route_queue_bytes.as_usize(),
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
    pub(crate) fn offer(&self, call: Call, bound: RouteBound) -> bool {
        let taken = self.outbox().offer(call, bound);
        self.wake();
        taken
    }

    /// Sends a kick of a user's PC, unless one waits already; false when it was dropped.
    pub(crate) fn kick(&self, kick: Kick, bound: RouteBound) -> bool {
        let taken = {
            let mut outbox = self.outbox();
            if outbox.kicked.contains(&kick.user) {
                return true;
            }
            let user = kick.user;
            let taken = outbox.offer(Call::Kick(kick), bound);
            if taken {
                outbox.kicked.insert(user);
            }
            taken
        };
        self.wake();
        taken
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
        let outbox = self.outbox();
        outbox.calls.len() + outbox.behind.as_ref().map_or(0, VecDeque::len)
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
                    outbox.take()
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
    use im_proto_rpc::v1::{Event, SessionDown, SessionUp};

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
        let bound = RouteBound {
            calls: 2,
            bytes: 1 << 20,
        };
        assert!(link.offer(Call::Signal(Event::default()), bound));
        assert!(link.offer(Call::Signal(Event::default()), bound));
        assert!(!link.offer(Call::Signal(Event::default()), bound));
        link.call(down(1));
        assert_eq!(link.waiting(), 3);
        link.close();
        link.call(down(1));
        assert_eq!(link.waiting(), 0);
    }

    #[test]
    fn what_comes_during_a_snapshot_follows_it() {
        let link = RouteLink::new(LinkId(1), "r".to_owned());
        link.call(down(1));
        link.outbox().begin_snapshot();
        link.call(down(2));
        assert!(link.offer(signal(1), BOUND));
        link.outbox().in_snapshot(RouteCall {
            call: Some(Call::Up(SessionUp::default())),
        });
        assert_eq!(
            link.outbox().take().len(),
            3,
            "it leaves before it is complete"
        );
        link.outbox().end_snapshot(7);
        link.call(down(3));
        assert_eq!(link.waiting(), 4);
        let rest = link.outbox().take();
        let rest: Vec<_> = rest.into_iter().filter_map(|call| call.call).collect();
        match rest.as_slice() {
            [
                Call::SnapshotEnd(SnapshotEnd { tag: 7 }),
                Call::Down(SessionDown { user: 2, .. }),
                Call::Signal(_),
                Call::Down(SessionDown { user: 3, .. }),
            ] => {}
            other => panic!("{other:?}"),
        }
    }

    fn signal(bytes: usize) -> Call {
        Call::Signal(Event {
            body: vec![7; bytes].into(),
            ..Event::default()
        })
    }

    const BOUND: RouteBound = RouteBound {
        calls: 10_000,
        bytes: 16 << 20,
    };

    #[tokio::test]
    async fn batches_are_weighed_and_what_may_be_dropped_is_bounded_in_bytes() {
        let link = Arc::new(RouteLink::new(LinkId(1), "r".to_owned()));
        let taken = (0..20)
            .filter(|_| link.offer(signal(1 << 20), BOUND))
            .count();
        assert_eq!(taken, 15, "with what each costs beside its bytes");
        let (tx, mut rx) = mpsc::channel(64);
        let closed = CancellationToken::new();
        let run = Arc::clone(&link).run(tx, closed.clone(), CancellationToken::new());
        let task = tokio::spawn(run);
        let mut got = 0;
        while got < 15 {
            let batch = rx.recv().await.unwrap();
            assert!(batch.encoded_len() <= MAX_BATCH_BYTES);
            got += batch.calls.len();
        }
        assert!(link.offer(signal(1 << 20), BOUND), "there is room again");
        closed.cancel();
        task.await.unwrap();
    }

    #[test]
    fn what_may_be_dropped_gets_room_again_while_the_rest_still_waits() {
        let link = RouteLink::new(LinkId(1), "r".to_owned());
        let few = RouteBound { calls: 3, ..BOUND };
        for _ in 0..3 {
            assert!(link.offer(signal(1), few));
        }
        for user in 1..=2 * MAX_BATCH {
            link.call(down(u32::try_from(user).unwrap()));
        }
        assert!(!link.offer(signal(1), few));
        assert_eq!(link.outbox().take().len(), MAX_BATCH);
        assert!(link.offer(signal(1), few));
    }

    #[test]
    fn a_user_has_one_kick_on_its_way_at_most() {
        let link = RouteLink::new(LinkId(1), "r".to_owned());
        let kick = |user| Kick {
            user,
            ..Kick::default()
        };
        for _ in 0..1_000 {
            assert!(link.kick(kick(7), BOUND));
        }
        assert!(link.kick(kick(8), BOUND));
        assert_eq!(link.waiting(), 2);
        assert_eq!(link.outbox().take().len(), 2);
        assert!(link.kick(kick(7), BOUND));
        assert_eq!(link.waiting(), 1);
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
