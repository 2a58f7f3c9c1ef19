//! Logged-in terminals.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use im_core::ClientType;
use im_proto_rpc::v1::{
    GetUserRequest, KickSessionRequest, ListSessionsRequest, NameUsersRequest, SessionInfo,
    SessionsAsk, sessions_reply,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{client, moment_ms};
use super::{Change, Page, Part, rows};
use crate::caller::Caller;
use crate::extract::{Path, Query};
use crate::monitor::{behind, from_bytes, to_bytes};
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_user, kick_all))
        .routes(routes!(kick))
        .routes(routes!(kick_by_id))
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
        Self::of(Some(session.user), info)
    }
}

impl Session {
    /// A session of whom it is; of somebody who was taken out nobody knows the name.
    fn of(user: Option<String>, info: SessionInfo) -> Self {
        Self {
            id: info.epoch.to_string(),
            user: user.unwrap_or_default(),
            client: client(info.client_type),
            client_version: info.client_version,
            server: info.server,
            address: info.address,
            since: moment_ms(info.login_ms),
        }
    }
}

/// Kind of a terminal.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Client {
    Windows,
    Mac,
    Ios,
    Android,
}

impl Client {
    const fn number(self) -> u32 {
        let client = match self {
            Self::Windows => ClientType::Windows,
            Self::Mac => ClientType::Mac,
            Self::Ios => ClientType::Ios,
            Self::Android => ClientType::Android,
        };
        client.to_wire()
    }
}

/// Which sessions are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Find {
    /// Login name of the person.
    #[serde(default)]
    #[param(required = false)]
    user: String,
    /// Name of the msg server.
    #[serde(default)]
    #[param(required = false)]
    server: String,
    /// Kind of the terminal.
    #[param(inline)]
    client: Option<Client>,
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionPage {
    /// The rows. A page may have fewer than were asked for, and another one behind it.
    items: Vec<Session>,
    /// Cursor of what follows; absent when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Msg servers that were asked: those that report here.
    asked: usize,
    /// Of them, those that have not answered: their sessions are missing in this page.
    silent: Vec<String>,
}

/// Lists all sessions, as the msg servers that report here have them. One that comes or goes meanwhile may be
/// there or not; every other one is there once.
#[utoipa::path(get, path = "/api/v1/sessions", operation_id = "listSessions", tag = "sessions", params(Find),
    security(("token" = ["sessions:read"])),
    responses((status = 200, description = "A page of sessions.", body = SessionPage), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(find): Query<Find>,
) -> Result<Json<SessionPage>, Problem> {
    let limit = rows(find.limit)? as usize;
    let client = find.client.map_or(0, Client::number);
    let kind = client.to_string();
    let about = [
        "sessions",
        find.user.as_str(),
        find.server.as_str(),
        kind.as_str(),
    ];
    let after = api.cursors.read(&about, find.cursor.as_deref())?;
    let after = after.and_then(|place| from_bytes(&place));
    let user = match find.user.as_str() {
        "" => 0,
        name => person(&api, &caller, name).await?,
    };
    let server = Some(find.server.as_str()).filter(|server| !server.is_empty());
    if let Some(name) = server.filter(|name| api.monitor.server(name).is_none()) {
        let detail = format!("no server {name} reports here");
        return Err(Problem::new(Kind::NotFound, detail));
    }
    let ask = SessionsAsk {
        after: after.map(behind),
        user,
        client_type: client,
        ..SessionsAsk::default()
    };
    let listed = api.monitor.sessions(server, ask, limit).await;
    let next = listed.next.map(to_bytes);
    let infos = listed.sessions.into_iter();
    let infos: Vec<_> = infos.filter_map(|placed| placed.session).collect();
    Ok(Json(SessionPage {
        items: named(&api, &caller, infos).await?,
        next: next.map(|place| api.cursors.make(&about, &place)),
        asked: listed.asked,
        silent: listed.silent,
    }))
}

/// The id of a person.
pub(super) async fn person(api: &Api, caller: &Caller, name: &str) -> Result<u32, Problem> {
    let wanted = caller.plain_call(GetUserRequest {
        name: name.to_owned(),
        ..GetUserRequest::default()
    });
    let found = api.admin.clone().get_user(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(found.into_inner().id)
}

/// Most ids of one question.
const IDS: usize = 1_000;

/// Login names of people, whoever of them there is.
pub(super) async fn names(
    api: &Api,
    caller: &Caller,
    mut ids: Vec<u32>,
) -> Result<HashMap<u32, String>, Problem> {
    ids.sort_unstable();
    ids.dedup();
    let mut names = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(IDS) {
        let named = caller.plain_call(NameUsersRequest { ids: ids.to_vec() });
        let named = api.admin.clone().name_users(named).await;
        let named = named.map_err(|status| caller.refused(&status))?;
        let named = named.into_inner().names.into_iter();
        names.extend(named.map(|name| (name.id, name.name)));
    }
    Ok(names)
}

/// Sessions with the login names of their people.
async fn named(
    api: &Api,
    caller: &Caller,
    infos: Vec<SessionInfo>,
) -> Result<Vec<Session>, Problem> {
    let ids = infos.iter().map(|info| info.user);
    let names = names(api, caller, ids.collect()).await?;
    let session = |info: SessionInfo| Session::of(names.get(&info.user).cloned(), info);
    Ok(infos.into_iter().map(session).collect())
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
    let wanted = KickSessionRequest {
        user: name,
        ..KickSessionRequest::default()
    };
    end(&api, &caller, wanted, change).await
}

/// Ends one session.
#[utoipa::path(delete, path = "/api/v1/users/{name}/sessions/{session}", operation_id = "kickSession", tag = "sessions",
    params(("name" = String, Path, description = "Login name."), ("session" = String, Path, description = "Id of the session."), Change),
    security(("token" = ["sessions:write"])),
    responses((status = 200, description = "It ends, if it was online.", body = Kicked), (status = 404, description = "")))]
async fn kick(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((name, session)): Path<(String, String)>,
    Query(change): Query<Change>,
) -> Result<Json<Kicked>, Problem> {
    let wanted = KickSessionRequest {
        user: name,
        epoch: epoch(&session)?,
        ..KickSessionRequest::default()
    };
    end(&api, &caller, wanted, change).await
}

/// Reads the id of a session: as answers spell it, and never 0, which inside means all of somebody's.
fn epoch(id: &str) -> Result<u64, Problem> {
    let epoch = id.parse().ok().filter(|it: &u64| *it > 0);
    let spelled = epoch.filter(|it| it.to_string() == id);
    spelled.ok_or_else(|| Problem::new(Kind::NotFound, format!("no session has id {id}")))
}

/// Ends one session, whosever it is. Once it has ended, there is no session of this id.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/~kick", operation_id = "kickSessionById", tag = "sessions",
    params(("id" = String, Path, description = "Its id."), Change),
    security(("token" = ["sessions:write"])),
    responses((status = 200, description = "It ends.", body = Kicked), (status = 404, description = "")))]
async fn kick_by_id(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<Kicked>, Problem> {
    let epoch = epoch(&id)?;
    let ask = SessionsAsk {
        epoch,
        ..SessionsAsk::default()
    };
    let listed = api.monitor.sessions(None, ask, 1).await;
    let found = listed.sessions.into_iter().next();
    let Some(info) = found.and_then(|placed| placed.session) else {
        if listed.silent.is_empty() {
            let detail = format!("no session has id {id}");
            return Err(Problem::new(Kind::NotFound, detail));
        }
        let detail = format!("{} has not answered", listed.silent.join(", "));
        return Err(Problem::new(Kind::ServerUnavailable, detail).after(2));
    };
    // By id: of somebody who was taken out meanwhile there may be no name.
    let wanted = KickSessionRequest {
        user_id: info.user,
        epoch,
        ..KickSessionRequest::default()
    };
    end(&api, &caller, wanted, change).await
}

async fn end(
    api: &Api,
    caller: &Caller,
    wanted: KickSessionRequest,
    change: Change,
) -> Result<Json<Kicked>, Problem> {
    let wanted = caller.call(KickSessionRequest {
        dry_run: change.dry_run,
        ..wanted
    });
    let kicked = api.admin.clone().kick_session(wanted).await;
    let kicked = kicked.map_err(|status| caller.refused(&status))?;
    Ok(Json(Kicked {
        sessions: kicked.into_inner().sessions,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_session_is_spelled_in_one_way_and_is_not_0() {
        assert_eq!(epoch("1").unwrap(), 1);
        assert_eq!(epoch(&u64::MAX.to_string()).unwrap(), u64::MAX);
        for wrong in [
            "",
            "0",
            "00",
            "07",
            "+7",
            "-7",
            " 7",
            "7 ",
            "x",
            "18446744073709551616",
        ] {
            assert_eq!(epoch(wrong).unwrap_err().kind, Kind::NotFound, "{wrong}");
        }
    }
}
