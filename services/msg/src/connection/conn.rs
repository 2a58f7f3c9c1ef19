//! One client connection: its socket, its session, and what waits to be written.
//!
//! Everybody who has a frame for a connection appends it and then flushes: the write goes straight
//! to the socket, and a task that waits for room exists only while the socket is full. An idle
//! connection owns no buffer, no channel and no timer.
//!
//! *Invariants*: after a frame was refused nothing more is written (never a later push after a
//! missing one), and a connection leaves the maps of the server before its socket is closed.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use im_config::units::Span;
use im_transport::Transport;
use tokio::sync::Notify;
use tokio::time::Duration;
use tracing::debug;

use super::admission::Place;
use super::budget::OutputBudget;
use super::closes::PendingCloses;
use super::identity::Session;
use super::outbound::{Ending, Outbound};
use super::room::Room;
use crate::env::Env;

mod write;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Not logged in.
    Fresh = 0,
    /// A login was sent and is not decided.
    Asking = 1,
    /// Logged in.
    Online = 2,
    /// Not read any more; closed when its messages are acknowledged.
    Draining = 3,
    /// Told its last; whatever the client sends is ignored.
    Closing = 4,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closes by itself on this frame; the socket is closed after the kick's grace.
    Kick,
    /// End of stream right behind the last byte.
    Finish,
}

/// What all connections share for writing. A connection that is over its budget, or that was told
/// its last, is noted here; the sweep cuts it when its grace is over.
pub(crate) struct Output {
    pub(crate) env: Arc<Env>,
    total: OutputBudget,
    pub(super) closes: PendingCloses<Conn>,
}

impl Output {
    pub(crate) fn new(env: Arc<Env>) -> Self {
        let total = env.config.push_total.as_u64();
        Self {
            total: OutputBudget::new(total, env.metrics.queued_bytes.clone()),
            closes: PendingCloses::new(),
            env,
        }
    }

    /// A connection did not take what was sent: it gets nothing more and is closed soon.
    fn slow_consumer(&self, conn: &Arc<Conn>) {
        self.env.metrics.slow_readers.inc();
        debug!(remote = %conn.remote(), "connection is beyond its budget");
        self.close_after(conn, self.env.config.slow_grace);
    }

    fn close_after(&self, conn: &Arc<Conn>, grace: Span) {
        let at = self.env.now().wrapping_add(grace.as_millis_u32());
        self.closes.add(Arc::downgrade(conn), at);
    }
}

/// One client connection.
pub(crate) struct Conn {
    transport: Transport,
    place: Place,
    slot: AtomicU32,
    /// Server milliseconds of the last bytes received; of the connection while not logged in.
    last: AtomicU32,
    phase: AtomicU8,
    /// Not being read because of a bound; the idle timer waits too.
    paused: AtomicBool,
    /// Messages, their bytes, and other requests that wait for db-proxy or route.
    messages: AtomicU32,
    message_bytes: AtomicU32,
    queries: AtomicU32,
    query_bytes: AtomicU32,
    resume: Notify,
    session: OnceLock<Session>,
    out: Mutex<Outbound>,
}

impl Conn {
    /// A connection just accepted.
    pub(crate) fn new(transport: Transport, place: Place, now: u32) -> Self {
        Self {
            transport,
            place,
            slot: AtomicU32::new(0),
            last: AtomicU32::new(now),
            phase: AtomicU8::new(Phase::Fresh as u8),
            paused: AtomicBool::new(false),
            messages: AtomicU32::new(0),
            message_bytes: AtomicU32::new(0),
            queries: AtomicU32::new(0),
            query_bytes: AtomicU32::new(0),
            resume: Notify::new(),
            session: OnceLock::new(),
            out: Mutex::new(Outbound::new()),
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn remote(&self) -> IpAddr {
        self.place.remote()
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> u32 {
        self.last.load(Ordering::Relaxed)
    }

    pub(crate) fn touch(&self, now: u32) {
        self.last.store(now, Ordering::Relaxed);
    }

    /// The connection was not read until now. That puts off the end for silence, not that for want of a
    /// login.
    pub(crate) fn was_paused(&self, now: u32) {
        if self.phase() == Phase::Online {
            self.touch(now);
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Fresh,
            1 => Phase::Asking,
            2 => Phase::Online,
            3 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// Steps from one phase to the next; false when it was not in that phase.
    pub(crate) fn step(&self, from: Phase, to: Phase) -> bool {
        self.phase
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The session, from the moment the account is verified.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.get()
    }

    /// Binds the session; false when there is one.
    pub(crate) fn bind(&self, session: Session) -> bool {
        self.session.set(session).is_ok()
    }

    // ---- requests in flight -------------------------------------------------

    pub(crate) fn messages(&self) -> u32 {
        self.messages.load(Ordering::Acquire)
    }

    pub(crate) fn message_bytes(&self) -> u32 {
        self.message_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn queries(&self) -> u32 {
        self.queries.load(Ordering::Acquire)
    }

    pub(crate) fn message_sent(&self, bytes: u32) {
        self.messages.fetch_add(1, Ordering::AcqRel);
        self.message_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn message_done(&self, bytes: u32) {
        self.message_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.wake_reader();
    }

    pub(crate) fn query_bytes(&self) -> u32 {
        self.query_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn query_sent(&self, bytes: u32) {
        self.queries.fetch_add(1, Ordering::AcqRel);
        self.query_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn query_done(&self, bytes: u32) {
        self.query_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.queries.fetch_sub(1, Ordering::AcqRel);
        self.wake_reader();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Waits until `blocked` is false or the connection is closing.
    pub(crate) async fn pause_while(&self, blocked: impl Fn() -> bool) {
        self.paused.store(true, Ordering::SeqCst);
        while blocked() && self.phase() != Phase::Closing {
            self.resume.notified().await;
        }
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Waits so long, or until the connection is closing.
    pub(crate) async fn pause_for(&self, wait: Duration) {
        self.paused.store(true, Ordering::SeqCst);
        let closing = async {
            while self.phase() != Phase::Closing {
                self.resume.notified().await;
            }
        };
        // Either way the wait is over.
        tokio::time::timeout(wait, closing).await.ok();
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Waits until there is room for what all connections send, or until the connection is closing.
    pub(crate) async fn pause_for_room(&self, room: &Room) {
        self.paused.store(true, Ordering::SeqCst);
        let is_closing = || self.phase() == Phase::Closing;
        room.wait(&self.resume, is_closing).await;
        self.paused.store(false, Ordering::SeqCst);
    }

    fn wake_reader(&self) {
        if self.paused.load(Ordering::SeqCst) {
            self.resume.notify_one();
        }
    }

    // ---- ending -------------------------------------------------------------

    /// Appends a last frame, if any, and takes nothing more; false when the connection is closing
    /// already. Follow with [`Self::close`].
    pub(crate) fn end(&self, frame: Option<Bytes>, reason: CloseReason) -> bool {
        let ending = match reason {
            CloseReason::Kick => Ending::Linger,
            CloseReason::Finish => Ending::Finish,
        };
        if !self.out().end(frame, ending) {
            return false;
        }
        self.phase.store(Phase::Closing as u8, Ordering::Release);
        true
    }

    /// Closes an ended connection when its last bytes have left, or when the grace is over.
    pub(crate) fn close(self: &Arc<Self>, output: &Arc<Output>, reason: CloseReason) {
        let config = &output.env.config;
        let grace = match reason {
            CloseReason::Kick => config.kick_grace,
            CloseReason::Finish => config.close_grace,
        };
        self.flush(output);
        self.resume.notify_one();
        output.close_after(self, grace);
    }

    /// Ends the connection at once; its task notices and cleans up.
    pub(crate) fn cut(&self) {
        self.phase.store(Phase::Closing as u8, Ordering::Release);
        self.transport.cut();
        self.resume.notify_one();
    }

    /// The task of the connection is over: nothing is written any more.
    pub(crate) fn forget(&self, output: &Output) {
        let mut out = self.out();
        out.clear();
        output.total.recount(&mut out.counted, 0);
    }
}
