//! Logged-in sessions by user.
//!
//! Read per delivery and written per login, so the map is split into shards, each behind a lock that
//! is held for one look-up. No lock is held while a socket is written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection::Conn;
use crate::ids::NumberMap;

const SHARDS: usize = 64;

/// Shards of one slice: 100,000 sessions are gone through in 16 steps.
const SLICE: usize = 4;

/// The slice in which the sessions of a user are; the same at every msg server of this version.
pub(crate) const fn slice_of(user: u32) -> usize {
    user as usize % SHARDS / SLICE
}

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
    #[cfg(test)]
    pub(crate) fn all(&self, mut each: impl FnMut(&Arc<Conn>)) {
        let mut slice = 0;
        while self.slice(slice, &mut each) {
            slice += 1;
        }
    }

    /// Calls `each` for one slice of all sessions; false beyond the last. `each` must not touch this
    /// map.
    pub(crate) fn slice(&self, slice: usize, mut each: impl FnMut(&Arc<Conn>)) -> bool {
        let shards = self.shards.chunks(SLICE).nth(slice);
        for shard in shards.unwrap_or_default() {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().flat_map(Entry::as_slice).for_each(&mut each);
        }
        shards.is_some()
    }
}
