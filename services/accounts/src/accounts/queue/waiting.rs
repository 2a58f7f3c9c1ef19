//! The logins of a queue that wait, by network and address.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{Id, Key, Request};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) name: Key,
    pub(super) question: Key,
    pub(super) since: Instant,
    /// Older logins that ask the same, oldest first.
    pub(super) joined: Vec<Id>,
}

impl Entry {
    /// Everybody who asks this, oldest first.
    pub(super) fn ids(self) -> impl Iterator<Item = Id> {
        self.joined.into_iter().chain([self.id])
    }

    pub(super) fn weight(&self) -> usize {
        1 + self.joined.len()
    }
}

#[derive(Debug)]
pub(super) struct Address {
    pub(super) key: Key,
    /// Oldest first; never empty.
    pub(super) entries: Vec<Entry>,
}

impl Address {
    fn of(key: Key, entry: Entry) -> Self {
        Self {
            key,
            entries: vec![entry],
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.entries.iter().map(Entry::weight).sum()
    }
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) key: Key,
    /// The front is next; never empty.
    pub(super) addresses: VecDeque<Address>,
}

impl Network {
    pub(super) fn weight(&self) -> usize {
        self.addresses.iter().map(Address::weight).sum()
    }
}

/// Networks, their addresses, and the logins of each.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The front is next.
    pub(super) networks: VecDeque<Network>,
}

impl Waiting {
    /// Everybody who waits here.
    pub(super) fn weight(&self) -> usize {
        self.networks.iter().map(Network::weight).sum()
    }

    /// Questions that wait here.
    pub(super) fn questions(&self) -> usize {
        self.entries().count()
    }

    /// Takes the newest ready login of the address, and of the network, whose turn it is; both go
    /// behind the others.
    pub(super) fn next(&mut self, ready: impl Fn(&Entry, &Key) -> bool) -> Option<(Entry, Key)> {
        let (n, a, e) = self.networks.iter().enumerate().find_map(|(n, network)| {
            let (a, e) = network
                .addresses
                .iter()
                .enumerate()
                .find_map(|(a, address)| {
                    let ready = |entry: &Entry| ready(entry, &address.key);
                    Some((a, address.entries.iter().rposition(ready)?))
                })?;
            Some((n, a, e))
        })?;
        let mut network = self.networks.remove(n)?;
        let mut address = network.addresses.remove(a)?;
        let entry = address.entries.remove(e);
        let key = address.key;
        if !address.entries.is_empty() {
            network.addresses.push_back(address);
        }
        if !network.addresses.is_empty() {
            self.networks.push_back(network);
        }
        Some((entry, key))
    }

    pub(super) fn add(&mut self, request: &Request, entry: Entry) {
        let network = self
            .networks
            .iter_mut()
            .find(|network| network.key == request.network);
        let Some(network) = network else {
            self.networks.push_back(Network {
                key: request.network,
                addresses: VecDeque::from([Address::of(request.address, entry)]),
            });
            return;
        };
        let address = network
            .addresses
            .iter_mut()
            .find(|address| address.key == request.address);
        match address {
            Some(address) => {
                let older = |other: &Entry| other.since <= entry.since;
                let place = address.entries.partition_point(older);
                address.entries.insert(place, entry);
            }
            None => network
                .addresses
                .push_back(Address::of(request.address, entry)),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.networks
            .iter()
            .flat_map(|network| &network.addresses)
            .flat_map(|address| &address.entries)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.networks
            .iter_mut()
            .flat_map(|network| &mut network.addresses)
            .flat_map(|address| &mut address.entries)
    }

    pub(super) fn weight_of(&self, counts: impl Fn(&Entry, &Key, &Key) -> bool) -> usize {
        self.networks
            .iter()
            .flat_map(|network| {
                network
                    .addresses
                    .iter()
                    .map(move |address| (network, address))
            })
            .flat_map(|(network, address)| {
                address
                    .entries
                    .iter()
                    .map(move |entry| (network, address, entry))
            })
            .filter(|(network, address, entry)| counts(entry, &address.key, &network.key))
            .map(|(_, _, entry)| entry.weight())
            .sum()
    }

    /// Takes the oldest of these from the network, and in it from the address, that has most of them.
    pub(super) fn take_oldest(
        &mut self,
        counts: impl Fn(&Entry, &Key, &Key) -> bool,
    ) -> Option<Entry> {
        let of_address = |network: &Network, address: &Address| -> usize {
            let counted = address
                .entries
                .iter()
                .filter(|entry| counts(entry, &address.key, &network.key));
            counted.map(Entry::weight).sum()
        };
        let network = self.networks.iter().max_by_key(|network| {
            let all = network
                .addresses
                .iter()
                .map(|address| of_address(network, address));
            all.sum::<usize>()
        })?;
        let address = network
            .addresses
            .iter()
            .max_by_key(|address| of_address(network, address))?;
        let oldest = address
            .entries
            .iter()
            .find(|entry| counts(entry, &address.key, &network.key))?;
        let id = oldest.id;
        self.take(|entry| entry.id == id)
    }

    pub(super) fn take(&mut self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let (n, a, e) = self.networks.iter().enumerate().find_map(|(n, network)| {
            network
                .addresses
                .iter()
                .enumerate()
                .find_map(|(a, address)| {
                    let e = address.entries.iter().position(&wanted)?;
                    Some((n, a, e))
                })
        })?;
        let network = self.networks.get_mut(n)?;
        let address = network.addresses.get_mut(a)?;
        let entry = address.entries.remove(e);
        if address.entries.is_empty() {
            network.addresses.remove(a);
        }
        if network.addresses.is_empty() {
            self.networks.remove(n);
        }
        Some(entry)
    }
}
