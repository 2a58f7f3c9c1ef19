//! What users have taken, by user: kept over reconnects, until it is earned again.

use std::sync::{Mutex, PoisonError};

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
        bytes: u32,
        now: u32,
    ) -> Result<(), Wait> {
        self.of(user, now, |meter| meter.take(config, kind, bytes, now))
            .unwrap_or(Ok(()))
    }

    /// Counts an answer of so many bytes for a user.
    pub(crate) fn answered(&self, config: &MeterConfig, user: u32, bytes: usize, now: u32) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.of(user, now, |meter| meter.answered(config, bytes, now));
    }

    fn of<T>(&self, user: u32, now: u32, work: impl FnOnce(&mut UserMeter) -> T) -> Option<T> {
        let shard = self.shards.get(user as usize % SHARDS)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = shard.entry(user).or_insert_with(|| UserMeter::new(now));
        Some(work(meter))
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
