//! Waiting for conditions instead of sleeping.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest wait for something that should happen at once.
pub const SOON: Duration = Duration::from_secs(15);

/// Longest wait for what takes a cluster some work: pods that start, namespaces that end.
pub const LATER: Duration = Duration::from_secs(120);

/// Polls until `probe` gives a value, every 50 to 250 ms.
///
/// # Errors
/// Names `what` when it has not happened within `limit`.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(50);
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            anyhow::bail!("waited {limit:?} in vain: {what}");
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
