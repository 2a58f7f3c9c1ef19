//! Subscriptions: receivers that are told over HTTP of what is stored.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use im_proto_rpc::v1::{
    CreateSubscriptionRequest, CreatedSubscription, GetSubscriptionRequest,
    ListSubscriptionsRequest, RemoveSubscriptionRequest, RotateSubscriptionSecretRequest,
    SubscriptionRecord,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{MAX_ID, moment, some, time};
use super::{Change, Page, made, position};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, remove))
        .routes(routes!(rotate))
}

/// How long two secrets sign unless something else is asked for, seconds.
const OVERLAP: u32 = 86_400;

/// A subscription, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subscription {
    id: u32,
    /// Where requests go.
    url: String,
    /// What for.
    label: String,
    /// Kinds of events.
    kinds: Vec<String>,
    /// Ids of groups whose messages it is about; none = all, and pairs of people.
    groups: Vec<u32>,
    /// Ids of senders whose messages it is about; none = all.
    senders: Vec<u32>,
    /// Id of the bot whose subscription it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    bot: Option<u32>,
    /// When it was made (RFC 3339).
    created: String,
    /// Who made it.
    made_by: String,
    /// Until when the former secret signs too (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    former_secret_until: Option<String>,
    /// The place in the log of messages up to which everything was delivered or given up; digits.
    position: String,
    /// Messages behind that place, whether it is about them or not.
    behind: u64,
    /// The same place in the log of changes; digits.
    changes_position: String,
    /// Changes behind that place.
    changes_behind: u64,
}

impl From<SubscriptionRecord> for Subscription {
    fn from(record: SubscriptionRecord) -> Self {
        Self {
            id: record.id,
            url: record.url,
            label: record.label,
            kinds: record.kinds,
            groups: record.groups,
            senders: record.senders,
            bot: Some(record.bot).filter(|bot| *bot != 0),
            created: time(record.created),
            made_by: record.made_by,
            former_secret_until: moment(record.former_until),
            position: record.position.to_string(),
            behind: record.end.saturating_sub(record.position),
            changes_position: record.changes_position.to_string(),
            changes_behind: record.changes_end.saturating_sub(record.changes_position),
        }
    }
}

/// Lists subscriptions by id.
#[utoipa::path(get, path = "/api/v1/subscriptions", operation_id = "listSubscriptions", tag = "hooks",
    security(("token" = ["hooks:read"])),
    responses((status = 200, description = "All subscriptions.", body = Page<Subscription>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Page<Subscription>>, Problem> {
    let wanted = caller.call(ListSubscriptionsRequest {});
    let found = api.hooks.clone().list_subscriptions(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    let rows = found.subscriptions;
    Ok(Json(Page::of(rows, String::new(), Subscription::from)))
}

/// A kind of event.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
pub(crate) enum EventKind {
    /// A message was stored.
    #[serde(rename = "message.stored")]
    MessageStored,
    /// A group was made, renamed or given to another member, or its members have changed.
    #[serde(rename = "group.changed")]
    GroupChanged,
    /// A person or a department is new, or is not as it was.
    #[serde(rename = "directory.changed")]
    DirectoryChanged,
    /// A file for somebody who is away is whole and can be fetched.
    #[serde(rename = "file.ready")]
    FileReady,
    /// Somebody has logged in. Told once at most, and not kept while the receiver is away.
    #[serde(rename = "session.up")]
    SessionUp,
    /// A session has ended; told as `session.up`.
    #[serde(rename = "session.down")]
    SessionDown,
}

impl EventKind {
    fn word(self) -> String {
        let word = match self {
            Self::MessageStored => "message.stored",
            Self::GroupChanged => "group.changed",
            Self::DirectoryChanged => "directory.changed",
            Self::FileReady => "file.ready",
            Self::SessionUp => "session.up",
            Self::SessionDown => "session.down",
        };
        word.to_owned()
    }
}

/// A new subscription.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSubscription {
    /// Where requests go. Not to addresses of this machine and of private networks, unless they are named in
    /// `trust.hook_networks`.
    #[schema(
        min_length = 1,
        max_length = 2048,
        example = "https://hooks.example.com/im"
    )]
    url: String,
    /// What for.
    #[serde(default)]
    #[schema(required = false, max_length = 128)]
    label: String,
    /// Kinds of events; `message.stored` unless it is given.
    #[serde(default)]
    #[schema(required = false)]
    kinds: Vec<EventKind>,
    /// Only messages and changes of these groups, by id.
    #[serde(default)]
    #[schema(required = false, max_items = 64)]
    groups: Vec<u32>,
    /// Only messages of these senders, by id.
    #[serde(default)]
    #[schema(required = false, max_items = 64)]
    senders: Vec<u32>,
    /// Id of a bot: only messages that others write to it, and in the groups that it is in when they are told. The
    /// subscription rests while the bot is not active, and goes with it.
    #[schema(minimum = 1)]
    bot: Option<u32>,
    /// Begins behind this place in the log of messages, which is its end unless it is given; digits. Changes are
    /// told from now on.
    #[schema(pattern = "^[0-9]{1,19}$")]
    position: Option<String>,
}

/// A subscription with its new secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeSubscription {
    #[serde(flatten)]
    subscription: Subscription,
    /// What signs the requests. Nobody is told it again; it is absent in a dry run and in an answer that is
    /// repeated under its idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<CreatedSubscription> for MadeSubscription {
    fn from(created: CreatedSubscription) -> Self {
        Self {
            subscription: created.subscription.unwrap_or_default().into(),
            secret: some(created.secret),
        }
    }
}

/// Makes a subscription: from now on its receiver gets signed POSTs with events, in log order, at least once
/// each.
#[utoipa::path(post, path = "/api/v1/subscriptions", operation_id = "createSubscription", tag = "hooks", params(Change),
    security(("token" = ["hooks:write"])), request_body = NewSubscription,
    responses((status = 201, description = "The subscription, with its secret.", body = MadeSubscription), (status = 200, description = "A dry run: it could be made.", body = MadeSubscription)))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewSubscription>,
) -> Result<Response, Problem> {
    may_go_to(&api, &new.url)?;
    if !new.bot.is_none_or(|bot| (1..=MAX_ID).contains(&bot)) {
        return Err(Problem::field("bot", "must be 1 to 2,147,483,647"));
    }
    let wanted = caller.call(CreateSubscriptionRequest {
        position: new.position.as_deref().map(position).transpose()?,
        url: new.url,
        label: new.label,
        kinds: new.kinds.into_iter().map(EventKind::word).collect(),
        groups: new.groups,
        senders: new.senders,
        bot: new.bot.unwrap_or(0),
        dry_run: change.dry_run,
    });
    let created = api.hooks.clone().create_subscription(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    Ok(made(created, change.dry_run, MadeSubscription::from))
}

/// Refuses a URL whose host is an address inside; names are judged when they are reached. What is no URL
/// db-proxy refuses.
fn may_go_to(api: &Api, url: &str) -> Result<(), Problem> {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or("");
    if api.reach.admits_host(host) {
        return Ok(());
    }
    Err(Problem::field(
        "url",
        "goes to an address inside, whose network is not named in trust.hook_networks",
    ))
}

/// Reads a subscription.
#[utoipa::path(get, path = "/api/v1/subscriptions/{id}", operation_id = "getSubscription", tag = "hooks",
    params(("id" = u32, Path, minimum = 1, description = "Its id.")),
    security(("token" = ["hooks:read"])),
    responses((status = 200, description = "The subscription.", body = Subscription), (status = 404, description = "")))]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
) -> Result<Json<Subscription>, Problem> {
    let wanted = caller.call(GetSubscriptionRequest { id: id.get() });
    let found = api.hooks.clone().get_subscription(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(Json(found.into_inner().into()))
}

/// Removes a subscription with its deliveries; a request that is under way may still arrive.
#[utoipa::path(delete, path = "/api/v1/subscriptions/{id}", operation_id = "removeSubscription", tag = "hooks",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["hooks:write"])),
    responses((status = 200, description = "The subscription as it was.", body = Subscription), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
) -> Result<Json<Subscription>, Problem> {
    let wanted = caller.call(RemoveSubscriptionRequest {
        id: id.get(),
        dry_run: change.dry_run,
    });
    let removed = api.hooks.clone().remove_subscription(wanted).await;
    let removed = removed.map_err(|status| caller.refused(&status))?;
    Ok(Json(removed.into_inner().into()))
}

/// How a secret is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecret {
    /// Seconds for which the former secret signs too; a day unless it is given.
    #[schema(maximum = 604_800)]
    overlap_seconds: Option<u32>,
}

/// Replaces the secret. For a while requests carry a signature by each of the two, so that the receiver can
/// take the new one at any moment of it.
#[utoipa::path(put, path = "/api/v1/subscriptions/{id}/secret", operation_id = "replaceSubscriptionSecret", tag = "hooks",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["hooks:write"])), request_body = NewSecret,
    responses((status = 200, description = "The subscription, with its new secret.", body = MadeSubscription), (status = 404, description = "")))]
async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
    Content(new): Content<NewSecret>,
) -> Result<Json<MadeSubscription>, Problem> {
    let wanted = caller.call(RotateSubscriptionSecretRequest {
        id: id.get(),
        overlap: new.overlap_seconds.unwrap_or(OVERLAP),
        dry_run: change.dry_run,
    });
    let replaced = api.hooks.clone().rotate_subscription_secret(wanted).await;
    let replaced = replaced.map_err(|status| caller.refused(&status))?;
    Ok(Json(replaced.into_inner().into()))
}
