//! Who waits, by network and address. Without I/O, locks or clock.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::accounts::queue::Key;

/// Networks take turns, within a network its addresses, and of one address the newest comes first:
/// under load the oldest ones are those whose clients have given up.
#[derive(Debug)]
pub(super) struct Line<T> {
    networks: HashMap<Key, Network<T>>,
    /// Every network once; the front is next.
    order: VecDeque<Key>,
    len: usize,
    last: u64,
}

#[derive(Debug)]
struct Network<T> {
    addresses: HashMap<Key, Vec<Entry<T>>>,
    /// Every address once; the front is next.
    order: VecDeque<Key>,
    len: usize,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    since: Instant,
    who: T,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            networks: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
            last: 0,
        }
    }
}

impl<T> Default for Network<T> {
    fn default() -> Self {
        Self {
            addresses: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Line<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Somebody waits who came at that time; their number.
    pub(super) fn add(&mut self, network: Key, address: Key, since: Instant, who: T) -> u64 {
        self.last += 1;
        let entry = Entry {
            number: self.last,
            since,
            who,
        };
        let networks = &mut self.networks;
        let of_network = networks.entry(network).or_insert_with(|| {
            self.order.push_back(network);
            Network::default()
        });
        of_network.add(address, entry);
        self.len += 1;
        self.last
    }

    /// Takes whoever is next.
    pub(super) fn next(&mut self) -> Option<T> {
        let key = self.order.pop_front()?;
        let network = self.networks.get_mut(&key)?;
        let entry = network.next();
        if network.len == 0 {
            self.networks.remove(&key);
        } else {
            self.order.push_back(key);
        }
        self.len -= 1;
        entry.map(|entry| entry.who)
    }

    /// Takes the oldest of the address that has most, in the network that has most.
    pub(super) fn take_oldest(&mut self) -> Option<T> {
        let (key, network) = self
            .networks
            .iter()
            .max_by_key(|(_, network)| network.len)?;
        let (address, entries) = network
            .addresses
            .iter()
            .max_by_key(|(_, entries)| entries.len())?;
        let (key, address, number) = (*key, *address, entries.first()?.number);
        self.remove(&key, &address, number)
    }

    /// Takes somebody who may still be waiting.
    pub(super) fn remove(&mut self, network: &Key, address: &Key, number: u64) -> Option<T> {
        let of_network = self.networks.get_mut(network)?;
        let entry = of_network.remove(address, number)?;
        if of_network.len == 0 {
            self.networks.remove(network);
            self.order.retain(|key| key != network);
        }
        self.len -= 1;
        Some(entry.who)
    }
}

impl<T> Network<T> {
    fn add(&mut self, address: Key, entry: Entry<T>) {
        let entries = self.addresses.entry(address).or_insert_with(|| {
            self.order.push_back(address);
            Vec::new()
        });
        // Oldest first.
        let place = entries.partition_point(|other| other.since <= entry.since);
        entries.insert(place, entry);
        self.len += 1;
    }

    fn next(&mut self) -> Option<Entry<T>> {
        let key = self.order.pop_front()?;
        let entries = self.addresses.get_mut(&key)?;
        let entry = entries.pop();
        if entries.is_empty() {
            self.addresses.remove(&key);
        } else {
            self.order.push_back(key);
        }
        self.len -= 1;
        entry
    }

    fn remove(&mut self, address: &Key, number: u64) -> Option<Entry<T>> {
        let entries = self.addresses.get_mut(address)?;
        let place = entries.iter().position(|entry| entry.number == number)?;
        let entry = entries.remove(place);
        if entries.is_empty() {
            self.addresses.remove(address);
            self.order.retain(|key| key != address);
        }
        self.len -= 1;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Rig {
        line: Line<&'static str>,
        begun: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                line: Line::default(),
                begun: Instant::now(),
            }
        }

        fn add(&mut self, network: u8, address: u8, second: u64, who: &'static str) -> u64 {
            let since = self.begun + Duration::from_secs(second);
            self.line.add([network; 16], [address; 16], since, who)
        }

        fn all(&mut self) -> Vec<&'static str> {
            let all: Vec<_> = std::iter::from_fn(|| self.line.next()).collect();
            assert_eq!(self.line.len(), 0);
            assert!(self.line.networks.is_empty() && self.line.order.is_empty());
            all
        }
    }

    #[test]
    fn networks_take_turns_and_their_addresses_and_the_newest_comes_first() {
        let mut rig = Rig::new();
        for (network, address, second, who) in [
            (1, 1, 1, "a1 old"),
            (1, 1, 3, "a1 new"),
            (1, 1, 2, "a1 middle"),
            (1, 2, 4, "a2"),
            (2, 9, 5, "b"),
        ] {
            rig.add(network, address, second, who);
        }
        assert_eq!(rig.line.len(), 5);
        let expected = ["a1 new", "b", "a2", "a1 middle", "a1 old"];
        assert_eq!(rig.all(), expected);
    }

    #[test]
    fn whoever_goes_leaves_no_trace_and_is_not_taken_twice() {
        let mut rig = Rig::new();
        let gone = rig.add(1, 1, 1, "gone");
        rig.add(2, 1, 1, "stays");
        let other = rig.add(2, 2, 1, "gone too");
        assert_eq!(rig.line.remove(&[1; 16], &[1; 16], gone), Some("gone"));
        assert_eq!(rig.line.remove(&[1; 16], &[1; 16], gone), None);
        assert_eq!(rig.line.remove(&[2; 16], &[2; 16], other), Some("gone too"));
        assert_eq!(rig.line.remove(&[2; 16], &[1; 16], other), None);
        assert_eq!(rig.all(), ["stays"]);
        let again = rig.add(1, 1, 2, "again");
        assert_eq!(rig.all(), ["again"]);
        assert_eq!(rig.line.remove(&[1; 16], &[1; 16], again), None);
    }

    #[test]
    fn the_oldest_of_whoever_has_most_goes() {
        let mut rig = Rig::new();
        rig.add(1, 1, 1, "alone");
        rig.add(2, 1, 2, "b1");
        rig.add(2, 2, 4, "b2 new");
        rig.add(2, 2, 3, "b2 old");
        assert_eq!(rig.line.take_oldest(), Some("b2 old"));
        rig.add(1, 1, 5, "alone again");
        rig.add(1, 1, 6, "and again");
        assert_eq!(rig.line.take_oldest(), Some("alone"));
        assert_eq!(rig.line.len(), 4);
        rig.all();
        assert_eq!(rig.line.take_oldest(), None);
    }
}
