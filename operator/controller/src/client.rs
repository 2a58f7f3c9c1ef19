//! The client of the API server, with a layer that counts requests.
//!
//! It speaks HTTP/2 where the API server does, so that all its requests and watches share one connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder};

use crate::lease::Turn;
use crate::metrics::{Metrics, RequestLabels};

/// Exit code of a process that was told to stop after so many writes.
const STOPPED_BY_TEST: i32 = 86;

/// A connection is asked for a sign of life after this time without any, and given up after as long.
const ALIVE: Duration = Duration::from_secs(15);

/// A client that writes only in its `turn`, counts its requests in `metrics` and, for tests, ends
/// the process after `stop_after` writes.
pub(crate) fn connect(
    config: Config,
    metrics: Metrics,
    turn: Turn,
    stop_after: Option<u64>,
) -> kube::Result<Client> {
    let layer = Counting {
        metrics,
        turn,
        stop_after,
        writes: Arc::default(),
    };
    // Ways to the API server of which kube knows more.
    if config.proxy_url.is_some() || config.tls_server_name.is_some() {
        return Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build());
    }
    let mut tls = config.rustls_client_config()?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let connector = HttpsConnector::from((connector, tls));
    let http = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(ALIVE)
        .http2_keep_alive_timeout(ALIVE)
        .build::<_, Body>(connector);
    let retry = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    let builder = ClientBuilder::new(service, config.default_namespace);
    Ok(builder.with_layer(&layer).build())
}

/// Opens a connection for each client, so that what is asked next need not open one each.
pub(crate) async fn warm(clients: &[Client]) {
    for client in clients {
        // Whoever asks next tells what is wrong.
        drop(client.apiserver_version().await);
    }
}

/// How many connections it takes for these scopes, when each may carry so many watches.
pub(crate) fn connections(scopes: usize, watches_per_connection: usize) -> usize {
    let scopes_per_connection = (watches_per_connection / crate::watch::STREAMS).max(1);
    scopes.div_ceil(scopes_per_connection).max(1)
}

#[derive(Clone, Debug)]
struct Counting {
    metrics: Metrics,
    turn: Turn,
    stop_after: Option<u64>,
    writes: Arc<AtomicU64>,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            counting: self.clone(),
        }
    }
}

#[derive(Clone, Debug)]
struct Counted<S> {
    inner: S,
    counting: Counting,
}

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Boxed<S::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().clone();
        let path = request.uri().path();
        let writes = is_write(&method, path);
        if changes(&method) && !path.contains("/leases") && !self.counting.turn.may_write() {
            let refusal = "not sent: this replica does not hold the lease";
            return Box::pin(async move { Err(refusal.into()) });
        }
        let counting = self.counting.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            let code = answer
                .as_ref()
                .map_or_else(|_| "<error>".to_owned(), |r| r.status().as_str().to_owned());
            counting
                .metrics
                .requests
                .get_or_create_owned(&RequestLabels {
                    code,
                    method: method.as_str().to_owned(),
                })
                .inc();
            // What was refused changed nothing; what was not answered may have.
            let is_refused = answer.as_ref().is_ok_and(|r| r.status().is_client_error());
            if writes && !is_refused {
                let so_far = counting.writes.fetch_add(1, Ordering::Relaxed) + 1;
                if counting.stop_after.is_some_and(|limit| so_far >= limit) {
                    tracing::warn!(so_far, "stopping after a write, as a test asked");
                    std::process::exit(STOPPED_BY_TEST);
                }
            }
            answer
        })
    }
}

fn changes(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method)
}

/// Whether a request changes something that matters: events and the Lease do not.
fn is_write(method: &Method, path: &str) -> bool {
    changes(method) && !path.contains("/events") && !path.contains("/leases")
}

#[cfg(test)]
pub(crate) mod http2;

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn nothing_but_the_lease_is_written_without_it() {
        let turn = Turn::default();
        let layer = Counting {
            metrics: Metrics::unregistered(),
            turn: turn.clone(),
            stop_after: None,
            writes: Arc::default(),
        };
        let sent = async |method: Method, path: &str| {
            let answer = tower::service_fn(async |_: Request<Body>| {
                Ok::<_, BoxError>(Response::new(Body::empty()))
            });
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Body::empty()).unwrap();
            layer.layer(answer).oneshot(request).await.is_ok()
        };
        let pod = "/api/v1/namespaces/chat/pods/demo-msg-0";
        let lease = "/apis/coordination.k8s.io/v1/namespaces/chat/leases/im-operator";
        let event = "/apis/events.k8s.io/v1/namespaces/chat/events";
        assert!(!sent(Method::PATCH, pod).await);
        assert!(!sent(Method::POST, event).await);
        assert!(sent(Method::GET, pod).await);
        assert!(sent(Method::PUT, lease).await);
        turn.always();
        assert!(sent(Method::PATCH, pod).await);
        turn.end();
        assert!(!sent(Method::DELETE, pod).await);
    }

    #[tokio::test]
    async fn a_write_that_was_refused_is_not_counted() {
        let turn = Turn::default();
        turn.always();
        let layer = Counting {
            metrics: Metrics::unregistered(),
            turn,
            stop_after: None,
            writes: Arc::default(),
        };
        for (status, counted) in [(409, 0), (201, 1), (503, 2)] {
            let answer = tower::service_fn(move |_: Request<Body>| async move {
                let answer = Response::builder().status(status).body(Body::empty());
                Ok::<_, BoxError>(answer.unwrap())
            });
            let request = Request::post("/api/v1/namespaces/chat/secrets");
            let request = request.body(Body::empty()).unwrap();
            layer.layer(answer).oneshot(request).await.unwrap();
            assert_eq!(layer.writes.load(Ordering::Relaxed), counted, "{status}");
        }
    }

    #[test]
    fn a_hundred_namespaces_are_watched_over_three_connections() {
        assert_eq!(connections(1, 490), 1);
        assert_eq!(connections(35, 490), 1);
        assert_eq!(connections(36, 490), 2);
        assert_eq!(connections(100, 490), 3);
        assert_eq!(connections(3, 1), 3, "a scope is never divided");
    }

    #[test]
    fn events_and_leases_are_no_writes() {
        let write = "/api/v1/namespaces/chat/configmaps/demo-msg";
        assert!(is_write(&Method::PATCH, write));
        assert!(!is_write(&Method::GET, write));
        let lease = "/apis/coordination.k8s.io/v1/namespaces/chat/leases/im-operator";
        assert!(!is_write(&Method::PUT, lease));
        let event = "/apis/events.k8s.io/v1/namespaces/chat/events";
        assert!(!is_write(&Method::POST, event));
    }
}
