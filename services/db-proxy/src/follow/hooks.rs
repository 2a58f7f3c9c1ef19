//! What whoever delivers to subscriptions asks and stores.

use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_proto_rpc::v1;
use im_proto_rpc::v1::follow_item::Item;
use im_store::{DeliveryRow, Holding, SubscriptionRow, SubscriptionStep};

use super::Shared;
use super::answer::{persist, refused};
use super::holders::Hold;
use crate::delivery::{record, state};

/// The name under which deliveries are made.
const NAME: &str = "subscriptions";

/// Deliveries of one step.
const MAX_DELIVERIES: usize = 4;

/// Longest text of what a receiver said, bytes.
const MAX_ANSWER: usize = 512;

impl Shared {
    /// All subscriptions with their secrets, and what is being delivered.
    pub(super) async fn hooks(&self, hold: &Hold) -> Item {
        if hold.name != NAME {
            return refused("this name makes no deliveries");
        }
        let store = &self.context.store;
        let rows = persist(|| store.subscriptions(Partition::ONLY)).await;
        let deliveries = persist(|| store.deliveries_to_make()).await;
        let hooks = rows.into_iter().map(|row| {
            let own = deliveries.iter().filter(|it| it.subscription == row.id);
            let deliveries = own.cloned().map(record).collect();
            hook(row, deliveries)
        });
        Item::Hooks(v1::HookList {
            hooks: hooks.collect(),
            end: self.log_end().await.to_wire(),
        })
    }

    /// Stores how far a subscription has come.
    pub(super) async fn hook_step(&self, step: v1::HookStep, hold: &Hold) -> Item {
        if hold.name != NAME {
            return refused("this name makes no deliveries");
        }
        let position = CommitSeq::from_wire(step.position);
        if step.position != 0 && position > self.log_end().await {
            return refused("the position lies beyond the log");
        }
        if step.deliveries.len() > MAX_DELIVERIES {
            return refused("the step is too long");
        }
        let rows = step.deliveries.into_iter();
        let rows: Option<Vec<DeliveryRow>> = rows.map(|it| row(step.hook, it)).collect();
        let Some(deliveries) = rows else {
            return refused("a delivery makes no sense");
        };
        let step = SubscriptionStep {
            subscription: step.hook,
            epoch: step.epoch,
            position: (step.position != 0).then_some(position),
            deliveries,
            keep: self.context.config.administration.deliveries,
        };
        let holding = Holding {
            name: &hold.name,
            epoch: hold.epoch,
            partition: Partition::ONLY,
        };
        let store = &self.context.store;
        if let Some(added) = persist(|| store.step_subscription(holding, &step)).await {
            return Item::Hook(v1::HookStepped {
                is_stale: false,
                added,
            });
        }
        // One of the two epochs has passed: which decides whether the link goes on.
        if !self.holds(hold).await {
            return Item::Fenced(v1::FollowFenced {});
        }
        Item::Hook(v1::HookStepped {
            is_stale: true,
            added: Vec::new(),
        })
    }
}

fn hook(row: SubscriptionRow, deliveries: Vec<v1::DeliveryRecord>) -> v1::Hook {
    let SubscriptionRow {
        id,
        subscription,
        former,
        epoch,
        position,
    } = row;
    let (former_secret, former_until) = former.unwrap_or_default();
    v1::Hook {
        id,
        url: subscription.url,
        kinds: subscription.kinds,
        groups: subscription.groups,
        senders: subscription.senders,
        secret: subscription.secret,
        former_secret,
        former_until: former_until.get(),
        epoch,
        position: position.to_wire(),
        deliveries,
    }
}

fn row(subscription: u32, it: v1::DeliveryRecord) -> Option<DeliveryRow> {
    let state = state(it.state())?;
    if it.answer.len() > MAX_ANSWER || it.after > it.through {
        return None;
    }
    Some(DeliveryRow {
        id: it.id,
        subscription,
        state,
        after: CommitSeq::from_wire(it.after),
        through: CommitSeq::from_wire(it.through),
        events: it.events,
        tries: it.tries,
        first: UnixSeconds::from_wire(it.first),
        last: UnixSeconds::from_wire(it.last),
        status: it.status,
        answer: it.answer,
    })
}
