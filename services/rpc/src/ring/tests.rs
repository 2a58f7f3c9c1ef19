use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[a-z]{1,8}:[0-9]{1,4}", 1..8)
}

proptest! {
    #[test]
    fn a_new_peer_takes_only_its_share_and_moves_nobody_else(
        names in names(),
        newcomer in "[A-Z]{3}",
        first in 1_u32..1_000_000,
    ) {
        let before = Ring::new(names.iter().cloned());
        let after = Ring::new(names.iter().cloned().chain([newcomer.clone()]));
        for id in first..first + 200 {
            let (old, new) = (before.shard_of(user(id)), after.shard_of(user(id)));
            prop_assert!(new == Some(&newcomer) || new == old);
        }
        prop_assert_ne!(before.digest(), after.digest());
    }

    #[test]
    fn order_and_repetition_of_the_names_do_not_matter(names in names()) {
        let forward = Ring::new(names.iter().cloned());
        let backward = Ring::new(names.iter().rev().cloned().chain(names.iter().cloned()));
        prop_assert_eq!(&forward, &backward);
        prop_assert_ne!(forward.digest(), 0);
    }
}

#[test]
fn shares_are_nearly_equal() {
    let ring = Ring::new(["route-0", "route-1", "route-2", "route-3"]);
    let mut shares = [0_u32; 4];
    for id in 1..=40_000 {
        shares[ring.index_of(user(id)).unwrap()] += 1;
    }
    assert!(
        shares.iter().all(|share| (9_500..=10_500).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn an_empty_ring_holds_nobody_and_has_digest_zero() {
    let ring = Ring::new(Vec::<String>::new());
    assert_eq!(
        (ring.shard_of(user(1)), ring.digest(), ring.len()),
        (None, 0, 0)
    );
}

/// Another result here means that servers of two versions disagree about every user.
#[test]
fn the_hash_is_the_same_for_ever() {
    let ring = Ring::new(["r1:8200", "r2:8200", "r3:8200"]);
    let shards: Vec<_> = (1..=12)
        .map(|id| ring.index_of(user(id)).unwrap())
        .collect();
    assert_eq!(shards, GOLDEN_SHARDS);
    assert_eq!(ring.digest(), GOLDEN_DIGEST);
}

const GOLDEN_SHARDS: [usize; 12] = [0, 2, 2, 2, 1, 1, 0, 0, 0, 1, 1, 2];
const GOLDEN_DIGEST: u64 = 14_944_691_871_980_948_760;
