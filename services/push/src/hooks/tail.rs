//! The newest page of the log, read once for all whose position is there.

use std::sync::Arc;

use im_config::SubscriptionsConfig;
use im_follower::{Calls, Ended};
use im_proto_rpc::v1::{FollowRead, LiveMessage};
use tokio::sync::watch;

/// How long a read waits for a message before it is asked anew, milliseconds.
const WAIT_MS: u32 = 5_000;

/// A page of the log.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) after: u64,
    pub(super) through: u64,
    pub(super) messages: Vec<LiveMessage>,
}

/// The newest page; empty ones say where the log ends.
pub(super) type Tail = watch::Receiver<Arc<Page>>;

/// How much is read at a time, and up to which length bodies come along.
pub(super) fn read(after: u64, wait_ms: u32, config: &SubscriptionsConfig) -> FollowRead {
    FollowRead {
        after,
        rows: 0,
        bytes: config.page_bytes.as_u32(),
        wait_ms,
        body_bytes: if config.text {
            config.text_bytes.as_u32()
        } else {
            0
        },
    }
}

/// Follows the log from its end on.
pub(super) async fn follow(
    calls: Calls,
    tail: Arc<watch::Sender<Arc<Page>>>,
    config: Arc<SubscriptionsConfig>,
) -> Result<(), Ended> {
    let mut after = tail.borrow().through;
    loop {
        let page = calls.read(read(after, WAIT_MS, &config)).await?;
        if page.through > after {
            tail.send_replace(Arc::new(Page {
                after,
                through: page.through,
                messages: page.messages,
            }));
            after = page.through;
        }
        if !page.more {
            tokio::time::sleep(config.gather.duration()).await;
        }
    }
}
