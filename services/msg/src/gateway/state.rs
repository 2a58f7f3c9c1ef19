//! The owners of a msg server's state.
//!
//! Each has a lock of its own. Lock order: route outboxes, pending logins, the session registry, a
//! connection's queue.

use std::sync::Arc;

use bytes::Bytes;
use im_codec::{Command, encode};
use im_core::UserId;
use im_proto_rpc::v1::{RouteCall, SessionDown, SessionUp, route_call};
use im_proto_teamtalk::login::ImKickUser;
use im_runtime::Throttle;
use tokio::sync::watch;

use super::calls::Calls;
use super::drain::Drain;
use super::files::{FileServers, Jobs};
use super::inbox::Inbox;
use super::public::Public;
use super::routes::Routes;
use super::shed::Sheds;
use super::statuses::StatusJobs;
use crate::connection::{
    Admission, CloseReason, Conn, Connections, Output, Partials, Room, UserMeters,
};
use crate::env::Env;
use crate::requests::Line;
use crate::session::Sessions;

/// One msg server.
pub(crate) struct Gateway {
    pub(crate) env: Arc<Env>,
    pub(crate) output: Arc<Output>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) meters: UserMeters,
    pub(crate) partials: Partials,
    pub(crate) sessions: Sessions,
    pub(crate) db: Calls,
    /// Room for questions of all connections, to whomever they go.
    pub(crate) queries: Arc<Room>,
    pub(crate) routes: Routes,
    pub(crate) statuses: StatusJobs,
    pub(crate) files: FileServers,
    /// Requests that wait for file servers.
    pub(crate) jobs: Jobs,
    pub(crate) inbox: Inbox,
    pub(crate) drain: Drain,
    pub(crate) sheds: Sheds,
    /// What clients are told; `None` while the file that says it does not.
    pub(crate) public: watch::Sender<Option<Public>>,
    /// Load reports are due.
    pub(crate) load: watch::Sender<u64>,
    /// A line about commands of servers that clients send is due.
    pub(crate) foreign: Throttle,
}

impl Gateway {
    pub(crate) fn new(env: Env, public: Option<Public>, inbox: Inbox) -> Self {
        let env = Arc::new(env);
        let output = Arc::new(Output::new(Arc::clone(&env)));
        let config = &env.config;
        let queries = Arc::new(Room::new(config.pending_query_total.as_u64()));
        Self {
            admission: Admission::new(
                config.max_connections,
                config.max_connections_per_address,
                env.metrics.connections.clone(),
            ),
            connections: Arc::new(Connections::new(Arc::clone(&output))),
            output,
            meters: UserMeters::new(),
            partials: Partials::new(
                config.partial_login_total.as_usize(),
                config.partial_total.as_usize(),
            ),
            sessions: Sessions::new(Arc::clone(&env)),
            db: Calls::new(config, Arc::clone(&queries)),
            routes: Routes::default(),
            statuses: StatusJobs::default(),
            files: FileServers::default(),
            jobs: Jobs::default(),
            queries,
            inbox,
            drain: Drain::new(),
            sheds: Sheds::default(),
            public: watch::Sender::new(public),
            load: watch::Sender::new(0),
            foreign: Throttle::default(),
            env,
        }
    }

    /// Counts an answer of so many bytes for whoever gets it.
    pub(crate) fn count_answer(&self, conn: &Conn, bytes: usize) {
        if let Some(session) = conn.session() {
            let (user, now) = (session.user.get(), self.env.now());
            let config = &self.env.config.meter;
            self.meters.answered(config, user, bytes, now);
        }
    }

    pub(crate) fn load_changed(&self) {
        self.load.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Asks the user's route server to register a session.
    ///
    /// # Errors
    /// The request's line, when there is no route server, or the connection is closing.
    pub(crate) fn register(&self, conn: &Arc<Conn>, answer: Bytes, line: Line) -> Result<(), Line> {
        let Some(session) = conn.session() else {
            return Err(line);
        };
        self.sessions.begin(conn, answer, line)?;
        // The table is read after the login is pending: whoever announces all sessions to another
        // table finds it there.
        let table = self.routes.table();
        if !table.is_usable() {
            let pending = self.sessions.pending().remove(&session.epoch);
            return Err(pending.map(|login| login.line).unwrap_or_default());
        }
        if let Some(link) = table.owner(session.user) {
            link.call(self.session_up(conn, session.epoch));
        }
        Ok(())
    }

    /// The announcement of a session.
    pub(crate) fn session_up(&self, conn: &Conn, tag: u64) -> RouteCall {
        let session = conn.session();
        let up = SessionUp {
            tag,
            session: session.map(|session| session.info(&self.env.name, conn.remote().to_string())),
        };
        RouteCall {
            call: Some(route_call::Call::Up(up)),
        }
    }

    /// The session of a connection, if any, ends for the rest of the system.
    pub(crate) fn leave(&self, conn: &Arc<Conn>) {
        let Some(left) = self.sessions.leave(conn) else {
            return;
        };
        if left.was_online {
            self.load_changed();
        }
        let down = SessionDown {
            user: left.user.get(),
            epoch: left.epoch,
        };
        if let Some(link) = self.routes.table().owner(left.user) {
            link.call(RouteCall {
                call: Some(route_call::Call::Down(down)),
            });
        }
    }

    /// Sends a last frame, if any, ends the session, and closes when the bytes have left (or the
    /// grace is over). Does nothing when the connection is closing already.
    pub(crate) fn finish(&self, conn: &Arc<Conn>, frame: Option<Bytes>, reason: CloseReason) {
        if conn.end(frame, reason) {
            self.leave(conn);
            self.db.cancel(conn);
            conn.close(&self.output, reason);
        }
    }

    /// Ends a session that was kicked: tells the client, who closes.
    pub(crate) fn kick(&self, conn: &Arc<Conn>, reason: u32) {
        let Some(session) = conn.session() else {
            return;
        };
        self.env.metrics.kicks.inc();
        let frame = kick_frame(session.user, reason);
        self.finish(conn, Some(frame), CloseReason::Kick);
    }
}

/// Tells a client that its session was ended.
fn kick_frame(user: UserId, reason: u32) -> Bytes {
    let kick = ImKickUser {
        user_id: user.get(),
        // Clients know two reasons.
        kick_reason: if reason == 2 { 2 } else { 1 },
    };
    encode(Command::KickUser, 0, &kick)
}
