//! Who is related to whom, remembered for a short while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use im_config::AttachConfig;
use im_core::{Cache, UserId, time::UnixSeconds};
use im_proto_rpc::v1;
use im_store::{Store, StoreError};
use tokio::time::Instant;

use crate::metrics::AttachMetrics;

/// The related people of a user, and when they were read.
type Known = (Instant, Arc<[u32]>);

/// Relations that were read lately.
pub(super) struct Relations {
    known: Mutex<Cache<UserId, Known>>,
    max_age: Duration,
    limit: u32,
    seconds: u32,
    metrics: AttachMetrics,
}

impl Relations {
    pub(super) fn new(config: &AttachConfig, metrics: AttachMetrics) -> Self {
        Self {
            known: Mutex::new(Cache::new(config.related_cache, 1)),
            max_age: config.related_cache_time.duration(),
            limit: config.related_limit,
            seconds: config.related_within.as_seconds_u32(),
            metrics,
        }
    }

    /// Relations of these users.
    pub(super) async fn of(
        &self,
        store: &dyn Store,
        users: &[u32],
    ) -> Result<v1::RelatedDone, StoreError> {
        let mut entries = Vec::with_capacity(users.len());
        for user in users.iter().filter_map(|user| UserId::from_wire(*user)) {
            let related = match self.known(user) {
                Some(related) => related,
                None => self.read(store, user).await?,
            };
            entries.push(v1::related_done::Entry {
                user: user.get(),
                related: related.to_vec(),
            });
        }
        Ok(v1::RelatedDone { entries })
    }

    fn known(&self, user: UserId) -> Option<Arc<[u32]>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, related) = known.get(&user)?;
        (read.elapsed() < self.max_age).then(|| Arc::clone(related))
    }

    async fn read(&self, store: &dyn Store, user: UserId) -> Result<Arc<[u32]>, StoreError> {
        let since = UnixSeconds::now().saturating_sub(self.seconds);
        let users = store.related_users(user, since, self.limit).await?;
        let related: Arc<[u32]> = users.into_iter().map(UserId::get).collect();
        if usize::try_from(self.limit).is_ok_and(|limit| related.len() >= limit) {
            self.metrics.relations_cut();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(user, (Instant::now(), Arc::clone(&related)));
        self.metrics.cached_relations(known.len());
        Ok(related)
    }
}
