//! Discovery items: links that clients show to everybody.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_proto_rpc::v1::{
    CreateDiscoveryItemRequest, DiscoveryItemRecord, GetDiscoveryItemRequest,
    ListDiscoveryItemsRequest, RemoveDiscoveryItemRequest, UpdateDiscoveryItemRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::time;
use super::{Change, Page, made};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, remove))
}

/// A link that clients show.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DiscoveryItem {
    id: u32,
    name: String,
    url: String,
    /// Its place among the others, as clients understand it.
    priority: u32,
    /// When it was made (RFC 3339).
    created: String,
    /// When it was changed last (RFC 3339).
    updated: String,
}

impl From<DiscoveryItemRecord> for DiscoveryItem {
    fn from(record: DiscoveryItemRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            url: record.url,
            priority: record.priority,
            created: time(record.created),
            updated: time(record.updated),
        }
    }
}

/// Lists discovery items, all of them.
#[utoipa::path(get, path = "/api/v1/discovery-items", operation_id = "listDiscoveryItems", tag = "discovery",
    security(("token" = ["discovery:read"])),
    responses((status = 200, description = "All items.", body = Page<DiscoveryItem>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Page<DiscoveryItem>>, Problem> {
    let wanted = caller.call(ListDiscoveryItemsRequest {});
    let found = api.items.clone().list_discovery_items(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(
        found.items,
        String::new(),
        DiscoveryItem::from,
    )))
}

/// A new discovery item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDiscoveryItem {
    /// What clients show; 64 characters at most.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// Where it leads: http or https, 256 bytes at most.
    #[schema(
        min_length = 1,
        max_length = 256,
        example = "https://wiki.example.com/"
    )]
    url: String,
    /// Its place among the others, as clients understand it.
    #[serde(default)]
    #[schema(required = false)]
    priority: u32,
}

/// Makes a discovery item. Clients show it when they fetch the list the next time, from `/api/discovery`.
#[utoipa::path(post, path = "/api/v1/discovery-items", operation_id = "createDiscoveryItem", tag = "discovery", params(Change),
    security(("token" = ["discovery:write"])), request_body = NewDiscoveryItem,
    responses((status = 201, description = "The item.", body = DiscoveryItem), (status = 200, description = "A dry run: it could be made.", body = DiscoveryItem)))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewDiscoveryItem>,
) -> Result<Response, Problem> {
    let wanted = caller.call(CreateDiscoveryItemRequest {
        name: new.name,
        url: new.url,
        priority: new.priority,
        dry_run: change.dry_run,
    });
    let created = api.items.clone().create_discovery_item(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    api.discovery.forget();
    Ok(made(created, change.dry_run, DiscoveryItem::from))
}

/// Shows a discovery item.
#[utoipa::path(get, path = "/api/v1/discovery-items/{id}", operation_id = "getDiscoveryItem", tag = "discovery",
    params(("id" = u32, Path, minimum = 1, description = "Its id.")),
    security(("token" = ["discovery:read"])),
    responses((status = 200, description = "The item.", body = DiscoveryItem), (status = 404, description = "")))]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
) -> Result<Json<DiscoveryItem>, Problem> {
    let wanted = caller.call(GetDiscoveryItemRequest { id: id.get() });
    let found = api.items.clone().get_discovery_item(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(Json(found.into_inner().into()))
}

/// What changes of a discovery item. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscoveryItemPatch {
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    #[schema(
        min_length = 1,
        max_length = 256,
        example = "https://wiki.example.com/"
    )]
    url: Option<String>,
    priority: Option<u32>,
}

/// Changes a discovery item.
#[utoipa::path(patch, path = "/api/v1/discovery-items/{id}", operation_id = "updateDiscoveryItem", tag = "discovery",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["discovery:write"])), request_body = DiscoveryItemPatch,
    responses((status = 200, description = "The item as it is now.", body = DiscoveryItem), (status = 404, description = "")))]
async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
    Content(patch): Content<DiscoveryItemPatch>,
) -> Result<Json<DiscoveryItem>, Problem> {
    let wanted = caller.call(UpdateDiscoveryItemRequest {
        id: id.get(),
        name: patch.name,
        url: patch.url,
        priority: patch.priority,
        dry_run: change.dry_run,
    });
    let updated = api.items.clone().update_discovery_item(wanted).await;
    let updated = updated.map_err(|status| caller.refused(&status))?;
    api.discovery.forget();
    Ok(Json(updated.into_inner().into()))
}

/// Removes a discovery item.
#[utoipa::path(delete, path = "/api/v1/discovery-items/{id}", operation_id = "removeDiscoveryItem", tag = "discovery",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["discovery:write"])),
    responses((status = 200, description = "The item as it was.", body = DiscoveryItem), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
) -> Result<Json<DiscoveryItem>, Problem> {
    let wanted = caller.call(RemoveDiscoveryItemRequest {
        id: id.get(),
        dry_run: change.dry_run,
    });
    let removed = api.items.clone().remove_discovery_item(wanted).await;
    let removed = removed.map_err(|status| caller.refused(&status))?;
    api.discovery.forget();
    Ok(Json(removed.into_inner().into()))
}
