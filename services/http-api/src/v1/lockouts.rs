//! Why people cannot log in: what locks their names, and the logins that were refused.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use im_proto_rpc::v1::{
    ClearLockRequest, ListLocksRequest, ListRefusalsRequest, LockRecord, RefusalRecord,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::time;
use super::{Change, Page, Part, rows};
use crate::caller::Caller;
use crate::extract::{Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(lockouts, clear_lockouts))
        .routes(routes!(refusals))
}

/// Too many failed logins of a name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Lockout {
    name: String,
    /// From where: an address, a network, or `*` for all.
    address: String,
    failures: u32,
    /// Time of the last failure (RFC 3339).
    newest: String,
    /// When it ends, unless more follow (RFC 3339).
    ends: String,
}

impl From<LockRecord> for Lockout {
    fn from(record: LockRecord) -> Self {
        Self {
            name: record.name,
            address: record.address,
            failures: record.failures,
            newest: time(record.newest),
            ends: time(record.ends),
        }
    }
}

/// Lists from where somebody cannot log in, after too many failures.
#[utoipa::path(get, path = "/api/v1/users/{name}/lockouts", operation_id = "listLockouts", tag = "people",
    params(("name" = String, Path, description = "Login name, whether somebody has it or not."), Part),
    security(("token" = ["users:read"])),
    responses((status = 200, description = "A page of lockouts, the newest first.", body = Page<Lockout>)))]
async fn lockouts(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Lockout>>, Problem> {
    let wanted = caller.call(ListLocksRequest {
        name,
        limit: rows(part.limit)?,
        cursor: part.cursor.unwrap_or_default(),
    });
    let found = api.admin.clone().list_locks(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.locks, found.next, Lockout::from)))
}

/// Lockouts that were ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Forgotten {
    /// Addresses and networks whose failures were forgotten.
    forgotten: u32,
}

/// Lets somebody try again at once.
#[utoipa::path(delete, path = "/api/v1/users/{name}/lockouts", operation_id = "clearLockouts", tag = "people",
    params(("name" = String, Path, description = "Login name, whether somebody has it or not."), Change),
    security(("token" = ["users:write"])),
    responses((status = 200, description = "They can.", body = Forgotten)))]
async fn clear_lockouts(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<Forgotten>, Problem> {
    let wanted = caller.call(ClearLockRequest {
        name,
        dry_run: change.dry_run,
    });
    let cleared = api.admin.clone().clear_lock(wanted).await;
    let cleared = cleared.map_err(|status| caller.refused(&status))?;
    Ok(Json(Forgotten {
        forgotten: cleared.into_inner().forgotten,
    }))
}

/// A login that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedLogin {
    /// When (RFC 3339).
    time: String,
    address: String,
    client_version: String,
    /// `unknown name`, `wrong password`, `no password`, `not active`, `locked` or `busy`.
    reason: String,
}

impl From<RefusalRecord> for RefusedLogin {
    fn from(record: RefusalRecord) -> Self {
        Self {
            time: time(record.time),
            address: record.address,
            client_version: record.client_version,
            reason: record.reason,
        }
    }
}

/// Says why the last logins with a name were refused, the newest first.
#[utoipa::path(get, path = "/api/v1/users/{name}/refusals", operation_id = "listRefusals", tag = "people",
    params(("name" = String, Path, description = "Login name, whether somebody has it or not.")),
    security(("token" = ["users:read"])),
    responses((status = 200, description = "What is remembered; it is one page.", body = Page<RefusedLogin>)))]
async fn refusals(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Page<RefusedLogin>>, Problem> {
    let wanted = caller.call(ListRefusalsRequest { name });
    let found = api.admin.clone().list_refusals(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(
        found.refusals,
        String::new(),
        RefusedLogin::from,
    )))
}
