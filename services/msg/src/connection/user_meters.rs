//! What users have taken, by user: kept over reconnects, until it is earned again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use im_config::MeterConfig;

use super::meter::{UserMeter, Wait};
use crate::ids::NumberMap;
use crate::metrics::Limit;

const SHARDS: usize = 64;

/// The meters of all users who have taken something lately.
pub(crate) struct UserMeters {
    shards: Vec<Mutex<NumberMap<u32, UserMeter>>>,
}

impl UserMeters {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes a frame of a user.
    pub(super) fn take(
        &self,
        config: &MeterConfig,
        user: u32,
        kind: Limit,
        now: u32,
    ) -> Result<(), Wait> {
        let Some(mut shard) = self.shard(user) else {
            return Ok(());
        };
        if matches!(kind, Limit::Message | Limit::Query | Limit::Presence) {
            // Nothing is taken yet: most people who write or ask have no meter.
            let meter = shard.get_mut(&user);
            return meter.map_or(Ok(()), |meter| meter.take(config, kind, now));
        }
        let meter = shard.entry(user).or_insert_with(|| UserMeter::new(now));
        meter.take(config, kind, now)
    }

    /// Has the messages of a user wait so long, milliseconds.
    pub(crate) fn hold(&self, user: u32, wait: u32, now: u32) {
        if let Some(mut shard) = self.shard(user) {
            let meter = shard.entry(user).or_insert_with(|| UserMeter::new(now));
            meter.hold(wait, now);
        }
    }

    /// Counts an answer of so many bytes for a user.
    pub(crate) fn answered(&self, config: &MeterConfig, user: u32, bytes: usize, now: u32) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(mut shard) = self.shard(user) {
            let meter = shard.entry(user).or_insert_with(|| UserMeter::new(now));
            meter.answered(config, bytes, now);
        }
    }

    fn shard(&self, user: u32) -> Option<MutexGuard<'_, NumberMap<u32, UserMeter>>> {
        let shard = self.shards.get(user as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets users of one shard who have earned everything again; call with 0, 1, … until it is
    /// false.
    pub(super) fn retire(&self, shard: usize, config: &MeterConfig, now: u32) -> bool {
        let Some(shard) = self.shards.get(shard) else {
            return false;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.retain(|_, meter| !meter.is_settled(config, now));
        if shard.is_empty() {
            *shard = NumberMap::default();
        }
        true
    }

    /// Users who are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let lens = self.shards.iter().map(|shard| shard.lock().unwrap().len());
        lens.sum()
    }
}
