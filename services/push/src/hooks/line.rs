//! The task that delivers to one subscription, in log order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use im_config::SubscriptionsConfig;
use im_core::time::UnixSeconds;
use im_follower::Ended;
use im_proto_rpc::v1::{DeliveryRecord, DeliveryState};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::batch::{Batch, WHATEVER};
use super::courier::{Courier, Stopped};
use super::metrics::Counted;
use super::tail::Tail;

/// How late the position may be where there is nothing to deliver.
const FLUSH: Duration = Duration::from_secs(1);

/// One delivery under way.
type Open = (DeliveryRecord, Batch);

/// Delivers to one subscription.
pub(super) struct Line {
    courier: Arc<Courier>,
    tail: Tail,
    /// Everything up to here was delivered, given up, or is nothing that the subscription is about.
    position: u64,
    /// The same as the store knows it.
    stored: u64,
    flush_at: Instant,
    /// Attempts in a row that were not taken.
    failures: u32,
    failing: Option<Counted>,
}

impl Line {
    pub(super) fn new(courier: Arc<Courier>) -> Self {
        let position = courier.hook.position;
        Self {
            tail: courier.tail().clone(),
            courier,
            position,
            stored: position,
            flush_at: Instant::now() + FLUSH,
            failures: 0,
            failing: None,
        }
    }

    /// Delivers until the link ends or the subscription changes; first what was being delivered before.
    pub(super) async fn run(mut self) -> Result<Infallible, Stopped> {
        let deliveries = &self.courier.hook.deliveries;
        let open = deliveries
            .iter()
            .find(|row| row.state() == DeliveryState::Open)
            .cloned();
        let mut open = match open {
            None => None,
            Some(row) => {
                let batch = self.courier.read_part(row.after, row.through, WHATEVER);
                let batch = batch.await?;
                Some((row, batch))
            }
        };
        loop {
            let (row, batch) = match open {
                Some(open) => open,
                None => self.open().await?,
            };
            open = self.deliver(row, batch).await?;
        }
    }

    /// Waits for events, and stores that they are being delivered.
    async fn open(&mut self) -> Result<Open, Stopped> {
        let batch = loop {
            let batch = self.gather().await?;
            if !batch.is_empty() {
                break batch;
            }
            self.wait().await?;
        };
        let row = self.courier.delivery(&batch);
        let added = self.courier.step(self.position, vec![row.clone()]).await?;
        self.noted(self.position);
        Ok((numbered(row, &added), batch))
    }

    /// The events that are there. Where the subscription is about none of them, the position moves.
    async fn gather(&mut self) -> Result<Batch, Stopped> {
        let mut batch = Batch::after(self.position);
        let most = self.courier.most();
        while let Some(page) = self.courier.page_after(batch.through).await? {
            let is_full = self.courier.take(&mut batch, &page, u64::MAX, most);
            if batch.is_empty() {
                self.position = batch.through;
                batch = Batch::after(self.position);
                self.flush().await?;
            }
            if is_full {
                break;
            }
        }
        Ok(batch)
    }

    /// Waits until the log has more; the position is stored meanwhile.
    async fn wait(&mut self) -> Result<(), Stopped> {
        self.flush().await?;
        if self.position == self.stored {
            self.tail.changed().await.map_err(|_| Ended::Gone)?;
            return Ok(());
        }
        match timeout_at(self.flush_at, self.tail.changed()).await {
            Ok(changed) => Ok(changed.map_err(|_| Ended::Gone)?),
            Err(_) => self.flush().await,
        }
    }

    /// Stores the position where that is due.
    async fn flush(&mut self) -> Result<(), Stopped> {
        if self.position > self.stored && Instant::now() >= self.flush_at {
            self.courier.step(self.position, Vec::new()).await?;
            self.noted(self.position);
        }
        Ok(())
    }

    fn noted(&mut self, position: u64) {
        self.stored = position;
        self.flush_at = Instant::now() + FLUSH;
    }

    /// Tries until the events are taken or given up; what is being delivered then.
    async fn deliver(
        &mut self,
        mut row: DeliveryRecord,
        batch: Batch,
    ) -> Result<Option<Open>, Stopped> {
        let config = Arc::clone(&self.courier.shared.config);
        let before = UnixSeconds::now().seconds_since(UnixSeconds::from_wire(row.first));
        let begun = Instant::now();
        loop {
            let said = self.courier.send(&mut row, &batch).await;
            if said.is_taken() {
                return self.taken(row).await;
            }
            self.failures = self.failures.saturating_add(1);
            if self.failing.is_none() {
                let id = self.courier.hook.id;
                warn!(subscription = id, said = ?said.status, "a receiver does not take events");
                self.failing = Some(self.courier.shared.metrics.failing());
            }
            // A clock that is put ahead meanwhile gives up nothing, and one that is put back keeps nothing longer.
            let tried_for = Duration::from_secs(before.into()) + begun.elapsed();
            if tried_for >= config.dead_after.duration() {
                self.give_up(row).await?;
                return Ok(None);
            }
            self.courier.step(0, vec![row.clone()]).await?;
            let spread = rand::random_range(0.5..=1.0);
            sleep(pause(&config, self.failures, said.retry_after, spread)).await;
        }
    }

    /// The position moves, and what comes next is opened in the same transaction.
    async fn taken(&mut self, mut row: DeliveryRecord) -> Result<Option<Open>, Stopped> {
        if self.failing.take().is_some() {
            info!(
                subscription = self.courier.hook.id,
                "a receiver takes events again"
            );
        }
        self.failures = 0;
        row.state = DeliveryState::Delivered.into();
        self.position = self.position.max(row.through);
        let mut next = Batch::after(self.position);
        let most = self.courier.most();
        if let Some(page) = self.courier.page_after(self.position).await? {
            self.courier.take(&mut next, &page, u64::MAX, most);
        }
        if next.is_empty() {
            self.position = next.through;
            self.courier.step(self.position, vec![row]).await?;
            self.noted(self.position);
            return Ok(None);
        }
        let opened = self.courier.delivery(&next);
        let rows = vec![row, opened.clone()];
        let added = self.courier.step(self.position, rows).await?;
        self.noted(self.position);
        Ok(Some((numbered(opened, &added), next)))
    }

    /// Gives up a delivery, and with it what has become as old meanwhile: that is not tried first.
    async fn give_up(&mut self, mut row: DeliveryRecord) -> Result<(), Stopped> {
        let dead_after = self.courier.shared.config.dead_after.as_seconds_u32();
        let oldest = UnixSeconds::now().saturating_sub(dead_after);
        row.state = DeliveryState::Dead.into();
        let mut old = DeliveryRecord {
            state: DeliveryState::Dead.into(),
            after: row.through,
            answer: "not tried: it became too old while the receiver took nothing".to_owned(),
            ..self.courier.delivery(&Batch::after(row.through))
        };
        let mut at = row.through;
        'log: while let Some(page) = self.courier.page_after(at).await? {
            for entry in &page.entries {
                if entry.seq() <= at {
                    continue;
                }
                if UnixSeconds::from_wire(entry.time()) > oldest {
                    break 'log;
                }
                at = entry.seq();
                let is_about_it = self.courier.about.matches(entry);
                old.events = old.events.saturating_add(is_about_it.into());
            }
            at = at.max(page.through);
        }
        old.through = at;
        let events = u64::from(row.events) + u64::from(old.events);
        warn!(
            subscription = self.courier.hook.id,
            events, "events were given up"
        );
        self.courier.shared.metrics.given_up.inc_by(events);
        let mut rows = vec![row];
        if old.events > 0 {
            rows.push(old);
        }
        self.courier.step(at, rows).await?;
        self.position = at;
        self.noted(at);
        Ok(())
    }
}

/// A delivery under the id that the store gave.
fn numbered(row: DeliveryRecord, added: &[u64]) -> DeliveryRecord {
    DeliveryRecord {
        id: added.first().copied().unwrap_or_default(),
        ..row
    }
}

/// Wait before the next attempt: doubled each time up to the longest, then between half of it and all by
/// `spread` (0.5 to 1); at least what the receiver asks for, if that is not longer than the longest.
pub(super) fn pause(
    config: &SubscriptionsConfig,
    failures: u32,
    asked: Option<Duration>,
    spread: f64,
) -> Duration {
    let longest = config.retry_max.duration();
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(31));
    let wait = config.retry_min.duration().saturating_mul(doubled);
    let wait = wait.min(longest).mul_f64(spread);
    wait.max(asked.unwrap_or_default().min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_heed_the_receiver_up_to_that() {
        let config = SubscriptionsConfig::default();
        let seconds = |failures, asked: Option<u64>| {
            pause(&config, failures, asked.map(Duration::from_secs), 1.0).as_secs()
        };
        assert_eq!([1, 2, 3, 12].map(|n| seconds(n, None)), [1, 2, 4, 2_048]);
        assert_eq!([13, 100, u32::MAX].map(|n| seconds(n, None)), [3_600; 3]);
        assert_eq!(seconds(1, Some(30)), 30);
        assert_eq!(seconds(12, Some(30)), 2_048);
        assert_eq!(seconds(1, Some(86_400)), 3_600);
        let half = pause(&config, 3, None, 0.5);
        assert_eq!(half, Duration::from_secs(2));
    }
}
