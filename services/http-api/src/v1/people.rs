//! People: their accounts, passwords and states.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use im_proto_rpc::v1::{
    AddUserRequest, DirectoryRow, FindUsersRequest, GetUserRequest, RemoveUserRequest,
    RenameUserRequest, SetPasswordRequest, SetUserStatusRequest, UpdateUserRequest, UserRecord,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{Sex, Status, some};
use super::{Change, Page, made, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(get, update, remove))
        .routes(routes!(rename))
        .routes(routes!(set_password))
        .routes(routes!(set_status))
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct User {
    id: u32,
    /// Login name.
    name: String,
    nick: String,
    sex: Sex,
    /// Path of the department, such as `Company/Research`; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    department: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    department_id: Option<u32>,
    phone: String,
    email: String,
    /// Name in Latin letters, by which clients sort and search.
    domain: String,
    /// URL of the picture.
    avatar: String,
    /// `active`, `trial`, `regular`, `left` or `intern`; only who is active can log in.
    status: String,
    signature: String,
}

impl From<UserRecord> for User {
    fn from(record: UserRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            nick: record.nick,
            sex: Sex::of(record.sex),
            department: some(record.department),
            department_id: Some(record.department_id).filter(|id| *id != 0),
            phone: record.phone,
            email: record.email,
            domain: record.domain,
            avatar: record.avatar,
            status: record.status,
            signature: record.signature,
        }
    }
}

/// Which people are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Find {
    /// What their login name begins with.
    #[serde(default)]
    #[param(required = false)]
    prefix: String,
    /// Path of the department that they are in.
    #[serde(default)]
    #[param(required = false)]
    department: String,
    /// Their state.
    status: Option<Status>,
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(required = false)]
    cursor: String,
}

/// Lists people by login name.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "listUsers", tag = "people", params(Find),
    security(("token" = ["users:read"])),
    responses((status = 200, description = "A page of people.", body = Page<User>), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(find): Query<Find>,
) -> Result<Json<Page<User>>, Problem> {
    let wanted = caller.call(FindUsersRequest {
        prefix: find.prefix,
        department: find.department,
        department_id: 0,
        status: find.status.map_or("", Status::word).to_owned(),
        limit: rows(find.limit)?,
        cursor: find.cursor,
    });
    let found = api.admin.clone().find_users(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.users, found.next, User::from)))
}

/// Somebody new.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// Login name.
    #[schema(min_length = 1)]
    name: String,
    /// What they type; without it and without a hash they cannot log in.
    #[schema(min_length = 1)]
    password: Option<String>,
    /// A hash instead: a PHC string, or `$teamtalk$SALT$MD5HEX` from an original installation.
    #[schema(min_length = 1)]
    password_hash: Option<String>,
    nick: Option<String>,
    sex: Option<Sex>,
    /// Path such as `Company/Research`; what is missing of it is made.
    department: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    domain: Option<String>,
    avatar: Option<String>,
    /// `active` unless it is given.
    status: Option<Status>,
    signature: Option<String>,
}

/// Adds somebody.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "addUser", tag = "people", params(Change),
    security(("token" = ["users:write"])), request_body = NewUser,
    responses((status = 201, description = "They are there.", body = User), (status = 200, description = "A dry run: they could be.", body = User)))]
async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewUser>,
) -> Result<Response, Problem> {
    for (field, text) in [
        ("password", &new.password),
        ("password_hash", &new.password_hash),
    ] {
        if text.as_deref() == Some("") {
            return Err(Problem::field(field, "may be absent, and not empty"));
        }
    }
    let user = DirectoryRow {
        name: new.name,
        password: new.password.unwrap_or_default(),
        password_hash: new.password_hash.unwrap_or_default(),
        nick: new.nick,
        sex: new.sex.map(Sex::number),
        department: new.department,
        phone: new.phone,
        email: new.email,
        domain: new.domain,
        avatar: new.avatar,
        status: new.status.map(|status| status.word().to_owned()),
        signature: new.signature,
        ..DirectoryRow::default()
    };
    let wanted = caller.call(AddUserRequest {
        user: Some(user),
        dry_run: change.dry_run,
    });
    let added = api.admin.clone().add_user(wanted).await;
    let added = added.map_err(|status| caller.refused(&status))?;
    Ok(made(added, change.dry_run, User::from))
}

/// Shows somebody.
#[utoipa::path(get, path = "/api/v1/users/{name}", operation_id = "getUser", tag = "people",
    params(("name" = String, Path, description = "Login name.")),
    security(("token" = ["users:read"])),
    responses((status = 200, description = "The person.", body = User), (status = 404, description = "")))]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<User>, Problem> {
    let wanted = caller.call(GetUserRequest {
        name,
        ..GetUserRequest::default()
    });
    let found = api.admin.clone().get_user(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(Json(found.into_inner().into()))
}

/// What changes of somebody. What is absent stays; an empty text empties the field, other than that of the
/// nick.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserPatch {
    nick: Option<String>,
    sex: Option<Sex>,
    /// Path of a department that exists.
    department: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    domain: Option<String>,
    avatar: Option<String>,
    /// Whoever is not active loses their sessions.
    status: Option<Status>,
    signature: Option<String>,
}

/// Changes somebody's profile.
#[utoipa::path(patch, path = "/api/v1/users/{name}", operation_id = "updateUser", tag = "people",
    params(("name" = String, Path, description = "Login name."), Change),
    security(("token" = ["users:write"])), request_body = UserPatch,
    responses((status = 200, description = "The person as they are now.", body = User), (status = 404, description = "")))]
async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(patch): Content<UserPatch>,
) -> Result<Json<User>, Problem> {
    let wanted = caller.call(UpdateUserRequest {
        name,
        id: 0,
        nick: patch.nick,
        sex: patch.sex.map(Sex::number),
        department: patch.department,
        phone: patch.phone,
        email: patch.email,
        domain: patch.domain,
        avatar: patch.avatar,
        status: patch.status.map(|status| status.word().to_owned()),
        signature: patch.signature,
        dry_run: change.dry_run,
    });
    let updated = api.admin.clone().update_user(wanted).await;
    let updated = updated.map_err(|status| caller.refused(&status))?;
    Ok(Json(updated.into_inner().into()))
}

/// Somebody who was taken out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RemovedUser {
    /// As they are kept: with a name that nobody logs in with.
    user: User,
    /// Ids of the groups that they left.
    groups: Vec<u32>,
}

/// Takes somebody out: their sessions end, they leave their groups, and their name is free.
#[utoipa::path(delete, path = "/api/v1/users/{name}", operation_id = "removeUser", tag = "people",
    params(("name" = String, Path, description = "Login name."), Change),
    security(("token" = ["users:write"])),
    responses((status = 200, description = "They are out.", body = RemovedUser), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<RemovedUser>, Problem> {
    let wanted = caller.call(RemoveUserRequest {
        name,
        dry_run: change.dry_run,
    });
    let removed = api.admin.clone().remove_user(wanted).await;
    let removed = removed
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(RemovedUser {
        user: removed.user.unwrap_or_default().into(),
        groups: removed.groups,
    }))
}

/// A login name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewName {
    /// The new one.
    #[schema(min_length = 1)]
    name: String,
}

/// Gives somebody another login name.
#[utoipa::path(put, path = "/api/v1/users/{name}/name", operation_id = "renameUser", tag = "people",
    params(("name" = String, Path, description = "Login name so far."), Change),
    security(("token" = ["users:write"])), request_body = NewName,
    responses((status = 200, description = "The person as they are now.", body = User), (status = 404, description = ""), (status = 409, description = "")))]
async fn rename(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(new): Content<NewName>,
) -> Result<Json<User>, Problem> {
    let wanted = caller.call(RenameUserRequest {
        name,
        new_name: new.name,
        dry_run: change.dry_run,
    });
    let renamed = api.admin.clone().rename_user(wanted).await;
    let renamed = renamed.map_err(|status| caller.refused(&status))?;
    Ok(Json(renamed.into_inner().into()))
}

/// A password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Password {
    /// What they will type.
    #[schema(min_length = 1, format = Password)]
    password: String,
}

/// Sets somebody's password.
#[utoipa::path(put, path = "/api/v1/users/{name}/password", operation_id = "setPassword", tag = "people",
    params(("name" = String, Path, description = "Login name."), Change),
    security(("token" = ["users:write"])), request_body = Password,
    responses((status = 204, description = "It is set."), (status = 404, description = "")))]
async fn set_password(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(new): Content<Password>,
) -> Result<StatusCode, Problem> {
    let wanted = caller.call(SetPasswordRequest {
        name,
        password: new.password,
        dry_run: change.dry_run,
    });
    let set = api.admin.clone().set_password(wanted).await;
    set.map_err(|status| caller.refused(&status))?;
    Ok(StatusCode::NO_CONTENT)
}

/// A state.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewStatus {
    status: Status,
}

/// Sets somebody's state. Whoever is not active cannot log in, and their sessions end.
#[utoipa::path(put, path = "/api/v1/users/{name}/status", operation_id = "setStatus", tag = "people",
    params(("name" = String, Path, description = "Login name."), Change),
    security(("token" = ["users:write"])), request_body = NewStatus,
    responses((status = 200, description = "The person as they are now.", body = User), (status = 404, description = "")))]
async fn set_status(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(new): Content<NewStatus>,
) -> Result<Json<User>, Problem> {
    let wanted = caller.call(SetUserStatusRequest {
        name,
        status: new.status.word().to_owned(),
        dry_run: change.dry_run,
    });
    let set = api.admin.clone().set_user_status(wanted).await;
    let set = set.map_err(|status| caller.refused(&status))?;
    Ok(Json(set.into_inner().into()))
}
