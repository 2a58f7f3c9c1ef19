//! Takes the bodies of old messages away, as `db_proxy.retention` says: step by step, so that messages that are to be
//! stored wait for one step at most, and never past a follower of the log, which has yet to tell somebody of them.

use std::time::Duration;

use im_config::RetentionConfig;
use im_core::Chain;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_runtime::init_series;
use im_store::{RetentionKind, RetentionStep, StoreError, SubscribedLog};
use im_writer::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::follow::SUBSCRIPTIONS;

/// Messages of one step.
const ROWS: u32 = 256;

/// Of the time, a step takes one part in so many, so that others find the store free.
const SHARE: u32 = 5;

im_core::label_values! {
    /// A kind of conversations, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum KindLabel {
        Pairs,
        Groups,
    }
}

impl From<RetentionKind> for KindLabel {
    fn from(kind: RetentionKind) -> Self {
        match kind {
            RetentionKind::Pairs => Self::Pairs,
            RetentionKind::Groups => Self::Groups,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: KindLabel,
}

/// Counters of retention. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetentionMetrics {
    expired: Family<ByKind, Counter>,
    waits: Family<ByKind, Gauge>,
}

impl RetentionMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        init_series(&this.expired, KindLabel::ALL, |kind| ByKind { kind });
        registry.register(
            "im_db_proxy_expired_bodies",
            "Bodies of messages that were taken away because they were old",
            this.expired.clone(),
        );
        init_series(&this.waits, KindLabel::ALL, |kind| ByKind { kind });
        registry.register(
            "im_db_proxy_retention_waits",
            "Whether bodies of old messages stay because a follower of the log has yet to read them",
            this.waits.clone(),
        );
        this
    }
}

/// Takes bodies away until told to stop.
pub(crate) struct Retention {
    context: Context,
    metrics: RetentionMetrics,
}

impl Retention {
    pub(crate) fn new(context: Context, metrics: RetentionMetrics) -> Self {
        Self { context, metrics }
    }

    fn config(&self) -> &RetentionConfig {
        &self.context.config.retention
    }

    /// How long bodies of a kind are kept; `None` for ever.
    fn kept(&self, kind: RetentionKind) -> Option<u32> {
        let kept = match kind {
            RetentionKind::Pairs => self.config().pairs,
            RetentionKind::Groups => self.config().groups,
        };
        (!kept.is_zero()).then(|| kept.as_seconds_u32())
    }

    /// Looks for what has become old until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if RetentionKind::ALL
            .iter()
            .all(|kind| self.kept(*kind).is_none())
        {
            return;
        }
        stop.run_until_cancelled(async {
            loop {
                for kind in RetentionKind::ALL {
                    if let Err(error) = self.pass(kind).await {
                        warn!(?kind, error = %Chain(&error), "bodies of old messages stay for now");
                    }
                }
                sleep(self.config().interval.into()).await;
            }
        })
        .await;
    }

    /// Takes away what is old now.
    async fn pass(&self, kind: RetentionKind) -> Result<(), StoreError> {
        let Some(kept) = self.kept(kind) else {
            return Ok(());
        };
        let mut bodies = 0;
        loop {
            let Until { until, follower } = self.until().await?;
            let now = UnixSeconds::now();
            let begun = Instant::now();
            let step = RetentionStep {
                kind,
                before: now.saturating_sub(kept),
                now,
                until,
                rows: ROWS,
            };
            let done = self.context.store.expire_bodies(step).await?;
            let label = ByKind { kind: kind.into() };
            self.metrics
                .expired
                .get_or_create(&label)
                .inc_by(done.bodies);
            bodies += done.bodies;
            if !done.has_more {
                let follower = follower.filter(|_| done.through >= until);
                let waits = self.metrics.waits.get_or_create(&label);
                waits.set(follower.is_some().into());
                if let Some(follower) = follower {
                    let position = until.to_wire();
                    warn!(
                        ?kind,
                        follower, position, "bodies of old messages wait for a follower of the log"
                    );
                }
                if bodies > 0 {
                    let through = done.through.to_wire();
                    info!(
                        ?kind,
                        bodies, through, "bodies of old messages were taken away"
                    );
                }
                return Ok(());
            }
            sleep((begun.elapsed() * (SHARE - 1)).max(Duration::from_millis(1))).await;
        }
    }

    /// The last message of which every follower has told whom it tells.
    async fn until(&self) -> Result<Until, StoreError> {
        let store = &self.context.store;
        let (end, _) = store.log_end().await?;
        let followers = store.followers(Partition::ONLY).await?;
        let of_messages = followers.into_iter().filter(|it| {
            it.name != SUBSCRIPTIONS
                && SubscribedLog::of_follower(&it.name) == SubscribedLog::Messages
        });
        let last = of_messages.min_by_key(|it| it.position);
        let last = last.filter(|it| it.position < end);
        Ok(Until {
            until: last.as_ref().map_or(end, |it| it.position),
            follower: last.map(|it| it.name),
        })
    }
}

/// How far bodies may go.
struct Until {
    until: CommitSeq,
    /// Who has read no further; none at the end of the log.
    follower: Option<String>,
}

#[cfg(test)]
mod tests;
