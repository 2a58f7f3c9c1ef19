//! From a verified account to a registered session, and to its end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use im_core::UserId;
use im_order::CommitSeq;
use im_proto_rpc::v1::SessionEvent;
use tokio::sync::broadcast;

use super::registry::SessionMap;
use crate::connection::{Conn, Phase, Session};
use crate::env::Env;
use crate::ids::{LinkId, NumberMap};
use crate::requests::Line;

/// A login that waits for its route server.
pub(crate) struct PendingLogin {
    pub(crate) conn: Arc<Conn>,
    /// The login answer, sent when the session is registered.
    pub(crate) answer: Bytes,
    pub(crate) line: Line,
}

/// A session that has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) user: UserId,
    pub(crate) epoch: u64,
    /// It was registered: the number of sessions has changed.
    pub(crate) was_online: bool,
}

/// All sessions of this server.
pub(crate) struct Sessions {
    env: Arc<Env>,
    registry: SessionMap,
    /// By epoch.
    pending: Mutex<NumberMap<u64, PendingLogin>>,
    n: AtomicU32,
    events: broadcast::Sender<SessionEvent>,
}

/// Sessions that may have come or gone since an observer has looked.
const EVENTS: usize = 512;

impl Sessions {
    pub(crate) fn new(env: Arc<Env>) -> Self {
        Self {
            env,
            registry: SessionMap::new(),
            pending: Mutex::default(),
            n: AtomicU32::new(0),
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// Sessions that come and go from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.subscribe()
    }

    /// Tells whoever wants to know that a session comes or goes.
    fn tell(&self, conn: &Conn, session: &Session, up: bool) {
        if self.events.receiver_count() > 0 {
            let info = session.info(&self.env.name, conn.remote().to_string());
            let event = SessionEvent {
                up,
                session: Some(info),
            };
            // The last one may have gone meanwhile.
            drop(self.events.send(event));
        }
    }

    /// Registered sessions.
    pub(crate) fn len(&self) -> u32 {
        self.n.load(Ordering::Relaxed)
    }

    /// Logins that wait for their route server.
    pub(crate) fn pending(&self) -> MutexGuard<'_, NumberMap<u64, PendingLogin>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection's session is about to be registered.
    ///
    /// # Errors
    /// The request's line, when there is no session, or it has left.
    pub(crate) fn begin(&self, conn: &Arc<Conn>, answer: Bytes, line: Line) -> Result<(), Line> {
        let Some(session) = conn.session() else {
            return Err(line);
        };
        let mut pending = self.pending();
        if session.has_left() {
            return Err(line);
        }
        let conn = Arc::clone(conn);
        pending.insert(session.epoch, PendingLogin { conn, answer, line });
        Ok(())
    }

    /// A route server has registered a session: puts it into the registry with this cursor. Returns
    /// the login answer, which must go out before anything else.
    pub(crate) fn complete(
        &self,
        epoch: u64,
        cursor: CommitSeq,
        owner: impl FnOnce(UserId) -> LinkId,
    ) -> Option<PendingLogin> {
        let mut pending = self.pending();
        let login = pending.remove(&epoch)?;
        let session = login.conn.session()?;
        session.start_at(cursor);
        session.set_owner(owner(session.user));
        if session.has_left() || !login.conn.step(Phase::Asking, Phase::Online) {
            return None;
        }
        session.set_online();
        let now = self.env.now();
        login.conn.touch(now);
        session.acted(now);
        self.registry.insert(session.user.get(), &login.conn);
        // Before it can leave, which takes this lock.
        self.tell(&login.conn, session, true);
        drop(pending);
        self.n.fetch_add(1, Ordering::Relaxed);
        self.env.metrics.sessions.inc();
        self.env.metrics.logins.inc();
        Some(login)
    }

    /// Takes the session of a connection out, pending or registered. `None` when there is none or
    /// it has left already.
    pub(crate) fn leave(&self, conn: &Arc<Conn>) -> Option<Left> {
        let session = conn.session()?;
        let was_online = {
            let mut pending = self.pending();
            if !session.leave() {
                return None;
            }
            pending.remove(&session.epoch);
            let was_online = session.is_online();
            if was_online {
                self.tell(conn, session, false);
            }
            was_online
        };
        if was_online {
            self.registry.remove(session.user.get(), conn);
            self.n.fetch_sub(1, Ordering::Relaxed);
            self.env.metrics.sessions.dec();
        }
        Some(Left {
            user: session.user,
            epoch: session.epoch,
            was_online,
        })
    }

    /// Calls `each` for the sessions of one user. `each` must not touch the registry.
    pub(crate) fn of_user(&self, user: u32, each: impl FnMut(&Arc<Conn>)) {
        self.registry.of_user(user, each);
    }

    /// Calls `each` for one slice of all sessions; false beyond the last. Others get their turn between
    /// two slices. `each` must not touch the registry.
    pub(crate) fn slice(&self, slice: usize, each: impl FnMut(&Arc<Conn>)) -> bool {
        self.registry.slice(slice, each)
    }

    /// Calls `each` for all sessions. `each` must not touch the registry.
    #[cfg(test)]
    pub(crate) fn all(&self, each: impl FnMut(&Arc<Conn>)) {
        self.registry.all(each);
    }
}
