//! Groups.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_proto_rpc::v1::{
    CreateGroupRequest, GetGroupRequest, GroupRecord, ListGroupsRequest, RemoveGroupRequest,
    RenameGroupRequest, SetGroupOwnerRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::some;
use super::{Change, Page, made, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, remove))
        .routes(routes!(set_owner))
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Group {
    id: u32,
    name: String,
    /// Rises with every change of its members.
    version: u32,
    /// Whether it is in everybody's list of groups; the others, of the moment, are found by their messages.
    fixed: bool,
    /// Login name of the owner; absent when nobody is.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// URL of the picture.
    avatar: String,
    member_count: u32,
}

impl From<GroupRecord> for Group {
    fn from(record: GroupRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            version: record.version,
            fixed: record.fixed,
            owner: some(record.owner),
            avatar: record.avatar,
            member_count: record.member_count,
        }
    }
}

/// Which groups are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Find {
    /// Login name of a member.
    #[serde(default)]
    #[param(required = false)]
    member: String,
    /// Part of the name.
    #[serde(default)]
    #[param(required = false)]
    matching: String,
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(required = false)]
    cursor: String,
}

/// Lists groups by id.
#[utoipa::path(get, path = "/api/v1/groups", operation_id = "listGroups", tag = "groups", params(Find),
    security(("token" = ["groups:read"])),
    responses((status = 200, description = "A page of groups.", body = Page<Group>), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(find): Query<Find>,
) -> Result<Json<Page<Group>>, Problem> {
    let wanted = caller.call(ListGroupsRequest {
        user: find.member,
        matching: find.matching,
        limit: rows(find.limit)?,
        cursor: find.cursor,
        without_members: true,
    });
    let found = api.admin.clone().list_groups(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.groups, found.next, Group::from)))
}

/// A new group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    #[schema(min_length = 1)]
    name: String,
    /// Login name of the owner, who is a member too; without one only administrators change its members.
    owner: Option<String>,
    /// Login names.
    #[serde(default)]
    #[schema(required = false)]
    members: Vec<String>,
    /// Whether it is in everybody's list of groups.
    #[serde(default = "yes")]
    #[schema(required = false)]
    fixed: bool,
    /// URL of the picture.
    avatar: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Makes a group.
#[utoipa::path(post, path = "/api/v1/groups", operation_id = "createGroup", tag = "groups", params(Change),
    security(("token" = ["groups:write"])), request_body = NewGroup,
    responses((status = 201, description = "It is there.", body = Group), (status = 200, description = "A dry run: it could be; it has no id.", body = Group), (status = 404, description = "")))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewGroup>,
) -> Result<Response, Problem> {
    let wanted = caller.call(CreateGroupRequest {
        name: new.name,
        avatar: new.avatar.unwrap_or_default(),
        owner: new.owner.unwrap_or_default(),
        members: new.members,
        fixed: new.fixed,
        dry_run: change.dry_run,
        ..CreateGroupRequest::default()
    });
    let created = api.admin.clone().create_group(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    Ok(made(created, change.dry_run, Group::from))
}

/// Shows a group.
#[utoipa::path(get, path = "/api/v1/groups/{id}", operation_id = "getGroup", tag = "groups",
    params(("id" = u32, Path, minimum = 1, description = "Its id.")),
    security(("token" = ["groups:read"])),
    responses((status = 200, description = "The group.", body = Group), (status = 404, description = "")))]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(group): Path<NonZeroU32>,
) -> Result<Json<Group>, Problem> {
    let group = group.get();
    let wanted = caller.call(GetGroupRequest { group });
    let found = api.admin.clone().get_group(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(Json(found.into_inner().into()))
}

/// What changes of a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupPatch {
    #[schema(min_length = 1)]
    name: String,
}

/// Gives a group another name.
#[utoipa::path(patch, path = "/api/v1/groups/{id}", operation_id = "updateGroup", tag = "groups",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["groups:write"])), request_body = GroupPatch,
    responses((status = 200, description = "The group as it is now.", body = Group), (status = 404, description = "")))]
async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(group): Path<NonZeroU32>,
    Query(change): Query<Change>,
    Content(patch): Content<GroupPatch>,
) -> Result<Json<Group>, Problem> {
    let group = group.get();
    let wanted = caller.call(RenameGroupRequest {
        group,
        name: patch.name,
        dry_run: change.dry_run,
    });
    let renamed = api.admin.clone().rename_group(wanted).await;
    let renamed = renamed.map_err(|status| caller.refused(&status))?;
    Ok(Json(renamed.into_inner().into()))
}

/// Takes all members out of a group; it is in no list from then on.
#[utoipa::path(delete, path = "/api/v1/groups/{id}", operation_id = "removeGroup", tag = "groups",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["groups:write"])),
    responses((status = 200, description = "It has no members.", body = Group), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(group): Path<NonZeroU32>,
    Query(change): Query<Change>,
) -> Result<Json<Group>, Problem> {
    let group = group.get();
    let wanted = caller.call(RemoveGroupRequest {
        group,
        dry_run: change.dry_run,
    });
    let removed = api.admin.clone().remove_group(wanted).await;
    let removed = removed.map_err(|status| caller.refused(&status))?;
    Ok(Json(removed.into_inner().into()))
}

/// An owner.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOwner {
    /// Login name of a member.
    #[schema(min_length = 1)]
    owner: String,
}

/// Makes a member the owner.
#[utoipa::path(put, path = "/api/v1/groups/{id}/owner", operation_id = "setGroupOwner", tag = "groups",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["groups:write"])), request_body = NewOwner,
    responses((status = 200, description = "The group as it is now.", body = Group), (status = 404, description = ""), (status = 409, description = "")))]
async fn set_owner(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(group): Path<NonZeroU32>,
    Query(change): Query<Change>,
    Content(new): Content<NewOwner>,
) -> Result<Json<Group>, Problem> {
    let group = group.get();
    let wanted = caller.call(SetGroupOwnerRequest {
        group,
        owner: new.owner,
        dry_run: change.dry_run,
    });
    let set = api.admin.clone().set_group_owner(wanted).await;
    let set = set.map_err(|status| caller.refused(&status))?;
    Ok(Json(set.into_inner().into()))
}
