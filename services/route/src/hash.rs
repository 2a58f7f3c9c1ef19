//! A hash for user ids: one multiplication.
//!
//! Ids come from the installation's own database, so nobody can choose them to collide.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map keyed by user id.
pub(crate) type UserMap<V> = HashMap<u32, V, BuildHasherDefault<UserHasher>>;

/// A set of user ids.
pub(crate) type UserSet = HashSet<u32, BuildHasherDefault<UserHasher>>;

/// Spreads dense numbers over all bits of the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UserHasher(u64);

impl Hasher for UserHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        // The table takes its index from the low bits and its tags from the high ones: fold, so that
        // both depend on every bit of the id.
        let product = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    fn hash(user: u32) -> u64 {
        BuildHasherDefault::<UserHasher>::default().hash_one(user)
    }

    #[test]
    fn dense_and_strided_ids_fill_low_and_high_bits_evenly() {
        for stride in [1_u32, 2, 256, 4_096, 65_536] {
            let mut low = [0_u32; 64];
            let mut high = [0_u32; 64];
            for n in 0..6_400_u32 {
                let hash = hash(n.wrapping_mul(stride));
                low[usize::try_from(hash & 63).unwrap()] += 1;
                high[usize::try_from(hash >> 58).unwrap()] += 1;
            }
            for count in low.iter().chain(&high) {
                assert!(
                    (40..=180).contains(count),
                    "stride {stride}: {count} of 100"
                );
            }
        }
    }
}
