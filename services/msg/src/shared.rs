//! What all tasks of one msg server share.
//!
//! Lock order: route outboxes, pending logins, the session map, a connection's queue.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use bytes::Bytes;
use im_config::MsgConfig;
use im_core::UserId;
use im_proto_rpc::v1::{RouteCall, SessionDown, SessionUp, route_call};
use im_runtime::Readiness;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::conn::{Conn, Doomed, Farewell};
use crate::db::Calls;
use crate::handle::StatusJobs;
use crate::metrics::{MsgMetrics, Refusal};
use crate::public::Public;
use crate::routes::RouteTable;
use crate::sessions::{ConnTable, NumberMap, SessionMap};

/// Stated client versions that are kept once for all sessions; others are kept per session.
const MAX_VERSIONS: usize = 256;

/// Longest client version kept, bytes.
const MAX_VERSION: usize = 64;

/// A login that waits for its route server.
pub(crate) struct PendingLogin {
    pub(crate) conn: Arc<Conn>,
    /// The login answer, sent when the session is registered.
    pub(crate) answer: Bytes,
}

/// State of one msg server.
pub(crate) struct Shared {
    pub(crate) config: MsgConfig,
    pub(crate) name: String,
    pub(crate) instance: u64,
    pub(crate) metrics: MsgMetrics,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: TaskTracker,
    /// Ends everything, after the drain.
    pub(crate) stop: CancellationToken,
    start: Instant,
    pub(crate) conns: Mutex<ConnTable>,
    pub(crate) sessions: SessionMap,
    addresses: Mutex<HashMap<IpAddr, u32>>,
    doomed: Mutex<Vec<Doomed>>,
    versions: Mutex<HashMap<Box<str>, Arc<str>>>,
    /// By epoch.
    pub(crate) pending: Mutex<NumberMap<u64, PendingLogin>>,
    pub(crate) db: Calls,
    routes: RwLock<Arc<RouteTable>>,
    pub(crate) statuses: StatusJobs,
    /// What clients are told; `None` while the file that says it does not.
    pub(crate) public: watch::Sender<Option<Public>>,
    /// Load reports are due.
    pub(crate) load: watch::Sender<u64>,
    n_sessions: AtomicU32,
    pub(crate) logins_up: AtomicU32,
    pub(crate) draining: AtomicBool,
    /// Live messages are not delivered: the delivery task wants to know of messages stored here.
    pub(crate) pulling: AtomicBool,
    /// Newest position of a message stored from here.
    pub(crate) stored: AtomicU64,
    pub(crate) nudge: Notify,
    /// Position of the delivery task, for a dump.
    pub(crate) reached: AtomicU64,
    /// Login servers that have seen that this server is going away.
    pub(crate) drain_seen: AtomicU32,
    pub(crate) drained: Notify,
    queued_bytes: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        config: MsgConfig,
        name: String,
        public: Option<Public>,
        metrics: MsgMetrics,
        readiness: Readiness,
    ) -> Self {
        Self {
            config,
            name,
            instance: crate::random_id(),
            metrics,
            readiness,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            start: Instant::now(),
            conns: Mutex::default(),
            sessions: SessionMap::new(),
            addresses: Mutex::default(),
            doomed: Mutex::default(),
            versions: Mutex::default(),
            pending: Mutex::default(),
            db: Calls::default(),
            routes: RwLock::default(),
            statuses: StatusJobs::default(),
            public: watch::Sender::new(public),
            load: watch::Sender::new(0),
            n_sessions: AtomicU32::new(0),
            logins_up: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            pulling: AtomicBool::new(true),
            stored: AtomicU64::new(0),
            nudge: Notify::new(),
            reached: AtomicU64::new(0),
            drain_seen: AtomicU32::new(0),
            drained: Notify::new(),
            queued_bytes: AtomicU64::new(0),
        }
    }

    /// Milliseconds of this server's clock. Wraps after 49 days: compare by difference only.
    #[allow(clippy::cast_possible_truncation, reason = "wraps on purpose")]
    pub(crate) fn now(&self) -> u32 {
        self.start.elapsed().as_millis() as u32
    }

    /// Whether `at` has passed.
    pub(crate) fn is_due(now: u32, at: u32) -> bool {
        now.wrapping_sub(at) < u32::MAX / 2
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn n_sessions(&self) -> u32 {
        self.n_sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn n_connections(&self) -> u32 {
        u32::try_from(self.conns().len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn conns(&self) -> MutexGuard<'_, ConnTable> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, NumberMap<u64, PendingLogin>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn routes(&self) -> Arc<RouteTable> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_routes(&self, table: Arc<RouteTable>) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = table;
    }

    pub(crate) fn load_changed(&self) {
        self.load.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Keeps one copy of a client version.
    pub(crate) fn version(&self, text: &str) -> Arc<str> {
        let mut end = text.len().min(MAX_VERSION);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = versions.get(text) {
            return Arc::clone(known);
        }
        let version: Arc<str> = text.into();
        if versions.len() < MAX_VERSIONS {
            versions.insert(text.into(), Arc::clone(&version));
        }
        version
    }

    // ---- connections --------------------------------------------------------

    /// Takes a new connection in; the reason when there is no room.
    pub(crate) fn admit(&self, remote: IpAddr) -> Result<(), Refusal> {
        if self.n_connections() >= self.config.max_connections {
            return Err(Refusal::Connections);
        }
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(network(remote)).or_insert(0);
        let limit = self.config.max_connections_per_address;
        if limit != 0 && *count >= limit {
            return Err(Refusal::Address);
        }
        *count += 1;
        Ok(())
    }

    fn release(&self, remote: IpAddr) {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = network(remote);
        if let Some(count) = addresses.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&key);
            }
        }
        if addresses.is_empty() {
            *addresses = HashMap::new();
        }
    }

    /// A connection is there.
    pub(crate) fn opened(&self, conn: &Arc<Conn>) {
        self.conns().insert(conn);
        self.metrics.accepted.inc();
        self.metrics.connections.inc();
    }

    /// A connection's task is over.
    pub(crate) fn closed(&self, conn: &Arc<Conn>) {
        self.leave(conn);
        self.conns().remove(conn);
        self.release(conn.remote());
        self.metrics.connections.dec();
        conn.forget(self);
    }

    /// The session of a connection, if any, ends for the rest of the system.
    pub(crate) fn leave(&self, conn: &Arc<Conn>) {
        let Some(session) = conn.session() else {
            return;
        };
        let was_online = {
            let mut pending = self.pending();
            if !session.leave() {
                return;
            }
            pending.remove(&session.epoch);
            session.is_online()
        };
        if was_online {
            self.sessions.remove(session.user.get(), conn);
            self.n_sessions.fetch_sub(1, Ordering::Relaxed);
            self.metrics.sessions.dec();
            self.load_changed();
        }
        let down = SessionDown {
            user: session.user.get(),
            epoch: session.epoch,
        };
        if let Some(link) = self.routes().owner(session.user) {
            link.call(RouteCall {
                call: Some(route_call::Call::Down(down)),
            });
        }
    }

    // ---- logins -------------------------------------------------------------

    /// Asks the user's route server to register a session. False when there is none, or when the
    /// connection is closing.
    pub(crate) fn register(&self, conn: &Arc<Conn>, answer: Bytes) -> bool {
        let Some(session) = conn.session() else {
            return false;
        };
        {
            let mut pending = self.pending();
            if session.has_left() {
                return false;
            }
            pending.insert(
                session.epoch,
                PendingLogin {
                    conn: Arc::clone(conn),
                    answer,
                },
            );
        }
        // The table is read after the login is pending: whoever announces all sessions to another
        // table finds it there.
        let table = self.routes();
        if !table.is_usable() {
            self.pending().remove(&session.epoch);
            return false;
        }
        if let Some(link) = table.owner(session.user) {
            link.call(self.session_up(conn, session.epoch));
        }
        true
    }

    /// The announcement of a session.
    pub(crate) fn session_up(&self, conn: &Conn, tag: u64) -> RouteCall {
        let session = conn.session();
        let up = SessionUp {
            tag,
            session: session.map(|session| session.info(&self.name, conn.remote().to_string())),
        };
        RouteCall {
            call: Some(route_call::Call::Up(up)),
        }
    }

    /// A route server has registered a session: puts it into the map with this cursor. Returns the
    /// login answer, which must go out before anything else.
    pub(crate) fn registered(
        &self,
        epoch: u64,
        cursor: u64,
        owner: impl FnOnce(UserId) -> u32,
    ) -> Option<PendingLogin> {
        let mut pending = self.pending();
        let login = pending.remove(&epoch)?;
        let session = login.conn.session()?;
        session.start_at(cursor);
        session.set_owner(owner(session.user));
        if session.has_left()
            || !login
                .conn
                .step(crate::conn::Phase::Asking, crate::conn::Phase::Online)
        {
            return None;
        }
        session.set_online();
        login.conn.touch(self.now());
        self.sessions.insert(session.user.get(), &login.conn);
        drop(pending);
        self.n_sessions.fetch_add(1, Ordering::Relaxed);
        self.metrics.sessions.inc();
        self.metrics.logins.inc();
        self.load_changed();
        Some(login)
    }

    // ---- bounds of output ---------------------------------------------------

    /// Tells the server-wide count how much of one connection waits now.
    pub(crate) fn recount(&self, counted: &mut usize, now: usize) {
        if *counted == now {
            return;
        }
        let (before, after) = (*counted as u64, now as u64);
        *counted = now;
        if after > before {
            self.queued_bytes
                .fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.queued_bytes
                .fetch_sub(before - after, Ordering::Relaxed);
        }
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        self.metrics
            .queued_bytes
            .set(i64::try_from(queued).unwrap_or(i64::MAX));
    }

    /// The same, and whether all connections together are beyond their budget.
    pub(crate) fn recount_and_check(&self, counted: &mut usize, now: usize) -> bool {
        self.recount(counted, now);
        self.queued_bytes.load(Ordering::Relaxed) > self.config.push_total_bytes
    }

    /// A connection did not take what was sent: it gets nothing more and is closed soon.
    pub(crate) fn overflown(&self, conn: &Arc<Conn>) {
        self.metrics.slow_readers.inc();
        tracing::debug!(remote = %conn.remote(), "connection is beyond its budget");
        self.cut_later(Arc::downgrade(conn), self.config.slow_grace_ms);
    }

    // ---- ending connections -------------------------------------------------

    /// Cuts a connection after `grace` milliseconds, if it is still there.
    pub(crate) fn cut_later(&self, conn: Weak<Conn>, grace: u32) {
        let at = self.now().wrapping_add(grace);
        self.doomed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Doomed { at, conn });
    }

    /// Cuts the connections whose time has come.
    pub(crate) fn cut_due(&self, now: u32) {
        let due: Vec<Doomed> = {
            let mut doomed = self.doomed.lock().unwrap_or_else(PoisonError::into_inner);
            if doomed.is_empty() {
                return;
            }
            let due = doomed
                .extract_if(.., |doomed| Self::is_due(now, doomed.at))
                .collect();
            if doomed.is_empty() {
                *doomed = Vec::new();
            }
            due
        };
        for conn in due.iter().filter_map(|doomed| doomed.conn.upgrade()) {
            conn.cut();
        }
    }

    /// Ends a session that was kicked: tells the client, who closes.
    pub(crate) fn kick(self: &Arc<Self>, conn: &Arc<Conn>, reason: u32) {
        let Some(session) = conn.session() else {
            return;
        };
        self.metrics.kicks.inc();
        let frame = crate::handle::kick_frame(session.user, reason);
        conn.finish(self, Some(frame), Farewell::Kick);
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
