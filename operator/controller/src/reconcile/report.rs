//! When a look writes the status that it has composed.

use std::time::Duration;

use im_operator_api::ImClusterStatus;
use tokio::time::Instant;

use super::ReconcileError;
use crate::cache::ClusterKey;
use crate::context::{Context, LastReported, Memory};
use crate::status::write;

/// How long a status waits: nothing when a condition turned or when the last one was written long enough
/// ago, and when it says nothing new.
pub(super) fn rest(
    status: &ImClusterStatus,
    previous: &ImClusterStatus,
    ctx: &Context,
    memory: &Memory,
) -> Duration {
    match memory.status_written {
        Some(at) if write::differs(status, previous) && !write::turns(status, previous) => {
            ctx.status_rest.saturating_sub(at.elapsed())
        }
        _ => Duration::ZERO,
    }
}

/// The status to compare with: what we wrote last, unless the API server shows something else
/// that is newer. The cache may lag behind our own write.
pub(super) fn previous_status(
    live: Option<ImClusterStatus>,
    memory: &mut Memory,
) -> ImClusterStatus {
    if let Some(written) = &memory.status {
        return written.clone();
    }
    let previous = live.unwrap_or_default();
    memory.told = LastReported::of_status(&previous);
    previous
}

/// Writes a status if it says something new.
pub(super) async fn finish(
    status: ImClusterStatus,
    previous: &ImClusterStatus,
    ctx: &Context,
    key: &ClusterKey,
    memory: &mut Memory,
) -> Result<(), ReconcileError> {
    if write::differs(&status, previous) {
        write::write(&ctx.client, key, &memory.uid, &status).await?;
        memory.status = Some(status);
        memory.status_written = Some(Instant::now());
    } else if memory.status.is_none() {
        memory.status = Some(previous.clone());
    }
    Ok(())
}
