//! Logged-in sessions by user, and all connections by slot.
//!
//! Both are read per delivery and written per login, so the session map is split into shards, each
//! behind a lock that is held for one look-up. No lock is held while a socket is written.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::conn::Conn;

const SHARDS: usize = 64;

/// Spreads numbers that we give out ourselves (user ids, tags): one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        let mixed = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A map by number.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Sessions of one user here: nearly always one.
enum Entry {
    One(Arc<Conn>),
    Many(Vec<Arc<Conn>>),
}

impl Entry {
    fn as_slice(&self) -> &[Arc<Conn>] {
        match self {
            Self::One(conn) => std::slice::from_ref(conn),
            Self::Many(conns) => conns,
        }
    }
}

/// Logged-in sessions by user.
pub(crate) struct SessionMap {
    shards: Vec<Mutex<NumberMap<u32, Entry>>>,
}

impl SessionMap {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    fn shard(&self, user: u32) -> Option<MutexGuard<'_, NumberMap<u32, Entry>>> {
        let shard = self.shards.get(user as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a session of a user.
    pub(crate) fn insert(&self, user: u32, conn: &Arc<Conn>) {
        let Some(mut shard) = self.shard(user) else {
            return;
        };
        match shard.remove(&user) {
            None => shard.insert(user, Entry::One(Arc::clone(conn))),
            Some(Entry::One(first)) => {
                shard.insert(user, Entry::Many(vec![first, Arc::clone(conn)]))
            }
            Some(Entry::Many(mut conns)) => {
                conns.push(Arc::clone(conn));
                shard.insert(user, Entry::Many(conns))
            }
        };
    }

    /// Takes a session of a user out.
    pub(crate) fn remove(&self, user: u32, conn: &Arc<Conn>) {
        let Some(mut shard) = self.shard(user) else {
            return;
        };
        let rest: Vec<Arc<Conn>> = match shard.remove(&user) {
            None => return,
            Some(entry) => entry
                .as_slice()
                .iter()
                .filter(|other| !Arc::ptr_eq(other, conn))
                .cloned()
                .collect(),
        };
        match <[Arc<Conn>; 1]>::try_from(rest) {
            Ok([last]) => {
                shard.insert(user, Entry::One(last));
            }
            Err(rest) if rest.is_empty() => {
                // A storm of logins must not hold its memory for ever.
                if shard.len() * 8 < shard.capacity() {
                    let spare = shard.len() * 2;
                    shard.shrink_to(spare);
                }
            }
            Err(rest) => {
                shard.insert(user, Entry::Many(rest));
            }
        }
    }

    /// Calls `each` for the sessions of one user. `each` must not touch this map.
    pub(crate) fn of_user(&self, user: u32, mut each: impl FnMut(&Arc<Conn>)) {
        if let Some(shard) = self.shard(user)
            && let Some(entry) = shard.get(&user)
        {
            entry.as_slice().iter().for_each(&mut each);
        }
    }

    /// Calls `each` for all sessions. `each` must not touch this map.
    pub(crate) fn all(&self, mut each: impl FnMut(&Arc<Conn>)) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().flat_map(Entry::as_slice).for_each(&mut each);
        }
    }
}

/// All connections; a slot number finds one again.
#[derive(Default)]
pub(crate) struct ConnTable {
    slots: Vec<Option<Arc<Conn>>>,
    free: Vec<u32>,
    len: usize,
}

impl ConnTable {
    /// Adds a connection and tells it its slot.
    pub(crate) fn insert(&mut self, conn: &Arc<Conn>) {
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
    pub(crate) fn remove(&mut self, conn: &Arc<Conn>) {
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

    /// Slots in use or used before.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Open connections.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The connections in `count` slots from `from`; `None` beyond the last slot.
    pub(crate) fn slice(&self, from: usize, count: usize) -> Option<Vec<Arc<Conn>>> {
        if from >= self.slots.len() {
            return None;
        }
        let conns = self.slots.iter().skip(from).take(count);
        Some(conns.filter_map(Option::clone).collect())
    }
}
