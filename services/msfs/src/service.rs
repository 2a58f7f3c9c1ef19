//! What a request is, and who answers it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use im_blob::BlobStore;
use im_core::Network;
use im_http::{Peer, Quota, Serve};
use im_runtime::Throttle;
use tracing::debug;

use crate::answer::{Content, Label, Refusal, of_upload, plain, text};
use crate::download::download;
use crate::form::FormError;
use crate::metrics::{self, Answered, Metrics};
use crate::name::Name;
use crate::probe::Token;
use crate::scale::Bounds;
use crate::scaler::Scaler;
use crate::upload::{self, Sent};

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
    pub(crate) quota: Quota<Network>,
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
struct Client {
    from: IpAddr,
    /// Base of the URLs that it is told.
    base: Arc<str>,
}

impl Serve for Shared {
    type Body = Content;

    async fn serve(self: Arc<Self>, peer: Peer, request: Request<Sent>) -> Response<Content> {
        let client = Client {
            from: peer.address.ip(),
            base: base(self.public_url.as_deref(), peer.local, peer.secure),
        };
        answer(self, client, request).await
    }
}

/// Answers one request.
async fn answer(shared: Arc<Shared>, client: Client, request: Request<Sent>) -> Response<Content> {
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
            let stored = upload::form(&shared, &head.headers, body, client.from).await;
            count(&shared.metrics, metrics::Request::Form, &stored);
            of_upload(
                stored.as_ref().map_err(|refusal| *refusal),
                &client.base,
                Label::Original,
            )
        }
        Method::PUT => {
            let stored = upload::put(&shared, &head.headers, path, body, client.from).await;
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
    answer
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

/// What the URLs begin with that a client is told who has come at this address, by HTTPS or not.
fn base(public_url: Option<&str>, local: SocketAddr, secure: bool) -> Arc<str> {
    match public_url {
        Some(url) => url.into(),
        None => {
            let local = SocketAddr::new(local.ip().to_canonical(), local.port());
            let scheme = if secure { "https" } else { "http" };
            format!("{scheme}://{local}/").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_the_public_url_or_the_address_at_which_it_came() {
        let local = |text: &str| text.parse().unwrap();
        for (public, at, expected) in [
            (
                Some("http://f.example.com/a/"),
                "10.0.0.1:8700",
                "http://f.example.com/a/",
            ),
            (None, "10.0.0.1:8700", "http://10.0.0.1:8700/"),
            (None, "[2001:db8::1]:8700", "http://[2001:db8::1]:8700/"),
            (None, "[::ffff:10.0.0.1]:8700", "http://10.0.0.1:8700/"),
        ] {
            assert_eq!(&*base(public, local(at), false), expected);
        }
        let secure = base(None, local("10.0.0.1:8700"), true);
        assert_eq!(&*secure, "https://10.0.0.1:8700/");
    }
}
