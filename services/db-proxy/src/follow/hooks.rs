//! What whoever delivers to subscriptions asks and stores.

use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_proto_rpc::v1;
use im_proto_rpc::v1::follow_item::Item;
use im_store::{DeliveryRow, Holding, SubscribedLog, SubscriptionRow, SubscriptionStep};

use super::Shared;
use super::answer::{persist, refused};
use super::holders::Hold;
use crate::delivery::{log, log_to_wire, record, state};

/// The name under which deliveries are made.
pub(super) const NAME: &str = "subscriptions";

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
        let mut hooks = Vec::with_capacity(rows.len());
        for row in &rows {
            for log in [SubscribedLog::Messages, SubscribedLog::Changes] {
                let is_about = |kind: &String| log_of(kind) == log;
                if !row.subscription.kinds.iter().any(is_about) {
                    continue;
                }
                let mut own = deliveries.clone();
                own.retain(|it| it.subscription == row.id && it.log == log);
                hooks.push(hook(row, log, own.into_iter().map(record).collect()));
            }
        }
        Item::Hooks(v1::HookList {
            hooks,
            end: self.log_end().await.to_wire(),
            changes_end: persist(|| store.change_log_end()).await.to_wire(),
        })
    }

    /// Stores how far a subscription has come.
    pub(super) async fn hook_step(&self, step: v1::HookStep, hold: &Hold) -> Item {
        if hold.name != NAME {
            return refused("this name makes no deliveries");
        }
        let position = CommitSeq::from_wire(step.position);
        let log = log(step.log());
        let end = match log {
            SubscribedLog::Messages => self.log_end().await,
            SubscribedLog::Changes => persist(|| self.context.store.change_log_end()).await,
        };
        if step.position != 0 && position > end {
            return refused("the position lies beyond the log");
        }
        if step.deliveries.len() > MAX_DELIVERIES {
            return refused("the step is too long");
        }
        let rows = step.deliveries.into_iter();
        let rows: Option<Vec<DeliveryRow>> = rows.map(|it| row(step.hook, log, it)).collect();
        let Some(deliveries) = rows else {
            return refused("a delivery makes no sense");
        };
        let step = SubscriptionStep {
            subscription: step.hook,
            log,
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

/// The log that tells of a kind of event.
fn log_of(kind: &str) -> SubscribedLog {
    if kind == "message.stored" {
        SubscribedLog::Messages
    } else {
        SubscribedLog::Changes
    }
}

fn hook(
    row: &SubscriptionRow,
    log: SubscribedLog,
    deliveries: Vec<v1::DeliveryRecord>,
) -> v1::Hook {
    let subscription = row.subscription.clone();
    let place = match log {
        SubscribedLog::Messages => row.messages,
        SubscribedLog::Changes => row.changes,
    };
    let (former_secret, former_until) = row.former.clone().unwrap_or_default();
    v1::Hook {
        log: log_to_wire(log).into(),
        id: row.id,
        url: subscription.url,
        kinds: subscription.kinds,
        groups: subscription.groups,
        senders: subscription.senders,
        secret: subscription.secret,
        former_secret,
        former_until: former_until.get(),
        epoch: place.epoch,
        position: place.position.to_wire(),
        deliveries,
    }
}

fn row(subscription: u32, log: SubscribedLog, it: v1::DeliveryRecord) -> Option<DeliveryRow> {
    let state = state(it.state())?;
    if it.answer.len() > MAX_ANSWER || it.after > it.through {
        return None;
    }
    Some(DeliveryRow {
        id: it.id,
        subscription,
        log,
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
