//! The client of the API server, with a layer that counts requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

use crate::lease::Turn;
use crate::metrics::{Metrics, RequestLabels};

/// Exit code of a process that was told to stop after so many writes.
const STOPPED_BY_TEST: i32 = 86;

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
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
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
            if writes {
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
