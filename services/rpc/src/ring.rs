//! Spreads users over peers: rendezvous (highest random weight) hashing over the peers' names.
//!
//! Every process that knows the same names finds the same peer for a user; when a peer comes or goes
//! only its own share of the users moves. The hash is part of the protocol between processes: never
//! change it within one installation.

use im_core::UserId;

/// The peers of one role, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    names: Vec<String>,
    seeds: Vec<u64>,
    digest: u64,
}

impl Ring {
    /// A ring of these peers; repeated names count once.
    pub fn new<I, S>(names: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        let seeds = names
            .iter()
            .map(|name| first_u64(&blake3::hash(name.as_bytes())))
            .collect();
        let digest = if names.is_empty() {
            0
        } else {
            digest_of(&names)
        };
        Self {
            names,
            seeds,
            digest,
        }
    }

    /// Position in [`Self::names`] of the peer that holds this user; `None` in an empty ring.
    pub fn index_of(&self, user: UserId) -> Option<usize> {
        let key = mix(u64::from(user.get()));
        let weights = self.seeds.iter().map(|seed| mix(seed ^ key));
        // Among equal weights (one in 2^64) the last one wins, everywhere alike.
        weights
            .enumerate()
            .max_by_key(|&(_, weight)| weight)
            .map(|(index, _)| index)
    }

    /// Name of the peer that holds this user; `None` in an empty ring.
    pub fn shard_of(&self, user: UserId) -> Option<&str> {
        self.index_of(user)
            .and_then(|index| self.names.get(index))
            .map(String::as_str)
    }

    /// Names of the peers, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of peers.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no peer.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names the set of peers: equal sets have equal digests; 0 only for the empty ring.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

fn digest_of(names: &[String]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    first_u64(&hasher.finalize()).max(1)
}

fn first_u64(hash: &blake3::Hash) -> u64 {
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The finisher of SplitMix64: every input bit moves every output bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;
