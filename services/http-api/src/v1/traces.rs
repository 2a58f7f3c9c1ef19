//! Traces: the path of some messages through the servers.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use im_proto_rpc::v1::trace_hop::Step;
use im_proto_rpc::v1::{ArmTrace, OperateServerRequest, TraceOrder};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sessions::person;
use super::words::{MAX_ID, moment_us, some};
use super::{Change, Part, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::monitor::{Followed, Made};
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(arm))
        .routes(routes!(show, stop))
}

/// Numbers of traces have so many hexadecimal digits; the greatest has a lower first one.
const DIGITS: usize = 6;
const MAX_TRACE: u32 = (1 << 23) - 1;

const MAX_SECONDS: u32 = 900;
const MAX_PER_SECOND: u32 = 100;
const MAX_ONE_IN: u32 = 1_000_000;

/// Which messages are to be followed, and how many.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTrace {
    /// Login name of somebody who sends the messages, or gets them in a conversation of two; those of everybody
    /// unless it is given.
    user: Option<String>,
    /// Login name of the other one: messages of their conversation alone. Needs `user`.
    with: Option<String>,
    /// Id of a group: messages to it alone.
    #[schema(minimum = 1)]
    group: Option<u32>,
    /// One in so many of these messages; all unless it is given.
    #[serde(default = "all")]
    #[schema(required = false, minimum = 1, maximum = 1_000_000)]
    one_in: u32,
    /// At most so many a second at each msg server; 100 unless it is given.
    #[serde(default = "per_second")]
    #[schema(required = false, minimum = 1, maximum = 100)]
    per_second: u32,
    /// It ends by itself after so many seconds; 900 unless it is given.
    #[serde(default = "seconds")]
    #[schema(required = false, minimum = 1, maximum = 900)]
    seconds: u32,
}

const fn all() -> u32 {
    1
}

const fn per_second() -> u32 {
    MAX_PER_SECOND
}

const fn seconds() -> u32 {
    MAX_SECONDS
}

impl NewTrace {
    fn check(&self) -> Result<(), Problem> {
        let wrong = Problem::field;
        if self.with.is_some() && (self.user.is_none() || self.group.is_some()) {
            return Err(wrong("with", "needs user, and no group"));
        }
        if !self.group.is_none_or(|group| (1..=MAX_ID).contains(&group)) {
            return Err(wrong("group", "must be 1 to 2,147,483,647"));
        }
        for (field, value, most, text) in [
            ("one_in", self.one_in, MAX_ONE_IN, "must be 1 to 1,000,000"),
            (
                "per_second",
                self.per_second,
                MAX_PER_SECOND,
                "must be 1 to 100",
            ),
            ("seconds", self.seconds, MAX_SECONDS, "must be 1 to 900"),
        ] {
            if !(1..=most).contains(&value) {
                return Err(wrong(field, text));
            }
        }
        Ok(())
    }
}

/// A trace that is armed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trace {
    /// Names it; six hexadecimal digits.
    #[schema(example = "5a1b2c")]
    id: String,
    /// When it ends by itself (RFC 3339).
    ends: String,
    /// Msg servers that follow messages for it.
    servers: Vec<String>,
    /// Msg servers that have not answered.
    silent: Vec<String>,
}

/// Follows messages that clients send from now on, at every msg server that reports here. A server follows four
/// traces at the same time; messages that this API sends are not followed.
#[utoipa::path(post, path = "/api/v1/traces", operation_id = "armTrace", tag = "servers", params(Change),
    security(("token" = ["ops:write"])), request_body = NewTrace,
    responses((status = 200, description = "The trace.", body = Trace), (status = 404, description = "")))]
async fn arm(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewTrace>,
) -> Result<Json<Trace>, Problem> {
    new.check()?;
    let number = number(&caller.order());
    let order = ArmTrace {
        trace: number,
        user: id_of(&api, &caller, new.user.as_deref()).await?,
        with: id_of(&api, &caller, new.with.as_deref()).await?,
        group: new.group.unwrap_or(0),
        one_in: new.one_in,
        per_second: new.per_second,
        seconds: new.seconds,
    };
    let id = spelled(number);
    let row = caller.call(OperateServerRequest {
        operation: "trace".to_owned(),
        trace: Some(TraceOrder {
            id: id.clone(),
            user: new.user.unwrap_or_default(),
            with: new.with.unwrap_or_default(),
            group: order.group,
            one_in: order.one_in,
            per_second: order.per_second,
            seconds: order.seconds,
        }),
        dry_run: change.dry_run,
        ..OperateServerRequest::default()
    });
    let noted = api.admin.clone().operate_server(row).await;
    noted.map_err(|status| caller.refused(&status))?;
    let ends = SystemTime::now() + Duration::from_secs(order.seconds.into());
    let ends = ends.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ends = moment_us(u64::try_from(ends.as_micros()).unwrap_or(0));
    if change.dry_run {
        return Ok(Json(Trace {
            id,
            ends,
            servers: api.monitor.msg_servers(),
            silent: Vec::new(),
        }));
    }
    let armed = api.monitor.arm(order).await;
    match armed.refused {
        Some(refusal) if armed.servers.is_empty() && refusal.conflict => {
            Err(Problem::new(Kind::Conflict, refusal.text))
        }
        Some(refusal) if armed.servers.is_empty() => Err(Problem::new(Kind::Invalid, refusal.text)),
        _ => Ok(Json(Trace {
            id,
            ends,
            servers: armed.servers,
            silent: armed.silent,
        })),
    }
}

/// The number of a trace that is asked for under this key, which is a digest.
fn number(key: &str) -> u32 {
    let digits = key.get(..DIGITS).unwrap_or_default();
    let number = u32::from_str_radix(digits, 16).unwrap_or(0) & MAX_TRACE;
    number.max(1)
}

fn spelled(number: u32) -> String {
    format!("{number:06x}")
}

/// The number of a trace by its id.
fn read(id: &str) -> Result<u32, Problem> {
    let number = u32::from_str_radix(id, 16).ok();
    let number = number.filter(|it| (1..=MAX_TRACE).contains(it) && spelled(*it) == id);
    number.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("no server knows a trace {id}"))
}

async fn id_of(api: &Api, caller: &Caller, name: Option<&str>) -> Result<u32, Problem> {
    match name {
        Some(name) => person(api, caller, name).await,
        None => Ok(0),
    }
}

/// What a trace has found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TracePage {
    /// Messages; those of one msg server in the order in which they came.
    items: Vec<TracedMessage>,
    /// Cursor of what follows; absent when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// It goes on following messages.
    active: bool,
    /// Messages that it has followed. Each server remembers its newest steps (`trace.ring`): the oldest
    /// messages may be here no more, or not with all of their steps.
    followed: u64,
    /// Messages that it would have followed, but for its rate.
    left_out: u64,
    /// Servers that were asked: those that report here, and that messages pass.
    asked: usize,
    /// Of them, those that have not answered: their steps are missing.
    silent: Vec<String>,
}

/// A message that was followed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TracedMessage {
    /// Names it in traces; 16 hexadecimal digits.
    id: String,
    /// Its steps, in the order of their times.
    steps: Vec<TraceStep>,
}

/// A step of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TraceStep {
    /// `received` by a msg server, `queued` for the writer, `committed`, `published` to a route server, `routed`
    /// to msg servers, `acknowledged` to its sender, `written` to a session.
    #[schema(example = "committed")]
    step: &'static str,
    /// Name of the server that made it.
    #[schema(value_type = String)]
    #[serde(serialize_with = "shared")]
    server: Arc<str>,
    #[schema(value_type = String)]
    #[serde(serialize_with = "shared")]
    role: Arc<str>,
    /// When, by the clock of that server, which goes on evenly from the start of its process (RFC 3339).
    at: String,
    /// Place in the log; digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// Id of who has the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<u32>,
    /// Id of the session that sent it, or to which it was written; digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    /// Msg servers to which it was routed.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<u32>,
    /// Bytes of the session that its socket had not taken then; 0 when all were.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_bytes: Option<u32>,
}

fn shared<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl From<Made> for TraceStep {
    fn from(made: Made) -> Self {
        let Made { server, role, hop } = made;
        let step = hop.step();
        let digits = |number: u64| some(number.to_string()).filter(|_| number != 0);
        Self {
            step: match step {
                Step::Received => "received",
                Step::Queued => "queued",
                Step::Committed => "committed",
                Step::Published => "published",
                Step::Routed => "routed",
                Step::Acknowledged => "acknowledged",
                Step::Written => "written",
                Step::Unknown => "unknown",
            },
            server,
            role,
            at: moment_us(hop.at_us),
            position: digits(hop.position),
            user_id: Some(hop.user).filter(|user| *user != 0),
            session: digits(hop.session),
            servers: Some(hop.count).filter(|_| step == Step::Routed),
            waiting_bytes: Some(hop.count).filter(|_| step == Step::Written),
        }
    }
}

impl From<Followed> for TracedMessage {
    fn from((message, steps): Followed) -> Self {
        Self {
            id: format!("{message:016x}"),
            steps: steps.into_iter().map(TraceStep::from).collect(),
        }
    }
}

/// Shows the messages that a trace has followed, and the steps of each through the servers that report here.
#[utoipa::path(get, path = "/api/v1/traces/{id}", operation_id = "getTrace", tag = "servers",
    params(("id" = String, Path, description = "Its id."), Part),
    security(("token" = ["ops:read"])),
    responses((status = 200, description = "A page of messages.", body = TracePage), (status = 404, description = "")))]
async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<TracePage>, Problem> {
    let limit = rows(part.limit)? as usize;
    let about = ["traces", id.as_str()];
    let after = api.cursors.read(&about, part.cursor.as_deref())?;
    let after = after.and_then(|place| Some(u64::from_be_bytes(place.try_into().ok()?)));
    let path = api
        .monitor
        .path(read(&id)?, after.unwrap_or(0), limit)
        .await;
    let is_known = path.state.is_some() || !path.messages.is_empty() || after.is_some();
    if !is_known && path.silent.is_empty() {
        return Err(missing(&id));
    }
    let state = path.state.unwrap_or_default();
    let last = path.messages.last().map(|(message, _)| *message);
    let next = last.filter(|_| path.more);
    Ok(Json(TracePage {
        items: path.messages.into_iter().map(TracedMessage::from).collect(),
        next: next.map(|last| api.cursors.make(&about, &last.to_be_bytes())),
        active: state.active,
        followed: state.followed,
        left_out: state.left_out,
        asked: path.asked,
        silent: path.silent,
    }))
}

/// A trace that was stopped, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoppedTrace {
    id: String,
    /// It goes on following messages: with `dry_run`.
    active: bool,
    /// Messages that it has followed. Those and their steps can be read as before.
    followed: u64,
    /// Messages that it would have followed, but for its rate.
    left_out: u64,
    /// Msg servers that knew it.
    servers: Vec<String>,
    /// Msg servers that have not answered: there it goes on until it ends by itself, or is stopped once more.
    silent: Vec<String>,
}

/// Stops a trace: msg servers follow no more messages for it, and another one may take its place. It does not
/// begin anew, whoever repeats the request that armed it.
#[utoipa::path(delete, path = "/api/v1/traces/{id}", operation_id = "stopTrace", tag = "servers",
    params(("id" = String, Path, description = "Its id."), Change),
    security(("token" = ["ops:write"])),
    responses((status = 200, description = "How far the trace came.", body = StoppedTrace), (status = 404, description = "")))]
async fn stop(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<StoppedTrace>, Problem> {
    let trace = read(&id)?;
    let mut stopped = api.monitor.stop_trace(trace, true).await;
    if stopped.servers.is_empty() && stopped.silent.is_empty() {
        return Err(missing(&id));
    }
    let row = caller.call(OperateServerRequest {
        operation: "stop-trace".to_owned(),
        trace: Some(TraceOrder {
            id: id.clone(),
            ..TraceOrder::default()
        }),
        dry_run: change.dry_run,
        ..OperateServerRequest::default()
    });
    let noted = api.admin.clone().operate_server(row).await;
    noted.map_err(|status| caller.refused(&status))?;
    if !change.dry_run {
        stopped = api.monitor.stop_trace(trace, false).await;
    }
    Ok(Json(StoppedTrace {
        id,
        active: stopped.state.active,
        followed: stopped.state.followed,
        left_out: stopped.state.left_out,
        servers: stopped.servers,
        silent: stopped.silent,
    }))
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::TraceHop;

    use super::*;

    #[test]
    fn the_id_of_a_trace_follows_from_its_key_and_is_spelled_in_one_way() {
        assert_eq!(number("ffffff00"), MAX_TRACE);
        assert_eq!(number("800000ff"), 1, "none is 0");
        assert_eq!(number("0000ab12"), 0xab);
        assert_eq!(read(&spelled(0xab)).unwrap(), 0xab);
        assert_eq!(read(&spelled(MAX_TRACE)).unwrap(), MAX_TRACE);
        for wrong in [
            "", "0", "ab", "0000AB", "000000", "800000", "+000ab", "00000ab",
        ] {
            assert_eq!(read(wrong).unwrap_err().kind, Kind::NotFound, "{wrong}");
        }
    }

    #[test]
    fn an_order_out_of_bounds_is_named_by_its_field() {
        let new = |body: serde_json::Value| serde_json::from_value::<NewTrace>(body).unwrap();
        let wrong = |body: serde_json::Value| new(body).check().err().map(|it| it.detail);
        assert_eq!(wrong(serde_json::json!({})), None);
        assert_eq!(wrong(serde_json::json!({"user": "a", "with": "b"})), None);
        for (body, field) in [
            (serde_json::json!({"with": "b"}), "with"),
            (
                serde_json::json!({"user": "a", "with": "b", "group": 1}),
                "with",
            ),
            (serde_json::json!({"group": 0}), "group"),
            (serde_json::json!({"group": 1_u32 << 31}), "group"),
            (serde_json::json!({"one_in": 0}), "one_in"),
            (serde_json::json!({"per_second": 101}), "per_second"),
            (serde_json::json!({"seconds": 901}), "seconds"),
        ] {
            let detail = wrong(body).unwrap();
            assert!(detail.starts_with(field), "{detail}");
        }
    }

    #[test]
    fn a_step_tells_what_it_knows_and_nothing_else() {
        let made = |step: Step, position: u64| Made {
            server: "msg1".into(),
            role: "msg".into(),
            hop: TraceHop {
                step: step.into(),
                at_us: 1_500_000,
                position,
                ..TraceHop::default()
            },
        };
        let json = |made: Made| serde_json::to_value(TraceStep::from(made)).unwrap();
        let at = "1970-01-01T00:00:01.5Z";
        assert_eq!(
            json(made(Step::Received, 0)),
            serde_json::json!({"step": "received", "server": "msg1", "role": "msg", "at": at})
        );
        assert_eq!(
            json(made(Step::Written, 7)),
            serde_json::json!({"step": "written", "server": "msg1", "role": "msg", "at": at,
                "position": "7", "waiting_bytes": 0})
        );
    }
}
