//! Room of the store: when little is left, of the file system or of a log that a foreign reader keeps from
//! starting again, large messages are refused, so that small ones go on as long as possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use im_config::WriterConfig;
use im_store::{Room, Store};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::Metrics;

/// Whether space is low; cheap to clone.
#[derive(Clone, Debug)]
pub struct Space {
    is_low: Arc<AtomicBool>,
    large_body: usize,
}

impl Space {
    pub(crate) fn new(config: &WriterConfig) -> Self {
        Self {
            is_low: Arc::default(),
            large_body: config.large_body.as_usize(),
        }
    }

    /// Whether a body of so many bytes may be stored now.
    pub fn admits(&self, body: usize) -> bool {
        body <= self.large_body || !self.is_low.load(Ordering::Relaxed)
    }

    /// Whether little is left, so that large bodies are refused.
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    /// What was seen.
    fn see(&self, room: Room, floor: u64) {
        let Room { disk, log_held } = room;
        let free = disk.map(|(free, _)| free);
        // On a small file system the floor would leave nothing.
        let is_scarce = disk.is_some_and(|(free, all)| free < floor.min(all / 10));
        let is_low = is_scarce || log_held;
        if self.is_low.swap(is_low, Ordering::Relaxed) != is_low {
            if is_low {
                warn!(
                    free,
                    floor, log_held, "little room is left, large messages are refused"
                );
            } else {
                info!(free, "there is room again");
            }
        }
    }

    /// Looks at the store's room until `stop`.
    pub async fn watch(
        self,
        store: Arc<dyn Store>,
        config: WriterConfig,
        metrics: Metrics,
        stop: CancellationToken,
    ) {
        let floor = config.free_space_floor.as_u64();
        loop {
            if let Ok(room) = store.room().await {
                if let Some((free, all)) = room.disk {
                    metrics.space(free, all);
                }
                self.see(room, floor);
            }
            let pause = tokio::time::sleep(config.free_space_interval.into());
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// As if so much were free of a large file system.
    #[cfg(any(test, feature = "testing"))]
    pub fn pretend(&self, free: u64, floor: u64) {
        self.see(disk(free, u64::MAX), floor);
    }
}

#[cfg(any(test, feature = "testing"))]
fn disk(free: u64, all: u64) -> Room {
    Room {
        disk: Some((free, all)),
        log_held: false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use im_config::units::Span;
    use im_core::time::UnixSeconds;
    use im_core::{Conversation, MsgId, UserId};
    use im_order::Partition;
    use im_store::testing::TempStore;
    use im_store::{
        AppendBatch, ConversationRow, MessageRow, MessageStore as _, NewConversation,
        SqliteOptions, TenureStore as _,
    };

    use super::*;

    const SMALL: usize = 4 << 10;
    const LARGE: usize = SMALL + 1;

    #[test]
    fn large_bodies_are_refused_below_the_floor_only() {
        let config = WriterConfig::default();
        let space = Space::new(&config);
        assert!(space.admits(LARGE));
        space.see(disk(99, 10_000), 100);
        assert!(!space.admits(LARGE));
        assert!(space.admits(SMALL));
        space.see(disk(100, 10_000), 100);
        assert!(space.admits(LARGE));
        space.see(disk(60, 500), 100);
        assert!(space.admits(LARGE), "a tenth of a small file system");
        space.see(disk(49, 500), 100);
        assert!(!space.admits(LARGE));
        space.see(disk(0, 500), 0);
        assert!(space.admits(LARGE), "switched off");
        space.see(Room::default(), 100);
        assert!(space.admits(LARGE), "not known");
    }

    /// Stores a message of user 1 to user 2.
    async fn store_one(temp: &TempStore, n: u32, bytes: usize) {
        let user = |id| UserId::from_wire(id).unwrap();
        let row = ConversationRow(1);
        let start = NewConversation {
            row,
            conversation: Conversation::Pair(user(1), user(2)),
        };
        let owned = temp.store.ownership(Partition::ONLY).await.unwrap();
        let batch = AppendBatch {
            fence: owned.adding(owned.end.next()),
            new_conversations: if n == 1 { vec![start] } else { Vec::new() },
            messages: vec![MessageRow {
                seq: owned.end.next(),
                row,
                msg_id: MsgId::from_wire(n).unwrap(),
                sender: user(1),
                msg_type: 1,
                time: UnixSeconds::from_wire(1_000_000),
                low_sent: n,
                key: None,
                body: Bytes::from(vec![b'x'; bytes]),
            }],
        };
        temp.store.append(&batch).await.unwrap();
    }

    #[tokio::test]
    async fn large_bodies_are_refused_and_small_ones_stored_while_a_reader_holds_the_log() {
        let options = SqliteOptions {
            checkpoint_bytes: 64 << 10,
            restart_bytes: 64 << 10,
            wal_limit_bytes: 1 << 20,
            ..SqliteOptions::default()
        };
        let temp = TempStore::open_with(options).await;
        temp.store.take(Partition::ONLY).await.unwrap();
        store_one(&temp, 1, 1).await;
        let config = WriterConfig {
            free_space_interval: Span::millis(1),
            // The disk of the test may be nearly full.
            free_space_floor: im_config::units::ByteSize::bytes(0),
            ..WriterConfig::default()
        };
        let space = Space::new(&config);
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let store = Arc::new(temp.store.clone());
        tokio::spawn(space.clone().watch(store, config, Metrics::default(), stop));

        let reader = temp.foreign_reader().await;
        let mut n = 1;
        while !temp.store.log_use().held {
            n += 1;
            store_one(&temp, n, SMALL).await;
            temp.store.maintain().await.unwrap();
        }
        let refused = async {
            while space.admits(LARGE) {
                tokio::task::yield_now().await;
            }
        };
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, refused).await.unwrap();
        assert!(space.admits(SMALL));
        store_one(&temp, n + 1, SMALL).await;

        drop(reader);
        let admitted = async {
            while !space.admits(LARGE) {
                temp.store.maintain().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(patience, admitted).await.unwrap();
    }
}
