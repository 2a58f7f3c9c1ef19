//! Small things that are counted or done once in a while, by key; bounded in number.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use im_core::UserId;

use super::ttl_map::TtlMap;

/// Counts by text; a count is forgotten a while after it was raised last.
pub(super) struct Counts {
    counts: Mutex<TtlMap<String, u32>>,
}

impl Counts {
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            counts: Mutex::new(TtlMap::new(capacity, ttl)),
        }
    }

    /// Raises a count, and tells it.
    pub(super) fn count(&self, key: &str) -> u32 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(key).unwrap_or(0).saturating_add(1);
        counts.insert(key.to_owned(), count);
        count
    }
}

/// Lets something pass once per user and interval.
pub(super) struct Once {
    users: Mutex<TtlMap<UserId, ()>>,
}

impl Once {
    pub(super) fn new(capacity: usize, interval: Duration) -> Self {
        Self {
            users: Mutex::new(TtlMap::new(capacity, interval)),
        }
    }

    /// Whether it is due for this user; then it is not due again for a while.
    pub(super) fn is_due(&self, user: UserId) -> bool {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let due = users.get(&user).is_none();
        if due {
            users.insert(user, ());
        }
        due
    }

    /// Lets it pass again at once.
    pub(super) fn reset(&self, user: UserId) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.remove(&user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_are_forgotten_after_a_while() {
        let counts = Counts::new(10, Duration::from_secs(5));
        assert_eq!(
            (counts.count("a"), counts.count("a"), counts.count("b")),
            (1, 2, 1)
        );
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(counts.count("a"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_due_once_per_user_and_interval() {
        let once = Once::new(10, Duration::from_secs(5));
        let [ann, bob] = [1, 2].map(|id| UserId::from_wire(id).unwrap());
        assert_eq!(
            [ann, ann, bob].map(|user| once.is_due(user)),
            [true, false, true]
        );
        once.reset(ann);
        assert!(once.is_due(ann));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(once.is_due(bob));
    }
}
