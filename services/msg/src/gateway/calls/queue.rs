//! The queues and what is in flight. Pure bookkeeping.

use std::collections::VecDeque;

use im_proto_rpc::v1::{Answer, Cancel, DbCall, Send, Taken, db_call::Call};

use super::{Bounds, Caller, InFlight, Sending};
use crate::connection::{Conn, Phase};
use crate::ids::NumberMap;

/// Bytes of answers that were taken off the link of which db-proxy is told at once; fewer go with other
/// calls. Much less than it lets wait.
const TELL_TAKEN: u64 = 64 << 10;

/// Number of no batch: of a message that has left the window.
const NO_BATCH: u64 = 0;

/// Classes of calls other than messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Requests of clients.
    Query,
    /// Logins.
    Login,
    /// What this server asks and tells for itself, one at a time of each kind but files.
    Own,
}

/// A call that is not sent yet.
pub(super) struct Waiting {
    call: Call,
    caller: Caller,
    bytes: u32,
}

impl Waiting {
    pub(super) fn new(call: Call, caller: Caller, bytes: u32) -> Self {
        Self {
            call,
            caller,
            bytes,
        }
    }

    /// Whether nobody waits for it any more.
    fn is_gone(&self) -> bool {
        let Some(conn) = self.caller.conn() else {
            return false;
        };
        conn.upgrade()
            .is_none_or(|conn| conn.phase() == Phase::Closing)
    }
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
}

#[derive(Default)]
pub(super) struct Queue {
    sends: VecDeque<Sending>,
    queries: Lane,
    logins: Lane,
    own: Lane,
    in_flight: NumberMap<u64, InFlight>,
    /// Tags in flight by the address of their connection, while it is there.
    by_conn: NumberMap<usize, Vec<u64>>,
    /// Tags that db-proxy need not answer any more.
    cancelled: Vec<u64>,
    /// Bytes of answers that were taken off the link, and of which db-proxy does not know.
    taken: u64,
    /// Batches with messages that are not answered: number and messages left.
    window: VecDeque<(u64, usize)>,
    last_tag: u64,
    last_batch: u64,
}

impl Queue {
    fn lane(&mut self, class: Class) -> &mut Lane {
        match class {
            Class::Query => &mut self.queries,
            Class::Login => &mut self.logins,
            Class::Own => &mut self.own,
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.sends.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Calls of a class, waiting and in flight.
    pub(super) fn open(&mut self, class: Class) -> usize {
        let lane = self.lane(class);
        lane.waiting.len() + lane.in_flight
    }

    pub(super) fn push_message(&mut self, sending: Sending) {
        self.sends.push_back(sending);
    }

    pub(super) fn push(&mut self, class: Class, call: Waiting) {
        self.lane(class).waiting.push_back(call);
    }

    /// The calls of the next batch, and the callers that had gone before theirs were sent.
    pub(super) fn take_batch(&mut self, bounds: Bounds) -> (Vec<DbCall>, Vec<Caller>) {
        let mut calls = Vec::new();
        let mut gone = Vec::new();
        let n = self.cancelled.len().min(bounds.calls);
        calls.extend(self.cancelled.drain(..n).map(|tag| DbCall {
            tag: 0,
            call: Some(Call::Cancel(Cancel { tag })),
        }));
        self.take_messages(bounds, &mut calls);
        // Half a link's bound is for messages, half for all others.
        let mut room = Room {
            calls: bounds.calls,
            bytes: bounds.bytes,
            is_first: true,
        };
        for (class, most) in [
            (Class::Own, usize::MAX),
            (Class::Login, bounds.logins),
            (Class::Query, bounds.queries),
        ] {
            self.take_others(class, most, &mut room, &mut calls, &mut gone);
        }
        if self.taken >= TELL_TAKEN || (self.taken > 0 && !calls.is_empty()) {
            let bytes = std::mem::take(&mut self.taken);
            calls.push(DbCall {
                tag: 0,
                call: Some(Call::Taken(Taken { bytes })),
            });
        }
        (calls, gone)
    }

    fn take_messages(&mut self, bounds: Bounds, calls: &mut Vec<DbCall>) {
        if self.window.len() >= bounds.window || self.sends.is_empty() {
            return;
        }
        self.last_batch += 1;
        let batch = self.last_batch;
        let (mut n, mut bytes) = (0, 0);
        while let Some(next) = self.sends.front() {
            bytes += next.bytes as usize;
            if n >= bounds.calls || (bytes > bounds.bytes && n > 0) {
                break;
            }
            let Some(sending) = self.sends.pop_front() else {
                break;
            };
            n += 1;
            self.last_tag += 1;
            let tag = self.last_tag;
            calls.push(DbCall {
                tag,
                call: Some(Call::Send(sending.send.clone())),
            });
            self.in_flight
                .insert(tag, InFlight::Send { sending, batch });
        }
        self.window.push_back((batch, n));
    }

    fn take_others(
        &mut self,
        class: Class,
        most: usize,
        room: &mut Room,
        calls: &mut Vec<DbCall>,
        gone: &mut Vec<Caller>,
    ) {
        loop {
            let lane = self.lane(class);
            if lane.in_flight >= most {
                return;
            }
            let Some(next) = lane.waiting.front() else {
                return;
            };
            let is_gone = next.is_gone();
            if !is_gone && !room.take(next.bytes as usize) {
                return;
            }
            let Some(Waiting { call, caller, .. }) = lane.waiting.pop_front() else {
                return;
            };
            if is_gone {
                gone.push(caller);
                continue;
            }
            lane.in_flight += 1;
            self.last_tag += 1;
            let tag = self.last_tag;
            if let Some(conn) = caller.conn() {
                let tags = self.by_conn.entry(address(conn.as_ptr())).or_default();
                tags.push(tag);
            }
            calls.push(DbCall {
                tag,
                call: Some(call),
            });
            self.in_flight.insert(tag, InFlight::Other(caller));
        }
    }

    fn lane_of(&mut self, caller: &Caller) -> &mut Lane {
        self.lane(match caller {
            Caller::Client { .. } | Caller::Told { .. } | Caller::Nobody => Class::Query,
            Caller::Login(_) => Class::Login,
            Caller::Log
            | Caller::CatchUp
            | Caller::Related
            | Caller::File { .. }
            | Caller::Sessions(_) => Class::Own,
        })
    }

    /// Takes an answer off the link: gives it back when it is the last part, or the only one.
    pub(super) fn part(&mut self, tag: u64, answer: Answer) -> Option<Answer> {
        self.taken += u64::from(answer.counts);
        if !answer.unfinished {
            return Some(answer);
        }
        // Of one that nobody waits for any more, nothing is kept.
        if let Some(InFlight::Other(Caller::Client { parts, .. })) = self.in_flight.get_mut(&tag) {
            parts.push(answer);
        }
        None
    }

    /// The results of these messages come later: no other one waits for them.
    pub(super) fn held(&mut self, tags: &[u64]) {
        for tag in tags {
            if let Some(InFlight::Send { batch, .. }) = self.in_flight.get_mut(tag) {
                let batch = std::mem::replace(batch, NO_BATCH);
                self.leave_window(batch);
            }
        }
    }

    /// A message of a batch is answered, or is not waited for.
    fn leave_window(&mut self, batch: u64) {
        if let Some(entry) = self.window.iter_mut().find(|(number, _)| *number == batch) {
            entry.1 -= 1;
            if entry.1 == 0 {
                self.window.retain(|(_, left)| *left != 0);
            }
        }
    }

    /// Takes the call that a result belongs to.
    pub(super) fn complete(&mut self, tag: u64) -> Option<InFlight> {
        let done = self.in_flight.remove(&tag)?;
        match &done {
            InFlight::Send { batch, .. } => self.leave_window(*batch),
            InFlight::Other(caller) => {
                self.lane_of(caller).in_flight -= 1;
                if let Some(conn) = caller.conn() {
                    let key = address(conn.as_ptr());
                    if let Some(tags) = self.by_conn.get_mut(&key) {
                        tags.retain(|other| *other != tag);
                        if tags.is_empty() {
                            self.by_conn.remove(&key);
                        }
                    }
                }
            }
        }
        Some(done)
    }

    /// A connection has gone: returns the callers of its calls that were in flight. What still waits
    /// is skipped when its turn comes.
    pub(super) fn cancel(&mut self, conn: *const Conn) -> Vec<Caller> {
        let Some(tags) = self.by_conn.remove(&address(conn)) else {
            return Vec::new();
        };
        let mut callers = Vec::new();
        for tag in tags {
            if let Some(InFlight::Other(caller)) = self.in_flight.remove(&tag) {
                self.lane_of(&caller).in_flight -= 1;
                callers.push(caller);
                self.cancelled.push(tag);
            }
        }
        callers
    }

    /// See [`super::Calls::link_lost`].
    pub(super) fn link_lost(&mut self) -> (Vec<Sending>, Vec<Caller>) {
        self.window.clear();
        self.by_conn = NumberMap::default();
        self.cancelled = Vec::new();
        self.taken = 0;
        let mut in_flight: Vec<(u64, InFlight)> =
            std::mem::take(&mut self.in_flight).into_iter().collect();
        in_flight.sort_unstable_by_key(|(tag, _)| *tag);
        let (mut again, mut lost, mut callers) = (Vec::new(), Vec::new(), Vec::new());
        for (_, call) in in_flight {
            match call {
                InFlight::Send { sending, .. } if may_repeat(&sending.send) => again.push(sending),
                InFlight::Send { sending, .. } => lost.push(sending),
                InFlight::Other(caller) => callers.push(caller),
            }
        }
        for sending in again.into_iter().rev() {
            self.sends.push_front(sending);
        }
        for lane in [&mut self.queries, &mut self.logins, &mut self.own] {
            let waiting = std::mem::take(lane).waiting.into_iter();
            callers.extend(waiting.map(|waiting| waiting.caller));
        }
        (lost, callers)
    }

    /// See [`super::Calls::expired`].
    pub(super) fn expired(&mut self, is_old: impl Fn(u32) -> bool) -> Vec<Sending> {
        let old = |sending: &&Sending| is_old(sending.since);
        let n_old = self.sends.iter().take_while(old).count();
        self.sends.drain(..n_old).collect()
    }
}

/// What is left of a batch.
struct Room {
    calls: usize,
    bytes: usize,
    is_first: bool,
}

impl Room {
    /// Takes a call of this length; the first always fits.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.calls > 0 && (bytes <= self.bytes || self.is_first);
        if fits {
            self.calls -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
            self.is_first = false;
        }
        fits
    }
}

/// Names a connection while anything of it is kept.
fn address(conn: *const Conn) -> usize {
    conn.addr()
}

/// Whether db-proxy recognises this message when it comes twice.
fn may_repeat(send: &Send) -> bool {
    send.client_seq != 0 || !send.client_msg_id.is_empty()
}
