//! [`Places`] that the tasks of connections share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Limits, Places, Refusal, Ticket};

/// The places of one port. Clones are the same places; the lock is held for one operation at a time.
#[derive(Debug)]
pub struct Admission<T>(Arc<Mutex<Places<T>>>);

impl<T> Clone for Admission<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Admission<T> {
    /// Empty places with these bounds.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Places::new(limits))))
    }

    /// A place for a connection, and what tells another one that it lost its own for it.
    ///
    /// # Errors
    /// When there is none and nobody silent can make room.
    pub fn enter(&self, from: IpAddr, evict: T) -> Result<(Place<T>, Option<T>), Refusal> {
        let (ticket, evicted) = self.lock().enter(from, evict)?;
        let place = Place {
            places: self.clone(),
            ticket: Some(ticket),
        };
        Ok((place, evicted))
    }

    /// Connections in their places, evicted ones not counted.
    pub fn in_use(&self) -> usize {
        self.lock().in_use()
    }

    fn lock(&self) -> MutexGuard<'_, Places<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, given back when it is dropped: after the socket.
#[derive(Debug)]
pub struct Place<T> {
    places: Admission<T>,
    ticket: Option<Ticket>,
}

impl<T> Place<T> {
    /// The connection has said something.
    pub fn heard(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            self.places.lock().heard(ticket);
        }
    }

    /// The connection is not evicted any more; false if it was already.
    pub fn keep(&mut self) -> bool {
        self.ticket
            .as_mut()
            .is_some_and(|ticket| self.places.lock().keep(ticket))
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.places.lock().leave(ticket);
        }
    }
}
