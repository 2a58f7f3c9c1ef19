//! The task that tells one subscription of sessions that come and go: in order, each once at most.
//!
//! Nothing is stored of them. What the receiver does not take at the first attempt it is never told, and neither
//! what db-proxy has forgotten by the time at which the receiver takes requests again; both are counted.

use std::convert::Infallible;
use std::sync::Arc;

use im_follower::Ended;
use tokio::time::sleep;
use tracing::{info, warn};

use super::batch::Batch;
use super::courier::{Courier, Stopped};
use super::line::pause;
use super::metrics::Counted;
use super::tail::Page;

/// Tells until the link ends or the subscription changes.
pub(super) async fn run(courier: Arc<Courier>) -> Result<Infallible, Stopped> {
    let mut tail = courier.tail().clone();
    let mut position = courier.hook.position;
    let (mut failures, mut failing): (u32, Option<Counted>) = (0, None);
    let metrics = &courier.shared.metrics;
    loop {
        let Some(page) = courier.page_after(position).await? else {
            tail.changed().await.map_err(|_| Ended::Gone)?;
            continue;
        };
        let mut batch = Batch::after(position);
        courier.take(&mut batch, &page, u64::MAX, courier.most());
        metrics.lost.inc_by(missing(&page, position, batch.through));
        // Before it is sent: what comes of the attempt changes nothing.
        position = batch.through;
        if batch.is_empty() {
            continue;
        }
        let mut row = courier.delivery(&batch);
        let said = courier.send(&mut row, &batch).await;
        let subscription = courier.hook.id;
        if said.is_taken() {
            failures = 0;
            if failing.take().is_some() {
                info!(subscription, "a receiver takes sessions again");
            }
            continue;
        }
        metrics.lost.inc_by(batch.len().into());
        failures = failures.saturating_add(1);
        if failing.is_none() {
            warn!(subscription, said = ?said.status, "a receiver does not take sessions");
            failing = Some(metrics.failing());
        }
        let config = &courier.shared.config;
        let spread = rand::random_range(0.5..=1.0);
        sleep(pause(config, failures, said.retry_after, spread)).await;
    }
}

/// Numbers between two places that the page does not have.
fn missing(page: &Page, after: u64, through: u64) -> u64 {
    let seqs = page.entries.iter().map(super::tail::Entry::seq);
    let there = seqs.filter(|seq| *seq > after && *seq <= through).count();
    let there = u64::try_from(there).unwrap_or(u64::MAX);
    through.saturating_sub(after).saturating_sub(there)
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::SessionRecord;

    use super::super::tail::Entry;
    use super::*;

    #[test]
    fn what_lies_between_two_places_and_is_not_there_is_missing() {
        let entry = |seq| {
            Entry::Session(SessionRecord {
                seq,
                ..SessionRecord::default()
            })
        };
        let page = Page {
            after: 4,
            through: 12,
            entries: [5, 9, 10, 12].map(entry).to_vec(),
        };
        assert_eq!(missing(&page, 4, 12), 4);
        assert_eq!(missing(&page, 9, 12), 1);
        assert_eq!(missing(&page, 4, 9), 3);
        assert_eq!(missing(&page, 12, 12), 0);
    }
}
