//! All connections; a slot number finds one again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::conn::{Conn, Output, Phase};

/// Connections looked at to find one that may go.
const EVICT_LOOK: usize = 4_096;

fn is_fresh(conn: &Weak<Conn>) -> bool {
    let conn = conn.upgrade();
    conn.is_some_and(|conn| matches!(conn.phase(), Phase::Fresh | Phase::Asking))
}

/// The connections of this server.
pub(crate) struct Connections {
    pub(crate) output: Arc<Output>,
    table: Mutex<ConnTable>,
    /// Those that have not logged in, by age; some that have since.
    fresh: Mutex<VecDeque<Weak<Conn>>>,
}

impl Connections {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        Self {
            output,
            table: Mutex::default(),
            fresh: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, ConnTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is there.
    pub(crate) fn opened(&self, conn: &Arc<Conn>) {
        self.table().insert(conn);
        self.output.env.metrics.accepted.inc();
        let mut fresh = self.fresh();
        while fresh.front().is_some_and(|oldest| !is_fresh(oldest)) {
            fresh.pop_front();
        }
        fresh.push_back(Arc::downgrade(conn));
    }

    /// Cuts the connection that has been silent for longest among those that have not sent a login
    /// and that `may_go` names; false when there is none.
    pub(crate) fn evict(&self, may_go: impl Fn(&Conn) -> bool) -> bool {
        let mut fresh = self.fresh();
        let oldest = fresh.iter().take(EVICT_LOOK).position(|conn| {
            let conn = conn.upgrade();
            conn.is_some_and(|conn| conn.phase() == Phase::Fresh && may_go(&conn))
        });
        let Some(conn) = oldest.and_then(|oldest| fresh.remove(oldest)) else {
            return false;
        };
        drop(fresh);
        if let Some(conn) = conn.upgrade() {
            conn.cut();
        }
        true
    }

    fn fresh(&self) -> MutexGuard<'_, VecDeque<Weak<Conn>>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of a connection is over: nothing is written any more.
    pub(crate) fn closed(&self, conn: &Arc<Conn>) {
        self.table().remove(conn);
        conn.forget(&self.output);
    }

    /// Open connections.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.table().len).unwrap_or(u32::MAX)
    }

    /// The connections in `count` slots from `from`; `None` beyond the last slot.
    pub(crate) fn slice(&self, from: usize, count: usize) -> Option<Vec<Arc<Conn>>> {
        self.table().slice(from, count)
    }

    /// Slots in use or used before.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.table().slots.len()
    }
}

/// All connections; a slot number finds one again.
#[derive(Default)]
struct ConnTable {
    slots: Vec<Option<Arc<Conn>>>,
    free: Vec<u32>,
    len: usize,
}

impl ConnTable {
    /// Adds a connection and tells it its slot.
    fn insert(&mut self, conn: &Arc<Conn>) {
        self.len += 1;
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            conn.set_slot(slot);
            *place = Some(Arc::clone(conn));
            return;
        }
        conn.set_slot(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.slots.push(Some(Arc::clone(conn)));
    }

    /// Takes a connection out.
    fn remove(&mut self, conn: &Arc<Conn>) {
        let slot = conn.slot();
        if let Some(place) = self.slots.get_mut(slot as usize)
            && place.as_ref().is_some_and(|other| Arc::ptr_eq(other, conn))
        {
            *place = None;
            self.free.push(slot);
            self.len -= 1;
        }
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// The connections in `count` slots from `from`; `None` beyond the last slot.
    fn slice(&self, from: usize, count: usize) -> Option<Vec<Arc<Conn>>> {
        if from >= self.slots.len() {
            return None;
        }
        let conns = self.slots.iter().skip(from).take(count);
        Some(conns.filter_map(Option::clone).collect())
    }
}
