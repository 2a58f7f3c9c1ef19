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
use tokio::time::{Instant, sleep, sleep_until};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::client;
use crate::extract::Query;
use crate::metrics::Limited;
use crate::monitor::{Happening, Subscription};
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Longest time of one answer, seconds; and how long it is unless something else is asked for.
const MAX_SECONDS: u32 = 3_600;
const SECONDS: u32 = 300;

/// A line is sent this often at least, so that whoever has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long events are told.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct For {
    /// Seconds after which the answer ends: 1 to 3,600; 300 unless it is given. An `EventSource` asks again
    /// by itself.
    #[param(minimum = 1, maximum = 3_600)]
    seconds: Option<u32>,
}

/// Tells what happens from now on, as server-sent events, each at most once: `server-up`, `server-down`,
/// `session-up`, `session-down`, with `data` in JSON, and `left-out` with how many are missing. Nothing is
/// kept for who is not there; ask for the list again after an answer has ended.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "followEvents", tag = "servers", params(For),
    security(("token" = ["ops:read", "sessions:read"])),
    responses((status = 200, description = "Events.", body = String, content_type = "text/event-stream")))]
#[allow(clippy::unused_async, reason = "handlers are asynchronous functions")]
async fn events(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<For>,
) -> Result<Response, Problem> {
    let seconds = wanted.seconds.unwrap_or(SECONDS);
    if !(1..=MAX_SECONDS).contains(&seconds) {
        let detail = "seconds must be 1 to 3,600";
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    let subscription = api.monitor.subscribe().ok_or_else(|| {
        api.metrics.limit(Limited::Monitor);
        let detail = "there are as many subscribers as there may be";
        Problem::new(Kind::Overloaded, detail).after(10)
    })?;
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let told = Told {
        subscription,
        until,
        has_begun: false,
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
    until: Instant,
    has_begun: bool,
}

impl Told {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.has_begun, true) {
            // So that the head leaves.
            return Some("retry: 2000\n\n".to_owned());
        }
        tokio::select! {
            () = sleep_until(self.until) => None,
            () = sleep(KEEP_ALIVE) => Some(":\n\n".to_owned()),
            happening = self.subscription.next() => happening.map(|it| spelled(&it)),
        }
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
