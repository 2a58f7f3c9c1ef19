//! How many bytes each user has stored lately: what was stored drains at a rate, and whoever is above
//! what they may store at once is told how long to wait. The msg server reads them later then; nothing
//! is refused.
//!
//! Kept in memory; the figures of those who have stored much are written to the store, gathered, so
//! that a restart forgets no more than a little. Who writes now and then is no longer kept a second
//! later. They lie in shards, each behind a lock of its own that is held for one message, or for a look
//! at all of it: however many people are kept, no commit waits for the look at all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_config::StoredConfig;
use im_core::time::UnixSeconds;
use im_core::{Chain, UserId};
use im_runtime::Throttle;
use im_store::{MESSAGE_BYTES, Store, StoreError, StoredLevel};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::Metrics;

/// Levels of one transaction.
const BATCH: usize = 512;

/// Parts of the levels, each looked at in one go.
const SHARDS: usize = 256;

/// A level below this part of the burst is not written.
const WORTH_WRITING: u64 = 64;

/// Handle of the levels; cheap to clone.
#[derive(Clone)]
pub struct StoredBytes(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    config: StoredConfig,
    metrics: Metrics,
    shards: [Mutex<Levels>; SHARDS],
    trouble: Throttle,
}

type Levels = HashMap<UserId, Level>;

/// What one user has stored and not earned again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    bytes: u64,
    /// When it was so much.
    at: UnixSeconds,
    /// It has risen since it was written.
    is_new: bool,
    /// The store has a row.
    is_written: bool,
}

impl Level {
    fn drain(&mut self, per_second: u64, now: UnixSeconds) {
        // A clock that was ahead holds nobody up.
        let drained = u64::from(now.seconds_since(self.at)) * per_second;
        self.bytes = self.bytes.saturating_sub(drained);
        self.at = now;
    }
}

impl StoredBytes {
    pub(crate) fn new(store: Arc<dyn Store>, config: &StoredConfig, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            store,
            config: config.clone(),
            metrics,
            shards: std::array::from_fn(|_| Mutex::default()),
            trouble: Throttle::default(),
        }))
    }

    /// Counts what a commit has stored.
    pub(crate) fn counting(&self, now: UnixSeconds) -> Counting<'_> {
        Counting {
            shared: &self.0,
            now,
        }
    }

    /// Takes over what the store knows, as soon as it answers, and writes to it until `stop`, and once
    /// more then.
    pub async fn run(&self, stop: CancellationToken) {
        let pause = || tokio::time::sleep(self.0.config.flush.into());
        let mut is_loaded = false;
        loop {
            if !is_loaded {
                is_loaded = self.tried(self.load().await);
            }
            if stop.run_until_cancelled(pause()).await.is_none() {
                break;
            }
            if is_loaded {
                self.tried(self.flush(UnixSeconds::now()).await);
            }
        }
        if is_loaded {
            self.tried(self.flush(UnixSeconds::now()).await);
        }
    }

    fn tried(&self, done: Result<(), StoreError>) -> bool {
        if let Err(error) = &done
            && self.0.trouble.is_due()
        {
            warn!(error = %Chain(error), "what people have stored is not kept");
        }
        done.is_ok()
    }

    /// Adds what was written before.
    async fn load(&self) -> Result<(), StoreError> {
        let written = self.0.store.stored_levels().await?;
        let now = UnixSeconds::now();
        let per_second = self.0.config.per_second();
        for batch in written.chunks(BATCH) {
            for StoredLevel { user, bytes, at } in batch {
                let mut before = Level {
                    bytes: *bytes,
                    at: *at,
                    ..Level::default()
                };
                before.drain(per_second, now);
                let mut levels = self.0.shard(*user);
                let level = levels.entry(*user).or_default();
                level.drain(per_second, now);
                level.bytes = level.bytes.saturating_add(before.bytes);
                level.is_written = true;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Writes levels that have risen, and forgets those that are earned again.
    async fn flush(&self, now: UnixSeconds) -> Result<(), StoreError> {
        let due = self.due(now).await;
        for batch in due.chunks(BATCH) {
            if let Err(error) = self.0.store.store_levels(batch).await {
                self.mark_unwritten(&due);
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is to be written now; 0 bytes: a row that goes.
    async fn due(&self, now: UnixSeconds) -> Vec<StoredLevel> {
        let mut due = Vec::new();
        let mut kept = 0;
        for shard in &self.0.shards {
            kept += self.due_of(&mut lock(shard), now, &mut due);
            tokio::task::yield_now().await;
        }
        self.0.metrics.stored_users(kept);
        due
    }

    /// The same of one shard; how many are still kept there.
    fn due_of(&self, levels: &mut Levels, now: UnixSeconds, due: &mut Vec<StoredLevel>) -> usize {
        let per_second = self.0.config.per_second();
        let least = self.0.config.burst.as_u64() / WORTH_WRITING;
        levels.retain(|user, level| {
            level.drain(per_second, now);
            let mut write = |bytes| {
                due.push(StoredLevel {
                    user: *user,
                    bytes,
                    at: now,
                });
            };
            if level.bytes >= least && level.is_new {
                write(level.bytes);
                (level.is_new, level.is_written) = (false, true);
            } else if level.bytes < least && level.is_written {
                write(0);
                level.is_written = false;
            }
            level.bytes > 0
        });
        if levels.is_empty() {
            *levels = HashMap::new();
        }
        levels.len()
    }

    /// The store failed: it may have rows, or not, and gets all of them another time.
    fn mark_unwritten(&self, due: &[StoredLevel]) {
        for StoredLevel { user, at, .. } in due {
            let mut levels = self.0.shard(*user);
            let level = levels.entry(*user).or_insert_with(|| Level {
                at: *at,
                ..Level::default()
            });
            (level.is_new, level.is_written) = (true, true);
        }
    }
}

impl Shared {
    /// The levels among which this user's is.
    fn shard(&self, user: UserId) -> MutexGuard<'_, Levels> {
        let [first, ..] = &self.shards;
        // There are as many.
        let shard = self.shards.get(user.get() as usize % SHARDS);
        lock(shard.unwrap_or(first))
    }
}

fn lock(shard: &Mutex<Levels>) -> MutexGuard<'_, Levels> {
    // Every change under the lock is complete in itself.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The levels while a commit is counted.
pub(crate) struct Counting<'a> {
    shared: &'a Shared,
    now: UnixSeconds,
}

impl Counting<'_> {
    /// Counts a message; how long its sender shall wait with the next, milliseconds.
    pub(crate) fn add(&self, sender: UserId, body: usize) -> u32 {
        let StoredConfig { burst, .. } = &self.shared.config;
        let per_second = self.shared.config.per_second();
        let mut levels = self.shared.shard(sender);
        let level = levels.entry(sender).or_default();
        level.drain(per_second, self.now);
        let cost = body.saturating_add(MESSAGE_BYTES);
        level.bytes = level
            .bytes
            .saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
        level.is_new = true;
        let over = level.bytes.saturating_sub(burst.as_u64());
        if over == 0 {
            return 0;
        }
        self.shared.metrics.stored_limited();
        let wait = over.saturating_mul(1_000).div_ceil(per_second);
        u32::try_from(wait).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use im_config::units::{ByteSize, Span};
    use im_store::MeterStore as _;
    use im_store::testing::TempStore;

    use super::*;

    const ANN: UserId = UserId::from_wire(1).unwrap();
    const BODY: usize = (256 << 10) - MESSAGE_BYTES;

    fn over(temp: &TempStore, config: &StoredConfig) -> StoredBytes {
        let store = Arc::new(temp.store.clone());
        StoredBytes::new(store, config, Metrics::default())
    }

    #[tokio::test]
    async fn a_day_of_one_user_holds_no_more_than_its_bytes() {
        let temp = TempStore::open().await;
        let config = StoredConfig::default();
        let stored = over(&temp, &config);
        let begun = UnixSeconds::from_wire(1_000_000);
        let ended = begun.saturating_add(86_400);
        let (mut bytes, mut now) = (0u64, begun);
        while now < ended {
            let wait = stored.counting(now).add(ANN, BODY);
            bytes += 256 << 10;
            now = now.saturating_add(wait.div_ceil(1_000));
        }
        // One message may be on its way when its sender is told to wait.
        assert!(bytes <= config.per_day.as_u64() + (256 << 10), "{bytes}");
        assert!(bytes > 1_000 << 20, "{bytes}");
    }

    #[tokio::test]
    async fn what_was_stored_counts_after_a_restart() {
        let temp = TempStore::open().await;
        let config = StoredConfig {
            burst: ByteSize::mib(1),
            ..StoredConfig::default()
        };
        let stored = over(&temp, &config);
        let now = UnixSeconds::now();
        let wait = |stored: &StoredBytes, now| stored.counting(now).add(ANN, BODY);
        for _ in 0..4 {
            assert_eq!(wait(&stored, now), 0);
        }
        stored.flush(now).await.unwrap();

        let stored = over(&temp, &config);
        stored.load().await.unwrap();
        // At most a minute has passed, in which 12 KiB a second are earned again.
        assert!(wait(&stored, UnixSeconds::now()) > 0, "the burst is used");
        let late = now.saturating_add(86_400);
        assert_eq!(wait(&stored, late), 0);
        stored.flush(late).await.unwrap();
        stored.flush(late.saturating_add(86_400)).await.unwrap();
        assert_eq!(temp.store.stored_levels().await.unwrap(), []);
        let is_empty = |shard: &Mutex<Levels>| shard.lock().unwrap().is_empty();
        assert!(stored.0.shards.iter().all(is_empty), "earned again");
    }

    #[tokio::test]
    async fn a_look_at_all_levels_gives_way_to_commits() {
        let temp = TempStore::open().await;
        let stored = over(&temp, &StoredConfig::default());
        let now = UnixSeconds::now();
        for user in (1..=10_000).filter_map(UserId::from_wire) {
            stored.counting(now).add(user, BODY);
        }
        let mut looking = std::pin::pin!(stored.flush(now));
        for _ in 0..SHARDS {
            // Whatever shard is next, none is locked while others have their turn.
            assert!(futures::poll!(&mut looking).is_pending());
            assert!(stored.0.shards.iter().all(|shard| shard.try_lock().is_ok()));
        }
        looking.await.unwrap();
    }

    #[tokio::test]
    async fn who_stores_little_is_never_written() {
        let temp = TempStore::open().await;
        let stored = over(&temp, &StoredConfig::default());
        let now = UnixSeconds::now();
        for _ in 0..3 {
            stored.counting(now).add(ANN, BODY);
            stored.flush(now).await.unwrap();
        }
        assert_eq!(temp.store.change_counts().commits, 0);
        for _ in 0..3 {
            stored.counting(now).add(ANN, BODY);
        }
        stored.flush(now).await.unwrap();
        stored.flush(now).await.unwrap();
        assert_eq!(temp.store.change_counts().commits, 1, "only what is new");
    }

    #[tokio::test]
    async fn what_was_not_written_is_written_next_time_and_a_clock_that_was_ahead_holds_nobody_up()
    {
        let temp = TempStore::open().await;
        let config = StoredConfig {
            burst: ByteSize::kib(512),
            flush: Span::millis(100),
            ..StoredConfig::default()
        };
        let stored = over(&temp, &config);
        let now = UnixSeconds::now();
        let ahead = now.saturating_add(1_000_000);
        stored.counting(ahead).add(ANN, BODY);
        stored.counting(ahead).add(ANN, BODY);
        let due = stored.due(ahead).await;
        assert_eq!(due.len(), 1);
        stored.mark_unwritten(&due);
        stored.flush(ahead).await.unwrap();
        let written = temp.store.stored_levels().await.unwrap();
        assert_eq!(written.len(), 1);

        let stored = over(&temp, &config);
        stored.load().await.unwrap();
        let wait = stored.counting(now).add(ANN, BODY);
        // 256 KiB over, 11.6 KiB a second.
        assert!((20_000..25_000).contains(&wait), "{wait}");
        assert_eq!(stored.counting(now.saturating_add(100)).add(ANN, 0), 0);
    }
}
