//! Logged-in terminals.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use im_proto_rpc::v1::{KickSessionRequest, ListSessionsRequest, sessions_reply};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{client, moment_ms};
use super::{Change, Page, Part, rows};
use crate::caller::Caller;
use crate::extract::{Path, Query};
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_user, kick_all))
        .routes(routes!(kick))
}

/// A logged-in terminal.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Names this login for ever; digits.
    id: String,
    /// Login name of the person.
    user: String,
    /// `windows`, `mac`, `ios` or `android`.
    client: &'static str,
    client_version: String,
    /// Name of the msg server that holds the connection.
    server: String,
    /// Where the terminal is.
    address: String,
    /// When it logged in, by the clock of the msg server (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

impl From<sessions_reply::Session> for Session {
    fn from(session: sessions_reply::Session) -> Self {
        let info = session.info.unwrap_or_default();
        Self {
            id: info.epoch.to_string(),
            user: session.user,
            client: client(info.client_type),
            client_version: info.client_version,
            server: info.server,
            address: info.address,
            since: moment_ms(info.login_ms),
        }
    }
}

/// Lists all sessions.
#[utoipa::path(get, path = "/api/v1/sessions", operation_id = "listSessions", tag = "sessions", params(Part),
    security(("token" = ["sessions:read"])),
    responses((status = 200, description = "A page of sessions.", body = Page<Session>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Json<Page<Session>>, Problem> {
    page(&api, &caller, String::new(), part).await
}

/// Lists somebody's sessions.
#[utoipa::path(get, path = "/api/v1/users/{name}/sessions", operation_id = "listUserSessions", tag = "sessions",
    params(("name" = String, Path, description = "Login name."), Part),
    security(("token" = ["sessions:read"])),
    responses((status = 200, description = "A page of sessions.", body = Page<Session>), (status = 404, description = "")))]
async fn of_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Session>>, Problem> {
    page(&api, &caller, name, part).await
}

async fn page(
    api: &Api,
    caller: &Caller,
    user: String,
    part: Part,
) -> Result<Json<Page<Session>>, Problem> {
    let wanted = caller.call(ListSessionsRequest {
        user,
        limit: rows(part.limit)?,
        cursor: part.cursor.unwrap_or_default(),
    });
    let found = api.admin.clone().list_sessions(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.sessions, found.next, Session::from)))
}

/// Sessions that were ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Kicked {
    /// How many were online.
    sessions: u32,
}

/// Ends all of somebody's sessions.
#[utoipa::path(delete, path = "/api/v1/users/{name}/sessions", operation_id = "kickUser", tag = "sessions",
    params(("name" = String, Path, description = "Login name."), Change),
    security(("token" = ["sessions:write"])),
    responses((status = 200, description = "They end.", body = Kicked), (status = 404, description = "")))]
async fn kick_all(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<Kicked>, Problem> {
    end(&api, &caller, name, 0, change).await
}

/// Ends one session.
#[utoipa::path(delete, path = "/api/v1/users/{name}/sessions/{session}", operation_id = "kickSession", tag = "sessions",
    params(("name" = String, Path, description = "Login name."), ("session" = String, Path, description = "Id of the session."), Change),
    security(("token" = ["sessions:write"])),
    responses((status = 200, description = "It ends, if it was online.", body = Kicked), (status = 404, description = "")))]
async fn kick(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((name, session)): Path<(String, u64)>,
    Query(change): Query<Change>,
) -> Result<Json<Kicked>, Problem> {
    if session == 0 {
        // To db-proxy it means all of them.
        return Err(Problem::new(Kind::NotFound, "no session has id 0"));
    }
    end(&api, &caller, name, session, change).await
}

async fn end(
    api: &Api,
    caller: &Caller,
    user: String,
    epoch: u64,
    change: Change,
) -> Result<Json<Kicked>, Problem> {
    let wanted = caller.call(KickSessionRequest {
        user,
        epoch,
        dry_run: change.dry_run,
    });
    let kicked = api.admin.clone().kick_session(wanted).await;
    let kicked = kicked.map_err(|status| caller.refused(&status))?;
    Ok(Json(Kicked {
        sessions: kicked.into_inner().sessions,
    }))
}
