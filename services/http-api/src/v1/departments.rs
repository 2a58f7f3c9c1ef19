//! Departments: the tree in which clients show people.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_proto_rpc::v1::{
    CreateDepartmentRequest, DepartmentRecord, ListDepartmentsRequest, MoveDepartmentRequest,
    RemoveDepartmentRequest, RenameDepartmentRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Change, Page, Part, made, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update, remove))
}

/// A department.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Department {
    id: u32,
    /// Path such as `Company/Research`.
    path: String,
    /// People in it, those below it left out.
    people: u32,
}

impl From<DepartmentRecord> for Department {
    fn from(record: DepartmentRecord) -> Self {
        Self {
            id: record.id,
            path: record.path,
            people: record.people,
        }
    }
}

/// Lists departments by path.
#[utoipa::path(get, path = "/api/v1/departments", operation_id = "listDepartments", tag = "departments", params(Part),
    security(("token" = ["departments:read"])),
    responses((status = 200, description = "A page of departments.", body = Page<Department>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Json<Page<Department>>, Problem> {
    let wanted = caller.call(ListDepartmentsRequest {
        limit: rows(part.limit)?,
        cursor: part.cursor.unwrap_or_default(),
    });
    let found = api.admin.clone().list_departments(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(
        found.departments,
        found.next,
        Department::from,
    )))
}

/// A new department.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDepartment {
    /// Path such as `Company/Research`; what is missing of it is made as well.
    #[schema(min_length = 1)]
    path: String,
}

/// Makes a department.
#[utoipa::path(post, path = "/api/v1/departments", operation_id = "createDepartment", tag = "departments", params(Change),
    security(("token" = ["departments:write"])), request_body = NewDepartment,
    responses((status = 201, description = "It is there.", body = Department), (status = 200, description = "A dry run: it could be.", body = Department)))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewDepartment>,
) -> Result<Response, Problem> {
    let wanted = caller.call(CreateDepartmentRequest {
        path: new.path,
        dry_run: change.dry_run,
    });
    let created = api.admin.clone().create_department(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    Ok(made(created, change.dry_run, Department::from))
}

/// What changes of a department: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DepartmentPatch {
    /// The last name of its path.
    name: Option<String>,
    /// Path of the department under which it is put, with its people and what is below it; empty = under
    /// none.
    parent: Option<String>,
}

/// Gives a department another name or another place.
#[utoipa::path(patch, path = "/api/v1/departments/{id}", operation_id = "updateDepartment", tag = "departments",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["departments:write"])), request_body = DepartmentPatch,
    responses((status = 200, description = "The department as it is now.", body = Department), (status = 404, description = ""), (status = 409, description = "")))]
async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
    Content(patch): Content<DepartmentPatch>,
) -> Result<Json<Department>, Problem> {
    let id = id.get();
    let mut admin = api.admin.clone();
    let (path, dry_run) = (String::new(), change.dry_run);
    let updated = match (patch.name, patch.parent) {
        (Some(name), None) => {
            let wanted = RenameDepartmentRequest {
                path,
                name,
                dry_run,
                id: known(id)?,
            };
            admin.rename_department(caller.call(wanted)).await
        }
        (None, Some(into)) => {
            let wanted = MoveDepartmentRequest {
                path,
                into,
                dry_run,
                id: known(id)?,
            };
            admin.move_department(caller.call(wanted)).await
        }
        (Some(_), Some(_)) => return Err(Problem::field("parent", "not together with name")),
        (None, None) => return Err(Problem::field("name", "this or parent must be given")),
    };
    let updated = updated.map_err(|status| caller.refused(&status))?;
    Ok(Json(updated.into_inner().into()))
}

/// How a department is taken away.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Removal {
    /// Path of the department to which whoever is in it moves; without it, it must have nobody.
    #[serde(default)]
    #[param(required = false)]
    into: String,
    /// Judges the change in full and does not make it.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
}

/// Takes a department away.
#[utoipa::path(delete, path = "/api/v1/departments/{id}", operation_id = "removeDepartment", tag = "departments",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Removal),
    security(("token" = ["departments:write"])),
    responses((status = 200, description = "It is gone.", body = Department), (status = 404, description = ""), (status = 409, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(removal): Query<Removal>,
) -> Result<Json<Department>, Problem> {
    let id = id.get();
    let wanted = caller.call(RemoveDepartmentRequest {
        path: String::new(),
        into: removal.into,
        dry_run: removal.dry_run,
        id: known(id)?,
    });
    let removed = api.admin.clone().remove_department(wanted).await;
    let removed = removed.map_err(|status| caller.refused(&status))?;
    Ok(Json(removed.into_inner().into()))
}

/// An id by which db-proxy does not look for a path instead.
fn known(id: u32) -> Result<u32, Problem> {
    let none = || Problem::new(crate::problem::Kind::NotFound, "no department has id 0");
    Some(id).filter(|id| *id != 0).ok_or_else(none)
}
