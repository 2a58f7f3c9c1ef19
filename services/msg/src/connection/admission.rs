//! Who gets in: how many connections there are, in all and of one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Refusal;

/// Stated client versions that are kept once for all sessions; others are kept per session.
const MAX_VERSIONS: usize = 256;

/// Longest client version kept, bytes.
const MAX_VERSION: usize = 64;

/// Counts connections by address, and keeps what clients say of themselves once.
pub(crate) struct Admission {
    most: u32,
    most_per_address: u32,
    addresses: Mutex<HashMap<IpAddr, u32>>,
    versions: Mutex<HashMap<Box<str>, Arc<str>>>,
}

impl Admission {
    /// At most so many connections, in all and of one address (0 = no bound).
    pub(crate) fn new(most: u32, most_per_address: u32) -> Self {
        Self {
            most,
            most_per_address,
            addresses: Mutex::default(),
            versions: Mutex::default(),
        }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new connection in beside `open` others; the reason when there is no room.
    pub(crate) fn admit(&self, open: u32, remote: IpAddr) -> Result<(), Refusal> {
        if open >= self.most {
            return Err(Refusal::Connections);
        }
        let mut addresses = self.addresses();
        let count = addresses.entry(network(remote)).or_insert(0);
        if self.most_per_address != 0 && *count >= self.most_per_address {
            return Err(Refusal::Address);
        }
        *count += 1;
        Ok(())
    }

    /// A connection that was admitted is over.
    pub(crate) fn release(&self, remote: IpAddr) {
        let mut addresses = self.addresses();
        let key = network(remote);
        if let Some(count) = addresses.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&key);
            }
        }
        if addresses.is_empty() {
            *addresses = HashMap::new();
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
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
