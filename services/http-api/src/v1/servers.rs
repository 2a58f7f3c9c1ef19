//! Servers: which report here, how they hang together, and what is asked of msg servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use im_proto_rpc::v1::monitor_answer::Answer;
use im_proto_rpc::v1::monitor_ask::Ask;
use im_proto_rpc::v1::{
    CordonRequest, LinkCount, MsgState, OperateServerRequest, ServerReport, ShedRequest,
    UncordonRequest,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{hex, moment_ms};
use super::{Change, Page, Part, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::metrics::Limited;
use crate::monitor::{MSG, NoAnswer, Seen};
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(topology))
        .routes(routes!(cordon))
        .routes(routes!(uncordon))
        .routes(routes!(shed))
}

/// A server, as it has last reported.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Server {
    /// Unique, and the same after a restart.
    name: String,
    /// Such as `msg` or `db-proxy`.
    role: String,
    version: String,
    /// Another one after each start; 16 hexadecimal digits.
    instance: String,
    /// When it was started, by its own clock (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    /// Milliseconds since it reported this.
    age_ms: u64,
    /// Whether it is ready.
    ready: bool,
    /// Conditions of readiness that do not hold now.
    missing: Vec<String>,
    /// Links of its role that stand, by kind.
    links: Vec<Standing>,
    /// Of a msg server.
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<MsgServer>,
}

/// Links of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Standing {
    kind: String,
    /// Opened by this server.
    dialed: u32,
    /// Opened by others to it; none where all roles share a process.
    accepted: u32,
}

impl From<LinkCount> for Standing {
    fn from(count: LinkCount) -> Self {
        Self {
            kind: count.kind,
            dialed: count.dialed,
            accepted: count.accepted,
        }
    }
}

/// What a msg server does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MsgServer {
    /// Logged-in sessions.
    sessions: u32,
    /// Open connections of clients.
    connections: u32,
    /// Login servers are told to send nobody there.
    cordoned: bool,
    /// Whoever comes all the same is closed.
    closed_to_newcomers: bool,
    /// It is about to stop.
    draining: bool,
    /// The last order to shed sessions since its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    shed: Option<Shedding>,
}

/// An order to shed sessions, and what has become of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Shedding {
    /// How many were to go.
    sessions: u32,
    /// At most so many a second.
    per_second: u32,
    /// How many there were for it.
    chosen: u32,
    /// Of them, those that were closed for it.
    gone: u32,
    /// Of them, those that ended by themselves before.
    ended: u32,
    /// Nothing more happens for it.
    over: bool,
}

impl From<MsgState> for MsgServer {
    fn from(state: MsgState) -> Self {
        let shed = state.shed.map(|shed| {
            let order = shed.order.unwrap_or_default();
            Shedding {
                sessions: order.sessions,
                per_second: order.per_second,
                chosen: shed.chosen,
                gone: shed.gone,
                ended: shed.ended,
                over: shed.over,
            }
        });
        Self {
            sessions: state.sessions,
            connections: state.connections,
            cordoned: state.cordoned,
            closed_to_newcomers: state.closed,
            draining: state.draining,
            shed,
        }
    }
}

impl Server {
    fn of(seen: Seen, now: Instant) -> Self {
        let Seen { report, heard } = seen;
        let age: Duration = now.saturating_duration_since(heard);
        Self {
            name: report.name,
            role: report.role,
            version: report.version,
            instance: hex(&report.instance.to_be_bytes()),
            started: moment_ms(report.started_ms),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            ready: report.ready,
            missing: report.missing,
            links: report.links.into_iter().map(Standing::from).collect(),
            msg: report.msg.map(MsgServer::from),
        }
    }
}

/// Lists the servers that report here, by name: every server of every role whose configuration names this
/// http-api server.
#[utoipa::path(get, path = "/api/v1/servers", operation_id = "listServers", tag = "servers", params(Part),
    security(("token" = ["ops:read"])),
    responses((status = 200, description = "A page of servers.", body = Page<Server>)))]
#[allow(clippy::unused_async, reason = "handlers are asynchronous functions")]
async fn list(
    State(api): State<Arc<Api>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Server>>, Problem> {
    let limit = rows(part.limit)? as usize;
    let about = ["servers"];
    let after = api.cursors.read(&about, part.cursor.as_deref())?;
    let after = String::from_utf8(after.unwrap_or_default()).unwrap_or_default();
    let mut seen = api.monitor.servers(&after, limit + 1);
    let more = seen.len() > limit;
    seen.truncate(limit);
    let last = seen.last().filter(|_| more);
    let next = last.map(|last| api.cursors.make(&about, last.report.name.as_bytes()));
    let now = Instant::now();
    Ok(Json(Page::of(seen, next.unwrap_or_default(), |seen| {
        Server::of(seen, now)
    })))
}

/// Shows one server.
#[utoipa::path(get, path = "/api/v1/servers/{name}", operation_id = "getServer", tag = "servers",
    params(("name" = String, Path, description = "Its name.")),
    security(("token" = ["ops:read"])),
    responses((status = 200, description = "The server.", body = Server), (status = 404, description = "")))]
#[allow(clippy::unused_async, reason = "handlers are asynchronous functions")]
async fn show(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Server>, Problem> {
    let seen = api.monitor.server(&name).ok_or_else(|| missing(&name))?;
    Ok(Json(Server::of(seen, Instant::now())))
}

/// How the servers hang together.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Topology {
    /// Roles and their servers.
    roles: Vec<RoleServers>,
    /// Kinds of links between them.
    links: Vec<LinkKind>,
}

/// The servers of one role.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RoleServers {
    role: String,
    servers: u32,
    /// Of them, those that are ready.
    ready: u32,
}

/// Links of one kind, of all servers together.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LinkKind {
    kind: String,
    /// Roles that have opened some.
    from: Vec<String>,
    /// Roles to which some were opened; none where all roles share a process.
    to: Vec<String>,
    /// How many stand, as those tell who have opened them.
    dialed: u32,
    /// The same as those tell to whom they were opened.
    accepted: u32,
}

/// Counts reports by role and by kind of link.
fn topology_of(reports: impl Iterator<Item = ServerReport>) -> Topology {
    let mut roles: BTreeMap<String, RoleServers> = BTreeMap::new();
    let mut links: BTreeMap<String, LinkKind> = BTreeMap::new();
    for report in reports {
        let role = roles.entry(report.role.clone()).or_default();
        role.role.clone_from(&report.role);
        role.servers += 1;
        role.ready += u32::from(report.ready);
        for link in report.links {
            let kind = links.entry(link.kind.clone()).or_default();
            kind.kind = link.kind;
            kind.dialed = kind.dialed.saturating_add(link.dialed);
            kind.accepted = kind.accepted.saturating_add(link.accepted);
            for (count, list) in [(link.dialed, &mut kind.from), (link.accepted, &mut kind.to)] {
                if count > 0 && !list.contains(&report.role) {
                    list.push(report.role.clone());
                }
            }
        }
    }
    Topology {
        roles: roles.into_values().collect(),
        links: links.into_values().collect(),
    }
}

/// Shows roles, how many servers of each report, and the links between them.
#[utoipa::path(get, path = "/api/v1/topology", operation_id = "getTopology", tag = "servers",
    security(("token" = ["ops:read"])),
    responses((status = 200, description = "Roles and links.", body = Topology)))]
#[allow(clippy::unused_async, reason = "handlers are asynchronous functions")]
async fn topology(State(api): State<Arc<Api>>) -> Json<Topology> {
    let seen = api.monitor.servers("", usize::MAX);
    Json(topology_of(seen.into_iter().map(|seen| seen.report)))
}

/// Cordons a msg server: login servers send nobody there, and newcomers are closed, until it is uncordoned or
/// started anew. Clients that are there stay.
#[utoipa::path(post, path = "/api/v1/servers/{name}/~cordon", operation_id = "cordonServer", tag = "servers",
    params(("name" = String, Path, description = "Its name."), Change),
    security(("token" = ["ops:write"])),
    responses((status = 200, description = "The server as it is now.", body = MsgServer), (status = 404, description = "")))]
async fn cordon(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<MsgServer>, Problem> {
    let ask = Ask::Cordon(CordonRequest {});
    operate(&api, &caller, name, ask, change).await
}

/// Lets new clients come to a msg server again.
#[utoipa::path(post, path = "/api/v1/servers/{name}/~uncordon", operation_id = "uncordonServer", tag = "servers",
    params(("name" = String, Path, description = "Its name."), Change),
    security(("token" = ["ops:write"])),
    responses((status = 200, description = "The server as it is now.", body = MsgServer), (status = 404, description = "")))]
async fn uncordon(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<MsgServer>, Problem> {
    let ask = Ask::Uncordon(UncordonRequest {});
    operate(&api, &caller, name, ask, change).await
}

/// How many sessions are to go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shed {
    /// How many; 0 ends the order that is under way.
    #[schema(maximum = 1_000_000)]
    sessions: u32,
    /// At most so many a second; 50 unless it is given.
    #[serde(default = "per_second")]
    #[schema(required = false, minimum = 1, maximum = 100_000)]
    per_second: u32,
}

const fn per_second() -> u32 {
    50
}

/// Asks sessions of a msg server to go, those first that have asked for nothing longest; their clients connect
/// anew. It goes on after the answer, and the server tells how far it is. Cordon the server before, so that
/// they come back elsewhere.
#[utoipa::path(post, path = "/api/v1/servers/{name}/~shed", operation_id = "shedSessions", tag = "servers",
    params(("name" = String, Path, description = "Its name."), Change),
    security(("token" = ["ops:write"])), request_body = Shed,
    responses((status = 200, description = "The server as it is now.", body = MsgServer), (status = 404, description = "")))]
async fn shed(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(shed): Content<Shed>,
) -> Result<Json<MsgServer>, Problem> {
    if shed.sessions > 1_000_000 {
        return Err(Problem::field("sessions", "must be 0 to 1,000,000"));
    }
    if !(1..=100_000).contains(&shed.per_second) {
        return Err(Problem::field("per_second", "must be 1 to 100,000"));
    }
    let ask = Ask::Shed(ShedRequest {
        key: caller.order(),
        sessions: shed.sessions,
        per_second: shed.per_second,
    });
    operate(&api, &caller, name, ask, change).await
}

/// Notes what is asked of a msg server in the audit log, and asks it.
async fn operate(
    api: &Api,
    caller: &Caller,
    name: String,
    ask: Ask,
    change: Change,
) -> Result<Json<MsgServer>, Problem> {
    let seen = api.monitor.server(&name).ok_or_else(|| missing(&name))?;
    if seen.report.role != MSG {
        let detail = format!("{name} is no msg server, but one of {}", seen.report.role);
        return Err(Problem::new(Kind::Conflict, detail));
    }
    let (operation, sessions, per_second) = match &ask {
        Ask::Cordon(_) => ("cordon", 0, 0),
        Ask::Uncordon(_) => ("uncordon", 0, 0),
        Ask::Shed(shed) => ("shed", shed.sessions, shed.per_second),
        _ => return Err(Problem::new(Kind::Internal, "")),
    };
    let row = caller.call(OperateServerRequest {
        server: name.clone(),
        operation: operation.to_owned(),
        sessions,
        per_second,
        dry_run: change.dry_run,
        ..OperateServerRequest::default()
    });
    let noted = api.admin.clone().operate_server(row).await;
    noted.map_err(|status| caller.refused(&status))?;
    if change.dry_run {
        let state = seen.report.msg.unwrap_or_default();
        return Ok(Json(state.into()));
    }
    // Again also where it was noted before: each of them counts once at the server.
    match api.monitor.ask(&name, ask).await {
        Ok(Answer::State(state)) => Ok(Json(state.into())),
        Ok(Answer::Refusal(refusal)) if refusal.conflict => {
            Err(Problem::new(Kind::Conflict, refusal.text))
        }
        Ok(Answer::Refusal(refusal)) => Err(Problem::new(Kind::Invalid, refusal.text)),
        // An answer to another question.
        Ok(_) => Err(Problem::new(Kind::Internal, "")),
        Err(why) => Err(no_answer(api, &name, why)),
    }
}

fn missing(name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("no server {name} reports here"))
}

/// What a caller is told when a server has not answered.
pub(super) fn no_answer(api: &Api, name: &str, why: NoAnswer) -> Problem {
    let unknown = format!("{name} has not answered: whether it was done is not known");
    match why {
        NoAnswer::NoSuchServer => missing(name),
        NoAnswer::Busy => {
            api.metrics.limit(Limited::Monitor);
            let detail = format!("{name} is asked too much at the same time");
            Problem::new(Kind::Overloaded, detail).after(1)
        }
        NoAnswer::Late => Problem::new(Kind::Timeout, unknown),
        NoAnswer::Gone => Problem::new(Kind::ServerUnavailable, unknown).after(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(role: &str, ready: bool, links: &[(&str, u32, u32)]) -> ServerReport {
        let link = |(kind, dialed, accepted): &(&str, u32, u32)| LinkCount {
            kind: (*kind).to_owned(),
            dialed: *dialed,
            accepted: *accepted,
        };
        ServerReport {
            role: role.to_owned(),
            ready,
            links: links.iter().map(link).collect(),
            ..ServerReport::default()
        }
    }

    #[test]
    fn a_topology_counts_servers_by_role_and_links_by_kind() {
        let topology = topology_of(
            [
                report("msg", true, &[("attach", 2, 0), ("file", 0, 0)]),
                report("msg", false, &[("attach", 2, 0)]),
                report("route", true, &[("attach", 0, 2)]),
                report("route", true, &[("attach", 0, 2)]),
            ]
            .into_iter(),
        );
        let role = |role: &str, servers, ready| RoleServers {
            role: role.to_owned(),
            servers,
            ready,
        };
        assert_eq!(topology.roles, [role("msg", 2, 1), role("route", 2, 2)]);
        let attach = LinkKind {
            kind: "attach".to_owned(),
            from: vec!["msg".to_owned()],
            to: vec!["route".to_owned()],
            dialed: 4,
            accepted: 4,
        };
        let file = LinkKind {
            kind: "file".to_owned(),
            ..LinkKind::default()
        };
        assert_eq!(topology.links, [attach, file]);
    }
}
