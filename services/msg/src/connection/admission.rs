//! Who gets in: how many connections there are, in all and of one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Refusal;

/// Stated client versions that are kept once for all sessions; others are kept per session.
const MAX_VERSIONS: usize = 256;

/// Longest client version kept, bytes.
const MAX_VERSION: usize = 64;

/// A network may hold this many times what one address of it may.
const NETWORK: u32 = 4;

/// A network with fewer connections than this may use the reserve.
const SMALL: u32 = 64;

/// This part of all connections is the reserve.
const RESERVE: u32 = 16;

/// Counts connections by address and by network until their sockets are closed, and keeps what clients
/// say of themselves once.
pub(crate) struct Admission {
    most: u32,
    most_per_address: u32,
    shown: Gauge,
    counts: Mutex<Counts>,
    versions: Mutex<HashMap<Box<str>, Arc<str>>>,
}

#[derive(Default)]
struct Counts {
    open: u32,
    addresses: HashMap<IpAddr, u32>,
    networks: HashMap<IpAddr, u32>,
}

impl Counts {
    fn of(map: &HashMap<IpAddr, u32>, key: IpAddr) -> u32 {
        map.get(&key).copied().unwrap_or_default()
    }

    fn less(map: &mut HashMap<IpAddr, u32>, key: IpAddr) {
        if let Some(count) = map.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                map.remove(&key);
            }
        }
        if map.is_empty() {
            *map = HashMap::new();
        }
    }
}

/// The place of one connection; given back when it is dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
    remote: IpAddr,
}

impl Place {
    /// The client's address.
    pub(crate) fn remote(&self) -> IpAddr {
        self.remote
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.open -= 1;
        Counts::less(&mut counts.addresses, address(self.remote));
        Counts::less(&mut counts.networks, network(self.remote));
        self.admission.shown.set(i64::from(counts.open));
    }
}

impl Admission {
    /// At most so many connections, in all and of one address (0 = no bound), shown in a gauge.
    pub(crate) fn new(most: u32, most_per_address: u32, shown: Gauge) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_per_address,
            shown,
            counts: Mutex::default(),
            versions: Mutex::default(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new connection in; the reason when there is no room.
    pub(crate) fn admit(self: &Arc<Self>, remote: IpAddr) -> Result<Place, Refusal> {
        let mut counts = self.counts();
        let in_network = Counts::of(&counts.networks, network(remote));
        let reserve = self.most / RESERVE;
        let most = if in_network < SMALL {
            self.most
        } else {
            self.most - reserve
        };
        if counts.open >= most {
            return Err(Refusal::Connections);
        }
        let limit = self.most_per_address;
        let of_address = Counts::of(&counts.addresses, address(remote));
        if limit != 0 && (of_address >= limit || in_network >= limit.saturating_mul(NETWORK)) {
            return Err(Refusal::Address);
        }
        Ok(self.place(&mut counts, remote))
    }

    /// Takes a new connection in for one that is being cut.
    pub(crate) fn admit_instead(self: &Arc<Self>, remote: IpAddr) -> Place {
        self.place(&mut self.counts(), remote)
    }

    fn place(self: &Arc<Self>, counts: &mut Counts, remote: IpAddr) -> Place {
        counts.open += 1;
        *counts.addresses.entry(address(remote)).or_insert(0) += 1;
        *counts.networks.entry(network(remote)).or_insert(0) += 1;
        self.shown.set(i64::from(counts.open));
        Place {
            admission: Arc::clone(self),
            remote,
        }
    }

    /// Whether a connection of `old` may be cut so that one of `new` gets its place: for want of room
    /// of its address, or of any room.
    pub(crate) fn may_replace(&self, old: IpAddr, new: IpAddr, why: Refusal) -> bool {
        match why {
            Refusal::Address => {
                let counts = self.counts();
                let is_address_full =
                    Counts::of(&counts.addresses, address(new)) >= self.most_per_address;
                if is_address_full {
                    address(old) == address(new)
                } else {
                    network(old) == network(new)
                }
            }
            // Large networks make room for small ones, and among themselves.
            _ => {
                network(old) == network(new)
                    || Counts::of(&self.counts().networks, network(old)) >= SMALL
            }
        }
    }

    /// Keeps one copy of a client version.
    pub(crate) fn version(&self, text: &str) -> Arc<str> {
        let mut end = text.len().min(MAX_VERSION);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = versions.get(text) {
            return Arc::clone(known);
        }
        let version: Arc<str> = text.into();
        if versions.len() < MAX_VERSIONS {
            versions.insert(text.into(), Arc::clone(&version));
        }
        version
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one.
fn address(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// What counts as one network: the /24 of an IPv4 address, or the /48 of an IPv6 one.
fn network(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admission(most: u32, per_address: u32) -> Arc<Admission> {
        Admission::new(most, per_address, Gauge::default())
    }

    #[test]
    fn an_address_has_its_bound_and_its_network_four_times_that() {
        for (first, others) in [
            (
                "192.0.2.1",
                ["192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"],
            ),
            (
                "2001:db8:0:1::1",
                [
                    "2001:db8:0:2::1",
                    "2001:db8:0:3::1",
                    "2001:db8:0:4::1",
                    "2001:db8:0:5::1",
                ],
            ),
        ] {
            let admission = admission(1_000, 10);
            let mut places: Vec<Place> = (0..10)
                .map(|_| admission.admit(ip(first)).unwrap())
                .collect();
            assert_eq!(admission.admit(ip(first)).err(), Some(Refusal::Address));
            for other in &others[..3] {
                places.extend((0..10).map(|_| admission.admit(ip(other)).unwrap()));
            }
            let beyond = admission.admit(ip(others[3]));
            assert_eq!(beyond.err(), Some(Refusal::Address));
            assert!(admission.admit(ip("198.51.100.1")).is_ok());
            places.pop();
            assert!(admission.admit(ip(others[3])).is_ok());
        }
    }

    #[test]
    fn addresses_of_one_64_are_one() {
        let admission = admission(1_000, 1);
        let _one = admission.admit(ip("2001:db8::1")).unwrap();
        assert!(admission.admit(ip("2001:db8::ffff:1")).is_err());
    }

    #[test]
    fn a_large_network_leaves_a_reserve_for_small_ones() {
        let admission = admission(160, 0);
        let places: Vec<Place> = std::iter::from_fn(|| admission.admit(ip("192.0.2.1")).ok())
            .take(1_000)
            .collect();
        assert_eq!(places.len(), 150);
        let other = ip("198.51.100.1");
        let others: Vec<Place> = (0..10).map(|_| admission.admit(other).unwrap()).collect();
        assert_eq!(admission.admit(other).err(), Some(Refusal::Connections));
        assert!(admission.may_replace(ip("192.0.2.1"), other, Refusal::Connections));
        assert!(!admission.may_replace(other, ip("192.0.2.1"), Refusal::Connections));
        drop((places, others));
        assert_eq!(admission.shown.get(), 0);
        assert!(admission.counts().networks.is_empty());
    }
}
