//! Members of groups.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_proto_rpc::v1::{ChangeGroupMembersRequest, GroupMemberRecord, ListGroupMembersRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::groups::Group;
use super::{Change, Page, Part, made, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(remove))
}

/// A member of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    id: u32,
    /// Login name.
    name: String,
    nick: String,
}

impl From<GroupMemberRecord> for Member {
    fn from(record: GroupMemberRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            nick: record.nick,
        }
    }
}

/// Lists the members of a group by their ids.
#[utoipa::path(get, path = "/api/v1/groups/{id}/members", operation_id = "listGroupMembers", tag = "groups",
    params(("id" = u32, Path, minimum = 1, description = "Id of the group."), Part),
    security(("token" = ["groups:read"])),
    responses((status = 200, description = "A page of members.", body = Page<Member>), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(group): Path<NonZeroU32>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Member>>, Problem> {
    let group = group.get();
    let wanted = caller.call(ListGroupMembersRequest {
        group,
        limit: rows(part.limit)?,
        cursor: part.cursor.unwrap_or_default(),
    });
    let found = api.admin.clone().list_group_members(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.members, found.next, Member::from)))
}

/// People for a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMembers {
    /// Login names. Who is a member already is passed over.
    #[schema(min_items = 1)]
    members: Vec<String>,
}

/// Adds members to a group.
#[utoipa::path(post, path = "/api/v1/groups/{id}/members", operation_id = "addGroupMembers", tag = "groups",
    params(("id" = u32, Path, minimum = 1, description = "Id of the group."), Change),
    security(("token" = ["groups:write"])), request_body = NewMembers,
    responses((status = 201, description = "The group as it is now.", body = Group), (status = 200, description = "A dry run: the group as it is.", body = Group), (status = 404, description = "")))]
async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(group): Path<NonZeroU32>,
    Query(change): Query<Change>,
    Content(new): Content<NewMembers>,
) -> Result<Response, Problem> {
    let group = group.get();
    if new.members.is_empty() {
        return Err(Problem::field("members", "must name somebody"));
    }
    let wanted = caller.call(ChangeGroupMembersRequest {
        group,
        add: new.members,
        dry_run: change.dry_run,
        ..ChangeGroupMembersRequest::default()
    });
    let changed = api.admin.clone().change_group_members(wanted).await;
    let changed = changed.map_err(|status| caller.refused(&status))?;
    Ok(made(changed, change.dry_run, Group::from))
}

/// Takes a member out of a group. Whoever is none stays none.
#[utoipa::path(delete, path = "/api/v1/groups/{id}/members/{name}", operation_id = "removeGroupMember", tag = "groups",
    params(("id" = u32, Path, minimum = 1, description = "Id of the group."), ("name" = String, Path, description = "Login name."), Change),
    security(("token" = ["groups:write"])),
    responses((status = 200, description = "The group as it is now.", body = Group), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((group, name)): Path<(NonZeroU32, String)>,
    Query(change): Query<Change>,
) -> Result<Json<Group>, Problem> {
    let group = group.get();
    let wanted = caller.call(ChangeGroupMembersRequest {
        group,
        remove: vec![name],
        dry_run: change.dry_run,
        ..ChangeGroupMembersRequest::default()
    });
    let changed = api.admin.clone().change_group_members(wanted).await;
    let changed = changed.map_err(|status| caller.refused(&status))?;
    Ok(Json(changed.into_inner().into()))
}
