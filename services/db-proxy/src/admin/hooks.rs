//! Subscriptions: made, listed, signed with another secret, removed; their deliveries; positions of followers.

use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_proto_rpc::v1::{
    CreateSubscriptionRequest, CreatedSubscription, DeliverAgainRequest, DeliveryList,
    DeliveryRecord, FollowerList, FollowerRecord, GetSubscriptionRequest, ListDeliveriesRequest,
    RemoveSubscriptionRequest, RewindFollowerRequest, RotateSubscriptionSecretRequest,
    SubscriptionList, SubscriptionRecord,
};
use im_store::{
    AccountKind, DeliveryState, FollowerRow, LogPlace, NewSubscription, SubscribedLog,
    SubscriptionRow,
};
use serde_json::json;

mod checks;

use checks::{STORED, kinds, named, secret, url};

use super::cursor::{List, Listed};
use super::notes::Changed;
use super::pages::{Limits, Page};
use super::tokens::text;
use super::{AdminError, AdminService};
use crate::delivery::{log_of, record as delivery_record, state};

/// Deliveries in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 100,
    most: 1_000,
};

/// Longest time for which two secrets sign, seconds.
const MAX_OVERLAP: u32 = 7 * 86_400;

impl AdminService {
    pub(super) async fn make_subscription(
        &self,
        request: CreateSubscriptionRequest,
    ) -> Result<CreatedSubscription, AdminError> {
        url(&request.url)?;
        text("label", &request.label, 0)?;
        let ends = self.log_ends().await?;
        let start = request.position.map_or(ends.messages, CommitSeq::from_wire);
        within_log(start, ends.messages)?;
        let made_by = self.call.as_ref().map(|call| call.caller.actor.clone());
        let secret = secret();
        let kinds = kinds(request.kinds)?;
        let new = NewSubscription {
            url: request.url,
            label: request.label,
            bot: self.bot_of(request.bot, &kinds).await?,
            kinds,
            groups: named("groups", request.groups)?,
            senders: named("senders", request.senders)?,
            secret: secret.clone(),
            created: UnixSeconds::now(),
            made_by: made_by.unwrap_or_default(),
        };
        let row = SubscriptionRow {
            id: 0,
            subscription: new.clone(),
            former: None,
            messages: LogPlace {
                epoch: 1,
                position: start,
            },
            changes: LogPlace {
                epoch: 1,
                position: ends.changes,
            },
        };
        let answer = CreatedSubscription {
            subscription: Some(record(row, ends)),
            secret: String::new(),
        };
        if request.dry_run {
            return Ok(answer);
        }
        let mut after = json!({
            "url": new.url,
            "label": new.label,
            "kinds": new.kinds,
            "groups": new.groups,
            "senders": new.senders,
        });
        if let (Some(bot), Some(after)) = (new.bot, after.as_object_mut()) {
            after.insert("bot".to_owned(), bot.get().into());
        }
        let changed = Changed::new_of("subscription").after(after).answer(&answer);
        let most = self.config.administration.subscriptions;
        let store = self.noting(changed);
        let id = store.create_subscription(&new, Partition::ONLY, start, most);
        let id = id.await?;
        let made = answer.subscription;
        Ok(CreatedSubscription {
            subscription: made.map(|made| SubscriptionRecord { id, ..made }),
            secret,
        })
    }

    /// The bot whose subscription it is to be; it is told of messages alone.
    async fn bot_of(&self, id: u32, kinds: &[String]) -> Result<Option<UserId>, AdminError> {
        let Some(bot) = UserId::from_wire(id) else {
            return Ok(None);
        };
        let found = self.store.profiles(&[bot]).await?.pop();
        if found.is_none_or(|it| it.kind != AccountKind::Bot) {
            return Err(AdminError::Invalid(format!("there is no bot {id}")));
        }
        if kinds != [STORED] {
            let text = format!("a subscription of a bot is about {STORED} alone");
            return Err(AdminError::Invalid(text));
        }
        Ok(Some(bot))
    }

    pub(super) async fn all_subscriptions(&self) -> Result<SubscriptionList, AdminError> {
        let ends = self.log_ends().await?;
        let rows = self.store.subscriptions(Partition::ONLY).await?;
        Ok(SubscriptionList {
            subscriptions: rows.into_iter().map(|row| record(row, ends)).collect(),
        })
    }

    pub(super) async fn one_subscription(
        &self,
        request: GetSubscriptionRequest,
    ) -> Result<SubscriptionRecord, AdminError> {
        let row = self.subscription(request.id).await?;
        Ok(record(row, self.log_ends().await?))
    }

    pub(super) async fn rotate_secret(
        &self,
        request: RotateSubscriptionSecretRequest,
    ) -> Result<CreatedSubscription, AdminError> {
        if request.overlap > MAX_OVERLAP {
            return Err(AdminError::Invalid(format!(
                "two secrets sign for at most {MAX_OVERLAP} s, not {}",
                request.overlap
            )));
        }
        let row = self.subscription(request.id).await?;
        let until = UnixSeconds::now().saturating_add(request.overlap);
        let changed = SubscriptionRecord {
            former_until: until.get(),
            ..record(row, self.log_ends().await?)
        };
        if request.dry_run {
            return Ok(CreatedSubscription {
                subscription: Some(changed),
                secret: String::new(),
            });
        }
        let secret = secret();
        let note = Changed::of(target(request.id))
            .after(json!({ "secret": "another", "former_until": until.get() }));
        let store = self.noting(note);
        store
            .set_subscription_secret(request.id, &secret, until)
            .await?;
        Ok(CreatedSubscription {
            subscription: Some(changed),
            secret,
        })
    }

    pub(super) async fn end_subscription(
        &self,
        request: RemoveSubscriptionRequest,
    ) -> Result<SubscriptionRecord, AdminError> {
        let row = self.subscription(request.id).await?;
        let gone = record(row, self.log_ends().await?);
        if request.dry_run {
            return Ok(gone);
        }
        let note = Changed::of(target(request.id))
            .before(json!({ "url": gone.url, "position": gone.position }));
        self.noting(note).remove_subscription(request.id).await?;
        Ok(gone)
    }

    pub(super) async fn list_deliveries_of(
        &self,
        request: ListDeliveriesRequest,
    ) -> Result<DeliveryList, AdminError> {
        self.subscription(request.subscription).await?;
        let limit = LIMITS.of(request.limit);
        let (of, in_state) = (request.subscription.to_string(), request.state.to_string());
        let filters = [of.as_str(), in_state.as_str()];
        let listed = Listed {
            list: List::Deliveries,
            filters: &filters,
        };
        let before = self.cursors.read(listed, &request.cursor)?;
        let before = before.map_or(u64::MAX, |at| u64::try_from(at).unwrap_or(u64::MAX));
        let wanted = state(request.state());
        let rows = self
            .store
            .deliveries(request.subscription, wanted, before, limit + 1);
        let mut page = Page::new(limit);
        for row in rows.await? {
            if !page.takes(row.id.into(), delivery_record(row)) {
                break;
            }
        }
        let (deliveries, next) = self.end_page(listed, page);
        Ok(DeliveryList { deliveries, next })
    }

    /// One that is to be made again already stays so.
    pub(super) async fn deliver_once_more(
        &self,
        request: DeliverAgainRequest,
    ) -> Result<DeliveryRecord, AdminError> {
        let DeliverAgainRequest {
            subscription,
            delivery,
            dry_run,
        } = request;
        self.subscription(subscription).await?;
        let next = delivery.saturating_add(1);
        let rows = self.store.deliveries(subscription, None, next, 1).await?;
        let row = rows.into_iter().find(|row| row.id == delivery);
        let mut row = row.ok_or_else(|| {
            AdminError::NotFound(format!(
                "subscription {subscription} has no delivery {delivery}"
            ))
        })?;
        let is_open = || AdminError::Refused(format!("delivery {delivery} is being made"));
        if row.state == DeliveryState::Open {
            return Err(is_open());
        }
        row.state = DeliveryState::Again;
        if dry_run {
            return Ok(delivery_record(row));
        }
        let note = Changed::of(target(subscription)).after(json!({ "deliver_again": delivery }));
        let store = self.noting(note);
        if !store.deliver_again(subscription, delivery).await? {
            return Err(is_open());
        }
        Ok(delivery_record(row))
    }

    pub(super) async fn all_followers(&self) -> Result<FollowerList, AdminError> {
        let ends = self.log_ends().await?;
        let rows = self.store.followers(Partition::ONLY).await?;
        Ok(FollowerList {
            followers: rows.into_iter().map(|row| follower(row, ends)).collect(),
        })
    }

    pub(super) async fn rewind(
        &self,
        request: RewindFollowerRequest,
    ) -> Result<FollowerRecord, AdminError> {
        let ends = self.log_ends().await?;
        let position = CommitSeq::from_wire(request.position);
        within_log(position, ends.of(&request.name))?;
        let rows = self.store.followers(Partition::ONLY).await?;
        let row = rows.into_iter().find(|row| row.name == request.name);
        let row = row.ok_or_else(|| {
            AdminError::NotFound(format!("there is no follower {:?}", request.name))
        })?;
        if request.dry_run {
            return Ok(follower(FollowerRow { position, ..row }, ends));
        }
        let note = Changed::of(format!("follower {}", row.name))
            .before(json!({ "position": row.position.to_wire() }))
            .after(json!({ "position": request.position }));
        let store = self.noting(note);
        let rewound = store.rewind_follower(&row.name, Partition::ONLY, position);
        Ok(follower(rewound.await?, ends))
    }

    /// Where the log ends; it is not known yet in the first moments of a process.
    fn log_end(&self) -> Result<CommitSeq, AdminError> {
        let unknown = || AdminError::Unavailable("the end of the log is not known yet".to_owned());
        self.publisher.position().ok_or_else(unknown)
    }

    async fn log_ends(&self) -> Result<Ends, AdminError> {
        Ok(Ends {
            messages: self.log_end()?,
            changes: self.store.change_log_end().await?,
        })
    }

    async fn subscription(&self, id: u32) -> Result<SubscriptionRow, AdminError> {
        let rows = self.store.subscriptions(Partition::ONLY).await?;
        let found = rows.into_iter().find(|row| row.id == id);
        found.ok_or_else(|| AdminError::NotFound(format!("there is no subscription {id}")))
    }
}

/// Where the logs end.
#[derive(Clone, Copy)]
struct Ends {
    messages: CommitSeq,
    changes: CommitSeq,
}

impl Ends {
    /// The end of the log that a follower of this name reads.
    fn of(self, follower: &str) -> CommitSeq {
        match SubscribedLog::of_follower(follower) {
            SubscribedLog::Messages => self.messages,
            SubscribedLog::Changes => self.changes,
        }
    }
}

fn target(subscription: u32) -> String {
    format!("subscription {subscription}")
}

fn record(row: SubscriptionRow, ends: Ends) -> SubscriptionRecord {
    let SubscriptionRow {
        id,
        subscription,
        former,
        messages,
        changes,
    } = row;
    // It is behind in no log that it is not about.
    let is_about = |log| {
        let mut kinds = subscription.kinds.iter();
        kinds.any(|kind| log_of(kind) == Some(log))
    };
    let position = if is_about(SubscribedLog::Messages) {
        messages.position
    } else {
        ends.messages
    };
    let changes_position = if is_about(SubscribedLog::Changes) {
        changes.position
    } else {
        ends.changes
    };
    let now = UnixSeconds::now();
    let former = former.map(|(_, until)| until).filter(|until| *until > now);
    SubscriptionRecord {
        id,
        url: subscription.url,
        label: subscription.label,
        kinds: subscription.kinds,
        groups: subscription.groups,
        senders: subscription.senders,
        created: subscription.created.get(),
        made_by: subscription.made_by,
        former_until: former.map_or(0, UnixSeconds::get),
        position: position.to_wire(),
        end: ends.messages.to_wire(),
        changes_position: changes_position.to_wire(),
        changes_end: ends.changes.to_wire(),
        bot: subscription.bot.map_or(0, UserId::get),
    }
}

fn follower(row: FollowerRow, ends: Ends) -> FollowerRecord {
    let end = ends.of(&row.name);
    FollowerRecord {
        name: row.name,
        position: row.position.to_wire(),
        end: end.to_wire(),
        retries: row.retries,
    }
}

fn within_log(position: CommitSeq, end: CommitSeq) -> Result<(), AdminError> {
    if position > end {
        return Err(AdminError::Invalid(format!(
            "position {position} lies beyond the log, which ends at {end}"
        )));
    }
    Ok(())
}
