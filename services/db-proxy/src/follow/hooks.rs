//! What whoever delivers to subscriptions asks and stores.

use std::time::Duration;

use im_accounts::ACTIVE;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_proto_rpc::v1;
use im_proto_rpc::v1::follow_item::Item;
use im_store::{
    AccountKind, DeliveryRow, Holding, SubscribedLog, SubscriptionRow, SubscriptionStep,
};

use super::Shared;
use super::answer::{persist, refused};
use super::holders::Hold;
use crate::delivery::{log, log_of, log_to_wire, record, state};

/// The name under which deliveries are made; its own position says nothing.
pub(crate) const NAME: &str = "subscriptions";

/// Deliveries of one step.
const MAX_DELIVERIES: usize = 4;

/// Longest text of what a receiver said, bytes.
const MAX_ANSWER: usize = 512;

impl Shared {
    /// All subscriptions with their secrets, and what is being delivered.
    pub(super) async fn hooks(&self, asked: v1::HooksOf, hold: &Hold) -> Item {
        if hold.name != NAME {
            return refused("this name makes no deliveries");
        }
        let store = &self.context.store;
        let mut rows = persist(|| store.subscriptions(Partition::ONLY)).await;
        self.leave_out_bots(&mut rows, asked.bots).await;
        let deliveries = persist(|| store.deliveries_to_make()).await;
        let mut hooks = Vec::with_capacity(rows.len());
        let sessions_end = self.comings.end();
        let is_about_sessions = |row: &&SubscriptionRow| {
            let mut kinds = row.subscription.kinds.iter();
            kinds.any(|kind| log_of(kind).is_none())
        };
        self.comings
            .want(rows.iter().any(|row| is_about_sessions(&row)));
        for row in &rows {
            if is_about_sessions(&row) {
                hooks.push(session_hook(row, sessions_end));
            }
            for log in [SubscribedLog::Messages, SubscribedLog::Changes] {
                let is_about = |kind: &String| log_of(kind) == Some(log);
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
            sessions_end,
        })
    }

    /// Leaves out subscriptions of bots that may not act, and all of bots where nobody knows what those are.
    async fn leave_out_bots(&self, rows: &mut Vec<SubscriptionRow>, are_known: bool) {
        let mut bots: Vec<UserId> = rows.iter().filter_map(|row| row.subscription.bot).collect();
        if bots.is_empty() {
            return;
        }
        bots.sort_unstable();
        bots.dedup();
        let mut active = Vec::new();
        if are_known {
            let store = &self.context.store;
            let profiles = persist(|| store.profiles(&bots)).await.into_iter();
            let may_act = profiles.filter(|it| it.kind == AccountKind::Bot && it.status == ACTIVE);
            active.extend(may_act.map(|it| it.id));
        }
        let may_act = |bot: UserId| active.contains(&bot);
        rows.retain(|row| row.subscription.bot.is_none_or(may_act));
    }

    /// Sessions that came and went behind a place.
    pub(super) async fn sessions(&self, asked: v1::SessionsAfter, hold: &Hold) -> Item {
        if hold.name != NAME {
            return refused("this name makes no deliveries");
        }
        let wait = Duration::from_millis(asked.wait_ms.into());
        let wait = wait.min(self.config().max_wait.duration());
        Item::Sessions(self.comings.after(asked.after, wait).await)
    }

    /// Stores how far a subscription has come.
    pub(super) async fn hook_step(&self, step: v1::HookStep, hold: &Hold) -> Item {
        if hold.name != NAME {
            return refused("this name makes no deliveries");
        }
        let position = CommitSeq::from_wire(step.position);
        let Some(log) = log(step.log()) else {
            return refused("nothing is stored of sessions");
        };
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

/// A subscription as it is told of sessions: from now on, and of nothing that was before.
fn session_hook(row: &SubscriptionRow, end: u64) -> v1::Hook {
    v1::Hook {
        log: v1::SubscribedLog::Sessions.into(),
        position: end,
        ..hook(row, SubscribedLog::Messages, Vec::new())
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
        bot: subscription.bot.map_or(0, UserId::get),
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
