//! How long a cluster that failed waits for its next try.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::ClusterKey;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// After many.
const LONGEST: Duration = Duration::from_secs(300);
/// After many of what passes by itself, such as a webhook that is away.
const PASSING: Duration = Duration::from_secs(10);
/// Where many clusters fail, all of them together are tried once in this time.
const EACH: Duration = Duration::from_millis(100);

/// Failures in a row by cluster.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<ClusterKey, u32>>);

impl Backoff {
    /// Notes a failure and says how long to wait: 1 s doubled up to 5 min, or up to 10 s where it passes
    /// by itself and few clusters fail; times 0.75 to 1.25, so that what failed together is not tried
    /// together.
    pub(crate) fn failed(&self, cluster: &ClusterKey, passes: bool) -> Duration {
        let mut failures = self.failures();
        let all = u32::try_from(failures.len()).unwrap_or(u32::MAX);
        let longest = if passes {
            EACH.saturating_mul(all).clamp(PASSING, LONGEST)
        } else {
            LONGEST
        };
        let count = failures.entry(cluster.clone()).or_insert(0);
        let base = FIRST.saturating_mul(1 << (*count).min(16)).min(longest);
        *count += 1;
        base.mul_f64(rand::random_range(0.75..1.25))
    }

    /// Notes a success.
    pub(crate) fn reset(&self, cluster: &ClusterKey) {
        self.failures().remove(cluster);
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<ClusterKey, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_start_again_after_a_success() {
        let backoff = Backoff::default();
        let key = |name: &str| ClusterKey {
            namespace: "chat".to_owned(),
            name: name.to_owned(),
        };
        let waits: Vec<f64> = (0..12)
            .map(|_| backoff.failed(&key("a"), false).as_secs_f64())
            .collect();
        for (wait, base) in waits.iter().zip([
            1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0,
        ]) {
            assert!(
                (base * 0.75..base * 1.25).contains(wait),
                "{wait} for {base}"
            );
        }
        assert!(backoff.failed(&key("b"), false) < Duration::from_secs(2));
        backoff.reset(&key("a"));
        assert!(backoff.failed(&key("a"), false) < Duration::from_secs(2));
    }

    #[test]
    fn what_passes_by_itself_is_tried_soon_unless_many_clusters_fail() {
        let backoff = Backoff::default();
        let key = |name: usize| ClusterKey {
            namespace: "chat".to_owned(),
            name: name.to_string(),
        };
        let last = |clusters: usize| {
            let tries = (0..20).flat_map(|_| 0..clusters);
            let waits = tries.map(|name| backoff.failed(&key(name), true));
            waits.last().unwrap().as_secs_f64()
        };
        assert!((7.5..12.5).contains(&last(1)));
        assert!((7.5..12.5).contains(&last(100)));
        assert!((75.0..125.0).contains(&last(1_000)), "ten tries a second");
    }
}
