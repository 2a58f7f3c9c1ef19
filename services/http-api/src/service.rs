//! What all requests share, and what happens to each of them whatever it asks for.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use hyper::body::Incoming;
use im_config::{HookReach, HttpApiConfig, Networks};
use im_core::Network;
use im_http::{InTurn, Peer, Quota, Serve};
use im_runtime::Throttle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::ServiceExt as _;
use tracing::debug;

use crate::caller::{Key, admit_address};
use crate::cursor::Cursors;
use crate::db_proxy::{Admin, Announcements, Bots, Devices, DiscoveryItems, Hooks, IncomingHooks};
use crate::discovery::{DISCOVERY, Discovery};
use crate::document::Scopes;
use crate::metrics::{Class, Group, Metrics};
use crate::monitor::Monitor;
use crate::origin::Origin;
use crate::original::{self, Original};
use crate::problem::{Kind, Problem, REQUEST_ID, Unnumbered};
use crate::refusals::Notes;
use crate::slots::Slots;
use crate::token::Tokens;
use crate::v1::incoming;
use crate::verb;

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) config: HttpApiConfig,
    pub(crate) admin: Admin,
    pub(crate) hooks: Hooks,
    pub(crate) announcements: Announcements,
    pub(crate) incoming: IncomingHooks,
    pub(crate) devices: Devices,
    pub(crate) bots: Bots,
    pub(crate) items: DiscoveryItems,
    pub(crate) discovery: Discovery,
    /// Where subscriptions may send.
    pub(crate) reach: HookReach,
    pub(crate) tokens: Tokens,
    pub(crate) token_rate: Quota<u32>,
    pub(crate) address_rate: Quota<Network>,
    pub(crate) hook_rate: Quota<u32>,
    pub(crate) slots: Arc<Slots<Key>>,
    /// Places of bots that wait.
    pub(crate) waiters: Arc<Slots<Key>>,
    /// The one file of people that may be in memory.
    pub(crate) imports: Arc<Semaphore>,
    pub(crate) scopes: Scopes,
    /// The OpenAPI document.
    pub(crate) document: Bytes,
    pub(crate) original: Original,
    pub(crate) proxies: Networks,
    pub(crate) notes: Notes,
    pub(crate) monitor: Monitor,
    pub(crate) cursors: Cursors,
    pub(crate) metrics: Metrics,
    /// Keeps refusals from filling the log.
    pub(crate) refusals: Throttle,
}

/// The port's service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) api: Arc<Api>,
    pub(crate) router: Router,
}

impl Serve for Service {
    // Bots wait here.
    const WATCHED: bool = true;

    type Body = Body;

    async fn serve(
        self: Arc<Self>,
        peer: Peer,
        request: hyper::Request<InTurn<Incoming>>,
    ) -> Response<Body> {
        let begin = Instant::now();
        let request = request.map(Body::new);
        let (api, router) = (&self.api, self.router.clone());
        let origin = Origin::of(&peer, request.headers(), &api.proxies);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut answer = route(api, router, &origin, request).await;
        finish(&mut answer, &origin);
        let metrics = &api.metrics;
        metrics.answered(group(&path), class(answer.status()));
        metrics.seconds.observe(begin.elapsed().as_secs_f64());
        debug!(
            request = origin.request_id,
            address = %origin.address,
            %method,
            path = shown(&path),
            status = answer.status().as_u16(),
            "request"
        );
        answer
    }
}

async fn route(api: &Api, router: Router, origin: &Origin, mut request: Request) -> Response<Body> {
    if let Err(problem) = admit_address(api, origin.address) {
        return problem.into_response();
    }
    if let Some(uri) = verb::routed(request.uri()) {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(origin.clone());
    let answer: Result<_, Infallible> = router.oneshot(request).await;
    match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

/// Gives an answer what every one has.
fn finish(answer: &mut Response<Body>, origin: &Origin) {
    if let Some(Unnumbered(problem)) = answer.extensions_mut().remove::<Unnumbered>() {
        problem.write(answer, &origin.request_id);
    }
    let headers = answer.headers_mut();
    let of = |text: &'static str| HeaderValue::from_static(text);
    if let Ok(id) = HeaderValue::from_str(&origin.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, of("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, of("no-store"));
    }
}

/// The answer where there is no endpoint.
#[allow(clippy::unused_async, reason = "handlers are asynchronous functions")]
pub(crate) async fn no_endpoint() -> Problem {
    Problem::new(Kind::NoSuchEndpoint, "see /api/v1/openapi.json")
}

/// The answer where the endpoint has no such method.
#[allow(clippy::unused_async, reason = "handlers are asynchronous functions")]
pub(crate) async fn no_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "")
}

/// The path as logs have it: that of an incoming hook is a secret.
fn shown(path: &str) -> &str {
    if path.starts_with(incoming::PREFIX) {
        incoming::PREFIX
    } else {
        path
    }
}

fn group(path: &str) -> Group {
    if path.starts_with("/api/v1/") {
        Group::Api
    } else if path.starts_with(incoming::PREFIX) {
        Group::Hook
    } else if path.starts_with(original::PREFIX) || path == DISCOVERY {
        Group::Original
    } else {
        Group::Other
    }
}

fn class(status: StatusCode) -> Class {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Class::Refused,
        StatusCode::TOO_MANY_REQUESTS => Class::Limited,
        status if status.is_client_error() => Class::Wrong,
        status if status.is_server_error() => Class::Failed,
        _ => Class::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_what_they_are() {
        for (status, expected) in [
            (200, Class::Done),
            (204, Class::Done),
            (401, Class::Refused),
            (403, Class::Refused),
            (404, Class::Wrong),
            (429, Class::Limited),
            (503, Class::Failed),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(class(status), expected, "{status}");
        }
        assert_eq!(group("/api/v1/users"), Group::Api);
        assert_eq!(group("/query/CreateGroup"), Group::Original);
        assert_eq!(group("/api/discovery"), Group::Original);
        assert_eq!(group("/hooks/7/secret"), Group::Hook);
        assert_eq!(group("/"), Group::Other);
    }

    #[test]
    fn logs_show_no_path_of_a_hook() {
        assert_eq!(shown("/hooks/7/secret"), "/hooks/");
        assert_eq!(shown("/api/v1/users"), "/api/v1/users");
    }
}
