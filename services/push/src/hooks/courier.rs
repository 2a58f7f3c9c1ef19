//! What the tasks of one subscription share: what it is about, its receiver, its place in the log.

use std::sync::Arc;

use aws_lc_rs::hmac;
use im_codec::text::TextCipher;
use im_config::{HookReach, SubscriptionsConfig};
use im_core::time::UnixSeconds;
use im_follower::{Calls, Ended};
use im_proto_rpc::v1::{DeliveryRecord, DeliveryState, Hook, HookStep, SubscribedLog};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tracing::debug;

use super::attempt::{Receiver, Said};
use super::batch::{Batch, Most};
use super::event::Filter;
use super::metrics::{HookMetrics, Told};
use super::tail::{self, Page, Tail};
use im_outbound::Http;
use im_outbound::signature;

/// What all subscriptions share.
pub(super) struct Shared {
    pub(super) calls: Calls,
    /// One for each call of db-proxy that may be open.
    pub(super) permits: Semaphore,
    /// Of the log of messages.
    pub(super) messages: Tail,
    /// Of the log of changes.
    pub(super) changes: Tail,
    /// Of sessions that come and go.
    pub(super) sessions: Tail,
    pub(super) config: Arc<SubscriptionsConfig>,
    pub(super) reach: HookReach,
    pub(super) tls: ClientConfig,
    pub(super) max_answer: usize,
    /// Reads texts, where events carry them.
    pub(super) cipher: Option<TextCipher>,
    pub(super) metrics: HookMetrics,
}

impl Shared {
    /// The end of a log.
    pub(super) const fn tail(&self, log: SubscribedLog) -> &Tail {
        match log {
            SubscribedLog::Messages => &self.messages,
            SubscribedLog::Changes => &self.changes,
            SubscribedLog::Sessions => &self.sessions,
        }
    }
}

/// Why a task of a subscription ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The subscription is another one by now, or gone.
    #[error("deliver to a subscription that has changed")]
    Stale,
}

/// One subscription in one of the logs, as it was listed.
pub(super) struct Courier {
    pub(super) shared: Arc<Shared>,
    pub(super) hook: Hook,
    pub(super) about: Filter,
    receiver: Receiver,
    keys: Vec<hmac::Key>,
    /// Signs beside the others until then.
    former: Option<(hmac::Key, UnixSeconds)>,
}

impl Courier {
    /// `None` for what db-proxy of this version would not have taken: a URL or a secret of no use.
    pub(super) fn new(shared: Arc<Shared>, hook: Hook) -> Option<Self> {
        let http = Http::within(shared.tls.clone(), shared.max_answer, shared.reach.clone());
        let receiver = Receiver {
            http,
            url: hook.url.parse().ok()?,
            timeout: shared.config.attempt_timeout.duration(),
        };
        let until = UnixSeconds::from_wire(hook.former_until);
        let former = signature::keys(&hook.former_secret).and_then(|mut keys| keys.pop());
        Some(Self {
            about: Filter::of(&hook),
            keys: signature::keys(&hook.secret)?,
            former: former.map(|key| (key, until)),
            receiver,
            shared,
            hook,
        })
    }

    pub(super) fn most(&self) -> Most {
        Most {
            events: self.shared.config.batch,
            bytes: self.shared.config.batch_bytes.as_usize(),
        }
    }

    /// What the log has behind a position; `None` where it ends there.
    pub(super) async fn page_after(&self, after: u64) -> Result<Option<Arc<Page>>, Ended> {
        let newest = Arc::clone(&self.tail().borrow());
        if after >= newest.through {
            return Ok(None);
        }
        if after >= newest.after {
            return Ok(Some(newest));
        }
        let _permit = self.shared.permits.acquire().await;
        let (calls, config) = (&self.shared.calls, &self.shared.config);
        let (page, _) = tail::read(calls, self.hook.log(), after, 0, config).await?;
        Ok(Some(Arc::new(page)))
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> &Tail {
        self.shared.tail(self.hook.log())
    }

    /// Events of a part of the log, from its beginning: all of them, or as many as a request may hold.
    pub(super) async fn read_part(
        &self,
        after: u64,
        through: u64,
        most: Most,
    ) -> Result<Batch, Stopped> {
        let mut batch = Batch::after(after);
        let mut newest = self.tail().clone();
        while batch.through < through {
            let Some(page) = self.page_after(batch.through).await? else {
                // What was stored comes.
                newest.changed().await.map_err(|_| Ended::Gone)?;
                continue;
            };
            if self.take(&mut batch, &page, through, most) {
                break;
            }
        }
        Ok(batch)
    }

    /// Takes events of a page; returns whether nothing more is to be taken.
    pub(super) fn take(&self, batch: &mut Batch, page: &Page, until: u64, most: Most) -> bool {
        let cipher = self.shared.cipher.as_ref();
        batch.take(
            &page.entries,
            page.through,
            until,
            most,
            &self.about,
            cipher,
        )
    }

    /// Sends events, and notes in the delivery what was said; whether they were taken.
    pub(super) async fn send(&self, row: &mut DeliveryRecord, batch: &Batch) -> Said {
        let (subscription, delivery) = (self.hook.id, row.id);
        let id = match self.hook.log() {
            SubscribedLog::Sessions => passing_name(row, batch.after),
            SubscribedLog::Messages | SubscribedLog::Changes => name(row, batch.after),
        };
        let body = batch.body(subscription, delivery);
        let now = UnixSeconds::now();
        let mut keys = self.keys.clone();
        if let Some((key, until)) = &self.former
            && *until > now
        {
            keys.push(key.clone());
        }
        let said = self.receiver.send(&keys, &id, body).await;
        let told = match said.status {
            _ if said.is_taken() => Told::Taken,
            Some(_) => Told::Refused,
            None => Told::Silent,
        };
        self.shared.metrics.attempt(told);
        if told == Told::Taken {
            self.shared.metrics.events.inc_by(batch.len().into());
        } else {
            debug!(subscription, delivery, said = ?said.status, why = said.text, "not taken");
        }
        row.tries = row.tries.saturating_add(1);
        row.last = UnixSeconds::now().get();
        row.status = said.status.map_or(0, |status| status.as_u16().into());
        row.answer.clone_from(&said.text);
        said
    }

    /// Stores how far it has come; the ids of new deliveries. Position 0 leaves it where it is.
    pub(super) async fn step(
        &self,
        position: u64,
        deliveries: Vec<DeliveryRecord>,
    ) -> Result<Vec<u64>, Stopped> {
        let step = HookStep {
            log: self.hook.log,
            hook: self.hook.id,
            epoch: self.hook.epoch,
            position,
            deliveries,
        };
        let _permit = self.shared.permits.acquire().await;
        let stepped = self.shared.calls.hook_step(step).await?;
        if stepped.is_stale {
            return Err(Stopped::Stale);
        }
        Ok(stepped.added)
    }

    /// A delivery of these events, before it is tried.
    pub(super) fn delivery(&self, batch: &Batch) -> DeliveryRecord {
        let now = UnixSeconds::now().get();
        DeliveryRecord {
            subscription: self.hook.id,
            log: self.hook.log,
            state: DeliveryState::Open.into(),
            after: batch.after,
            through: batch.through,
            events: batch.len(),
            first: now,
            last: now,
            ..DeliveryRecord::default()
        }
    }
}

/// What a request is known by, the same at each attempt: of which delivery, and from where on. The time tells
/// deliveries apart that have the same number after a backup was restored.
fn name(row: &DeliveryRecord, after: u64) -> String {
    format!("msg_{}_{after}_{}", row.id, row.first)
}

/// The same for events that are sent once and have no number of a delivery.
fn passing_name(row: &DeliveryRecord, after: u64) -> String {
    format!("ses_{}_{after}_{}", row.subscription, row.first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_name_however_often_it_is_tried() {
        let mut row = DeliveryRecord {
            id: 7,
            first: 100,
            ..DeliveryRecord::default()
        };
        let first = name(&row, 5);
        row.tries = 3;
        row.last = 200;
        assert_eq!(name(&row, 5), first);
        assert_ne!(name(&row, 6), first, "another part of it");
        row.first = 101;
        assert_ne!(name(&row, 5), first, "another delivery of the number");
    }
}
