//! Parts of frames that connections keep until the rest arrives, before and after login.
//!
//! Each part is bounded by the longest frame; all of them together by a total. Beyond it whoever keeps a
//! part for longest is cut: an honest client sends the rest of a frame at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::conn::Conn;

struct Part {
    conn: Weak<Conn>,
    bytes: usize,
}

#[derive(Default)]
struct Lane {
    /// By age.
    parts: BTreeMap<u64, Part>,
    bytes: usize,
    last: u64,
}

/// All parts, of connections before login and after it.
pub(crate) struct Partials {
    most: [usize; 2],
    lanes: [Mutex<Lane>; 2],
}

/// What one connection keeps, as counted.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    /// Twice its number in its lane, and 1 for the lane after login; 0 = nothing is counted.
    code: u64,
}

impl Ticket {
    fn new(number: u64, is_online: bool) -> Self {
        Self {
            code: 2 * number + u64::from(is_online),
        }
    }

    fn is_none(&self) -> bool {
        self.code == 0
    }

    fn number(&self) -> u64 {
        self.code / 2
    }

    fn is_online(&self) -> bool {
        self.code % 2 == 1
    }
}

impl Partials {
    /// Totals before login and after it, bytes.
    pub(crate) fn new(before: usize, after: usize) -> Self {
        Self {
            most: [before, after],
            lanes: Default::default(),
        }
    }

    fn lane(&self, is_online: bool) -> MutexGuard<'_, Lane> {
        let [before, after] = &self.lanes;
        let lane = if is_online { after } else { before };
        lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a connection keeps now; returns those that are to be cut.
    pub(super) fn keep(
        &self,
        ticket: &mut Ticket,
        conn: &Arc<Conn>,
        is_online: bool,
        bytes: usize,
    ) -> Vec<Arc<Conn>> {
        if ticket.is_none() && bytes == 0 {
            return Vec::new();
        }
        if ticket.is_online() != is_online || bytes == 0 {
            self.release(ticket);
        }
        if bytes == 0 {
            return Vec::new();
        }
        let [before, after] = self.most;
        let most = if is_online { after } else { before };
        let mut lane = self.lane(is_online);
        if ticket.is_none() {
            lane.last += 1;
            *ticket = Ticket::new(lane.last, is_online);
            let conn = Arc::downgrade(conn);
            lane.parts.insert(ticket.number(), Part { conn, bytes: 0 });
        }
        let Some(part) = lane.parts.get_mut(&ticket.number()) else {
            // It is being cut.
            return Vec::new();
        };
        let counted = std::mem::replace(&mut part.bytes, bytes);
        lane.bytes = lane.bytes - counted + bytes;
        let mut oldest = Vec::new();
        while lane.bytes > most
            && let Some((_, part)) = lane.parts.pop_first()
        {
            lane.bytes -= part.bytes;
            oldest.extend(part.conn.upgrade());
        }
        oldest
    }

    /// A connection keeps nothing any more.
    pub(super) fn release(&self, ticket: &mut Ticket) {
        if ticket.is_none() {
            return;
        }
        let mut lane = self.lane(ticket.is_online());
        if let Some(part) = lane.parts.remove(&ticket.number()) {
            lane.bytes -= part.bytes;
        }
        *ticket = Ticket::default();
    }

    /// Bytes that are kept, before login and after it.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.lane(false).bytes, self.lane(true).bytes)
    }
}
