//! A bounded room for what waits, which nobody fills alone.
//!
//! When it is full, a newcomer takes the place of the newest entry of whoever has most: of the subscriber
//! ([`Network::host`]) that has most, of the site ([`Network::site`]) that has most. So it is as if that
//! entry had been refused when it came. A newcomer who has about as much as anybody is refused.
//!
//! *Invariants*
//! - At most so many entries are in the room as it was made for.
//! - Nobody gives up a place for somebody who then has more than they have.
//!
//! Pure: no clock, no sockets. Every operation costs the logarithm of the number of networks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Network;

/// The room. Clones are the same room; the lock is held for one operation at a time. `T` is what tells an
/// entry that it has lost its place.
#[derive(Debug)]
pub struct Shares<T>(Arc<Mutex<Room<T>>>);

impl<T> Clone for Shares<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shares<T> {
    /// An empty room for so many entries.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Room {
            most,
            len: 0,
            last: 0,
            sites: Largest::default(),
        })))
    }

    /// A place for an entry from there, and what tells another one that it lost its own for it.
    ///
    /// # Errors
    /// The entry, when there is no room and nobody has clearly more.
    pub fn enter(&self, from: IpAddr, entry: T) -> Result<(Share<T>, Option<T>), T> {
        let (number, loser) = self.lock().enter(from, entry)?;
        let share = Share {
            room: self.clone(),
            from,
            number,
        };
        Ok((share, loser))
    }

    /// Entries in the room.
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Whether nobody is in the room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Room<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one entry, given back when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Share<T> {
    room: Shares<T>,
    from: IpAddr,
    number: u64,
}

impl<T> Drop for Share<T> {
    fn drop(&mut self) {
        // Nothing, if it has lost its place. What was in it is dropped without the lock.
        let entry = self.room.lock().remove(self.from, self.number);
        drop(entry);
    }
}

#[derive(Debug)]
struct Room<T> {
    most: usize,
    len: usize,
    /// Number of the last entry.
    last: u64,
    sites: Largest<Largest<BTreeMap<u64, T>>>,
}

impl<T> Room<T> {
    fn enter(&mut self, from: IpAddr, entry: T) -> Result<(u64, Option<T>), T> {
        let loser = if self.len < self.most {
            None
        } else {
            match self.make_room(from) {
                Some(loser) => Some(loser),
                None => return Err(entry),
            }
        };
        self.last += 1;
        let number = self.last;
        self.sites.change(Network::site(from), |hosts| {
            hosts.change(Network::host(from), |entries| entries.insert(number, entry))
        });
        self.len += 1;
        Ok((number, loser))
    }

    /// Takes the newest entry of whoever has clearly more than somebody from there.
    fn make_room(&mut self, from: IpAddr) -> Option<T> {
        let (site, host) = (Network::site(from), Network::host(from));
        let own = self.sites.of(site);
        let largest = self.sites.largest(Held::count(own) + 1);
        let (site, host) = match largest {
            Some(site) => (site, self.sites.of(site)?.largest(0)?),
            // Among themselves.
            None => {
                let own = own?;
                (site, own.largest(Held::count(own.of(host)) + 1)?)
            }
        };
        let newest = *self.sites.of(site)?.of(host)?.last_key_value()?.0;
        self.take(site, host, newest)
    }

    fn remove(&mut self, from: IpAddr, number: u64) -> Option<T> {
        self.take(Network::site(from), Network::host(from), number)
    }

    fn take(&mut self, site: Network, host: Network, number: u64) -> Option<T> {
        let taken = self.sites.change(site, |hosts| {
            hosts.change(host, |entries| entries.remove(&number))
        });
        self.len -= usize::from(taken.is_some());
        taken
    }
}

/// What is kept of a network.
trait Held: Default {
    /// Entries in it.
    fn entries(&self) -> usize;

    /// Entries of what is kept, none if nothing is.
    fn count(held: Option<&Self>) -> usize {
        held.map_or(0, Self::entries)
    }
}

impl<T> Held for BTreeMap<u64, T> {
    fn entries(&self) -> usize {
        self.len()
    }
}

impl<H: Held> Held for Largest<H> {
    fn entries(&self) -> usize {
        self.entries
    }
}

/// Networks by what they hold.
#[derive(Debug)]
struct Largest<H> {
    networks: HashMap<Network, H>,
    by_entries: BTreeSet<(usize, Network)>,
    entries: usize,
}

impl<H> Default for Largest<H> {
    fn default() -> Self {
        Self {
            networks: HashMap::new(),
            by_entries: BTreeSet::new(),
            entries: 0,
        }
    }
}

impl<H: Held> Largest<H> {
    fn of(&self, network: Network) -> Option<&H> {
        self.networks.get(&network)
    }

    /// The network that has most, if that is more than this.
    fn largest(&self, than: usize) -> Option<Network> {
        let (entries, network) = self.by_entries.last()?;
        (*entries > than).then_some(*network)
    }

    /// Changes what is kept of a network; nothing is kept of one without entries.
    fn change<R>(&mut self, network: Network, change: impl FnOnce(&mut H) -> R) -> R {
        let held = self.networks.entry(network).or_default();
        let before = held.entries();
        let changed = change(held);
        let after = held.entries();
        self.by_entries.remove(&(before, network));
        if after == 0 {
            self.networks.remove(&network);
        } else {
            self.by_entries.insert((after, network));
        }
        self.entries = self.entries + after - before;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    type Kept = Vec<Share<&'static str>>;

    /// Has somebody come in, who gets a place; says who has lost one.
    fn enter(
        room: &Shares<&'static str>,
        kept: &mut Kept,
        from: &str,
        name: &'static str,
    ) -> Option<&'static str> {
        let (share, loser) = room.enter(ip(from), name).unwrap();
        kept.push(share);
        loser
    }

    #[test]
    fn at_the_bound_a_newcomer_takes_the_newest_place_of_whoever_has_most() {
        let (room, mut kept) = (Shares::new(4), Kept::new());
        for (from, name) in [
            ("192.0.2.1", "a"),
            ("192.0.2.1", "b"),
            ("192.0.2.1", "c"),
            ("198.51.100.1", "d"),
        ] {
            assert_eq!(enter(&room, &mut kept, from, name), None);
        }
        assert_eq!(enter(&room, &mut kept, "203.0.113.1", "e"), Some("c"));
        assert_eq!(room.len(), 4);
        // Two of one, one of each other: nobody has clearly more than a second one of "d" would.
        assert_eq!(room.enter(ip("198.51.100.1"), "f").unwrap_err(), "f");
        assert_eq!(enter(&room, &mut kept, "203.0.114.1", "g"), Some("b"));
        for from in ["203.0.115.1", "192.0.2.1"] {
            assert_eq!(room.enter(ip(from), "h").unwrap_err(), "h");
        }
        // What had lost its place gives none back.
        kept.drain(1..3);
        assert_eq!(room.len(), 4);
        drop(kept);
        assert!(room.is_empty());
        assert!(room.lock().sites.networks.is_empty());
    }

    #[test]
    fn subscribers_of_a_site_compete_with_each_other() {
        let (room, mut kept) = (Shares::new(4), Kept::new());
        for name in ["a", "b", "c", "d"] {
            assert_eq!(enter(&room, &mut kept, "192.0.2.1", name), None);
        }
        assert_eq!(enter(&room, &mut kept, "192.0.2.2", "e"), Some("d"));
        assert_eq!(enter(&room, &mut kept, "192.0.2.2", "f"), Some("c"));
        assert_eq!(room.enter(ip("192.0.2.2"), "g").unwrap_err(), "g");
        // Somebody from elsewhere takes from the one that has most there.
        assert_eq!(enter(&room, &mut kept, "2001:db8::1", "h"), Some("f"));
        assert_eq!(room.len(), 4);
    }

    #[test]
    fn who_comes_one_by_one_gets_in_and_stays_while_a_crowd_of_sites_comes() {
        let (room, mut crowd) = (Shares::new(100), Vec::new());
        let mut waiting = None;
        for n in 0..3_000_u32 {
            let [.., host, site] = n.to_be_bytes();
            let from = IpAddr::from([10, 0, site % 30, host]);
            if let Ok((share, loser)) = room.enter(from, "crowd") {
                crowd.push(share);
                assert_ne!(loser, Some("newcomer"));
            }
            if n % 100 == 99 {
                drop(waiting);
                let (share, _) = room.enter(ip("203.0.113.1"), "newcomer").unwrap();
                waiting = Some(share);
            }
        }
        assert_eq!(room.len(), 100);
    }
}
