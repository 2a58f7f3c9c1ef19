//! Sessions whose connection had no room for a message: they get what they missed from the log.
//!
//! Such a session is left out of deliveries; its cursor stays before the first message that it missed.
//! As soon as its connection has taken half of what waits, pages of the log are read from there, one at a
//! time for all sessions that are behind. It is back when its cursor has reached the last message that
//! was left out. One that does not get there in time is closed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use im_order::CommitSeq;
use im_proto_rpc::v1::LogPage;
use tokio::time::Instant;

use super::Delivery;
use super::push::message_frame;
use crate::connection::{Appended, Conn, Phase, Session};
use crate::ids::NumberMap;

/// Connections are looked at this often.
const LOOK: Duration = Duration::from_millis(20);

struct Entry {
    conn: Weak<Conn>,
    since: Instant,
    /// The last message that was left out.
    skipped: CommitSeq,
    /// It takes part in the page that is being read.
    reads: bool,
}

/// All sessions that are behind, by epoch.
#[derive(Default)]
pub(super) struct Behind {
    sessions: NumberMap<u64, Entry>,
    /// When the page in flight was asked for.
    reading: Option<Instant>,
    next: Option<Instant>,
}

impl Behind {
    /// A message did not fit: the session is behind from here on.
    pub(super) fn add(&mut self, conn: &Arc<Conn>, session: &Session, seq: CommitSeq) {
        session.start_at(seq.previous());
        session.set_behind(true);
        let entry = Entry {
            conn: Arc::downgrade(conn),
            since: Instant::now(),
            skipped: seq,
            reads: false,
        };
        self.sessions.insert(session.epoch, entry);
        self.next.get_or_insert_with(|| Instant::now() + LOOK);
    }

    /// A message was left out.
    pub(super) fn skipped(&mut self, session: &Session, seq: CommitSeq) {
        if let Some(entry) = self.sessions.get_mut(&session.epoch) {
            entry.skipped = entry.skipped.max(seq);
        }
    }

    /// The page in flight will not come.
    pub(super) fn forget_page(&mut self) {
        self.reading = None;
    }

    /// When the sessions are to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }
}

impl Delivery {
    /// Reads on for sessions that have room again.
    pub(super) fn catch_up(&mut self) {
        let now = Instant::now();
        if self.behind.next.is_none_or(|next| now < next) {
            return;
        }
        let config = &self.gateway.env.config;
        let limit = Duration::from(config.catch_up_time);
        let output = &self.gateway.output;
        self.behind.sessions.retain(|_, entry| {
            let Some(conn) = entry.conn.upgrade() else {
                return false;
            };
            if conn.phase() > Phase::Online {
                return false;
            }
            let is_late = now >= entry.since + limit;
            if is_late {
                conn.give_up(output);
            }
            !is_late
        });
        let is_over = self.behind.sessions.is_empty();
        self.behind.next = (!is_over).then_some(now + LOOK);
        let timeout = config.pull_timeout.duration();
        let is_waiting = |since: Instant| now < since + timeout;
        if is_over || self.behind.reading.is_some_and(is_waiting) || !self.gateway.db.is_up() {
            return;
        }
        let half = config.push_budget.as_usize() / 2;
        let mut after = None;
        for entry in self.behind.sessions.values_mut() {
            let conn = entry.conn.upgrade().filter(|conn| conn.queued() <= half);
            let cursor = conn.and_then(|conn| conn.session().map(Session::cursor));
            entry.reads = cursor.is_some();
            after = after.into_iter().chain(cursor).min();
        }
        if let Some(after) = after {
            self.behind.reading = Some(now);
            self.gateway.db.catch_up(after, config.pull_page);
        }
    }

    /// A page for sessions that are behind is here, or will not come.
    pub(super) fn caught_up(&mut self, page: Option<&LogPage>) {
        self.behind.reading = None;
        let Some(page) = page else { return };
        // The next page at once, if there is one.
        self.behind.next = Some(Instant::now());
        let gateway = &self.gateway;
        let touched = &mut self.touched;
        let sessions = &mut self.behind.sessions;
        let mut pushed = 0;
        for message in &page.messages {
            let seq = CommitSeq::from_wire(message.seq);
            for user in &message.recipients {
                gateway.sessions.of_user(*user, |conn| {
                    let Some(session) = conn.session() else {
                        return;
                    };
                    let Some(entry) = sessions.get_mut(&session.epoch) else {
                        return;
                    };
                    if !entry.reads || session.epoch == message.origin || !session.advance(seq) {
                        return;
                    }
                    match conn.message(&gateway.output, message_frame(message)) {
                        Appended::First => touched.add(conn),
                        Appended::Full => {
                            session.start_at(seq.previous());
                            entry.reads = false;
                            return;
                        }
                        _ => {}
                    }
                    pushed += 1;
                });
            }
        }
        gateway.env.metrics.messages_out.inc_by(pushed);
        let through = CommitSeq::from_wire(page.through);
        sessions.retain(|_, entry| {
            let conn = entry.conn.upgrade();
            let Some(session) = conn.as_ref().and_then(|conn| conn.session()) else {
                return false;
            };
            if !entry.reads {
                return true;
            }
            session.start_at(session.cursor().max(through));
            let is_back = session.cursor() >= entry.skipped;
            session.set_behind(!is_back);
            !is_back
        });
    }
}
