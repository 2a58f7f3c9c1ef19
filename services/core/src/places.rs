//! Places for connections by where they come from, so that nobody can hold them all.
//!
//! A place is *silent* until its owner says that it is kept (a session, say). When there is no room,
//! the connection that has been silent longest makes room for a newcomer: whoever has nothing to say
//! loses to whoever has just come. Kept places are never taken away.
//!
//! *Invariants*
//! - At most [`Limits::total`] places are in use; those whose eviction is not over yet come on top, at
//!   most [`Limits::leaving`].
//! - One subscriber ([`Network::host`]) has at most [`Limits::per_address`] places, the subscribers of a
//!   site ([`Network::site`]) [`SITE_FACTOR`] times that.
//! - Beyond its first [`Limits::few`] places a site uses what is not reserved: [`Limits::reserved`]
//!   places are always left to sites with few connections.
//!
//! Pure: no clock (order is what counts), no sockets. Every operation costs the logarithm of the number
//! of silent places. A kept place costs its counts only.

mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use crate::Network;

pub use shared::{Admission, Place};

/// How many times the places of one subscriber those of a site may have.
pub const SITE_FACTOR: usize = 4;

/// Bounds of [`Places`], in connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Places in all.
    pub total: usize,
    /// Places of one IPv4 address or IPv6 /64.
    pub per_address: usize,
    /// Of the total, places that only sites with [`Self::few`] connections get.
    pub reserved: usize,
    /// Connections up to which a site (IPv4 /24, IPv6 /56) may use the reserve.
    pub few: usize,
    /// Evicted connections whose sockets are not closed yet; with more of them nobody else is evicted.
    /// As many as may be accepted before their tasks have a turn.
    pub leaving: usize,
}

/// Why a newcomer got no place, and nobody was silent who could have made room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All places are taken.
    Full,
    /// Those that are not reserved are taken, and the newcomer's site has more than a few.
    Reserved,
    /// The newcomer's address, or its site, has as many as it may.
    Address,
}

/// One connection's claim to its place; give it back with [`Places::leave`].
#[derive(Debug)]
#[must_use = "a ticket that is not given back holds its place for ever"]
pub struct Ticket {
    from: IpAddr,
    /// When it was last heard of; `None` for a kept place.
    silent_since: Option<u64>,
}

/// Who holds which place. `T` is what tells a connection that it was evicted.
#[derive(Debug)]
pub struct Places<T> {
    limits: Limits,
    in_use: usize,
    /// Places of sites beyond their first few.
    crowd: usize,
    /// Evicted, but not gone yet.
    leaving: usize,
    clock: u64,
    silent: BTreeMap<u64, (IpAddr, T)>,
    hosts: HashMap<Network, Held>,
    sites: HashMap<Network, Held>,
}

/// The places of one network.
#[derive(Debug, Default)]
struct Held {
    open: usize,
    silent: BTreeSet<u64>,
}

impl<T> Places<T> {
    /// Empty places. A reserve beyond the total leaves to each site its few.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_use: 0,
            crowd: 0,
            leaving: 0,
            clock: 0,
            silent: BTreeMap::new(),
            hosts: HashMap::new(),
            sites: HashMap::new(),
        }
    }

    /// A connection has come. Gives it a place, silent from now on, and what tells the connection that
    /// loses its own for it, if one does.
    ///
    /// # Errors
    /// The places of its network or all of them are taken, and nobody may give way.
    pub fn enter(&mut self, from: IpAddr, evict: T) -> Result<(Ticket, Option<T>), Refusal> {
        let victim = self.room_for(from)?;
        let evicted = match victim {
            Some(_) if self.leaving >= self.limits.leaving => return Err(Refusal::Full),
            Some(victim) => self.evict(victim),
            None => None,
        };
        let silent_since = self.tick();
        self.count(from, silent_since);
        self.silent.insert(silent_since, (from, evict));
        let ticket = Ticket {
            from,
            silent_since: Some(silent_since),
        };
        Ok((ticket, evicted))
    }

    /// The connection has said something: it is now the one silent for the shortest time. Nothing for a
    /// kept or an evicted one.
    pub fn heard(&mut self, ticket: &mut Ticket) {
        let Some(before) = ticket.silent_since else {
            return;
        };
        let Some(entry) = self.silent.remove(&before) else {
            return;
        };
        let now = self.tick();
        self.silent.insert(now, entry);
        for held in self.held(ticket.from) {
            held.silent.remove(&before);
            held.silent.insert(now);
        }
        ticket.silent_since = Some(now);
    }

    /// The place is not taken away any more. False for a connection that was evicted already.
    pub fn keep(&mut self, ticket: &mut Ticket) -> bool {
        let Some(since) = ticket.silent_since else {
            return true;
        };
        if self.silent.remove(&since).is_none() {
            return false;
        }
        for held in self.held(ticket.from) {
            held.silent.remove(&since);
        }
        ticket.silent_since = None;
        true
    }

    /// The connection is gone, its socket closed.
    pub fn leave(&mut self, ticket: Ticket) {
        match ticket.silent_since {
            Some(since) if self.silent.remove(&since).is_none() => self.leaving -= 1,
            since => self.discount(ticket.from, since),
        }
    }

    /// Connections in their places, evicted ones not counted.
    pub const fn in_use(&self) -> usize {
        self.in_use
    }

    /// Evicted connections that are not gone yet.
    pub const fn leaving(&self) -> usize {
        self.leaving
    }

    /// Whether somebody must go for a newcomer from there, and who.
    fn room_for(&self, from: IpAddr) -> Result<Option<u64>, Refusal> {
        let (host, site) = (Network::host(from), Network::site(from));
        let limits = &self.limits;
        let open = |held: &HashMap<Network, Held>, network| {
            held.get(&network).map_or(0, |held: &Held| held.open)
        };
        let oldest = |held: &HashMap<Network, Held>, network| {
            let held: &Held = held.get(&network)?;
            held.silent.first().copied()
        };
        if open(&self.hosts, host) >= limits.per_address {
            let oldest = oldest(&self.hosts, host).ok_or(Refusal::Address)?;
            return Ok(Some(oldest));
        }
        let of_site = open(&self.sites, site);
        if of_site >= limits.per_address.saturating_mul(SITE_FACTOR) {
            let oldest = oldest(&self.sites, site).ok_or(Refusal::Address)?;
            return Ok(Some(oldest));
        }
        let first = self.silent.first_key_value();
        if of_site >= limits.few && self.crowd >= limits.total.saturating_sub(limits.reserved) {
            let of_a_crowd =
                first.filter(|(_, (from, _))| open(&self.sites, Network::site(*from)) > limits.few);
            let victim = of_a_crowd
                .map(|(since, _)| *since)
                .or_else(|| oldest(&self.sites, site))
                .ok_or(Refusal::Reserved)?;
            return Ok(Some(victim));
        }
        if self.in_use >= limits.total {
            let (since, _) = first.ok_or(Refusal::Full)?;
            return Ok(Some(*since));
        }
        Ok(None)
    }

    fn evict(&mut self, since: u64) -> Option<T> {
        let (from, evict) = self.silent.remove(&since)?;
        self.discount(from, Some(since));
        self.leaving += 1;
        Some(evict)
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn held(&mut self, from: IpAddr) -> impl Iterator<Item = &mut Held> {
        let host = self.hosts.get_mut(&Network::host(from));
        let site = self.sites.get_mut(&Network::site(from));
        host.into_iter().chain(site)
    }

    fn count(&mut self, from: IpAddr, since: u64) {
        self.in_use += 1;
        self.hosts
            .entry(Network::host(from))
            .or_default()
            .add(since);
        let site = self.sites.entry(Network::site(from)).or_default();
        site.add(since);
        if site.open > self.limits.few {
            self.crowd += 1;
        }
    }

    fn discount(&mut self, from: IpAddr, since: Option<u64>) {
        self.in_use -= 1;
        remove(&mut self.hosts, Network::host(from), since);
        if remove(&mut self.sites, Network::site(from), since) > self.limits.few {
            self.crowd -= 1;
        }
    }
}

impl Held {
    fn add(&mut self, since: u64) {
        self.open += 1;
        self.silent.insert(since);
    }
}

/// Takes a place from a network and tells how many it had. A network without any is forgotten, and the
/// memory of a past crowd given back.
fn remove<K: Eq + Hash>(all: &mut HashMap<K, Held>, key: K, since: Option<u64>) -> usize {
    let Some(held) = all.get_mut(&key) else {
        return 0;
    };
    let before = held.open;
    held.open -= 1;
    if let Some(since) = since {
        held.silent.remove(&since);
    }
    if held.open == 0 {
        all.remove(&key);
        if all.capacity() > 1_024 && all.len() < all.capacity() / 8 {
            all.shrink_to(all.len() * 2);
        }
    }
    before
}

#[cfg(test)]
mod tests;
