//! What receivers were told, and how far followers of the log have come.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use im_proto_rpc::v1::{
    self, DeliverAgainRequest, DeliveryRecord, FollowerRecord, ListDeliveriesRequest,
    ListFollowersRequest, RewindFollowerRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::time;
use super::{Change, Page, position, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(again))
        .routes(routes!(followers))
        .routes(routes!(rewind))
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeliveryState {
    /// It is being delivered.
    Open,
    /// The receiver has taken it.
    Delivered,
    /// It was given up.
    Dead,
    /// It is to be delivered again.
    Again,
}

impl DeliveryState {
    const fn of(state: v1::DeliveryState) -> Self {
        match state {
            v1::DeliveryState::Any | v1::DeliveryState::Open => Self::Open,
            v1::DeliveryState::Delivered => Self::Delivered,
            v1::DeliveryState::Dead => Self::Dead,
            v1::DeliveryState::Again => Self::Again,
        }
    }

    const fn to_wire(self) -> v1::DeliveryState {
        match self {
            Self::Open => v1::DeliveryState::Open,
            Self::Delivered => v1::DeliveryState::Delivered,
            Self::Dead => v1::DeliveryState::Dead,
            Self::Again => v1::DeliveryState::Again,
        }
    }
}

/// A log that subscriptions are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Log {
    /// Of messages.
    Messages,
    /// Of changes of groups and of the directory.
    Changes,
}

/// A part of the log as one receiver was told of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    /// Its id; digits.
    id: String,
    state: DeliveryState,
    /// Which log it is about.
    log: Log,
    /// It is about the log behind this place; digits.
    after: String,
    /// Up to this one; digits.
    through: String,
    /// Events in it.
    events: u32,
    /// How often it was tried.
    tries: u32,
    /// When it was opened (RFC 3339).
    first: String,
    /// When it was tried last (RFC 3339).
    last: String,
    /// HTTP status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u32>,
    /// What the receiver said last, or why there is no answer; its beginning.
    answer: String,
}

impl From<DeliveryRecord> for Delivery {
    fn from(record: DeliveryRecord) -> Self {
        Self {
            id: record.id.to_string(),
            state: DeliveryState::of(record.state()),
            log: match record.log() {
                v1::SubscribedLog::Messages => Log::Messages,
                // Of sessions there are no deliveries.
                v1::SubscribedLog::Changes | v1::SubscribedLog::Sessions => Log::Changes,
            },
            after: record.after.to_string(),
            through: record.through.to_string(),
            events: record.events,
            tries: record.tries,
            first: time(record.first),
            last: time(record.last),
            status: Some(record.status).filter(|status| *status != 0),
            answer: record.answer,
        }
    }
}

/// Which deliveries are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Find {
    /// Only those in this state.
    state: Option<DeliveryState>,
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(required = false)]
    cursor: String,
}

/// Lists deliveries, the newest first: what is being delivered, and the newest of those that were delivered or
/// given up (`db_proxy.administration.deliveries` of each).
#[utoipa::path(get, path = "/api/v1/subscriptions/{id}/deliveries", operation_id = "listDeliveries", tag = "hooks",
    params(("id" = u32, Path, minimum = 1, description = "Id of the subscription."), Find),
    security(("token" = ["hooks:read"])),
    responses((status = 200, description = "A page of deliveries.", body = Page<Delivery>), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(find): Query<Find>,
) -> Result<Json<Page<Delivery>>, Problem> {
    let state = find
        .state
        .map_or(v1::DeliveryState::Any, DeliveryState::to_wire);
    let wanted = caller.call(ListDeliveriesRequest {
        subscription: id.get(),
        state: state.into(),
        limit: rows(find.limit)?,
        cursor: find.cursor,
    });
    let found = api.hooks.clone().list_deliveries(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.deliveries, found.next, Delivery::from)))
}

/// Makes a delivery once more that was delivered or given up, beside what is delivered in order: one attempt,
/// under the same `webhook-id`. Asked again meanwhile, it is still one.
#[utoipa::path(put, path = "/api/v1/subscriptions/{id}/deliveries/{delivery}/redelivery", operation_id = "deliverAgain", tag = "hooks",
    params(("id" = u32, Path, minimum = 1, description = "Id of the subscription."), ("delivery" = String, Path, description = "Id of the delivery."), Change),
    security(("token" = ["hooks:write"])),
    responses((status = 200, description = "The delivery as it is now.", body = Delivery), (status = 404, description = ""), (status = 409, description = "It is being delivered.")))]
async fn again(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((subscription, delivery)): Path<(NonZeroU32, u64)>,
    Query(change): Query<Change>,
) -> Result<Json<Delivery>, Problem> {
    let wanted = caller.call(DeliverAgainRequest {
        subscription: subscription.get(),
        delivery,
        dry_run: change.dry_run,
    });
    let marked = api.hooks.clone().deliver_again(wanted).await;
    let marked = marked.map_err(|status| caller.refused(&status))?;
    Ok(Json(marked.into_inner().into()))
}

/// A follower of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Follower {
    /// `push`, `subscriptions`, whose position says nothing, or `subscription-` and an id; with `-changes` behind
    /// it its place in the log of changes.
    #[schema(example = "push")]
    name: String,
    /// The place in the log up to which it has come; digits.
    position: String,
    /// Messages behind that place.
    behind: u64,
    /// What it is to try again.
    retries: u64,
}

impl From<FollowerRecord> for Follower {
    fn from(record: FollowerRecord) -> Self {
        Self {
            name: record.name,
            position: record.position.to_string(),
            behind: record.end.saturating_sub(record.position),
            retries: record.retries,
        }
    }
}

/// Lists followers of the log by name.
#[utoipa::path(get, path = "/api/v1/followers", operation_id = "listFollowers", tag = "hooks",
    security(("token" = ["hooks:read"])),
    responses((status = 200, description = "All followers.", body = Page<Follower>)))]
async fn followers(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Page<Follower>>, Problem> {
    let wanted = caller.call(ListFollowersRequest {});
    let found = api.hooks.clone().list_followers(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    let rows = found.followers;
    Ok(Json(Page::of(rows, String::new(), Follower::from)))
}

/// Where a follower is to go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPosition {
    /// Behind this place in the log; digits.
    #[schema(example = "0", pattern = "^[0-9]{1,19}$")]
    position: String,
}

/// Sets the position of a follower: back, and it works on what it has seen once more; forward, and it never
/// sees what lies between. A subscription goes on at once, also where it waits to try again.
#[utoipa::path(put, path = "/api/v1/followers/{name}/position", operation_id = "setFollowerPosition", tag = "hooks",
    params(("name" = String, Path, description = "Its name."), Change),
    security(("token" = ["hooks:write"])), request_body = NewPosition,
    responses((status = 200, description = "The follower as it is now.", body = Follower), (status = 404, description = "")))]
async fn rewind(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(new): Content<NewPosition>,
) -> Result<Json<Follower>, Problem> {
    let wanted = caller.call(RewindFollowerRequest {
        name,
        position: position(&new.position)?,
        dry_run: change.dry_run,
    });
    let rewound = api.hooks.clone().rewind_follower(wanted).await;
    let rewound = rewound.map_err(|status| caller.refused(&status))?;
    Ok(Json(rewound.into_inner().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_deliveries_are_each_others() {
        for state in [
            DeliveryState::Open,
            DeliveryState::Delivered,
            DeliveryState::Dead,
            DeliveryState::Again,
        ] {
            assert_eq!(DeliveryState::of(state.to_wire()), state);
        }
    }
}
