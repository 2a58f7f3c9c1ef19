//! Requests to providers.

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

/// A connection is asked for a sign of life after this time without any, and given up after as long.
const ALIVE: Duration = Duration::from_secs(15);

/// Time for a connection to be made, TLS aside.
const CONNECT: Duration = Duration::from_secs(5);

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1, or HTTP/2 where the server offers it.
    Any,
    /// HTTP/2 and nothing else: one connection for all requests.
    Two,
}

/// A client with a pool of connections.
pub(crate) struct Http {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    max_answer: usize,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// How long to wait before the next request.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("reach the provider")]
    Reach(#[from] legacy::Error),
    #[error("read its answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Http {
    pub(crate) fn new(mut tls: ClientConfig, version: Version, max_answer: usize) -> Self {
        tls.alpn_protocols = match version {
            Version::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Version::Two => vec![b"h2".to_vec()],
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_only(version == Version::Two)
            .http2_keep_alive_interval(ALIVE)
            .http2_keep_alive_timeout(ALIVE)
            .build(HttpsConnector::from((connector, tls)));
        Self { client, max_answer }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, HttpError> {
        let response = self.client.request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.max_answer).collect().await;
        let body = body.map_err(HttpError::Body)?.to_bytes();
        let seconds = head.headers.get(RETRY_AFTER);
        let seconds = seconds.and_then(|it| it.to_str().ok()?.trim().parse().ok());
        Ok(Reply {
            status: head.status,
            retry_after: seconds.map(Duration::from_secs),
            body,
        })
    }
}
