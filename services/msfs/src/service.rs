//! What a request is, and who answers it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use im_blob::BlobStore;
use im_runtime::Throttle;
use tracing::debug;

use crate::answer::{Content, Label, Refusal, of_upload, plain, text};
use crate::download::download;
use crate::form::FormError;
use crate::metrics::{self, Answered, Metrics};
use crate::name::Name;
use crate::pace::{Pace, Turn};
use crate::probe::Token;
use crate::quota::Quota;
use crate::scale::Bounds;
use crate::scaler::Scaler;
use crate::upload;

/// What bounds one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the body of an upload.
    pub(crate) max_upload: usize,
    /// Bytes of heads of the parts of a form, and of parts that are no file.
    pub(crate) max_form: usize,
    pub(crate) picture: Bounds,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) scaler: Scaler,
    pub(crate) quota: Quota,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// What clients reach this server by; `None`: by the address at which they have come.
    pub(crate) public_url: Option<String>,
    pub(crate) probe: Token,
    /// Keeps failures of the store from filling the log.
    pub(crate) log: Throttle,
}

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) from: IpAddr,
    /// Base of the URLs that it is told.
    pub(crate) base: Arc<str>,
    pub(crate) pace: Pace,
}

/// Answers one request.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    client: Client,
    request: Request<Incoming>,
) -> Response<Content> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let answer = match head.method {
        Method::GET | Method::HEAD if shared.probe.is_asked_for(path) => plain(
            StatusCode::OK,
            "text/plain",
            Bytes::from(shared.probe.answer()),
        ),
        Method::GET | Method::HEAD => {
            let is_head = head.method == Method::HEAD;
            download(&shared, path, &head.headers, is_head, client.from).await
        }
        Method::POST => {
            client.pace.begin(Turn::Sending);
            let stored = upload::form(&shared, &head.headers, body, client.from).await;
            client.pace.begin(Turn::Ours);
            count(&shared.metrics, metrics::Request::Form, &stored);
            of_upload(
                stored.as_ref().map_err(|refusal| *refusal),
                &client.base,
                Label::Original,
            )
        }
        Method::PUT => {
            client.pace.begin(Turn::Sending);
            let stored = upload::put(&shared, &head.headers, path, body, client.from).await;
            client.pace.begin(Turn::Ours);
            count(&shared.metrics, metrics::Request::Put, &stored);
            of_upload(
                stored.as_ref().map_err(|refusal| *refusal),
                &client.base,
                Label::Json,
            )
        }
        _ => {
            let request = metrics::Request::Other;
            shared.metrics.answered(request, Answered::NotAllowed);
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, POST or PUT\n");
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT");
            answer.headers_mut().insert(header::ALLOW, allowed);
            answer
        }
    };
    debug!(from = %client.from, method = %head.method, status = answer.status().as_u16(), "request");
    answer.map(|content| content.at(client.pace))
}

fn count(metrics: &Metrics, request: metrics::Request, stored: &Result<Name, Refusal>) {
    let answered = match stored {
        Ok(_) => Answered::Stored,
        Err(Refusal::TooLarge | Refusal::Form(FormError::TooLong)) => Answered::TooLarge,
        Err(Refusal::Form(_)) => Answered::BadForm,
        Err(Refusal::TooManyPixels) => Answered::TooManyPixels,
        Err(Refusal::NoRoom) => Answered::NoRoom,
        Err(Refusal::Limited(_)) => Answered::Limited,
        Err(Refusal::Unavailable) => Answered::Failed,
        Err(Refusal::Gone) => Answered::Gone,
    };
    metrics.answered(request, answered);
}
