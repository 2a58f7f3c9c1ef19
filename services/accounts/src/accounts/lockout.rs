//! Failures of names and addresses, and what follows from them.
//!
//! A failure counts at the address, at the network around it and for the name as a whole.
//!
//! * More than `lockout_failures` at an address, or twice as many in its network, *lock* the name
//!   there: logins are answered "too many failures", as the original does. But one login at a time
//!   still gets through the gate, after longer and longer waits, and is judged: so a stranger behind
//!   the same address delays the right password, and does not lock it out.
//! * More than `lockout_name_failures` from anywhere *slow* the name down: one login at a time,
//!   whoever does not get through is told to try again. Not concerned is a network that somebody has
//!   logged in from under this name: for it, its own failures count and no others.
//!
//! Digests that are being judged count as failures until they are judged, so that many at the same
//! time get no more tries than many in a row. Locks end by time, by a new password, or by an
//! administrator; failures later than now were counted by a clock that was ahead, and are not looked at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_config::AccountsConfig;
use im_core::time::UnixSeconds;
use im_runtime::Throttle;
use im_store::{EVERY_ADDRESS, FailureQuery, LoginFailures, NewFailure, Store, StoreError};
use tracing::warn;

use super::gate::{Gates, Waits};
use super::memory::Keyed;
use super::metrics::AccountMetrics;
use super::origin::Origin;
use super::queue::Key;

/// A network locks a name after so many times the failures of one address.
const ADDRESSES_PER_NETWORK: u32 = 2;

/// A login as far as failures are concerned.
pub(super) struct Attempt {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// Stands for name and digest.
    pub(super) question: Key,
    /// Somebody has logged in under this name from this network.
    pub(super) known: bool,
}

impl Attempt {
    /// Where failures count.
    fn places(&self) -> [&str; PLACES] {
        [&self.origin.address, &self.origin.network, EVERY_ADDRESS]
    }
}

const PLACES: usize = 3;

/// What earlier failures mean for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing. `failures`: whether there are some at the address.
    Free { failures: bool },
    /// The name is locked here; who gets through this gate is judged.
    Locked(Key),
    /// The name is slowed down everywhere; who gets through this gate is judged.
    Slowed(Key),
    /// The name is slowed down, but not in this network, which is known.
    Spared,
}

/// See the module.
pub(super) struct Lockout {
    store: Arc<dyn Store>,
    keyed: Arc<Keyed>,
    config: AccountsConfig,
    locked: Gates,
    slowed: Gates,
    /// Distinct questions that are being judged, by name and place.
    judging: Mutex<HashMap<Key, HashMap<Key, u32>>>,
    told: Throttle,
    metrics: AccountMetrics,
}

impl Lockout {
    pub(super) fn new(
        store: Arc<dyn Store>,
        keyed: Arc<Keyed>,
        config: &AccountsConfig,
        metrics: &AccountMetrics,
    ) -> Self {
        let first = config.lockout_first_wait.into();
        let longest = config.lockout_longest_wait.into();
        let pairs = usize::try_from(config.lockout_pairs).unwrap_or(usize::MAX);
        Self {
            store,
            keyed,
            config: config.clone(),
            locked: Gates::new(Waits { first, longest }, pairs),
            slowed: Gates::new(
                Waits {
                    first,
                    longest: first,
                },
                pairs,
            ),
            judging: Mutex::default(),
            told: Throttle::default(),
            metrics: metrics.clone(),
        }
    }

    /// Counts a question as one that is being judged, until the guard is dropped.
    pub(super) fn judge<'a>(&'a self, attempt: &Attempt) -> Judging<'a> {
        let keys = attempt.places().map(|place| self.key(attempt, place));
        let mut judging = self.lock();
        for key in keys {
            let questions = judging.entry(key).or_default();
            *questions.entry(attempt.question).or_default() += 1;
        }
        Judging {
            lockout: self,
            question: attempt.question,
            keys,
        }
    }

    /// What earlier failures mean for a login, those that others being judged may become included.
    pub(super) async fn standing(&self, attempt: &Attempt) -> Result<Standing, StoreError> {
        let others = attempt.places().map(|place| {
            let key = self.key(attempt, place);
            let judging = self.lock();
            let questions = judging.get(&key).map_or(0, HashMap::len);
            u32::try_from(questions.saturating_sub(1)).unwrap_or(u32::MAX)
        });
        self.standing_with(attempt, others).await
    }

    /// What the failures of those who had their turns before mean for a login that has its turn.
    pub(super) async fn standing_in_turn(&self, attempt: &Attempt) -> Result<Standing, StoreError> {
        self.standing_with(attempt, [0; PLACES]).await
    }

    /// Waits at the gate of a standing: whether to go on.
    pub(super) async fn pass(&self, standing: Standing) -> bool {
        match standing {
            Standing::Free { .. } | Standing::Spared => true,
            Standing::Locked(key) => {
                self.metrics.slowed();
                self.locked.pass(key).await
            }
            Standing::Slowed(key) => {
                self.metrics.slowed();
                self.slowed.pass(key).await
            }
        }
    }

    /// A login has failed: stored when this returns. `known`: somebody has the name.
    pub(super) async fn failed(&self, attempt: &Attempt, known: bool) -> Result<(), StoreError> {
        let now = UnixSeconds::now();
        let places = attempt.places();
        let failure = NewFailure {
            name: &attempt.name,
            known,
            addresses: &places,
            now,
            since: self.since(now),
            max_pairs: self.config.lockout_pairs,
            kept_above: self.config.lockout_failures,
        };
        let counts = self.store.add_login_failure(&failure).await?;
        let limits = self.limits();
        for ((place, count), limit) in places.into_iter().zip(counts).zip(limits) {
            // Once per lock: the failures that make it are counted, those behind it are not.
            if known && count == limit.saturating_add(1) && self.told.is_due() {
                warn!(
                    name = attempt.name,
                    address = place,
                    failures = count,
                    seconds = self.config.lockout_window.as_seconds(),
                    "too many failed logins: this name is judged slowly from there"
                );
            }
        }
        Ok(())
    }

    /// A login of this standing was good. Whoever was spared opens no gate to those who guess elsewhere.
    pub(super) async fn succeeded(
        &self,
        attempt: &Attempt,
        standing: Standing,
    ) -> Result<(), StoreError> {
        let [address, network, every] = attempt.places();
        let cleared = match standing {
            Standing::Spared => &[address, network][..],
            _ => &[address, network, every],
        };
        self.store
            .clear_login_failures(&attempt.name, cleared)
            .await
    }

    /// Names that are locked or slowed down, newest first: one of them or, with "", all; those behind a
    /// place; the first `limit` of them.
    pub(super) async fn list(
        &self,
        name: &str,
        behind: Option<u128>,
        limit: u32,
    ) -> Result<Vec<LoginFailures>, StoreError> {
        let now = UnixSeconds::now();
        let [address, network, every] = self.limits();
        let mut query = FailureQuery {
            name,
            above: address.min(network).min(every),
            since: self.since(now),
            now,
            behind,
            limit,
        };
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        loop {
            let page = self.store.list_login_failures(&query).await?;
            found.extend(page.failures.into_iter().filter(|failures| {
                let limit = match failures.address.as_str() {
                    EVERY_ADDRESS => every,
                    place if is_network(place) => network,
                    _ => address,
                };
                failures.count > limit
            }));
            query.behind = page.next;
            if page.next.is_none() || found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
        }
    }

    async fn standing_with(
        &self,
        attempt: &Attempt,
        others: [u32; PLACES],
    ) -> Result<Standing, StoreError> {
        let now = UnixSeconds::now();
        let places = attempt.places();
        let counts = self
            .store
            .login_failures(&attempt.name, &places, self.since(now), now)
            .await?;
        let at_address = counts.first().is_some_and(|count| *count > 0);
        let over = places
            .into_iter()
            .zip(counts)
            .zip(others)
            .zip(self.limits())
            .find(|(((_, count), others), limit)| count.saturating_add(*others) > *limit);
        Ok(match over {
            None => Standing::Free {
                failures: at_address,
            },
            Some((((EVERY_ADDRESS, _), _), _)) if attempt.known => Standing::Spared,
            Some((((EVERY_ADDRESS, _), _), _)) => {
                Standing::Slowed(self.key(attempt, EVERY_ADDRESS))
            }
            Some((((place, _), _), _)) => Standing::Locked(self.key(attempt, place)),
        })
    }

    /// Most failures at an address, in a network and everywhere that are let pass.
    fn limits(&self) -> [u32; PLACES] {
        let failures = self.config.lockout_failures;
        [
            failures,
            failures.saturating_mul(ADDRESSES_PER_NETWORK),
            self.config.lockout_name_failures,
        ]
    }

    fn since(&self, now: UnixSeconds) -> UnixSeconds {
        now.saturating_sub(self.config.lockout_window.as_seconds_u32())
    }

    fn key(&self, attempt: &Attempt, place: &str) -> Key {
        self.keyed.key(b"lockout", &[&attempt.name, place])
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, HashMap<Key, u32>>> {
        // Every change under the lock is complete in itself.
        self.judging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a place where failures count is a network, not an address.
fn is_network(place: &str) -> bool {
    place.ends_with("/24") || place.ends_with("/48")
}

/// A question that is being judged.
pub(super) struct Judging<'a> {
    lockout: &'a Lockout,
    question: Key,
    keys: [Key; PLACES],
}

impl Drop for Judging<'_> {
    fn drop(&mut self) {
        let mut judging = self.lockout.lock();
        for key in &self.keys {
            let Some(questions) = judging.get_mut(key) else {
                continue;
            };
            if let Some(count) = questions.get_mut(&self.question) {
                *count -= 1;
                if *count == 0 {
                    questions.remove(&self.question);
                }
            }
            if questions.is_empty() {
                judging.remove(key);
            }
        }
    }
}
