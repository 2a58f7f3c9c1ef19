//! Calls to db-proxy: what waits, what is in flight, and how batches are made.
//!
//! Messages, queries and logins are classes with bounds of their own, so none holds up another.
//! Messages go through a window of a few batches, so that the batches grow with the load; one of which
//! db-proxy says that it waits for the filter leaves it at once. A message in flight on a link that is lost
//! goes to the head of the queue again if db-proxy would recognise it as a repetition; the others are given
//! up, since nobody can say whether they are stored.
//!
//! A call does not hold its connection: it ends with it. Queries and logins of a connection that has
//! gone are not sent any more, or are cancelled; messages that were read are stored.
//!
//! *Invariant*: messages of one connection reach db-proxy in the order in which they were received.

mod queue;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use im_config::MsgConfig;
use im_core::ClientType;
use im_core::shares::{Share, Shares};
use im_order::CommitSeq;
use im_proto_rpc::v1::db_result::Result as Outcome;
use im_proto_rpc::v1::{
    Answer, DbCalls, DbResult, FileKept, LoginCall, Query, ReadLog, Related, Send, SessionsTold,
    StoredFile, db_call::Call,
};
use im_trace::Trace;
use tokio::sync::{Notify, oneshot, watch};

use crate::connection::{Conn, Room};
use crate::ids::LinkId;
use crate::requests::Line;
use queue::{Class, Queue, Waiting};

/// What a call costs beside its bytes, bytes.
const CALL: u32 = 128;

/// Calls of this server's own that may be open when one more tells of a file.
const MAX_OWN: usize = 1_024;

/// A message that is to be stored.
pub(crate) struct Sending {
    pub(crate) conn: Weak<Conn>,
    pub(crate) send: Send,
    /// Sequence number of the frame.
    pub(crate) seq: u16,
    /// What it counts for on its connection.
    pub(crate) bytes: u32,
    /// Server milliseconds when it was received.
    pub(crate) since: u32,
    pub(crate) trace: Trace,
    pub(crate) line: Line,
}

/// Whom to tell that a login makes room for another one.
pub(crate) struct Asking {
    pub(crate) conn: Weak<Conn>,
    pub(crate) seq: u16,
    pub(crate) takes_retry: bool,
}

/// A login that db-proxy is asked about.
pub(crate) struct LoginAttempt {
    pub(crate) conn: Weak<Conn>,
    pub(crate) seq: u16,
    pub(crate) status: u8,
    pub(crate) client: ClientType,
    pub(crate) version: Arc<str>,
    /// The client understands a time to wait.
    pub(crate) takes_retry: bool,
    pub(crate) trace: Trace,
    pub(crate) line: Line,
    /// Its place among the logins; none before it is asked about.
    pub(crate) place: Option<Share<Asking>>,
}

/// Whose call it was.
pub(crate) enum Caller {
    /// A request of a client, answered with its sequence number.
    Client {
        conn: Weak<Conn>,
        seq: u16,
        /// What it counts for on its connection.
        bytes: u32,
        /// What has come of an answer that comes in parts.
        parts: Vec<Answer>,
        trace: Trace,
        line: Line,
    },
    /// A request of a client that has no answer: it is carried out although its connection may be gone, for
    /// which it counts until it is done.
    Told {
        conn: Weak<Conn>,
        /// What it counts for on its connection.
        bytes: u32,
        line: Line,
    },
    /// A login.
    Login(LoginAttempt),
    /// Nobody waits for the answer.
    Nobody,
    /// The delivery task reads the log.
    Log,
    /// The delivery task reads what sessions that were full have missed.
    CatchUp,
    /// The delivery task asks who is related.
    Related,
    /// A file server tells of a file, and tells again until it is noted.
    File { link: LinkId, task: String },
    /// Whoever tells of sessions sends no more before.
    Sessions(oneshot::Sender<()>),
}

impl Caller {
    /// The connection with which it ends.
    fn conn(&self) -> Option<&Weak<Conn>> {
        match self {
            Self::Client { conn, .. } => Some(conn),
            Self::Login(attempt) => Some(&attempt.conn),
            Self::Told { .. }
            | Self::Nobody
            | Self::Log
            | Self::CatchUp
            | Self::Related
            | Self::File { .. }
            | Self::Sessions(_) => None,
        }
    }
}

pub(super) enum InFlight {
    Send { sending: Sending, batch: u64 },
    Other(Caller),
}

/// Bounds of what waits and of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Calls of one kind in a batch, and their bytes (one call always fits).
    pub(super) calls: usize,
    pub(super) bytes: usize,
    /// Batches of messages in flight.
    pub(super) window: usize,
    /// Queries, and logins, in flight.
    pub(super) queries: usize,
    pub(super) logins: usize,
}

impl Bounds {
    pub(super) fn of(config: &MsgConfig) -> Self {
        Self {
            calls: config.send_batch as usize,
            bytes: config.send_batch_size.as_usize(),
            window: config.send_batches_in_flight as usize,
            queries: config.queries_in_flight as usize,
            logins: config.logins_in_flight as usize,
        }
    }
}

/// What a question counts for, bytes.
fn weight(query: &Query) -> u32 {
    u32::try_from(query.body.len()).unwrap_or(u32::MAX - CALL) + CALL
}

/// All calls to db-proxy.
pub(crate) struct Calls {
    bounds: Bounds,
    queue: Mutex<Queue>,
    /// Logins queued or in flight.
    logins: Shares<Asking>,
    wake: Notify,
    is_up: AtomicBool,
    /// Whether db-proxy asks to be told of sessions that come and go.
    sessions_wanted: watch::Sender<bool>,
    /// Bytes of messages queued or in flight.
    messages: Room,
    /// Bytes of queries queued or in flight, and of what else clients ask.
    queries: Arc<Room>,
}

impl Calls {
    pub(crate) fn new(config: &MsgConfig, queries: Arc<Room>) -> Self {
        Self {
            bounds: Bounds::of(config),
            queue: Mutex::default(),
            logins: Shares::new(config.logins_in_flight as usize),
            wake: Notify::new(),
            is_up: AtomicBool::new(false),
            sessions_wanted: watch::Sender::new(false),
            messages: Room::new(config.pending_total.as_u64()),
            queries,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a link, or none.
    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Release);
        if !is_up {
            self.sessions_wanted.send_replace(false);
        }
    }

    /// Waits until there may be something to send.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Lets the sending task look again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether there is a link.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Room for messages that wait to be stored.
    pub(crate) fn messages(&self) -> &Room {
        &self.messages
    }

    /// Queued messages, and calls in flight.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.messages(), queue.in_flight())
    }

    /// Queues a message of a connection.
    pub(crate) fn send(&self, conn: &Conn, sending: Sending) {
        self.messages.take(sending.bytes);
        conn.message_sent(sending.bytes);
        self.queue().push_message(sending);
        self.wake();
    }

    /// Asks on behalf of a client. The caller has checked that there is a link; one that is lost now
    /// leaves the question unanswered.
    pub(crate) fn query(&self, query: Query, conn: &Arc<Conn>, seq: u16, line: Line) {
        let bytes = weight(&query);
        conn.query_sent(bytes);
        self.queries.take(bytes);
        let conn = Arc::downgrade(conn);
        let caller = Caller::Client {
            conn,
            seq,
            bytes,
            parts: Vec::new(),
            trace: Trace::sample(),
            line,
        };
        self.push(Class::Query, Call::Query(query), caller, bytes);
    }

    /// Has a request of a client carried out that has no answer.
    pub(crate) fn told(&self, query: Query, conn: &Arc<Conn>, line: Line) {
        let bytes = weight(&query);
        conn.query_sent(bytes);
        self.queries.take(bytes);
        let conn = Arc::downgrade(conn);
        let caller = Caller::Told { conn, bytes, line };
        self.push(Class::Query, Call::Query(query), caller, bytes);
    }

    /// Has something changed for which nobody waits.
    pub(crate) fn tell(&self, query: Query) {
        self.push(Class::Query, Call::Query(query), Caller::Nobody, CALL);
    }

    /// Checks an account.
    ///
    /// When there is no room, it takes that of the newest login of whoever has most: who that was is to
    /// be told.
    ///
    /// # Errors
    /// The attempt, when nobody has clearly more logins waiting than its network, or when too many whose
    /// clients have gone still wait for their turn, in which they are skipped.
    pub(crate) fn login(
        &self,
        call: LoginCall,
        from: IpAddr,
        mut attempt: LoginAttempt,
    ) -> Result<Option<Asking>, LoginAttempt> {
        if self.queue().open(Class::Login) >= self.bounds.logins.saturating_mul(2) {
            return Err(attempt);
        }
        let asking = Asking {
            conn: Weak::clone(&attempt.conn),
            seq: attempt.seq,
            takes_retry: attempt.takes_retry,
        };
        let Ok((place, loser)) = self.logins.enter(from, asking) else {
            return Err(attempt);
        };
        attempt.place = Some(place);
        let bytes = call.user_name.len() + call.password.len() + call.client_version.len();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX - CALL) + CALL;
        let caller = Caller::Login(attempt);
        self.push(Class::Login, Call::Login(call), caller, bytes);
        Ok(loser)
    }

    /// Reads a page of the log.
    pub(crate) fn read_log(&self, after: CommitSeq, limit: u32) {
        let after = after.to_wire();
        let call = Call::ReadLog(ReadLog { after, limit });
        self.push(Class::Own, call, Caller::Log, CALL);
    }

    /// Reads a page of the log for sessions that are behind.
    pub(crate) fn catch_up(&self, after: CommitSeq, limit: u32) {
        let after = after.to_wire();
        let call = Call::ReadLog(ReadLog { after, limit });
        self.push(Class::Own, call, Caller::CatchUp, CALL);
    }

    /// Asks who is related to these users.
    pub(crate) fn related(&self, users: Vec<u32>) {
        let bytes = CALL + 5 * u32::try_from(users.len()).unwrap_or_default();
        let call = Call::Related(Related { users });
        self.push(Class::Own, call, Caller::Related, bytes);
    }

    /// Tells of a file that waits for its receiver, unless too much is told of already or there is no link: its
    /// server tells of it again.
    pub(crate) fn file_kept(&self, link: LinkId, file: StoredFile) {
        let bytes = file.name.len() + file.task.len();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX - CALL) + CALL;
        let task = file.task.clone();
        let call = Call::FileKept(FileKept { file: Some(file) });
        let open = self.queue().open(Class::Own);
        if self.is_up() && open < MAX_OWN {
            self.push(Class::Own, call, Caller::File { link, task }, bytes);
        }
    }

    /// Tells of sessions that came and went; the receiver hears when db-proxy knows of them, or ends when it will
    /// not.
    pub(super) fn tell_sessions(&self, told: SessionsTold) -> oneshot::Receiver<()> {
        let (done, known) = oneshot::channel();
        let bytes = prost::Message::encoded_len(&told);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX - CALL) + CALL;
        let caller = Caller::Sessions(done);
        self.push(Class::Own, Call::Sessions(told), caller, bytes);
        known
    }

    /// Whether db-proxy asks to be told of sessions.
    pub(super) fn sessions_wanted(&self) -> watch::Receiver<bool> {
        self.sessions_wanted.subscribe()
    }

    fn push(&self, class: Class, call: Call, caller: Caller, bytes: u32) {
        self.queue().push(class, Waiting::new(call, caller, bytes));
        self.wake();
    }

    /// A connection has gone: its queries and logins are not wanted any more.
    pub(crate) fn cancel(&self, conn: &Arc<Conn>) {
        let callers = self.queue().cancel(Arc::as_ptr(conn));
        let any = !callers.is_empty();
        for caller in &callers {
            self.done(caller);
        }
        if any {
            self.wake();
        }
    }

    /// The next batch, or nothing while there is nothing to send (or the windows are closed).
    pub(super) fn take_batch(&self) -> Option<DbCalls> {
        let (calls, skipped) = self.queue().take_batch(self.bounds);
        for caller in &skipped {
            self.done(caller);
        }
        (!calls.is_empty()).then_some(DbCalls { calls })
    }

    /// Takes the calls that results belong to; parts of an answer are kept until its last one.
    pub(super) fn complete(&self, results: Vec<DbResult>) -> Vec<(InFlight, Option<Outcome>)> {
        let mut queue = self.queue();
        let calls = results.into_iter().filter_map(|DbResult { tag, result }| {
            let result = match result {
                Some(Outcome::Answer(answer)) => Some(Outcome::Answer(queue.part(tag, answer)?)),
                Some(Outcome::Held(held)) => {
                    queue.held(&held.tags);
                    return None;
                }
                Some(Outcome::SessionsWanted(said)) => {
                    self.sessions_wanted.send_replace(said.wanted);
                    return None;
                }
                other => other,
            };
            Some((queue.complete(tag)?, result))
        });
        calls.collect()
    }

    /// A call other than a message is done with, answered or not.
    pub(super) fn done(&self, caller: &Caller) {
        if let Caller::Client { conn, bytes, .. } | Caller::Told { conn, bytes, .. } = caller {
            self.queries.give_back(*bytes);
            if let Some(conn) = conn.upgrade() {
                conn.query_done(*bytes);
            }
        }
    }

    /// A message is done with, stored or not.
    pub(super) fn release(&self, sending: &Sending) {
        self.messages.give_back(sending.bytes);
        if let Some(conn) = sending.conn.upgrade() {
            conn.message_done(sending.bytes);
        }
    }

    /// The link is gone: messages that may be sent again go to the head of the queue, in order. The
    /// rest is returned; call [`Self::release`] and [`Self::done`] for each.
    pub(super) fn link_lost(&self) -> (Vec<Sending>, Vec<Caller>) {
        self.queue().link_lost()
    }

    /// Messages that have waited since before `oldest` for a link, in order.
    pub(super) fn expired(&self, is_old: impl Fn(u32) -> bool) -> Vec<Sending> {
        self.queue().expired(is_old)
    }
}
