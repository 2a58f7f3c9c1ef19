//! Requests to servers outside.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use im_config::HookReach;
use rustls::ClientConfig;
use tower_service::Service;

/// A connection is asked for a sign of life after this time without any, and given up after as long.
const ALIVE: Duration = Duration::from_secs(15);

/// Time for a connection to be made, TLS aside.
const CONNECT: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1, or HTTP/2 where the server offers it.
    Any,
    /// HTTP/2 and nothing else: one connection for all requests.
    Two,
}

/// A client with a pool of connections.
pub struct Http {
    client: legacy::Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    reach: Option<HookReach>,
    max_answer: usize,
}

/// Looks up names, and gives only the addresses that requests may go to.
#[derive(Clone, Debug)]
struct Resolver(Option<HookReach>);

/// The addresses of a name are not among those that requests may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("go to an address inside: its network is not named in trust.hook_networks")]
pub struct NotAdmitted;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0.clone();
        async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            admitted(found, reach.as_ref()).map(Vec::into_iter)
        }
        .boxed()
    }
}

/// The addresses that requests may go to.
fn admitted(found: Vec<SocketAddr>, reach: Option<&HookReach>) -> io::Result<Vec<SocketAddr>> {
    let Some(reach) = reach else {
        return Ok(found);
    };
    let may: Vec<_> = { found.iter() }
        .filter(|address| reach.admits(address.ip()))
        .copied()
        .collect();
    if may.is_empty() && !found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotAdmitted));
    }
    Ok(may)
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// What it says first.
    pub status: StatusCode,
    /// How long to wait before the next request.
    pub retry_after: Option<Duration>,
    /// What it says then, within the bound of its client.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection is made, or it ends before the head of an answer.
    #[error("reach the server")]
    Reach(#[from] legacy::Error),
    /// The answer ends before its end, or is longer than the client reads.
    #[error("read its answer")]
    Body(#[source] BoxError),
    /// Requests may not go to this address.
    #[error(transparent)]
    NotAdmitted(NotAdmitted),
}

impl HttpError {
    /// Whether no connection was made at all.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Reach(error) if error.is_connect())
    }

    /// Whether the answer is longer than the client reads.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Body(error) if error.is::<LengthLimitError>())
    }
}

impl Http {
    /// A client that goes wherever the configuration sends it, and reads so many bytes of an answer.
    pub fn new(tls: ClientConfig, version: Version, max_answer: usize) -> Self {
        Self::with(tls, version, max_answer, None)
    }

    /// A client of URLs that somebody outside has chosen: it goes to these addresses only. A name is judged by
    /// the addresses to which connections are made, each time anew.
    pub fn within(tls: ClientConfig, max_answer: usize, reach: HookReach) -> Self {
        Self::with(tls, Version::Any, max_answer, Some(reach))
    }

    fn with(
        mut tls: ClientConfig,
        version: Version,
        max_answer: usize,
        reach: Option<HookReach>,
    ) -> Self {
        tls.alpn_protocols = match version {
            Version::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Version::Two => vec![b"h2".to_vec()],
        };
        let mut connector = HttpConnector::new_with_resolver(Resolver(reach.clone()));
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
        Self {
            client,
            reach,
            max_answer,
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// There is no answer, or it is too long.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, HttpError> {
        let (mut reply, body) = self.ask(request).await?;
        reply.body = body.map_err(HttpError::Body)?;
        Ok(reply)
    }

    /// Sends a request; what cannot be read of the answer behind its head is left out.
    ///
    /// # Errors
    /// There is no answer, or requests may not go there.
    pub async fn send_for_status(&self, request: Request<Full<Bytes>>) -> Result<Reply, HttpError> {
        let (mut reply, body) = self.ask(request).await?;
        reply.body = body.unwrap_or_default();
        Ok(reply)
    }

    async fn ask(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Reply, Result<Bytes, BoxError>), HttpError> {
        // An address in the URL itself is never looked up.
        let host = request.uri().host().unwrap_or_default();
        if self
            .reach
            .as_ref()
            .is_some_and(|reach| !reach.admits_host(host))
        {
            return Err(HttpError::NotAdmitted(NotAdmitted));
        }
        let response = self.client.request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.max_answer).collect().await;
        let seconds = head.headers.get(RETRY_AFTER);
        let seconds = seconds.and_then(|it| it.to_str().ok()?.trim().parse().ok());
        let reply = Reply {
            status: head.status,
            retry_after: seconds.map(Duration::from_secs),
            body: Bytes::new(),
        };
        Ok((reply, body.map(Collected::to_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use im_config::TrustConfig;

    use super::*;

    #[test]
    fn of_the_addresses_of_a_name_those_inside_are_left_out() {
        let found = ["10.0.0.1:0", "1.1.1.1:0", "[::1]:0"].map(|it| it.parse().unwrap());
        let reach = TrustConfig::default().hook_reach();
        let may = admitted(found.to_vec(), Some(&reach)).unwrap();
        assert_eq!(may, ["1.1.1.1:0".parse().unwrap()]);
        assert_eq!(admitted(found.to_vec(), None).unwrap(), found);
        let inside = admitted(vec!["10.0.0.1:0".parse().unwrap()], Some(&reach));
        let error = inside.unwrap_err();
        assert!(error.to_string().contains("trust.hook_networks"), "{error}");
    }

    #[tokio::test]
    async fn a_client_of_hooks_does_not_come_to_this_machine_by_address_or_by_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = crate::trust::client(&TrustConfig::default()).unwrap();
        let http = Http::within(tls, 1_024, TrustConfig::default().hook_reach());
        for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
            let request = Request::post(format!("http://{host}:{port}/"));
            let sent = http.send_for_status(request.body(Full::default()).unwrap());
            let error = sent.await.unwrap_err();
            let text = im_core::Chain(&error).to_string();
            assert!(text.contains("trust.hook_networks"), "{host}: {text}");
        }
        let accepted = listener.accept().now_or_never();
        assert!(accepted.is_none(), "nobody came");
    }
}
