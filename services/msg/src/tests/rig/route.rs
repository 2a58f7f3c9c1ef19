//! A player of a route server.

use super::*;

pub(in crate::tests) struct Route {
    pub(in crate::tests) sessions: Vec<SessionInfo>,
    pub(in crate::tests) snapshots: u32,
    pub(in crate::tests) calls: Vec<route_call::Call>,
    pub(in crate::tests) online: Vec<u32>,
    /// Registrations and status questions are not answered while set.
    pub(in crate::tests) holds: bool,
    held: Vec<route_item::Item>,
    pub(in crate::tests) ring: u64,
    pub(in crate::tests) sent: u64,
    pub(super) accepts: bool,
    link: Option<(tokio::sync::mpsc::Sender<RouteItems>, CancellationToken)>,
}

#[derive(Clone)]
pub(in crate::tests) struct RoutePlayer(pub(super) Arc<Mutex<Route>>);

impl RoutePlayer {
    pub(super) fn new(ring: u64) -> Self {
        Self(Arc::new(Mutex::new(Route {
            sessions: Vec::new(),
            snapshots: 0,
            calls: Vec::new(),
            online: Vec::new(),
            holds: false,
            held: Vec::new(),
            ring,
            sent: 0,
            accepts: true,
            link: None,
        })))
    }

    pub(in crate::tests) fn state(&self) -> MutexGuard<'_, Route> {
        self.0.lock().unwrap()
    }

    /// Sends a batch that follows the last one.
    pub(in crate::tests) fn send(&self, through: u64, items: Vec<route_item::Item>) {
        let mut route = self.state();
        route.send_after(None, through, items);
    }

    /// Sends a batch that leaves something out.
    pub(in crate::tests) fn send_after(
        &self,
        after: u64,
        through: u64,
        items: Vec<route_item::Item>,
    ) {
        self.state().send_after(Some(after), through, items);
    }

    pub(in crate::tests) fn push(&self, message: LiveMessage) {
        self.send(message.seq, vec![route_item::Item::Message(message)]);
    }

    pub(in crate::tests) fn release(&self) {
        let mut route = self.state();
        route.holds = false;
        let held = std::mem::take(&mut route.held);
        let through = route.sent;
        route.send_after(None, through, held);
    }

    pub(in crate::tests) fn cut(&self, accepts: bool) {
        let mut route = self.state();
        route.accepts = accepts;
        if let Some((_, closed)) = route.link.take() {
            closed.cancel();
        }
    }

    pub(in crate::tests) fn accept_again(&self) {
        self.state().accepts = true;
    }

    pub(super) fn accept(&self, link: Link<RouteItems, RouteCalls>) {
        let Link {
            tx, mut rx, closed, ..
        } = link;
        {
            let mut route = self.state();
            if !route.accepts {
                closed.cancel();
                return;
            }
            route.sessions.clear();
            route.link = Some((tx, closed.clone()));
        }
        let player = self.clone();
        tokio::spawn(async move {
            while let Some(Some(calls)) = closed.run_until_cancelled(rx.recv()).await {
                let mut route = player.state();
                for call in calls.calls {
                    route.call(call);
                }
            }
        });
    }
}

impl Route {
    fn send_after(&mut self, after: Option<u64>, through: u64, items: Vec<route_item::Item>) {
        let after = after.unwrap_or(self.sent);
        self.sent = through;
        let items = items
            .into_iter()
            .map(|item| RouteItem { item: Some(item) })
            .collect();
        if let Some((tx, _)) = &self.link {
            tx.try_send(RouteItems {
                after,
                through,
                ring: self.ring,
                items,
            })
            .unwrap();
        }
    }

    fn call(&mut self, call: RouteCall) {
        use route_call::Call;
        let call = call.call.unwrap();
        let sent = self.sent;
        let answer = match &call {
            Call::Hello(_) => {
                // The position and the ring, at once.
                self.send_after(None, sent, Vec::new());
                None
            }
            Call::Up(up) => {
                self.sessions.push(up.session.clone().unwrap());
                (up.tag != 0).then_some(route_item::Item::Ready(SessionReady {
                    tag: up.tag,
                    through: sent,
                }))
            }
            Call::Down(down) => {
                self.sessions.retain(|session| session.epoch != down.epoch);
                None
            }
            Call::SnapshotBegin(_) => {
                self.sessions.clear();
                None
            }
            Call::SnapshotEnd(end) => {
                self.snapshots += 1;
                Some(route_item::Item::Snapshot(SnapshotDone {
                    tag: end.tag,
                    through: sent,
                }))
            }
            Call::Status(query) => Some(route_item::Item::Status(StatusResult {
                tag: query.tag,
                online: query
                    .users
                    .iter()
                    .copied()
                    .filter(|user| self.online.contains(user))
                    .collect(),
            })),
            Call::Signal(_) | Call::Kick(_) => None,
        };
        self.calls.push(call);
        let Some(item) = answer else { return };
        if self.holds && !matches!(item, route_item::Item::Snapshot(_)) {
            self.held.push(item);
        } else {
            self.send_after(None, sent, vec![item]);
        }
    }
}

/// Joins an endpoint's name to its player.
pub(super) struct Named<F>(pub(super) F);

impl<F> Connect<RouteCalls, RouteItems> for Named<F>
where
    F: Fn(&str) -> RoutePlayer + std::marker::Send + Sync + 'static,
{
    fn dialer(&self, endpoint: &Endpoint) -> Arc<dyn Dial<RouteCalls, RouteItems>> {
        let player = (self.0)(&endpoint.name);
        let accept: Arc<dyn Accept<RouteItems, RouteCalls>> =
            Arc::new(move |link| player.accept(link));
        Arc::new(LocalDialer::new(endpoint.name.clone(), accept, 1_024))
    }
}
