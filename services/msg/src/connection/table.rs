//! All connections; a slot number finds one again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::conn::{Conn, Output};

/// The connections of this server.
pub(crate) struct Connections {
    pub(crate) output: Arc<Output>,
    table: Mutex<ConnTable>,
}

impl Connections {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        Self {
            output,
            table: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, ConnTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is there.
    pub(crate) fn opened(&self, conn: &Arc<Conn>) {
        self.table().insert(conn);
        let metrics = &self.output.env.metrics;
        metrics.accepted.inc();
        metrics.connections.inc();
    }

    /// The task of a connection is over: nothing is written any more.
    pub(crate) fn closed(&self, conn: &Arc<Conn>) {
        self.table().remove(conn);
        self.output.env.metrics.connections.dec();
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
