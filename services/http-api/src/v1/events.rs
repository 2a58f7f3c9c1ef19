//! What happens, as it happens: sessions and servers that come and go.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream;
use im_http::Live;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::client;
use crate::caller::Caller;
use crate::extract::Query;
use crate::metrics::Limited;
use crate::monitor::{Happening, Subscription};
use crate::problem::{Kind, Problem};
use crate::service::Api;
use crate::slots::NoSlot;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Longest time that can be asked for, seconds.
const MAX_SECONDS: u32 = 86_400;

/// How often a line is sent, so that whoever has gone is noticed, and the token is looked at.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long events are told.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct For {
    /// Seconds after which the answer ends: 1 to 86,400. Without it the answer ends when the server stops, or
    /// the token is good no more.
    #[param(minimum = 1, maximum = 86_400)]
    seconds: Option<u32>,
}

/// Tells what happens from now on, as server-sent events, each at most once: `server-up`, `server-down`,
/// `session-up`, `session-down`, with `data` in JSON, and `left-out` with how many are missing. Of a msg server
/// that is down no session is told down. Nothing is kept for who is not there: ask for the lists again after an
/// answer has ended.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "followEvents", tag = "servers", params(For),
    security(("token" = ["ops:read", "sessions:read"])),
    responses((status = 200, description = "Events.", body = String, content_type = "text/event-stream")))]
#[allow(clippy::unused_async, reason = "handlers are asynchronous functions")]
async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(wanted): Query<For>,
) -> Result<Response, Problem> {
    if let Some(seconds) = wanted.seconds
        && !(1..=MAX_SECONDS).contains(&seconds)
    {
        let detail = "seconds must be 1 to 86,400";
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    let subscription = api.monitor.subscribe(caller.grant.token.id);
    let subscription = subscription.map_err(|full| {
        api.metrics.limit(Limited::Monitor);
        let (kind, detail) = match full {
            NoSlot::Caller => (
                Kind::RateLimited,
                "this token has as many subscribers as it may have",
            ),
            NoSlot::Total => (
                Kind::Overloaded,
                "there are as many subscribers as there may be",
            ),
        };
        Problem::new(kind, detail).after(10)
    })?;
    let now = Instant::now();
    let told = Told {
        subscription,
        until: wanted
            .seconds
            .map(|it| now + Duration::from_secs(it.into())),
        look: now + KEEP_ALIVE,
        has_begun: false,
        api,
        caller,
    };
    let body = stream::unfold(told, |mut told| async move {
        let text = told.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), told))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    let mut answer = (headers, Body::from_stream(body)).into_response();
    // Between two events it is nobody's turn.
    answer.extensions_mut().insert(Live);
    Ok(answer)
}

/// One answer under way.
struct Told {
    subscription: Subscription,
    /// When it ends, if somebody has said.
    until: Option<Instant>,
    /// When the token is looked at again.
    look: Instant,
    has_begun: bool,
    api: Arc<Api>,
    caller: Caller,
}

impl Told {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.has_begun, true) {
            // So that the head leaves.
            return Some("retry: 2000\n\n".to_owned());
        }
        let next = self.until.map_or(self.look, |until| until.min(self.look));
        tokio::select! {
            // However much happens, the token is looked at.
            biased;
            () = sleep_until(next) => self.looked().await,
            happening = self.subscription.next() => happening.map(|it| spelled(&it)),
        }
    }

    /// A line that says nothing; `None` when it is time to end, or the token is good no more.
    async fn looked(&mut self) -> Option<String> {
        let now = Instant::now();
        if self.until.is_some_and(|until| now >= until) {
            return None;
        }
        self.look = now + KEEP_ALIVE;
        let is_good = self.caller.is_still_good(&self.api).await;
        is_good.then(|| ":\n\n".to_owned())
    }
}

/// A happening as a server-sent event.
fn spelled(happening: &Happening) -> String {
    let (name, data) = match happening {
        Happening::Server { up, report } => {
            let name = if *up { "server-up" } else { "server-down" };
            let data = json!({
                "name": report.name,
                "role": report.role,
                "version": report.version,
            });
            (name, data)
        }
        Happening::Session { up, session } => {
            let name = if *up { "session-up" } else { "session-down" };
            let data = json!({
                "id": session.epoch.to_string(),
                "user_id": session.user,
                "client": client(session.client_type),
                "server": session.server,
                "address": session.address,
            });
            (name, data)
        }
        Happening::LeftOut(events) => ("left-out", json!({ "events": events })),
    };
    // JSON has no line breaks of its own.
    format!("event: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::{ServerReport, SessionInfo};

    use super::*;

    #[test]
    fn an_event_has_a_name_and_one_line_of_data() {
        let report = ServerReport {
            name: "msg1".to_owned(),
            role: "msg".to_owned(),
            ..ServerReport::default()
        };
        let told = spelled(&Happening::Server { up: true, report });
        let expected =
            "event: server-up\ndata: {\"name\":\"msg1\",\"role\":\"msg\",\"version\":\"\"}\n\n";
        assert_eq!(told, expected);
        let session = SessionInfo {
            user: 7,
            epoch: 9,
            client_type: 1,
            address: "a\nb".to_owned(),
            ..SessionInfo::default()
        };
        let told = spelled(&Happening::Session { up: false, session });
        assert!(told.starts_with("event: session-down\ndata: {"), "{told}");
        assert!(told.contains("\"user_id\":7") && told.contains("\"id\":\"9\""));
        assert_eq!(told.lines().count(), 3, "{told}");
        let told = spelled(&Happening::LeftOut(3));
        assert_eq!(told, "event: left-out\ndata: {\"events\":3}\n\n");
    }
}
