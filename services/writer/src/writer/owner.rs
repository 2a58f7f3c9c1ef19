//! Whether the log is still ours, while nothing is stored that would show it.

use std::sync::Arc;
use std::time::Duration;

use im_order::{FenceLost, Ownership};
use im_store::Store;
use tokio::time::sleep;

/// Ends when another process has taken the log. It looks after `interval`, and then every so often; a look that fails says
/// nothing.
pub(super) async fn lost(store: Arc<dyn Store>, owned: Ownership, interval: Duration) -> FenceLost {
    loop {
        sleep(interval).await;
        let found = store.ownership(owned.partition).await;
        if let Some(lost) = found.ok().and_then(|found| owned.standing().lost_to(found)) {
            return lost;
        }
    }
}
