//! How much an address may upload.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use im_core::{Cache, Network};
use tokio::time::Instant;

/// Bytes of uploads by address, as buckets that fill at a rate.
///
/// An upload begins while its address has anything left and takes what it needs: so an address uses at most
/// one upload per connection beyond its share, and pays for it by waiting.
#[derive(Debug)]
pub(crate) struct Quota {
    burst: i64,
    per_minute: u64,
    buckets: Mutex<Cache<Network, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Bytes; below zero what is owed.
    left: i64,
    at: Instant,
}

impl Quota {
    /// `burst` bytes at once and `per_minute` bytes per minute, of about `addresses` addresses; those that
    /// have sent nothing for longest are forgotten.
    pub(crate) fn new(burst: u64, per_minute: u64, addresses: usize) -> Self {
        Self {
            burst: i64::try_from(burst).unwrap_or(i64::MAX),
            per_minute,
            buckets: Mutex::new(Cache::new(addresses, 1)),
        }
    }

    /// Whether an upload from there may begin; if not, when.
    pub(crate) fn may_begin(&self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let left = self.change(from, now, 0);
        if left > 0 {
            return Ok(());
        }
        let owed = left.unsigned_abs() + 1;
        let millis = u128::from(owed) * 60_000 / u128::from(self.per_minute.max(1));
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        Err(Duration::from_millis(millis.saturating_add(1)))
    }

    /// So many bytes came from there.
    pub(crate) fn take(&self, from: IpAddr, now: Instant, bytes: usize) {
        self.change(from, now, i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Addresses that are counted.
    pub(crate) fn addresses(&self) -> usize {
        self.lock().len()
    }

    fn change(&self, from: IpAddr, now: Instant, taken: i64) -> i64 {
        let mut buckets = self.lock();
        let network = Network::host(from);
        let mut bucket = buckets.get(&network).copied().unwrap_or(Bucket {
            left: self.burst,
            at: now,
        });
        let passed = now.saturating_duration_since(bucket.at).as_millis();
        let gained = passed * u128::from(self.per_minute) / 60_000;
        if gained > 0 {
            let gained = i64::try_from(gained).unwrap_or(i64::MAX);
            bucket.left = bucket.left.saturating_add(gained).min(self.burst);
            bucket.at = now;
        }
        bucket.left = bucket.left.saturating_sub(taken);
        // Who has all of it is as one who never came.
        if bucket.left < self.burst {
            buckets.insert(network, bucket);
        }
        bucket.left
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache<Network, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_address_that_has_used_its_share_waits_and_no_other_does() {
        let quota = Quota::new(1_000, 600, 100);
        let now = Instant::now();
        assert_eq!(quota.may_begin(address(1), now), Ok(()));
        quota.take(address(1), now, 999);
        assert_eq!(quota.may_begin(address(1), now), Ok(()), "one byte is left");
        quota.take(address(1), now, 1);
        let wait = quota.may_begin(address(1), now).unwrap_err();
        assert_eq!(quota.may_begin(address(2), now), Ok(()));
        assert_eq!(wait, Duration::from_millis(101), "ten bytes a second");
        assert!(quota.may_begin(address(1), now + wait / 2).is_err());
        assert_eq!(quota.may_begin(address(1), now + wait), Ok(()));
    }

    #[test]
    fn what_was_taken_beyond_is_owed_and_nobody_saves_more_than_the_burst() {
        let quota = Quota::new(1_000, 60_000, 100);
        let now = Instant::now();
        quota.take(address(1), now, 3_000);
        let wait = quota.may_begin(address(1), now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(2_002));
        let later = now + Duration::from_secs(3_600);
        quota.take(address(1), later, 1_000);
        assert!(quota.may_begin(address(1), later).is_err());
    }

    #[test]
    fn time_that_is_too_short_for_a_byte_is_not_lost() {
        let quota = Quota::new(1_000, 60, 100);
        let mut now = Instant::now();
        quota.take(address(1), now, 1_000);
        for _ in 0..1_001 {
            now += Duration::from_millis(1);
            let _too_early = quota.may_begin(address(1), now);
        }
        assert_eq!(quota.may_begin(address(1), now), Ok(()));
    }

    #[test]
    fn addresses_are_counted_up_to_the_bound() {
        let quota = Quota::new(10, 10, 20);
        let now = Instant::now();
        for n in 0..200 {
            quota.take(address(n), now, 1);
            assert!(quota.addresses() <= 21, "{}", quota.addresses());
        }
        assert_eq!(quota.may_begin(address(250), now), Ok(()));
        let before = quota.addresses();
        assert_eq!(quota.may_begin(address(251), now), Ok(()));
        assert_eq!(quota.addresses(), before, "who asks only is not counted");
    }
}
