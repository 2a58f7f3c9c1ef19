//! How much a client may ask for: of its address, or of whatever else tells clients apart.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_core::Cache;
use tokio::time::Instant;

/// Buckets by key that fill at a rate; what they hold, bytes or requests, is the caller's.
///
/// Something may begin while its key has anything left and takes what it needs: so a key uses at most one
/// such thing at a time beyond its share, and pays for it by waiting.
#[derive(Debug)]
pub struct Quota<K> {
    burst: i64,
    per_minute: u64,
    buckets: Mutex<Cache<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Below zero what is owed.
    left: i64,
    at: Instant,
}

/// What a key has after it has taken something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it may take at once.
    pub left: u64,
    /// When it has its whole burst again.
    pub whole_in: Duration,
}

impl<K: Copy + Eq + Hash> Quota<K> {
    /// `burst` at once and `per_minute` a minute, of about `keys` keys; those that have taken nothing for
    /// longest are forgotten.
    pub fn new(burst: u64, per_minute: u64, keys: usize) -> Self {
        Self {
            burst: i64::try_from(burst).unwrap_or(i64::MAX),
            per_minute,
            buckets: Mutex::new(Cache::new(keys, 1)),
        }
    }

    /// Whether something of this key may begin.
    ///
    /// # Errors
    /// It has nothing left; tells after what time it has.
    pub fn may_begin(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.wait(self.change(key, now, 0))
    }

    /// So much was taken.
    pub fn take(&self, key: K, now: Instant, amount: usize) {
        self.change(key, now, i64::try_from(amount).unwrap_or(i64::MAX));
    }

    /// Takes one if there is one.
    ///
    /// # Errors
    /// It has nothing left; tells after what time it has.
    pub fn try_take(&self, key: K, now: Instant) -> Result<Left, Duration> {
        let mut buckets = self.lock();
        let before = self.refill(&mut buckets, key, now);
        self.wait(before.left)?;
        let left = self.keep(&mut buckets, key, before, 1);
        Ok(Left {
            left: u64::try_from(left).unwrap_or(0),
            whole_in: self.time_for(u64::try_from(self.burst - left).unwrap_or(0)),
        })
    }

    /// Keys that are counted.
    pub fn keys(&self) -> usize {
        self.lock().len()
    }

    fn wait(&self, left: i64) -> Result<(), Duration> {
        if left > 0 {
            return Ok(());
        }
        let owed = self.time_for(left.unsigned_abs() + 1);
        Err(owed.saturating_add(Duration::from_millis(1)))
    }

    /// In what time so much is gained.
    fn time_for(&self, amount: u64) -> Duration {
        let millis = u128::from(amount) * 60_000 / u128::from(self.per_minute.max(1));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn change(&self, key: K, now: Instant, taken: i64) -> i64 {
        let mut buckets = self.lock();
        let bucket = self.refill(&mut buckets, key, now);
        self.keep(&mut buckets, key, bucket, taken)
    }

    fn refill(&self, buckets: &mut Cache<K, Bucket>, key: K, now: Instant) -> Bucket {
        let mut bucket = buckets.get(&key).copied().unwrap_or(Bucket {
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
        bucket
    }

    fn keep(&self, buckets: &mut Cache<K, Bucket>, key: K, mut bucket: Bucket, taken: i64) -> i64 {
        bucket.left = bucket.left.saturating_sub(taken);
        // Who has all of it is as one who never came.
        if bucket.left < self.burst {
            buckets.insert(key, bucket);
        }
        bucket.left
    }

    fn lock(&self) -> MutexGuard<'_, Cache<K, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_has_used_its_share_waits_and_no_other_does() {
        let quota = Quota::new(1_000, 600, 100);
        let now = Instant::now();
        assert_eq!(quota.may_begin(1, now), Ok(()));
        quota.take(1, now, 999);
        assert_eq!(quota.may_begin(1, now), Ok(()), "one byte is left");
        quota.take(1, now, 1);
        let wait = quota.may_begin(1, now).unwrap_err();
        assert_eq!(quota.may_begin(2, now), Ok(()));
        assert_eq!(wait, Duration::from_millis(101), "ten bytes a second");
        assert!(quota.may_begin(1, now + wait / 2).is_err());
        assert_eq!(quota.may_begin(1, now + wait), Ok(()));
    }

    #[test]
    fn what_was_taken_beyond_is_owed_and_nobody_saves_more_than_the_burst() {
        let quota = Quota::new(1_000, 60_000, 100);
        let now = Instant::now();
        quota.take(1, now, 3_000);
        let wait = quota.may_begin(1, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(2_002));
        let later = now + Duration::from_secs(3_600);
        quota.take(1, later, 1_000);
        assert!(quota.may_begin(1, later).is_err());
    }

    #[test]
    fn time_that_is_too_short_for_a_byte_is_not_lost() {
        let quota = Quota::new(1_000, 60, 100);
        let mut now = Instant::now();
        quota.take(1, now, 1_000);
        for _ in 0..1_001 {
            now += Duration::from_millis(1);
            let _too_early = quota.may_begin(1, now);
        }
        assert_eq!(quota.may_begin(1, now), Ok(()));
    }

    #[test]
    fn addresses_are_counted_up_to_the_bound() {
        let quota = Quota::new(10, 10, 20);
        let now = Instant::now();
        for n in 0..200_u32 {
            quota.take(n, now, 1);
            assert!(quota.keys() <= 21, "{}", quota.keys());
        }
        assert_eq!(quota.may_begin(250, now), Ok(()));
        let before = quota.keys();
        assert_eq!(quota.may_begin(251, now), Ok(()));
        assert_eq!(quota.keys(), before, "who asks only is not counted");
    }

    #[test]
    fn one_is_taken_while_there_is_one_and_the_rest_is_told() {
        let quota = Quota::new(2, 60, 100);
        let now = Instant::now();
        let left = |left, seconds| Left {
            left,
            whole_in: Duration::from_secs(seconds),
        };
        assert_eq!(quota.try_take("a", now), Ok(left(1, 1)));
        assert_eq!(quota.try_take("a", now), Ok(left(0, 2)));
        let wait = quota.try_take("a", now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(1_001));
        assert!(quota.try_take("b", now).is_ok(), "others have their own");
        assert!(quota.try_take("a", now + wait).is_ok());
        assert!(
            quota.try_take("a", now + wait).is_err(),
            "who waits pays once"
        );
    }
}
