//! Waiting for conditions instead of sleeping.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Longest wait of a test for something that should happen at once.
pub const SOON: Duration = Duration::from_secs(15);

/// Polls until `probe` gives a value.
///
/// # Errors
/// Names `what` when it has not happened within `limit`.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            anyhow::bail!("waited {limit:?} in vain: {what}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
